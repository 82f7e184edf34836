// Synchronize: for each aggregate that a client names, what it lacks, then every later page, once and in order.

import type { EventBook } from '../model/book.ts';
import { type StreamKey, streamText } from '../model/stream.ts';
import type { QueryCoordinator } from './query.ts';

interface Synchronized {
  stream: StreamKey;
  /** The sequence of the next page to send. */
  next: number;
  /** What it lacked is being read: live books are left to that reading. */
  catchingUp: boolean;
  /** A live book passed by meanwhile. */
  missed: boolean;
}

export class Synchronizer {
  readonly #query: QueryCoordinator;
  readonly #entries = new Map<string, Synchronized>();

  constructor(query: QueryCoordinator) {
    this.#query = query;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** What is missing from the sequence on. From then on `live` lets the aggregate's books through. */
  async *add(stream: StreamKey, from: number): AsyncGenerator<EventBook, void, void> {
    const text = streamText(stream);
    if (this.#entries.get(text)?.catchingUp) return;
    const entry: Synchronized = { stream, next: from, catchingUp: true, missed: false };
    this.#entries.set(text, entry);
    do {
      entry.missed = false;
      for await (const book of this.#query.events(stream, { kind: 'range', from: entry.next, to: undefined })) {
        if (book.pages.length === 0) continue;
        entry.next = book.pages.at(-1)!.sequence + 1;
        yield book;
      }
      // Nothing may come between this look and the next line.
    } while (entry.missed);
    entry.catchingUp = false;
  }

  /** The part of a live book that its client lacks; `undefined` when there is none. */
  live(book: EventBook): EventBook | undefined {
    const { tenant, domain, root } = book.cover!;
    const entry = this.#entries.get(streamText({ tenant, domain, root: root!.value }));
    if (entry === undefined) return undefined;
    if (entry.catchingUp) {
      entry.missed = true;
      return undefined;
    }
    const pages = book.pages.filter((page) => page.sequence >= entry.next);
    if (pages.length === 0) return undefined;
    entry.next = pages.at(-1)!.sequence + 1;
    return pages.length === book.pages.length ? book : { ...book, pages };
  }
}
