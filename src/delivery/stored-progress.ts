// How far one generation of a projector has come, for another one: its cursors, what it finished out of order, and what it could not handle.

import type { Cover } from '../model/book.ts';
import { type Ordering, orderingKey, orderingOf, partitionOf } from '../model/ordering.ts';
import type { OrderingKey, ParkedKey, PartitionCursor, Store } from '../store.ts';
import { isStuck } from './parking.ts';
import { allParked } from './units.ts';

/** As it was stored when it was read. Only what no generation can undo is taken for handled. */
export class StoredProgress {
  /** It has handled nothing beyond this. */
  readonly end: number;
  /** Everything up to here was handled, or is parked. */
  readonly least: number;
  readonly ordering: Ordering;
  readonly #positions: ReadonlyMap<number, number>;
  readonly #done: ReadonlyMap<number, ReadonlySet<number>>;
  readonly #parked: ReadonlyMap<OrderingKey, ParkedKey>;

  private constructor(
    cursors: readonly PartitionCursor[],
    done: ReadonlyMap<number, ReadonlySet<number>>,
    parked: readonly ParkedKey[],
  ) {
    this.ordering = orderingOf('projector', cursors.length === 1);
    this.#positions = new Map(cursors.map(({ partition, position }) => [partition, position]));
    this.#done = done;
    this.#parked = new Map(parked.map((row) => [row.key, row]));
    let [least, end] = [Infinity, 0];
    for (const { position } of cursors) [least, end] = [Math.min(least, position), Math.max(end, position)];
    for (const positions of done.values()) for (const position of positions) end = Math.max(end, position);
    for (const row of parked) end = Math.max(end, handledUpTo(row));
    this.least = least;
    this.end = end;
  }

  /**
   * After its cursors, in this order: what a cursor has passed was handled then, or is among the parked keys that are read later, or was handled
   * meanwhile. What nobody needs is not read: of a generation that goes on, the cursors come to what it finished out of order.
   */
  static async read(
    store: Pick<Store, 'listDone' | 'listParked'>,
    cursors: readonly PartitionCursor[],
    wanted: { done: boolean; parked: boolean } = { done: true, parked: true },
  ): Promise<StoredProgress> {
    const parked: ParkedKey[] = [];
    const done = new Map<number, ReadonlySet<number>>();
    for (const cursor of cursors) {
      if (wanted.parked) parked.push(...(await allParked(store, { partition: cursor })));
      if (wanted.done) done.set(cursor.partition, new Set(await store.listDone(cursor)));
    }
    return new StoredProgress(cursors, done, parked);
  }

  hasHandled(cover: Cover, position: number): boolean {
    if (position > this.end || this.parkedAt(cover, position) !== undefined) return false;
    if (this.hasPassed(cover, position) || this.#done.get(this.#partition(cover))?.has(position) === true) return true;
    // Its retry lane has come further than the cursor.
    const row = this.#rowOf(cover);
    return row !== undefined && position >= row.firstPosition && position <= handledUpTo(row);
  }

  /** The event is held up in this key. */
  parkedAt(cover: Cover, position: number): ParkedKey | undefined {
    const row = this.#rowOf(cover);
    return row === undefined || row.state === 'draining' || position < row.position ? undefined : row;
  }

  /** The cursor that the event's stream follows has passed it. */
  hasPassed(cover: Cover, position: number): boolean {
    return position <= (this.#positions.get(this.#partition(cover)) ?? 0);
  }

  /** It has handled everything up to there: nothing that another one had is told to it any more. */
  isPast(position: number): boolean {
    const waits = [...this.#parked.values()].some((row) => row.state !== 'draining' && row.position <= position);
    return this.#positions.size > 0 && this.least >= position && !waits;
  }

  /** Some event was finished out of order. */
  get anyDone(): boolean {
    return [...this.#done.values()].some(({ size }) => size > 0);
  }

  get partitions(): number {
    return this.#positions.size;
  }

  /** It has finished what the other one had finished, apart from what cursors that can be compared tell anyway. */
  covers(old: StoredProgress): boolean {
    if (old.partitions !== this.partitions) return this.least >= old.end;
    return [...old.#done].every(([partition, done]) => {
      const [position, own] = [this.#positions.get(partition)!, this.#done.get(partition)];
      return [...done].every((each) => each <= position || own?.has(each) === true);
    });
  }

  /** Keys that wait for somebody at an event up to the position. */
  deadUpTo(position: number): number {
    return [...this.#parked.values()].filter((row) => row.state === 'dead' && row.position <= position).length;
  }

  #partition(cover: Cover): number {
    return partitionOf(this.ordering, cover, this.#positions.size);
  }

  #rowOf(cover: Cover): ParkedKey | undefined {
    return this.#parked.size === 0 ? undefined : this.#parked.get(orderingKey(this.ordering, cover));
  }
}

/** Keys of a generation that fail. */
export async function stuckKeys(
  store: Pick<Store, 'listParked'>,
  { name, generation }: { name: string; generation: number },
): Promise<ParkedKey[]> {
  const rows = await allParked(store, { subscription: name });
  return rows.filter((row) => row.partition.generation === generation && isStuck(row));
}

/** Of the key, by the retry lane. */
function handledUpTo({ state, position, through }: ParkedKey): number {
  return state === 'draining' ? through : position - 1;
}
