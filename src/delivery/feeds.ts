// The readers of one subscription: one for the partitions that keep up, one for those that do not, so that nobody waits for a slow one.

import { Feed, type FeedOptions, type FeedParts } from './feed.ts';
import type { Partition } from './partition.ts';

export class Feeds {
  readonly #parts: FeedParts;
  readonly #options: () => Omit<FeedOptions, 'onFull' | 'onAdvance'>;
  #main: Feed | undefined;
  #lag: Feed | undefined;
  /** They lag behind, and take nothing before another generation has gone on: nobody reads for them, so that others do not wait. */
  readonly #apart = new Set<Partition>();

  /** `options` are asked for whenever a reader begins. */
  constructor(parts: FeedParts, options: () => Omit<FeedOptions, 'onFull' | 'onAdvance'>) {
    this.#parts = parts;
    this.#options = options;
  }

  /** Nobody lags behind the others. */
  get together(): boolean {
    return this.#lag === undefined && this.#apart.size === 0;
  }

  /** They are offered everything from where they are. */
  join(partitions: readonly Partition[]): void {
    const behind: Partition[] = [];
    for (const partition of partitions) {
      if (this.#main !== undefined && partition.scanned >= this.#main.position) {
        this.#main.join(partition);
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
    this.#apart.delete(partition);
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
    const members = [...this.#apart, ...(this.#main?.members.values() ?? []), ...(this.#lag?.members.values() ?? [])];
    this.stop();
    this.join(members);
  }

  stop(): void {
    this.#main?.stop();
    this.#lag?.stop();
    this.#main = undefined;
    this.#lag = undefined;
    this.#apart.clear();
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
    const from = [this.#main, this.#lag].find((feed) => feed?.members.get(number) === partition);
    if (from === undefined || from.members.size === 1) return false;
    if (from === this.#main) {
      from.members.delete(number);
      this.#lagBehind([partition]);
      return true;
    }
    if (!partition.waitsForOthers) return false;
    from.members.delete(number);
    void this.#stayApart(partition);
    return true;
  }

  async #stayApart(partition: Partition): Promise<void> {
    this.#apart.add(partition);
    await partition.room();
    // Else it has left, or was taken along by a restart.
    if (this.#apart.delete(partition) && !partition.stopped) this.#lagBehind([partition]);
  }

  /** Those that lagged behind have caught up. */
  #merge(feed: Feed): void {
    if (feed !== this.#lag || this.#main === undefined || feed.position < this.#main.position) return;
    this.#lag = undefined;
    for (const partition of feed.members.values()) this.#main.join(partition);
    feed.stop();
  }
}
