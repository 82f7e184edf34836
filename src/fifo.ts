/** First in, first out; whoever has gone meanwhile is passed over. Every operation takes the same time, however many wait. */
export class Fifo<T> {
  #items: (T | undefined)[] = [];
  #begin = 0;
  /** The ticket of `#items[0]`. */
  #base = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get first(): T | undefined {
    this.#skip();
    return this.#items[this.#begin];
  }

  /** A ticket, to leave with. */
  push(item: T): number {
    this.#size++;
    return this.#base + this.#items.push(item) - 1;
  }

  shift(): T | undefined {
    this.#skip();
    const item = this.#items[this.#begin];
    if (item === undefined) return undefined;
    this.#items[this.#begin++] = undefined;
    this.#size--;
    return item;
  }

  /** False: it is not waiting any more. */
  remove(ticket: number): boolean {
    const place = ticket - this.#base;
    if (place < this.#begin || this.#items[place] === undefined) return false;
    this.#items[place] = undefined;
    this.#size--;
    return true;
  }

  *[Symbol.iterator](): Generator<T, void, void> {
    for (let i = this.#begin; i < this.#items.length; i++) {
      const item = this.#items[i];
      if (item !== undefined) yield item;
    }
  }

  clear(): void {
    this.#base += this.#items.length;
    this.#items = [];
    this.#begin = 0;
    this.#size = 0;
  }

  #skip(): void {
    while (this.#begin < this.#items.length && this.#items[this.#begin] === undefined) this.#begin++;
    if (this.#begin < 64 || this.#begin < this.#items.length / 2) return;
    this.#items.splice(0, this.#begin);
    this.#base += this.#begin;
    this.#begin = 0;
  }
}
