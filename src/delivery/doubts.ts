// What may have been in hand when the owner of a partition died: the keys of the first events beyond its cursor. They are held until
// they are parked in one unit, so that an event that took its daemon down is found when it does so again.

import type { OrderingKey } from '../store.ts';

export class Doubts {
  /** Nothing beyond was in the log when the partition was taken. */
  readonly #through: number;
  /** These keys were the retry lane's: nothing of them was in hand elsewhere. */
  readonly #parkedBefore: ReadonlySet<OrderingKey>;
  /** So many, at most, were in hand and not found yet: a request has one key, and as many pages as fit. */
  #keys: number;
  readonly #places = new Map<OrderingKey, number>();
  /** Keys of which something was offered: what comes later of them was not first in hand. */
  readonly #met = new Set<OrderingKey>();

  constructor(through: number, keys: number, parkedBefore: ReadonlySet<OrderingKey>) {
    this.#through = through;
    this.#keys = keys;
    this.#parkedBefore = parkedBefore;
  }

  /** There may be some, or may come. */
  get any(): boolean {
    return this.#keys > 0 || this.#places.size > 0;
  }

  /** True: pages of the key that begin at the position are in doubt. `possible`: they may have been handed out at all. */
  of(key: OrderingKey, position: number, possible: boolean): boolean {
    if (this.#places.has(key)) return true;
    if (position > this.#through || this.#keys <= 0 || this.#parkedBefore.has(key) || this.#met.has(key)) return false;
    this.#met.add(key);
    if (!possible) return false;
    this.#places.set(key, position);
    this.#keys--;
    return true;
  }

  /**
   * Keys and their first events, once, when everything that may be in doubt was offered. `stuck`: nothing more will be before these are
   * out of the way, or for long; then those that come later are told later.
   */
  whenComplete(scanned: number, stuck: boolean): ReadonlyMap<OrderingKey, number> | undefined {
    const more = this.#keys > 0 && scanned < this.#through;
    if (!more) return this.now();
    return stuck ? this.#take() : undefined;
  }

  /** The same, of what was offered so far; nothing is in doubt from now on. */
  now(): ReadonlyMap<OrderingKey, number> | undefined {
    this.#keys = 0;
    this.#met.clear();
    return this.#take();
  }

  #take(): ReadonlyMap<OrderingKey, number> | undefined {
    if (this.#places.size === 0) return undefined;
    const places = new Map(this.#places);
    this.#places.clear();
    return places;
  }
}
