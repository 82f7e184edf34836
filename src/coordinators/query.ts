// Questions about the past, and following the present. Everything comes in bounded parts, each read by key when the reader asks
// for it, so that a slow reader holds neither memory nor a database cursor.

import type { Components } from '../component.ts';
import type { LogTail } from '../delivery/log-tail.ts';
import { DaybookError, invalid } from '../errors.ts';
import { type Cover, type EventBook, type EventPage, pageBytes, type Rejection, type Snapshot } from '../model/book.ts';
import type { LogFilter } from '../model/filter.ts';
import { type StreamKey, streamText } from '../model/stream.ts';
import { decodeToken, encodeToken } from '../model/token.ts';
import { tooLarge } from '../model/validation.ts';
import type { ListedOutcome, LogBooks, LogIdentity, Store, StreamHead } from '../store.ts';
import { decodeOutcome, type OutcomeBody } from './outcome.ts';
import { nextSequenceAt, type PointInTime } from './past.ts';
import type { UpcastingReads } from './upcasting.ts';

/** Which part of a history. */
export type Selection =
  /** From the newest snapshot on. */
  | { kind: 'current' }
  /** Both included. */
  | { kind: 'range'; from: number; to: number | undefined }
  | { kind: 'set'; sequences: readonly number[] }
  /** As it was, from the newest snapshot on that cannot contain anything later. */
  | { kind: 'past'; point: PointInTime };

export interface RecordedRejection {
  cover: Cover;
  body: Extract<OutcomeBody, { kind: 'rejection' }>;
  rejection: Rejection;
  idempotencyKey: string;
  position: number;
}

const CHUNK_BYTES = 1 << 20;
const READ_EVENTS = 1000;
const LIST_PAGE = 500;
/** Sequences of one correlation that are remembered while its aggregates are read one by one. */
const CORRELATED_EVENTS_MAX = 1_000_000;

export interface QueryParts {
  store: Store;
  reads: UpcastingReads;
  tail: LogTail;
  components: Components;
  log: LogIdentity;
}

export class QueryCoordinator {
  readonly #parts: QueryParts;

  constructor(parts: QueryParts) {
    this.#parts = parts;
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

  /** At least one book; the first carries the snapshot. What is appended while the reader reads is not part of the answer. */
  async *events(stream: StreamKey, selection: Selection): AsyncGenerator<EventBook, void, void> {
    const consistencyToken = await this.#headToken();
    const { nextSequence, snapshot, from, to } = await this.#rangeOf(stream, selection);
    const book = (pages: EventPage[], first: boolean): EventBook => ({
      cover: { root: { value: stream.root }, domain: stream.domain, correlationId: '', tenant: stream.tenant },
      snapshot: first ? snapshot : undefined,
      pages,
      nextSequence,
      consistencyToken,
    });
    if (selection.kind === 'set') {
      const wanted = [...new Set(selection.sequences)].sort((a, b) => a - b).filter((sequence) => sequence <= to);
      let first = true;
      for await (const pages of this.#pagesOf(stream, wanted)) {
        yield book(pages, first);
        first = false;
      }
      if (first) yield book([], true);
      return;
    }
    let next = from;
    do {
      const pages =
        next > to ? [] : (await this.#parts.reads.readStream(stream, { from: next, to, maxBytes: CHUNK_BYTES })).pages;
      yield book(pages, next === from);
      next += pages.length;
    } while (next <= to);
  }

  /** Everything with a correlation id, aggregate by aggregate in the order of their first such event. */
  async *correlated(tenant: string, correlationId: string): AsyncGenerator<EventBook, void, void> {
    const consistencyToken = await this.#headToken();
    const found = new Map<string, { stream: StreamKey; sequences: number[] }>();
    let events = 0;
    for await (const { books } of this.readLog({ tenant, correlationId }, 0)) {
      for (const { cover, pages } of books) {
        const stream = { tenant, domain: cover!.domain, root: cover!.root!.value };
        const text = streamText(stream);
        const entry = found.get(text) ?? { stream, sequences: [] };
        found.set(text, entry);
        for (const page of pages) entry.sequences.push(page.sequence);
        events += pages.length;
        if (events > CORRELATED_EVENTS_MAX) throw tooLarge('correlation_id', events, CORRELATED_EVENTS_MAX);
      }
    }
    for (const { stream, sequences } of found.values()) {
      const cover = { root: { value: stream.root }, domain: stream.domain, correlationId, tenant };
      for await (const pages of this.#pagesOf(stream, sequences)) {
        yield { cover, snapshot: undefined, pages, nextSequence: pages.at(-1)!.sequence + 1, consistencyToken };
      }
    }
  }

  /** The log up to its end now, in parts that say how far they looked. */
  async *readLog(filter: LogFilter, after: number): AsyncGenerator<LogBooks, void, void> {
    const { position: to } = await this.#parts.store.head();
    let from = after;
    while (from < to) {
      const limits = { maxEvents: READ_EVENTS, maxBytes: CHUNK_BYTES };
      const read = await this.#parts.reads.readLog({ after: from, to, filter, ...limits });
      if (read.through === from) return;
      yield read;
      from = read.through;
    }
  }

  /** Every book after the position that matches, each once and in log order, until the signal aborts. */
  follow(filter: LogFilter, after: number, signal: AbortSignal): AsyncGenerator<EventBook, void, void> {
    return this.#parts.reads.live(filter, (wider) => this.#parts.tail.follow(wider, after, signal));
  }

  /** The aggregates of a domain in order of their roots. */
  async *aggregates(
    tenant: string,
    domain: string,
    after: Uint8Array | undefined,
  ): AsyncGenerator<StreamHead, void, void> {
    let last: StreamKey | undefined = after && { tenant, domain, root: after };
    for (;;) {
      const list = { tenant, domain, limit: LIST_PAGE };
      const heads = await this.#parts.store.listStreams(last === undefined ? list : { ...list, after: last });
      yield* heads;
      if (heads.length < LIST_PAGE) return;
      last = heads.at(-1)!.stream;
    }
  }

  /** Rejections with a correlation id that are still remembered, in the order in which they were decided. */
  async *rejections(tenant: string, correlationId: string): AsyncGenerator<RecordedRejection, void, void> {
    let last: ListedOutcome | undefined;
    for (;;) {
      const list = { tenant, correlationId, limit: LIST_PAGE };
      const outcomes = await this.#parts.store.listOutcomes(last === undefined ? list : { ...list, after: last });
      for (const { body: stored, key, position } of outcomes) {
        const body = decodeOutcome(stored);
        if (body.kind !== 'rejection') continue;
        yield { cover: body.cover, body, rejection: body.rejection, idempotencyKey: key, position };
      }
      if (outcomes.length < LIST_PAGE) return;
      last = outcomes.at(-1)!;
    }
  }

  /** After which position to read to see everything that was recorded at or after the time. */
  positionBefore(timeMicros: number): Promise<number> {
    return this.#parts.store.positionBefore(timeMicros);
  }

  async head(): Promise<number> {
    return (await this.#parts.store.head()).position;
  }

  /** INVALID_ARGUMENT for what is no token, is of another log, or is ahead of this one. */
  async positionOf(token: string, field: string): Promise<number> {
    const decoded = decodeToken(token);
    const { log } = this.#parts;
    if (decoded === undefined) throw invalid(field, `${field}: not a token of Daybook`);
    if (decoded.logId !== log.logId || decoded.incarnation !== log.incarnation) {
      throw invalid(
        field,
        `${field}: the token is of another log, or of this one before it was restored; read again from where you are sure`,
      );
    }
    const head = await this.head();
    if (decoded.position > head) {
      throw invalid(field, `${field}: the token is at position ${decoded.position}, ahead of the log's end ${head}`);
    }
    return decoded.position;
  }

  async #headToken(): Promise<string> {
    const { logId, incarnation } = this.#parts.log;
    return encodeToken({ logId, incarnation, position: await this.head() });
  }

  /** Both ends included; `to` is before `from` when there is nothing. */
  async #rangeOf(
    stream: StreamKey,
    selection: Selection,
  ): Promise<{ nextSequence: number; snapshot?: Snapshot | undefined; from: number; to: number }> {
    const { reads } = this.#parts;
    const point = selection.kind === 'past' ? selection.point : undefined;
    const nextSequence = await nextSequenceAt(reads, stream, point);
    switch (selection.kind) {
      case 'set':
        return { nextSequence, from: 0, to: nextSequence - 1 };
      case 'range':
        return { nextSequence, from: selection.from, to: Math.min(nextSequence - 1, selection.to ?? Infinity) };
      default: {
        const version = this.#parts.components
          .aggregate(stream.domain)
          ?.needs(stream, streamText(stream)).snapshotVersion;
        const snapshot =
          version === undefined || nextSequence === 0
            ? undefined
            : await reads.readSnapshot(stream, version, nextSequence - 1);
        return {
          nextSequence,
          snapshot,
          from: snapshot === undefined ? 0 : snapshot.sequence + 1,
          to: nextSequence - 1,
        };
      }
    }
  }

  /** Pages of ascending sequences that exist, in chunks; neighbours are read together. */
  async *#pagesOf(stream: StreamKey, sequences: readonly number[]): AsyncGenerator<EventPage[], void, void> {
    let chunk: EventPage[] = [];
    let bytes = 0;
    for (let i = 0; i < sequences.length; ) {
      let end = i;
      while (end + 1 < sequences.length && sequences[end + 1] === sequences[end]! + 1) end++;
      const range = { from: sequences[i]!, to: sequences[end]!, maxBytes: CHUNK_BYTES };
      const { pages } = await this.#parts.reads.readStream(stream, range);
      const size = pages.reduce((sum, page) => sum + pageBytes(page), 0);
      if (chunk.length > 0 && bytes + size > CHUNK_BYTES) {
        yield chunk;
        chunk = [];
        bytes = 0;
      }
      chunk.push(...pages);
      bytes += size;
      i += pages.length;
    }
    if (chunk.length > 0) yield chunk;
  }
}
