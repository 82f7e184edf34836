// Reads the log once for all partitions of a subscription that are about as far, and offers each what is its own.

import type { Cover, EventBook, EventPage } from '../model/book.ts';
import type { LogFilter } from '../model/filter.ts';
import { type Ordering, partitionOf } from '../model/ordering.ts';
import { retryDelayMs } from '../model/retry.ts';
import { sleep } from '../runtime.ts';
import { kept } from './items.ts';
import type { LogTail } from './log-tail.ts';
import { type Commands, Pace } from './pace.ts';
import type { Partition } from './partition.ts';
import type { DeliveryParts, SubscriptionContext } from './parts.ts';

export interface FeedParts extends DeliveryParts {
  tail: LogTail;
  /** Whoever catches up leaves room for them. */
  commands: Commands;
}

export interface FeedOptions {
  subscription: SubscriptionContext;
  ordering: Ordering;
  partitions: number;
  filter: () => LogFilter;
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
const NONE: readonly EventPage[] = [];

export class Feed {
  readonly members = new Map<number, Partition>();
  readonly #parts: FeedParts;
  readonly #options: FeedOptions;
  readonly #pace: Pace;
  readonly #stopping = new AbortController();
  /** Every member was offered everything up to here. */
  #position: number;
  /** As far as the members know. */
  #told = 0;
  #live = false;
  #onJoined: (() => void) | undefined;

  constructor(parts: FeedParts, options: FeedOptions, members: Iterable<Partition>, after: number) {
    this.#parts = parts;
    this.#options = options;
    this.#pace = new Pace(parts.runtime, parts.reading.slice, parts.commands);
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

  /** It is offered what comes from now on. */
  join(partition: Partition): void {
    this.members.set(partition.key.partition, partition);
    this.#onJoined?.();
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
        const atMost = () => this.#pace.readEvents;
        for await (const batch of tail.scan(this.#options.filter, this.#position, signal, atMost)) {
          failures = 0;
          await this.#offer(batch.books);
          if (this.#barred(batch.through)) await this.#mayPass(batch.through);
          if (signal.aborted) return;
          this.#live = batch.through >= tail.position;
          this.#position = batch.through;
          this.#told = batch.through;
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

  async #offer(books: readonly EventBook[]): Promise<void> {
    const { ordering, partitions } = this.#options;
    const { nearEvents } = this.#parts.reading;
    const { signal } = this.#stopping;
    for (const { cover, pages } of books) {
      const number = partitionOf(ordering, cover!, partitions);
      for (let rest: readonly EventPage[] = pages; rest.length > 0; rest = this.#hand(number, cover!, rest)) {
        // Nearly never: a promise for each book would cost more than what is done with it.
        if (this.#barred(rest[0]!.position)) await this.#mayPass(rest[0]!.position);
        if (this.#lacksRoom(number, rest)) await this.#room(number);
        if (signal.aborted) throw signal.reason;
      }
      const end = this.#parts.tail.position;
      const far = !this.#live && end - this.#position > nearEvents;
      if (far && this.#pace.offered(pages.length)) await this.#pace.rest(this.#position, end, signal);
    }
  }

  /** Returns the pages that lie beyond the limit. */
  #hand(number: number, cover: Cover, pages: readonly EventPage[]): readonly EventPage[] {
    const { subscription, limit } = this.#options;
    const end = limit();
    const part = pages.at(-1)!.position <= end ? pages : pages.filter(({ position }) => position <= end);
    const wanted = kept(part, (page) => subscription.mayWant(cover, page));
    if (wanted.length > 0) this.members.get(number)?.offer(cover, wanted);
    this.#position = part.at(-1)!.position;
    return part.length === pages.length ? NONE : pages.slice(part.length);
  }

  /** What it has been offered before needs none: whoever was ahead of this feed when it joined. */
  #lacksRoom(number: number, pages: readonly EventPage[]): boolean {
    const member = this.members.get(number);
    return member?.full === true && member.scanned < pages.at(-1)!.position;
  }

  async #room(number: number): Promise<void> {
    const { signal } = this.#stopping;
    let member = this.members.get(number);
    while (member?.full && !member.stopped && !signal.aborted) {
      const waits = member.waitsForOthers;
      if ((this.#live || waits) && this.#options.onFull(member)) return;
      // Who was alone was let wait here; who joins it is not to wait as well.
      await Promise.race([member.room(waits), new Promise<void>((resolve) => (this.#onJoined = resolve))]);
      if (this.#barred(0)) await this.#mayPass(0);
      member = this.members.get(number);
    }
  }

  #barred(position: number): boolean {
    return this.#options.held() || position > this.#options.limit();
  }

  /** Everything before the position was offered. Waits until it may be, too. */
  async #mayPass(position: number): Promise<void> {
    const { signal } = this.#stopping;
    while (this.#barred(position) && !signal.aborted) {
      this.#advance(Math.min(this.#options.limit(), position - 1));
      await sleep(this.#parts.runtime, LIMIT_MS, signal).catch(() => {});
    }
  }

  /** Also those learn it that have no events there. */
  #advance(to: number): void {
    if (to > this.#position) this.#position = to;
    if (this.#position <= this.#told) return;
    this.#told = this.#position;
    for (const member of this.members.values()) member.scannedTo(this.#told);
  }
}
