// Questions about the past. Everything comes in bounded parts, each read by key when the reader asks for it, so that a slow
// reader holds neither memory nor a database cursor.

import type { Components } from '../component.ts';
import { DaybookError, invalid } from '../errors.ts';
import { type EventBook, type EventPage, pageBytes, type Snapshot } from '../model/book.ts';
import type { LogFilter } from '../model/filter.ts';
import { type StreamKey, streamText } from '../model/stream.ts';
import { decodeToken, encodeToken } from '../model/token.ts';
import { tooLarge } from '../model/validation.ts';
import type { LogBooks, LogIdentity, Store } from '../store.ts';

/** Which part of a history. */
export type Selection =
  /** From the newest snapshot on. */
  | { kind: 'current' }
  /** Both included. */
  | { kind: 'range'; from: number; to: number | undefined }
  | { kind: 'set'; sequences: readonly number[] };

const CHUNK_BYTES = 1 << 20;
const READ_EVENTS = 1000;

export class QueryCoordinator {
  readonly #store: Store;
  readonly #components: Components;
  readonly #log: LogIdentity;

  constructor(store: Store, components: Components, log: LogIdentity) {
    this.#store = store;
    this.#components = components;
    this.#log = log;
  }

  /** One message, or TOO_LARGE. An aggregate without events is an empty book. */
  async eventBook(stream: StreamKey, selection: Selection, messageBytes: number): Promise<EventBook> {
    let whole: EventBook | undefined;
    let bytes = 0;
    for await (const part of this.events(stream, selection)) {
      for (const page of part.pages) bytes += pageBytes(page);
      if (bytes > messageBytes) {
        const error = tooLarge('events', bytes, messageBytes);
        throw new DaybookError('TOO_LARGE', `${streamText(stream)}: ${error.message} or more; use GetEvents`, {
          metadata: error.metadata,
        });
      }
      if (whole === undefined) whole = part;
      else whole.pages.push(...part.pages);
    }
    return whole!;
  }

  /** At least one book; the first carries the snapshot. */
  async *events(stream: StreamKey, selection: Selection): AsyncGenerator<EventBook, void, void> {
    // What is appended while the reader reads is not part of the answer.
    const head = await this.#store.head();
    const consistencyToken = encodeToken({ ...this.#log, position: head.position });
    const book = (pages: EventPage[], nextSequence: number, snapshot?: Snapshot): EventBook => ({
      cover: { root: { value: stream.root }, domain: stream.domain, correlationId: '', tenant: stream.tenant },
      snapshot,
      pages,
      nextSequence,
      consistencyToken,
    });
    if (selection.kind === 'set') {
      yield* this.#eventSet(stream, selection.sequences, book);
      return;
    }
    const snapshotVersion =
      selection.kind === 'current'
        ? this.#components.aggregate(stream.domain)?.needs(stream, streamText(stream)).snapshotVersion
        : undefined;
    const opened = await this.#store.openStream(stream, {
      from: selection.kind === 'range' ? selection.from : 0,
      snapshotVersion,
      outcomeKey: undefined,
      maxBytes: CHUNK_BYTES,
    });
    const last = Math.min(opened.nextSequence - 1, (selection.kind === 'range' ? selection.to : undefined) ?? Infinity);
    const pages = opened.pages.filter((page) => page.sequence <= last);
    yield book(pages, opened.nextSequence, opened.snapshot);
    let next = opened.from + opened.pages.length;
    while (next <= last) {
      const read = await this.#store.readStream(stream, { from: next, to: last, maxBytes: CHUNK_BYTES });
      yield book(read.pages, opened.nextSequence);
      next += read.pages.length;
    }
  }

  async *#eventSet(
    stream: StreamKey,
    sequences: readonly number[],
    book: (pages: EventPage[], nextSequence: number) => EventBook,
  ): AsyncGenerator<EventBook, void, void> {
    const wanted = [...new Set(sequences)].sort((a, b) => a - b);
    let pages: EventPage[] = [];
    let bytes = 0;
    let nextSequence = (await this.#store.readStream(stream, { from: 0, to: 0, maxBytes: 1 })).nextSequence;
    for (let i = 0; i < wanted.length && wanted[i]! < nextSequence; ) {
      // Neighbours are read together.
      let end = i;
      while (end + 1 < wanted.length && wanted[end + 1] === wanted[end]! + 1) end++;
      const read = await this.#store.readStream(stream, { from: wanted[i]!, to: wanted[end]!, maxBytes: CHUNK_BYTES });
      nextSequence = Math.max(nextSequence, read.nextSequence);
      pages.push(...read.pages);
      for (const page of read.pages) bytes += pageBytes(page);
      if (bytes >= CHUNK_BYTES) {
        yield book(pages, nextSequence);
        pages = [];
        bytes = 0;
      }
      i += Math.max(1, read.pages.length);
    }
    yield book(pages, nextSequence);
  }

  /** The log up to its end now, in parts that say how far they looked. */
  async *readLog(filter: LogFilter, after: number): AsyncGenerator<LogBooks, void, void> {
    const { position: to } = await this.#store.head();
    let from = after;
    while (from < to) {
      const read = await this.#store.readLog({
        after: from,
        to,
        filter,
        maxEvents: READ_EVENTS,
        maxBytes: CHUNK_BYTES,
      });
      if (read.through === from) return;
      yield read;
      from = read.through;
    }
  }

  /** INVALID_ARGUMENT for what is no token, is of another log, or is ahead of this one. */
  async positionOf(token: string, field: string): Promise<number> {
    const decoded = decodeToken(token);
    if (decoded === undefined) throw invalid(field, `${field}: not a token of Daybook`);
    if (decoded.logId !== this.#log.logId || decoded.incarnation !== this.#log.incarnation) {
      throw invalid(
        field,
        `${field}: the token is of another log, or of this one before it was restored; read again from where you are sure`,
      );
    }
    const head = await this.#store.head();
    if (decoded.position > head.position) {
      throw invalid(
        field,
        `${field}: the token is at position ${decoded.position}, ahead of the log's end ${head.position}`,
      );
    }
    return decoded.position;
  }
}
