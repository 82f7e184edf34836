// The self-audit behind `daybook verify`: reads a whole log and compares it with what the log promises. It uses the Store
// contract only, shares no code with what wrote the log, and may run while a daemon goes on writing.

import { isHandedOver } from './coordinators/handover.ts';
import type { EventBook, EventPage } from './model/book.ts';
import { type StreamKey, sameBytes, streamText } from './model/stream.ts';
import { timeText, toMicros } from './model/time.ts';
import type { OutboxRow, ParkedKey, PartitionKey, ProjectionRow, Store } from './store.ts';

export interface VerifyOptions {
  /** Called after each part of the log with the last position that was looked at. */
  onProgress?: ((positions: number) => void) | undefined;
  /** Ends the audit with the signal's reason. */
  signal?: AbortSignal | undefined;
}

export interface Verified {
  /** How much was found to be in order, or was looked at before the fault. */
  positions: number;
  streams: number;
  snapshots: number;
  /** The first fault, as a sentence. */
  fault?: string;
}

/**
 * Stops at the first fault. Checks that positions are 1 to n without gap, that the sequences of each stream are 0 to n without
 * gap and its times never decrease, that the heads of streams and of the log agree with the events, that the log
 * since a time begins where it should, that snapshots lie within their streams, and that what delivery remembers (cursors, done
 * marks, parked keys, the outbox, projections) points to events that are there. Keeps a few words of memory per stream.
 */
export async function verifyLog(store: Store, options: VerifyOptions = {}): Promise<Verified> {
  const audit = new Audit(store, options);
  try {
    await audit.run();
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    audit.found.fault = error.message;
  }
  return audit.found;
}

const LOG_EVENTS = 2_000;
const LOG_BYTES = 4 * 1024 * 1024;
const LIST_ENTRIES = 1_000;

class Fault extends Error {}

interface SeenStream {
  nextSequence: number;
  lastCreatedAt: number;
}

class Audit {
  readonly found: Verified = { positions: 0, streams: 0, snapshots: 0 };
  readonly #store: Store;
  readonly #options: VerifyOptions;
  readonly #streams = new Map<string, SeenStream>();
  #lastUnitId: Uint8Array = new Uint8Array(0);
  /** The latest time so far, and the first position that had it. */
  #latest = { createdAt: Number.NEGATIVE_INFINITY, position: 0 };

  constructor(store: Store, options: VerifyOptions) {
    this.#store = store;
    this.#options = options;
  }

  async run(): Promise<void> {
    await this.#readLog();
    const before = new Map([...this.#streams].map(([text, seen]) => [text, seen.nextSequence]));
    const heads = await this.#listStreams();
    const snapshots = await this.#listSnapshots();
    // A long-lived log has many pointers, and few of them lead beyond what was read.
    const ahead: Pointer[] = [];
    for await (const pointer of this.#pointers()) if (this.#leadsAstray(pointer) !== undefined) ahead.push(pointer);
    // A daemon may have written meanwhile. What it added is audited too, and lies between what the lists say.
    await this.#readLog();
    this.#compareHeads(heads, before);
    for (const { stream, sequence } of snapshots) this.#checkSnapshot(stream, sequence);
    for (const pointer of ahead) {
      const fault = this.#leadsAstray(pointer);
      if (fault !== undefined) throw new Fault(fault);
    }
    this.found.streams = this.#streams.size;
    this.found.snapshots = snapshots.length;
  }

  async #readLog(): Promise<void> {
    const head = await this.#store.head();
    let after = this.found.positions;
    while (after < head.position) {
      this.#options.signal?.throwIfAborted();
      const read = { after, to: head.position, filter: {}, maxEvents: LOG_EVENTS, maxBytes: LOG_BYTES };
      const { books, through } = await this.#store.readLog(read);
      for (const book of books) for (const page of book.pages) this.#checkPage(book, page);
      if (this.found.positions !== through) throw new Fault(`position ${this.found.positions + 1} is missing`);
      if (through === after) throw new Fault(`the log ends at position ${after}, its head says ${head.position}`);
      after = through;
      await this.#checkTime();
      this.found.streams = this.#streams.size;
      this.#options.onProgress?.(through);
    }
    if (!sameBytes(this.#lastUnitId, head.unitId)) {
      throw new Fault(`the log's head at position ${head.position} names another unit than the event there`);
    }
  }

  #checkPage(book: EventBook, page: EventPage): void {
    const expected = this.found.positions + 1;
    if (page.position > expected) throw new Fault(`position ${expected} is missing: next comes ${page.position}`);
    if (page.position < expected) throw new Fault(`position ${page.position} comes again after ${expected - 1}`);
    const { tenant, domain, root } = book.cover!;
    const text = streamText({ tenant, domain, root: root!.value });
    const seen = this.#streams.get(text) ?? { nextSequence: 0, lastCreatedAt: Number.NEGATIVE_INFINITY };
    if (page.sequence !== seen.nextSequence) {
      throw new Fault(
        `stream ${text}: sequence ${seen.nextSequence} was expected at position ${page.position}, found ${page.sequence}`,
      );
    }
    const createdAt = toMicros(page.createdAt!);
    if (createdAt < seen.lastCreatedAt) {
      throw new Fault(
        `stream ${text}: sequence ${page.sequence} was created at ${timeText(createdAt)}, before the one it follows`,
      );
    }
    this.#streams.set(text, { nextSequence: page.sequence + 1, lastCreatedAt: createdAt });
    if (createdAt > this.#latest.createdAt) this.#latest = { createdAt, position: page.position };
    this.#lastUnitId = page.unitId;
    this.found.positions = page.position;
  }

  /** Whoever reads the log since a time would miss events if it began too late. */
  async #checkTime(): Promise<void> {
    const { createdAt, position } = this.#latest;
    const before = await this.#store.positionBefore(createdAt);
    if (before === position - 1) return;
    throw new Fault(
      `the log since ${timeText(createdAt)} begins behind position ${before}, and the first event of that time is at ${position}`,
    );
  }

  async #listStreams(): Promise<Map<string, number>> {
    const heads = new Map<string, number>();
    for (let after: StreamKey | undefined; ; ) {
      this.#options.signal?.throwIfAborted();
      const part = await this.#store.listStreams({ ...(after && { after }), limit: LIST_ENTRIES });
      for (const { stream, nextSequence } of part) heads.set(streamText(stream), nextSequence);
      if (part.length < LIST_ENTRIES) return heads;
      after = part.at(-1)!.stream;
    }
  }

  #compareHeads(heads: Map<string, number>, before: Map<string, number>): void {
    for (const [text, nextSequence] of heads) {
      const events = this.#streams.get(text)?.nextSequence ?? 0;
      if (nextSequence > events || nextSequence < (before.get(text) ?? 0)) {
        throw new Fault(`stream ${text}: its head says ${nextSequence} events, the log has ${events}`);
      }
    }
    for (const text of before.keys()) {
      if (!heads.has(text)) throw new Fault(`stream ${text}: the log has events of it, but it has no head`);
    }
  }

  async #listSnapshots(): Promise<{ stream: string; sequence: number }[]> {
    const all: { stream: string; sequence: number }[] = [];
    for (let list: Parameters<Store['listSnapshots']>[0] = { limit: LIST_ENTRIES }; ; ) {
      this.#options.signal?.throwIfAborted();
      const part = await this.#store.listSnapshots(list);
      for (const { stream, sequence } of part) all.push({ stream: streamText(stream), sequence });
      if (part.length < LIST_ENTRIES) return all;
      list = { after: part.at(-1)!, limit: LIST_ENTRIES };
    }
  }

  #checkSnapshot(stream: string, sequence: number): void {
    const events = this.#streams.get(stream)?.nextSequence ?? 0;
    if (sequence >= events) {
      throw new Fault(`stream ${stream}: a snapshot is of sequence ${sequence}, the log has ${events} events`);
    }
  }

  /** Where delivery says that something is; what contradicts itself is a fault at once. */
  async *#pointers(): AsyncIterable<Pointer> {
    for (const cursor of await this.#store.listCursors()) {
      this.#options.signal?.throwIfAborted();
      const { position } = cursor;
      const at = partitionText(cursor);
      yield { what: `the cursor of ${at}`, position };
      // Read after the cursor, which moves forward only.
      for (const done of await this.#store.listDone(cursor)) {
        if (done <= position)
          throw new Fault(`${at}: position ${done} has a done mark at or below the cursor, ${position}`);
        yield { what: `a done mark of ${at}`, position: done };
      }
    }
    for await (const row of this.#parked()) yield parkedPointer(row);
    for await (const row of this.#outbox()) {
      // A client's call comes from no event.
      if (isHandedOver(row)) continue;
      const what = `the outbox of ${partitionText(row)}`;
      if (row.position < 1) throw new Fault(`${what} has an output of position ${row.position}`);
      yield { what, position: row.position };
    }
    for await (const row of this.#projections()) {
      const what = `projection ${row.key} of ${row.projector}, generation ${row.generation},`;
      yield { what, position: row.position, stream: streamText(row.stream), sequence: row.sequence };
    }
  }

  async *#parked(): AsyncIterable<ParkedKey> {
    for (let after: ParkedKey | undefined; ; ) {
      this.#options.signal?.throwIfAborted();
      const part = await this.#store.listParked({ ...(after && { after }), limit: LIST_ENTRIES });
      yield* part;
      if (part.length < LIST_ENTRIES) return;
      after = part.at(-1)!;
    }
  }

  async *#outbox(): AsyncIterable<OutboxRow> {
    for (let after: OutboxRow | undefined; ; ) {
      this.#options.signal?.throwIfAborted();
      const part = await this.#store.listOutbox({ ...(after && { after }), limit: LIST_ENTRIES });
      yield* part;
      if (part.length < LIST_ENTRIES) return;
      after = part.at(-1)!;
    }
  }

  /** Of every tenant that has a stream. */
  async *#projections(): AsyncIterable<ProjectionRow> {
    const projectors = (await this.#store.listSubscriptions()).filter(({ kind }) => kind === 'projector');
    if (projectors.length === 0) return;
    const tenants = new Set([...this.#streams.keys()].map((text) => text.slice(0, text.indexOf('/'))));
    for (const { name: projector, generation } of projectors) {
      for (const tenant of tenants) {
        const list = { tenant, projector, generation, prefix: '', limit: LIST_ENTRIES };
        for (let after: string | undefined; ; ) {
          this.#options.signal?.throwIfAborted();
          const part = await this.#store.listProjections({ ...list, ...(after !== undefined && { after }) });
          yield* part;
          if (part.length < LIST_ENTRIES) break;
          after = part.at(-1)!.key;
        }
      }
    }
  }

  /** How, if it does, as far as the log was read. */
  #leadsAstray({ what, position, next, stream, sequence }: Pointer): string | undefined {
    const { positions } = this.found;
    if (position > (next ? positions + 1 : positions))
      return `${what} is at position ${position}, the log ends at ${positions}`;
    if (stream === undefined) return undefined;
    const events = this.#streams.get(stream)?.nextSequence ?? 0;
    if (sequence! < events) return undefined;
    return `${what} is of sequence ${sequence} of stream ${stream}, the log has ${events} events of it`;
  }
}

/** Something that names a position, and perhaps an event of a stream. */
interface Pointer {
  what: string;
  position: number;
  /** The event there may be yet to come. */
  next?: boolean;
  stream?: string;
  sequence?: number;
}

function parkedPointer({ partition, key, state, position, firstPosition, through }: ParkedKey): Pointer {
  const what = `the parked key ${key} of ${partitionText(partition)}`;
  if (state === 'draining') return { what, position: through };
  if (firstPosition < 1 || position < firstPosition) {
    throw new Fault(`${what} is at position ${position} and began at ${firstPosition}`);
  }
  // The next generation has gone on with it up to there.
  if (through > position) return { what, position: through };
  return { what, position, next: true };
}

function partitionText({ subscription, generation, partition }: PartitionKey): string {
  return `partition ${partition} of ${subscription}, generation ${generation}`;
}
