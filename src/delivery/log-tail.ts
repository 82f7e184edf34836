// The newest end of the log, in memory. What this daemon commits arrives here in log order without being read again; what
// others commit, or what a gap hides, is read from the store. Followers get every book that matches, each once and in
// log order: from memory while they keep up, from the store while they do not, so that a slow one costs no memory.

import { type EventBook, type EventPage, pageBytes } from '../model/book.ts';
import { type LogFilter, matches } from '../model/filter.ts';
import type { Runtime, Timer } from '../runtime.ts';
import type { EventStore, LogBooks } from '../store.ts';
import type { Reading } from './reading.ts';

export interface TailLimits {
  /** Of books that wait for followers, over all of them. */
  deliveryBytes: number;
}

/** Of recent books. */
const RECENT_BYTES = 4 << 20;
const READ_BYTES = 1 << 20;
const POLL_MIN_MS = 250;
const POLL_MAX_MS = 5000;
/** Of the news that nothing matched. */
const TICK_MS = 500;

interface Follower {
  filter: () => LogFilter;
  /** Wants to hear how far the log was looked at, also when nothing matches. */
  ticks: boolean;
  /** Everything that matches up to here was handed on or is queued. */
  cursor: number;
  queue: EventBook[];
  queuedBytes: number;
  /** Receives from memory. Otherwise it reads from the store. */
  live: boolean;
  wake: (() => void) | undefined;
}

export class LogTail {
  readonly #store: EventStore;
  readonly #runtime: Runtime;
  readonly #limits: TailLimits;
  readonly #sizes: Reading;
  /** Everything at or below has been published. */
  #position: number;
  readonly #recent: EventBook[] = [];
  #recentBytes = 0;
  readonly #byCorrelation = new Map<string, Set<Follower>>();
  readonly #others = new Set<Follower>();
  #queuedBytes = 0;
  #reading: Promise<void> | undefined;
  /** The store has more than a read that is under way may have seen. */
  #readAgain = false;
  #poll: Timer | undefined;
  #pollMs = POLL_MIN_MS;
  #tick: Timer | undefined;
  #closed = false;

  /** `position` is the log's end now. */
  constructor(store: EventStore, runtime: Runtime, limits: TailLimits, sizes: Reading, position: number) {
    this.#store = store;
    this.#runtime = runtime;
    this.#limits = limits;
    this.#sizes = sizes;
    this.#position = position;
  }

  /** How far the log is known to go. */
  get position(): number {
    return this.#position;
  }

  /** Of books that wait for followers. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Books that were committed, in log order. Those behind a gap are left to the store. */
  publish(books: readonly EventBook[]): void {
    for (const book of books) {
      const first = book.pages[0]!.position;
      if (first <= this.#position) continue;
      if (first > this.#position + 1) {
        this.#forgetRecent();
        if (this.#followers() === 0) this.#position = first - 1;
        else {
          this.#readAgain = true;
          void this.#readAhead();
          return;
        }
      }
      this.#position = lastPosition(book);
      this.#remember(book);
      this.#hand(book);
    }
    this.#scheduleTick();
  }

  /** Somebody else may have committed something. */
  wake(): void {
    if (this.#followers() === 0 || this.#closed) return;
    this.#readAgain = true;
    void this.#readAhead();
  }

  /** Tells those who want to hear it how far the log was looked at, now. */
  tick(): void {
    for (const follower of this.#others) if (follower.ticks) follower.wake?.();
  }

  /**
   * Every book after the position that matches, each once and in log order, until the signal aborts (then it ends without an
   * error). Store errors are thrown. The caller's pace is respected.
   */
  async *follow(filter: LogFilter, after: number, signal: AbortSignal): AsyncGenerator<EventBook, void, void> {
    for await (const { books } of this.#batches({ filter: () => filter, ticks: false }, after, signal)) {
      for (const book of books) {
        if (signal.aborted) return;
        yield book;
      }
    }
  }

  /**
   * The same in batches that say how far they looked, by a filter that is asked anew at each look. When nothing matches for a while, an
   * empty one tells how far the log was looked at. No read has more than `atMost` events, as it is when the read begins.
   */
  scan(
    filter: () => LogFilter,
    after: number,
    signal: AbortSignal,
    atMost?: () => number,
  ): AsyncGenerator<LogBooks, void, void> {
    return this.#batches({ filter, ticks: true }, after, signal, atMost);
  }

  async *#batches(
    { filter, ticks }: Pick<Follower, 'filter' | 'ticks'>,
    after: number,
    signal: AbortSignal,
    atMost: () => number = () => Infinity,
  ): AsyncGenerator<LogBooks, void, void> {
    const follower: Follower = {
      filter,
      ticks,
      cursor: after,
      queue: [],
      queuedBytes: 0,
      live: false,
      wake: undefined,
    };
    const wake = () => follower.wake?.();
    signal.addEventListener('abort', wake);
    let told = after;
    try {
      while (!signal.aborted && !this.#closed) {
        // Whoever is live was offered everything; what did not match is not in the queue.
        const looked = follower.live ? Math.max(follower.cursor, this.#position) : follower.cursor;
        if (follower.queue.length > 0 || (ticks && looked > told)) {
          told = looked;
          yield { books: this.#takeAll(follower), through: looked };
        } else if (follower.live) {
          await new Promise<void>((resolve) => {
            follower.wake = resolve;
          });
          follower.wake = undefined;
        } else if (this.#fromMemory(follower)) {
          this.#join(follower);
        } else {
          const read = await this.#store.readLog({
            after: follower.cursor,
            filter: filter(),
            maxEvents: Math.min(this.#sizes.readEvents, atMost()),
            maxBytes: READ_BYTES,
          });
          follower.cursor = read.through;
          told = read.through;
          if (read.books.length > 0 || ticks) yield read;
        }
      }
    } finally {
      signal.removeEventListener('abort', wake);
      this.#leave(follower);
      this.#queuedBytes -= follower.queuedBytes;
    }
  }

  /** Ends every follower. */
  close(): void {
    this.#closed = true;
    this.#poll?.cancel();
    this.#tick?.cancel();
    for (const follower of this.#others) follower.wake?.();
    for (const followers of this.#byCorrelation.values()) for (const follower of followers) follower.wake?.();
  }

  /** Queues what a follower lacks from recent books, if they reach back far enough. */
  #fromMemory(follower: Follower): boolean {
    if (follower.cursor >= this.#position) return true;
    const oldest = this.#recent[0];
    if (oldest === undefined || oldest.pages[0]!.position > follower.cursor + 1) return false;
    const first = this.#firstAfter(follower.cursor);
    // Within a book: the store hands out the rest of it.
    if (first > 0 && lastPosition(this.#recent[first - 1]!) > follower.cursor) return false;
    for (let i = first; i < this.#recent.length; i++) {
      const book = this.#recent[i]!;
      if (matches(follower.filter(), book) && !this.#enqueue(follower, book)) return true;
    }
    follower.cursor = this.#position;
    return true;
  }

  #firstAfter(position: number): number {
    let low = 0;
    let high = this.#recent.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#recent[middle]!.pages[0]!.position <= position) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #join(follower: Follower): void {
    // Too much was queued already: what remains is read from the store.
    if (follower.cursor < this.#position) return;
    follower.live = true;
    const id = follower.filter().correlationId;
    if (id === undefined) this.#others.add(follower);
    else {
      const set = this.#byCorrelation.get(id) ?? new Set();
      this.#byCorrelation.set(id, set.add(follower));
    }
    this.#schedulePoll();
  }

  #leave(follower: Follower): void {
    follower.live = false;
    const id = follower.filter().correlationId;
    if (id === undefined) this.#others.delete(follower);
    else {
      const set = this.#byCorrelation.get(id);
      if (set?.delete(follower) && set.size === 0) this.#byCorrelation.delete(id);
    }
    if (this.#followers() === 0) {
      this.#poll?.cancel();
      this.#poll = undefined;
    }
  }

  #followers(): number {
    return this.#others.size + this.#byCorrelation.size;
  }

  #hand(book: EventBook): void {
    for (const follower of this.#others) this.#offer(follower, book);
    const interested = this.#byCorrelation.get(book.cover!.correlationId);
    if (interested !== undefined) for (const follower of interested) this.#offer(follower, book);
  }

  #offer(follower: Follower, book: EventBook): void {
    // A follower that came from the store may be ahead of the tail; one that was told to begin there, within a book.
    const { cursor } = follower;
    if (lastPosition(book) <= cursor || !matches(follower.filter(), book)) return;
    const wanted = book.pages[0]!.position > cursor ? book : { ...book, pages: book.pages.filter(after(cursor)) };
    if (!this.#enqueue(follower, wanted)) this.#leave(follower);
    follower.wake?.();
  }

  /** False: the follower has too much waiting and goes on by itself, from its cursor. */
  #enqueue(follower: Follower, book: EventBook): boolean {
    const bytes = bookBytes(book);
    const { followerBytes } = this.#sizes;
    const tooMuch =
      follower.queuedBytes + bytes > followerBytes || this.#queuedBytes + bytes > this.#limits.deliveryBytes;
    if (tooMuch && follower.queue.length > 0) {
      // Cursor stays at the last book that was queued.
      return false;
    }
    follower.queue.push(book);
    follower.queuedBytes += bytes;
    this.#queuedBytes += bytes;
    follower.cursor = lastPosition(book);
    return true;
  }

  #takeAll(follower: Follower): EventBook[] {
    const books = follower.queue;
    follower.queue = [];
    this.#queuedBytes -= follower.queuedBytes;
    follower.queuedBytes = 0;
    return books;
  }

  #remember(book: EventBook): void {
    this.#recent.push(book);
    this.#recentBytes += bookBytes(book);
    if (this.#recent.length <= 2 * this.#sizes.recentBooks && this.#recentBytes <= RECENT_BYTES) return;
    // Half at once, so that forgetting costs little per book.
    for (const old of this.#recent.splice(0, this.#recent.length >>> 1)) this.#recentBytes -= bookBytes(old);
  }

  #forgetRecent(): void {
    this.#recent.length = 0;
    this.#recentBytes = 0;
  }

  /** Reads what lies between the tail and the store's end. */
  #readAhead(): Promise<void> {
    this.#reading ??= this.#readToEnd().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #readToEnd(): Promise<void> {
    for (;;) {
      const after = this.#position;
      this.#readAgain = false;
      const read = await this.#store
        .readLog({ after, filter: {}, maxEvents: this.#sizes.readEvents, maxBytes: READ_BYTES })
        // The store is away: the next poll tries again, and the followers' own reads report it.
        .catch(() => undefined);
      if (read === undefined || this.#closed || (read.through === after && !this.#readAgain)) return;
      this.#pollMs = POLL_MIN_MS;
      this.publish(read.books);
      if (this.#position < read.through) this.#position = read.through;
    }
  }

  #scheduleTick(): void {
    if (this.#tick !== undefined) return;
    let wanted = false;
    for (const follower of this.#others) wanted ||= follower.ticks;
    if (!wanted) return;
    this.#tick = this.#runtime.after(TICK_MS, () => {
      this.#tick = undefined;
      this.tick();
    });
  }

  #schedulePoll(): void {
    if (this.#poll !== undefined || this.#closed) return;
    const poll = this.#runtime.after(this.#pollMs, () => {
      this.#pollMs = Math.min(POLL_MAX_MS, this.#pollMs * 2);
      void this.#readAhead().then(() => {
        // The last follower went meanwhile, and whoever came then has set another.
        if (this.#poll !== poll) return;
        this.#poll = undefined;
        if (this.#followers() > 0) this.#schedulePoll();
      });
    });
    this.#poll = poll;
  }
}

function after(position: number): (page: EventPage) => boolean {
  return (page) => page.position > position;
}

function lastPosition(book: EventBook): number {
  return book.pages[book.pages.length - 1]!.position;
}

function bookBytes(book: EventBook): number {
  let bytes = 256;
  for (const page of book.pages) bytes += pageBytes(page);
  return bytes;
}
