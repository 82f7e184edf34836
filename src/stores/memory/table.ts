/** Steps that take a unit back, to be taken from the last to the first. */
export type Undo = (() => void)[];

/** Rows by their key, and in groups of those that are looked for together. Rows are never changed, only put. */
export class Table<Row> {
  readonly #rows = new Map<string, { group: string; row: Row }>();
  readonly #groups = new Map<string, Map<string, Row>>();

  get(key: string): Row | undefined {
    return this.#rows.get(key)?.row;
  }

  all(): Row[] {
    return [...this.#rows.values()].map(({ row }) => row);
  }

  ofGroup(group: string): Row[] {
    return [...(this.#groups.get(group)?.values() ?? [])];
  }

  put(group: string, key: string, row: Row, undo?: Undo): void {
    this.#change(key, { group, row }, undo);
  }

  remove(key: string, undo?: Undo): void {
    this.#change(key, undefined, undo);
  }

  #change(key: string, placed: { group: string; row: Row } | undefined, undo: Undo | undefined): void {
    const before = this.#rows.get(key);
    undo?.push(() => this.#set(key, before));
    this.#set(key, placed);
  }

  #set(key: string, placed: { group: string; row: Row } | undefined): void {
    const before = this.#rows.get(key);
    if (before !== undefined && before.group !== placed?.group) {
      const left = this.#groups.get(before.group)!;
      left.delete(key);
      if (left.size === 0) this.#groups.delete(before.group);
    }
    if (placed === undefined) {
      this.#rows.delete(key);
      return;
    }
    this.#rows.set(key, placed);
    let group = this.#groups.get(placed.group);
    if (group === undefined) {
      group = new Map();
      this.#groups.set(placed.group, group);
    }
    group.set(key, placed.row);
  }
}
