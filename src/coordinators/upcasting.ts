// Old events become today's wherever pages leave the store for domain code or a client. What is stored never changes. Everything that
// reads goes through here; only verify and export read what is stored.

import type { Components, Upcaster } from '../component.ts';
import { DaybookError } from '../errors.ts';
import { type EventBook, type EventPage, pageBytes, type Snapshot, typeName } from '../model/book.ts';
import { type LogFilter, matches } from '../model/filter.ts';
import type { StreamKey } from '../model/stream.ts';
import type { EventStore, LogBooks, OpenStream, ReadLog, StreamOpening, StreamPages, StreamRange } from '../store.ts';

/** Of one request to an upcaster. */
const REQUEST_BYTES = 1 << 20;

/** The reads of a store, with their pages in today's shape. Errors: the store's, and those of the upcaster. */
export class UpcastingReads {
  readonly #store: EventStore;
  readonly #components: Components;

  constructor(store: EventStore, components: Components) {
    this.#store = store;
    this.#components = components;
  }

  async openStream(stream: StreamKey, open: OpenStream): Promise<StreamOpening> {
    const opening = await this.#store.openStream(stream, open);
    opening.pages = await this.pages(stream, opening.pages);
    return opening;
  }

  async readStream(stream: StreamKey, range: StreamRange): Promise<StreamPages> {
    const read = await this.#store.readStream(stream, range);
    read.pages = await this.pages(stream, read.pages);
    return read;
  }

  /** As it is stored: for those who look at times and sequences, not at events. */
  readStored(stream: StreamKey, range: StreamRange): Promise<StreamPages> {
    return this.#store.readStream(stream, range);
  }

  readSnapshot(stream: StreamKey, schemaVersion: number, atOrBefore: number): Promise<Snapshot | undefined> {
    return this.#store.readSnapshot(stream, schemaVersion, atOrBefore);
  }

  /** Types are those of today: with upcasters about, the store cannot tell them. */
  async readLog(read: ReadLog): Promise<LogBooks> {
    const { types, ...wider } = read.filter;
    if (types === undefined || !this.#components.hasUpcasters) {
      const found = await this.#store.readLog(read);
      return { ...found, books: await this.books(found.books) };
    }
    const found = await this.#store.readLog({ ...read, filter: wider });
    const books = await this.books(found.books);
    return { ...found, books: books.filter((book) => matches(read.filter, book)) };
  }

  /** What a live stream lets through: books of the tail in today's shape, filtered by today's types. */
  async *live(
    filter: LogFilter,
    follow: (filter: LogFilter) => AsyncIterable<EventBook>,
  ): AsyncGenerator<EventBook, void, void> {
    const { types, ...wider } = filter;
    const late = types !== undefined && this.#components.hasUpcasters;
    for await (const book of follow(late ? wider : filter)) {
      const [upcast] = await this.books([book]);
      if (!late || matches(filter, upcast!)) yield upcast!;
    }
  }

  async books(books: EventBook[]): Promise<EventBook[]> {
    if (!this.#components.hasUpcasters) return books;
    return Promise.all(
      books.map(async (book) => {
        const { tenant, domain, root } = book.cover!;
        const pages = await this.pages({ tenant, domain, root: root!.value }, book.pages);
        return pages === book.pages ? book : { ...book, pages };
      }),
    );
  }

  /** The same array when nothing in it is old. */
  async pages(stream: StreamKey, pages: EventPage[]): Promise<EventPage[]> {
    const upcaster = this.#components.upcaster(stream.domain);
    if (upcaster === undefined || !pages.some((page) => concerns(upcaster, page))) return pages;
    const upcast = pages.slice();
    for (const indexes of requests(upcaster, pages)) {
      const old = indexes.map((i) => pages[i]!);
      const answer = checked(upcaster, old, await upcaster.upcast(bookOf(stream, old)));
      // Only events differ; the rest is the history's.
      for (let i = 0; i < indexes.length; i++) upcast[indexes[i]!] = { ...old[i]!, event: answer[i]!.event };
    }
    return upcast;
  }

  /** Whether these pages, when they are read, will look different. */
  concerns(domain: string, pages: readonly EventPage[]): boolean {
    const upcaster = this.#components.upcaster(domain);
    return upcaster !== undefined && pages.some((page) => concerns(upcaster, page));
  }
}

function concerns(upcaster: Upcaster, page: EventPage): boolean {
  return upcaster.types === undefined || upcaster.types.has(typeName(page.event!.typeUrl));
}

/** Indexes of the pages that concern the upcaster, as many at a time as fit into one request. */
function* requests(upcaster: Upcaster, pages: readonly EventPage[]): Generator<number[], void, void> {
  let indexes: number[] = [];
  let bytes = 0;
  for (let i = 0; i < pages.length; i++) {
    if (!concerns(upcaster, pages[i]!)) continue;
    bytes += pageBytes(pages[i]!);
    if (bytes > REQUEST_BYTES && indexes.length > 0) {
      yield indexes;
      indexes = [];
      bytes = pageBytes(pages[i]!);
    }
    indexes.push(i);
  }
  if (indexes.length > 0) yield indexes;
}

function bookOf(stream: StreamKey, pages: EventPage[]): EventBook {
  const cover = { root: { value: stream.root }, domain: stream.domain, correlationId: '', tenant: stream.tenant };
  return { cover, snapshot: undefined, pages, nextSequence: 0, consistencyToken: '' };
}

/** As many pages, in the same order, with the same sequences and an event each; else COMPONENT_FAULT. */
function checked(upcaster: Upcaster, old: EventPage[], answer: EventPage[]): EventPage[] {
  const fault = (what: string) =>
    new DaybookError('COMPONENT_FAULT', `the upcaster of ${upcaster.domain}: ${what}`, {
      metadata: { component: upcaster.domain },
    });
  if (answer.length !== old.length) throw fault(`expected ${old.length} pages in the reply, found ${answer.length}`);
  for (let i = 0; i < old.length; i++) {
    const { sequence, event } = answer[i]!;
    if (sequence !== old[i]!.sequence)
      throw fault(`expected sequence ${old[i]!.sequence} at page ${i}, found ${sequence}`);
    if (event === undefined || typeName(event.typeUrl) === '')
      throw fault(`page ${i} of the reply has no event with a type`);
  }
  return answer;
}
