// Reads the log once for all partitions of a subscription that are about as far, and offers each what is its own.

import type { EventBook, EventPage } from '../model/book.ts';
import type { LogFilter } from '../model/filter.ts';
import { type Ordering, partitionOf } from '../model/ordering.ts';
import { retryDelayMs } from '../model/retry.ts';
import { sleep } from '../runtime.ts';
import type { LogTail } from './log-tail.ts';
import type { Partition } from './partition.ts';
import type { DeliveryParts, SubscriptionContext } from './parts.ts';

export interface FeedParts extends DeliveryParts {
  tail: LogTail;
}

export interface FeedOptions {
  subscription: SubscriptionContext;
  ordering: Ordering;
  partitions: number;
  filter: LogFilter;
  /** How far it may go now; Infinity is the end. */
  limit: () => number;
  /** It offers nothing now. */
  held: () => boolean;
  /** A partition takes no more while the others are at the log's end. True: it is not this feed's any more. */
  onFull: (partition: Partition) => boolean;
  /** It has come this far. */
  onAdvance: (feed: Feed) => void;
}

const AWAY = { tries: Infinity, minMs: 100, maxMs: 2000 };
/** Between two looks whether the limit has moved. */
const LIMIT_MS = 20;

export class Feed {
  readonly members = new Map<number, Partition>();
  readonly #parts: FeedParts;
  readonly #options: FeedOptions;
  readonly #stopping = new AbortController();
  /** Every member was offered everything up to here. */
  #position: number;
  #live = false;

  constructor(parts: FeedParts, options: FeedOptions, members: Iterable<Partition>, after: number) {
    this.#parts = parts;
    this.#options = options;
    this.#position = after;
    for (const member of members) this.members.set(member.key.partition, member);
  }

  get position(): number {
    return this.#position;
  }

  /** It is at the log's end. */
  get live(): boolean {
    return this.#live;
  }

  start(): this {
    void this.#run();
    return this;
  }

  stop(): void {
    this.#stopping.abort(new Error('the feed has ended'));
    this.members.clear();
  }

  async #run(): Promise<void> {
    const { runtime, tail, log } = this.#parts;
    const { signal } = this.#stopping;
    for (let failures = 0; !signal.aborted; ) {
      try {
        for await (const batch of tail.scan(this.#options.filter, this.#position, signal)) {
          failures = 0;
          for (const book of batch.books) await this.#offer(book);
          await this.#mayPass(batch.through);
          if (signal.aborted) return;
          this.#live = batch.through >= tail.position;
          this.#position = batch.through;
          for (const member of this.members.values()) member.scannedTo(batch.through);
          this.#options.onAdvance(this);
        }
        // The tail has closed: the daemon is stopping.
        return;
      } catch (error) {
        if (signal.aborted) return;
        const subscription = this.#options.subscription.name;
        log.warn({ subscription, position: this.#position, err: error }, 'the log cannot be read; trying again');
        await sleep(runtime, retryDelayMs(AWAY, ++failures, runtime.random())!, signal).catch(() => {});
      }
    }
  }

  async #offer(book: EventBook): Promise<void> {
    const { ordering, partitions, subscription, onFull } = this.#options;
    const cover = book.cover!;
    const last = book.pages.at(-1)!.position;
    await this.#mayPass(last);
    const number = partitionOf(ordering, cover, partitions);
    let member = this.members.get(number);
    while (member?.full && !member.stopped && !this.#stopping.signal.aborted) {
      if ((this.#live || member.waitsForOthers) && onFull(member)) break;
      await member.room();
      await this.#mayPass(last);
      member = this.members.get(number);
    }
    if (this.#stopping.signal.aborted) throw this.#stopping.signal.reason;
    this.#position = last;
    const pages = book.pages.filter((page: EventPage) => subscription.mayWant(cover, page));
    if (pages.length > 0) this.members.get(number)?.offer(cover, pages);
  }

  async #mayPass(position: number): Promise<void> {
    const { signal } = this.#stopping;
    const { held, limit } = this.#options;
    while ((held() || position > limit()) && !signal.aborted) {
      await sleep(this.#parts.runtime, LIMIT_MS, signal).catch(() => {});
    }
  }
}
