// The events of one ordering key, from the log: for the retry lane.

import type { UpcastingReads } from '../coordinators/upcasting.ts';
import type { Cover, EventPage } from '../model/book.ts';
import type { LogFilter } from '../model/filter.ts';
import { type KeyPlace, type Ordering, placeOf } from '../model/ordering.ts';
import type { StreamKey } from '../model/stream.ts';
import type { EventStore, OrderingKey } from '../store.ts';

export interface KeyEvent {
  cover: Cover;
  page: EventPage;
}

const READ_BYTES = 256 * 1024;

/** As they are stored; types are not looked at. Reads forward only. */
export class KeyReader {
  readonly #store: EventStore;
  readonly #place: KeyPlace;
  readonly #events: number;
  readonly #found: { cover: Cover | undefined; page: EventPage }[] = [];
  /** Everything of the key up to here was found. */
  #through = 0;

  /** So many events at once. */
  constructor(store: EventStore, ordering: Ordering, key: OrderingKey, events: number) {
    this.#store = store;
    this.#events = events;
    this.#place = placeOf(ordering, key);
  }

  /** The first at or after `from`, if it lies at or before `to`. */
  async next(from: number, to: number): Promise<KeyEvent | undefined> {
    this.#through = Math.max(this.#through, from - 1);
    for (;;) {
      while (this.#found.length > 0 && this.#found[0]!.page.position < from) this.#found.shift();
      const head = this.#found[0];
      if (head !== undefined) return head.page.position <= to ? this.#whole(head) : undefined;
      if (this.#through >= to) return undefined;
      await this.#read(to);
    }
  }

  async #read(to: number): Promise<void> {
    const place = this.#place;
    if (place.ordering === 'stream') return this.#readStream(place.stream, to);
    const { tenant, correlationId } =
      place.ordering === 'correlation' ? place : { tenant: undefined, correlationId: undefined };
    const filter: LogFilter = { ...(tenant !== undefined && { tenant, correlationId }) };
    await this.#readLog(filter, to);
  }

  /** Sequences follow positions: where to go on is found by halving, however long the log between. */
  async #readStream(stream: StreamKey, to: number): Promise<void> {
    const sequence = await firstAfter(this.#store, stream, this.#through);
    const { pages } = await this.#store.readStream(stream, { from: sequence, maxBytes: READ_BYTES });
    const wanted = pages.filter(({ position }) => position <= to).slice(0, this.#events);
    for (const page of wanted) this.#found.push({ cover: undefined, page });
    this.#through = wanted.length < pages.length || pages.length === 0 ? to : pages.at(-1)!.position;
    if (wanted.length === this.#events) this.#through = wanted.at(-1)!.position;
  }

  /** What a page of a stream belongs to besides is in the log: looked for when its turn has come. */
  async #whole({ cover, page }: { cover: Cover | undefined; page: EventPage }): Promise<KeyEvent> {
    if (cover !== undefined) return { cover, page };
    const { position } = page;
    const read = await this.#store.readLog({
      after: position - 1,
      to: position,
      filter: {},
      maxEvents: 1,
      maxBytes: 1,
    });
    return { cover: read.books[0]!.cover!, page };
  }

  async #readLog(filter: LogFilter, to: number): Promise<void> {
    const after = this.#through;
    const read = await this.#store.readLog({ after, to, filter, maxEvents: this.#events, maxBytes: READ_BYTES });
    for (const book of read.books) for (const page of book.pages) this.#found.push({ cover: book.cover!, page });
    this.#through = read.through;
  }
}

/** The first sequence of the stream whose position lies after the given one; the next sequence when there is none. */
async function firstAfter(store: Pick<UpcastingReads, 'readStream'>, stream: StreamKey, position: number) {
  const { nextSequence } = await store.readStream(stream, { from: 0, to: 0, maxBytes: 1 });
  let low = 0;
  let high = nextSequence;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const { pages } = await store.readStream(stream, { from: middle, to: middle, maxBytes: 1 });
    if (pages[0]!.position <= position) low = middle + 1;
    else high = middle;
  }
  return low;
}
