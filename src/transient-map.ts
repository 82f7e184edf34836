/**
 * A map for what comes and goes with every call. V8 gives the table of a map that has grown old a new one every few dozen changes, and
 * each of these is born old: nothing that one held can be freed by a young collection, although it has long been deleted. Under load
 * all memory of all calls became old that way, 70 MB a second. Here the tables hold places, and one array holds the values.
 */
export class TransientMap<K extends string | number, V> {
  readonly #places = new Map<K, number>();
  readonly #values: (V | undefined)[] = [];
  readonly #free: number[] = [];

  get size(): number {
    return this.#places.size;
  }

  has(key: K): boolean {
    return this.#places.has(key);
  }

  get(key: K): V | undefined {
    const place = this.#places.get(key);
    return place === undefined ? undefined : this.#values[place];
  }

  set(key: K, value: V): this {
    let place = this.#places.get(key);
    if (place === undefined) {
      place = this.#free.pop() ?? this.#values.length;
      this.#places.set(key, place);
    }
    this.#values[place] = value;
    return this;
  }

  delete(key: K): boolean {
    const place = this.#places.get(key);
    if (place === undefined) return false;
    this.#places.delete(key);
    this.#values[place] = undefined;
    this.#free.push(place);
    return true;
  }

  clear(): void {
    this.#places.clear();
    this.#values.length = 0;
    this.#free.length = 0;
  }

  /** In the order in which they were set first. */
  keys(): IterableIterator<K> {
    return this.#places.keys();
  }

  *values(): Generator<V, void, void> {
    for (const place of this.#places.values()) yield this.#values[place]!;
  }

  *[Symbol.iterator](): Generator<[K, V], void, void> {
    for (const [key, place] of this.#places) yield [key, this.#values[place]!];
  }
}
