import type { Runtime, Timer } from './runtime.ts';
import { TransientMap } from './transient-map.ts';

export interface Deadline {
  /** Idempotent. */
  cancel(): void;
}

const WIDTH_MS = 25;

/**
 * Many deadlines on one timer. Nearly all of them are cancelled before they are due, so adding and cancelling must be
 * cheap; they fire up to 25 ms late, never early.
 */
export class Deadlines {
  readonly #runtime: Runtime;
  readonly #buckets = new TransientMap<number, Set<() => void>>();
  #timer: Timer | undefined;

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
  }

  /** Calls once when the monotonic clock has passed `atMs`. */
  add(atMs: number, call: () => void): Deadline {
    const index = Math.floor(atMs / WIDTH_MS) + 1;
    const bucket = this.#buckets.get(index) ?? new Set();
    this.#buckets.set(index, bucket);
    // A wrapper of its own, because the same function may be added twice.
    const entry = () => call();
    bucket.add(entry);
    this.#arm();
    return { cancel: () => this.#remove(index, bucket, entry) };
  }

  /** The same, `delayMs` from now. */
  after(delayMs: number, call: () => void): Deadline {
    return this.add(this.#runtime.monotonicMs() + delayMs, call);
  }

  /** Also while the bucket fires: what a neighbour cancels does not fire any more. */
  #remove(index: number, bucket: Set<() => void>, entry: () => void): void {
    if (bucket.delete(entry) && bucket.size === 0 && this.#buckets.get(index) === bucket) this.#buckets.delete(index);
  }

  #arm(): void {
    if (this.#timer !== undefined) return;
    this.#timer = this.#runtime.after(WIDTH_MS, () => {
      this.#timer = undefined;
      this.#fire();
      if (this.#buckets.size > 0) this.#arm();
    });
  }

  #fire(): void {
    const now = Math.floor(this.#runtime.monotonicMs() / WIDTH_MS);
    for (const [index, bucket] of this.#buckets) {
      if (index > now) continue;
      this.#buckets.delete(index);
      for (const entry of bucket) entry();
    }
  }
}
