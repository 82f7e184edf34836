// What lies between a cursor and how far was scanned: things in log order, finished in any order. The cursor is the end of the
// finished prefix.

export interface Windowed {
  /** Positions of its first and last event. */
  readonly first: number;
  readonly last: number;
  readonly events: number;
  readonly bytes: number;
  /** By the window. */
  finished: boolean;
  /** By the window, while it looks. */
  assumed: boolean;
}

export class Window<Thing extends Windowed> {
  #things: (Thing | undefined)[] = [];
  /** Of the first unfinished one. */
  #begin = 0;
  #scanned: number;
  #events = 0;
  #bytes = 0;

  /** `position`: everything up to here is finished. */
  constructor(position: number) {
    this.#scanned = position;
  }

  /** Everything up to here was added or is nobody's. */
  get scanned(): number {
    return this.#scanned;
  }

  /** Of things that are not behind the prefix. */
  get events(): number {
    return this.#events;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Everything up to here is finished. */
  get prefix(): number {
    const head = this.#things[this.#begin];
    return head === undefined ? this.#scanned : head.first - 1;
  }

  /** The same when these were finished too. */
  prefixWith(things: readonly Thing[]): number {
    for (const thing of things) thing.assumed = true;
    let first = this.#begin;
    while (first < this.#things.length && (this.#things[first]!.finished || this.#things[first]!.assumed)) first++;
    for (const thing of things) thing.assumed = false;
    const head = this.#things[first];
    return head === undefined ? this.#scanned : head.first - 1;
  }

  /** It comes after everything that was added before. */
  add(thing: Thing): void {
    this.#things.push(thing);
    this.#bytes += thing.bytes;
    this.#events += thing.events;
    this.#scanned = thing.last;
  }

  /** Nothing up to here is wanted, apart from what was added. */
  scannedTo(position: number): void {
    this.#scanned = Math.max(this.#scanned, position);
  }

  finish(thing: Thing): void {
    thing.finished = true;
    for (let head = this.#things[this.#begin]; head?.finished; ) {
      this.#bytes -= head.bytes;
      this.#events -= head.events;
      this.#things[this.#begin++] = undefined;
      head = this.#things[this.#begin];
    }
    if (this.#begin > 64 && this.#begin > this.#things.length / 2) {
      this.#things.splice(0, this.#begin);
      this.#begin = 0;
    }
  }
}
