// The readers of one subscription: one for the partitions that keep up, one for those that do not, so that nobody waits for a slow one.

import { Feed, type FeedOptions, type FeedParts } from './feed.ts';
import type { Partition } from './partition.ts';

export class Feeds {
  readonly #parts: FeedParts;
  readonly #options: () => Omit<FeedOptions, 'onFull' | 'onAdvance'>;
  #main: Feed | undefined;
  #lag: Feed | undefined;

  /** `options` are asked for whenever a reader begins. */
  constructor(parts: FeedParts, options: () => Omit<FeedOptions, 'onFull' | 'onAdvance'>) {
    this.#parts = parts;
    this.#options = options;
  }

  /** Nobody lags behind the others. */
  get together(): boolean {
    return this.#lag === undefined;
  }

  /** They are offered everything from where they are. */
  join(partitions: readonly Partition[]): void {
    const behind: Partition[] = [];
    for (const partition of partitions) {
      if (this.#main !== undefined && partition.scanned >= this.#main.position) {
        this.#main.members.set(partition.key.partition, partition);
      } else behind.push(partition);
    }
    if (behind.length === 0) return;
    if (this.#main === undefined || this.#main.members.size === 0) {
      this.#main?.stop();
      this.#main = this.#open(behind);
    } else this.#lagBehind(behind);
  }

  /** It is offered nothing more. */
  leave(partition: Partition): void {
    const { partition: number } = partition.key;
    for (const feed of [this.#main, this.#lag]) {
      if (feed?.members.get(number) === partition) feed.members.delete(number);
    }
    if (this.#lag?.members.size === 0) {
      this.#lag.stop();
      this.#lag = undefined;
    }
    if (this.#main?.members.size === 0) {
      this.#main.stop();
      this.#main = this.#lag;
      this.#lag = undefined;
    }
  }

  /** The filter has changed: what was offered stays, what comes is read by the new one. */
  restart(): void {
    const members = [this.#main, this.#lag].flatMap((feed) => [...(feed?.members.values() ?? [])]);
    this.stop();
    this.join(members);
  }

  stop(): void {
    this.#main?.stop();
    this.#lag?.stop();
    this.#main = undefined;
    this.#lag = undefined;
  }

  #open(members: readonly Partition[]): Feed {
    const after = members.reduce((least, { scanned }) => Math.min(least, scanned), Infinity);
    const options = {
      ...this.#options(),
      onFull: (partition: Partition) => this.#detach(partition),
      onAdvance: (feed: Feed) => this.#merge(feed),
    };
    return new Feed(this.#parts, options, members, after).start();
  }

  #lagBehind(partitions: readonly Partition[]): void {
    const all = [...(this.#lag?.members.values() ?? []), ...partitions];
    this.#lag?.stop();
    this.#lag = this.#open(all);
  }

  /** It does not keep up with the others: they do not wait for it. */
  #detach(partition: Partition): boolean {
    const { partition: number } = partition.key;
    if (this.#main?.members.get(number) !== partition || this.#main.members.size === 1) return false;
    this.#main.members.delete(number);
    this.#lagBehind([partition]);
    return true;
  }

  /** Those that lagged behind have caught up. */
  #merge(feed: Feed): void {
    if (feed !== this.#lag || this.#main === undefined || feed.position < this.#main.position) return;
    for (const [number, partition] of feed.members) this.#main.members.set(number, partition);
    this.#lag = undefined;
    feed.stop();
  }
}
