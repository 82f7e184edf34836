// The store that keeps everything in memory: for tests, for simulations in which several daemons share one, and for trying
// things out. No timers, no randomness, and the clock comes from outside; a call takes effect when it is made and answers
// in a microtask.

import {
  type EventBook,
  type EventPage,
  pageBytes,
  SNAPSHOT_KEEP,
  SNAPSHOT_LATEST,
  type Snapshot,
} from '../model/book.ts';
import { matches } from '../model/filter.ts';
import { hex, type StreamKey, sameBytes, streamText } from '../model/stream.ts';
import { toMicros, toTimestamp } from '../model/time.ts';
import { systemRuntime } from '../runtime.ts';
import type {
  Append,
  ListedOutcome,
  LogBooks,
  LogIdentity,
  OpenStream,
  Outcome,
  OutcomeKey,
  ReadLog,
  SnapshotHead,
  Store,
  StoredOutcome,
  StreamHead,
  StreamOpening,
  StreamPages,
  StreamRange,
  Unit,
  UnitResult,
} from '../store.ts';
import { collectBooks, type LogRow } from './books.ts';
import { copy } from './memory/copy.ts';
import { MemoryDelivery } from './memory/delivery.ts';
import type { Undo } from './memory/table.ts';
import { checkUnit, holds, outcomeTwice, snapshotBeyondEnd } from './unit-rules.ts';
import { isWorkAlone, REPEATS_KEPT } from './work-rules.ts';

interface Stream {
  key: StreamKey;
  pages: EventPage[];
  /** In order of schema version and sequence. */
  snapshots: Snapshot[];
}

interface LogEntry extends LogRow {
  stream: Stream;
  correlationId: string;
  page: EventPage;
  /** The latest time of all events up to this one, in microseconds. */
  latest: number;
}

interface Remembered extends ListedOutcome {
  expiresAtMicros: number | undefined;
  correlationId: string | undefined;
}

/**
 * The log's identity and the store's clock (microseconds since 1970) come from outside, so that a simulation owns them. Closing
 * forgets nothing: the store may be shared.
 */
export function openMemory(identity: LogIdentity, clock: () => number = systemRuntime().nowMicros): Store {
  return new MemoryStore(identity, clock);
}

class MemoryStore extends MemoryDelivery implements Store {
  readonly description = 'memory';
  readonly #identity: LogIdentity;
  readonly #log: LogEntry[] = [];
  readonly #streams = new Map<string, Stream>();
  readonly #outcomes = new Map<string, Remembered>();
  /** What became of each unit with events, by its id. */
  readonly #units = new Map<string, UnitResult>();
  /** The same of units with a work part alone, of the latest of them. */
  readonly #workUnits = new Map<string, UnitResult>();
  /** In the order of `listStreams`; made when somebody lists, dropped with each new stream. */
  #sorted: Stream[] | undefined;

  constructor(identity: LogIdentity, clock: () => number) {
    super(clock);
    this.#identity = { logId: identity.logId, incarnation: identity.incarnation };
  }

  async commit(units: readonly Unit[]): Promise<UnitResult[]> {
    for (const unit of units) checkUnit(unit);
    const undo: Undo = [];
    try {
      const results = units.map((unit) => this.#check(unit) ?? this.#write(unit, undo));
      this.#forgetWorkUnits();
      return results;
    } catch (error) {
      for (const step of undo.reverse()) step();
      throw error;
    }
  }

  async head() {
    return {
      ...this.#identity,
      position: this.#log.length,
      unitId: this.#log.at(-1)?.unitId ?? new Uint8Array(0),
    };
  }

  async openStream(key: StreamKey, open: OpenStream): Promise<StreamOpening> {
    const stream = this.#streams.get(streamText(key));
    const newest =
      open.snapshotVersion === undefined
        ? undefined
        : newestSnapshot(stream, open.snapshotVersion, Number.MAX_SAFE_INTEGER);
    const snapshot = open.from === 0 ? newest : undefined;
    const from = snapshot === undefined ? open.from : snapshot.sequence + 1;
    const last = stream?.pages.at(-1);
    return {
      pages: pagesOf(stream, { from, maxBytes: open.maxBytes }),
      nextSequence: stream?.pages.length ?? 0,
      snapshot,
      snapshotNext: newest === undefined ? 0 : newest.sequence + 1,
      from,
      lastCreatedAtMicros: last === undefined ? 0 : toMicros(last.createdAt!),
      outcome: open.outcomeKey === undefined ? undefined : this.#outcome(open.outcomeKey),
    };
  }

  async readStream(key: StreamKey, range: StreamRange): Promise<StreamPages> {
    const stream = this.#streams.get(streamText(key));
    return { pages: pagesOf(stream, range), nextSequence: stream?.pages.length ?? 0 };
  }

  async readSnapshot(key: StreamKey, schemaVersion: number, atOrBefore: number): Promise<Snapshot | undefined> {
    return newestSnapshot(this.#streams.get(streamText(key)), schemaVersion, atOrBefore);
  }

  async readLog(read: ReadLog): Promise<LogBooks> {
    const end = Math.min(read.to ?? Number.MAX_SAFE_INTEGER, this.#log.length);
    const { books, through } = collectBooks(this.#scan(read.after, end), read, end, (book) =>
      matches(read.filter, bookOf(book)),
    );
    return { books: books.map(bookOf), through };
  }

  async positionBefore(timeMicros: number): Promise<number> {
    let [low, high] = [0, this.#log.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#log[middle]!.latest < timeMicros) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  async listStreams(list: {
    tenant?: string;
    domain?: string;
    after?: StreamKey;
    limit: number;
  }): Promise<StreamHead[]> {
    const heads: StreamHead[] = [];
    for (const { key, pages } of this.#inOrder()) {
      if (heads.length >= list.limit) break;
      if (list.after !== undefined && compareStreams(key, list.after) <= 0) continue;
      if (list.tenant !== undefined && key.tenant !== list.tenant) continue;
      if (list.domain !== undefined && key.domain !== list.domain) continue;
      heads.push({ stream: key, nextSequence: pages.length });
    }
    return heads;
  }

  async listSnapshots(list: { after?: SnapshotHead; limit: number }): Promise<SnapshotHead[]> {
    const heads: SnapshotHead[] = [];
    for (const stream of this.#inOrder()) {
      for (const { sequence, schemaVersion } of stream.snapshots) {
        const head = { stream: stream.key, sequence, schemaVersion };
        if (list.after !== undefined && compareSnapshots(head, list.after) <= 0) continue;
        if (heads.length >= list.limit) return heads;
        heads.push(head);
      }
    }
    return heads;
  }

  async readOutcome(key: OutcomeKey): Promise<StoredOutcome | undefined> {
    return this.#outcome(key);
  }

  async listOutcomes(list: {
    tenant: string;
    correlationId: string;
    after?: ListedOutcome;
    limit: number;
  }): Promise<ListedOutcome[]> {
    const { tenant, correlationId, after, limit } = list;
    return [...this.#outcomes.values()]
      .filter((outcome) => outcome.tenant === tenant && outcome.correlationId === correlationId)
      .filter((outcome) => after === undefined || compareOutcomes(outcome, after) > 0)
      .sort(compareOutcomes)
      .slice(0, limit)
      .map(({ expiresAtMicros: _, correlationId: __, ...listed }) => listed);
  }

  async expireOutcomes(nowMicros: number, limit: number): Promise<number> {
    let forgotten = 0;
    for (const [key, { expiresAtMicros }] of this.#outcomes) {
      if (forgotten >= limit) break;
      if (expiresAtMicros === undefined || expiresAtMicros >= nowMicros) continue;
      this.#outcomes.delete(key);
      forgotten++;
    }
    return forgotten;
  }

  async close(): Promise<void> {}

  /** The answer to a unit that is not to be written. */
  #check(unit: Unit): UnitResult | undefined {
    const id = hex(unit.unitId);
    const stored = this.#units.get(id) ?? this.#workUnits.get(id);
    if (stored !== undefined) return stored;
    for (const [index, outcome] of unit.outcomes.entries()) {
      const known = this.#outcome(outcome);
      if (known === undefined) continue;
      if (!sameBytes(known.unitId, unit.unitId)) return { kind: 'duplicate', index, outcome: known };
      return { kind: 'committed', position: known.position, sequences: [] };
    }
    const what = unit.work && this.fencedBy(unit.work);
    if (what !== undefined) return { kind: 'fenced', what };
    for (const { stream, expect } of [...unit.appends, ...unit.expectations]) {
      const actual = this.#streams.get(streamText(stream))?.pages.length ?? 0;
      if (!holds(expect, actual)) return { kind: 'conflict', stream, expected: expect, actual };
    }
    return undefined;
  }

  #write(unit: Unit, undo: Undo): UnitResult {
    const unitId = new Uint8Array(unit.unitId);
    const id = hex(unitId);
    const end = this.#log.length;
    undo.push(() => {
      while (this.#log.length > end) this.#log.pop()!.stream.pages.pop();
      this.#units.delete(id);
      this.#workUnits.delete(id);
    });
    const sequences = unit.appends.map((append) => this.#append(append, unitId));
    for (const { stream, snapshot } of unit.snapshots) this.#putSnapshot(stream, snapshot, undo);
    const position = unit.appends.length === 0 ? end : end + 1;
    for (const outcome of unit.outcomes) this.#remember(outcome, unitId, position, undo);
    if (unit.work !== undefined) this.writeWork(unit.work, undo);
    const result: UnitResult = { kind: 'committed', position, sequences };
    if (unit.appends.length > 0) this.#units.set(id, result);
    if (isWorkAlone(unit)) this.#workUnits.set(id, result);
    return result;
  }

  #forgetWorkUnits(): void {
    for (const id of this.#workUnits.keys()) {
      if (this.#workUnits.size <= REPEATS_KEPT) return;
      this.#workUnits.delete(id);
    }
  }

  /** Returns the sequence of the first page. */
  #append(append: Append, unitId: Uint8Array): number {
    const text = streamText(append.stream);
    let stream = this.#streams.get(text);
    if (stream === undefined) {
      const { tenant, domain, root } = append.stream;
      stream = { key: { tenant, domain, root: new Uint8Array(root) }, pages: [], snapshots: [] };
      this.#streams.set(text, stream);
    }
    const first = stream.pages.length;
    if (first === 0) this.#sorted = undefined;
    for (const { event, createdAt, origin, metadata, occurredAt } of append.pages) {
      const page: EventPage = {
        sequence: stream.pages.length,
        createdAt: toTimestamp(toMicros(createdAt!)),
        event: { typeUrl: event!.typeUrl, value: new Uint8Array(event!.value) },
        position: this.#log.length + 1,
        origin: copy(origin),
        metadata: { ...metadata },
        unitId,
        occurredAt: occurredAt && toTimestamp(toMicros(occurredAt)),
      };
      const { position } = page;
      const latest = Math.max(this.#log.at(-1)?.latest ?? Number.MIN_SAFE_INTEGER, toMicros(page.createdAt!));
      const { correlationId } = append;
      stream.pages.push(page);
      this.#log.push({ position, unitId, stream, bytes: pageBytes(page), correlationId, page, latest });
    }
    return first;
  }

  #putSnapshot(key: StreamKey, snapshot: Snapshot, undo: Undo): void {
    const stream = this.#streams.get(streamText(key));
    if (stream === undefined || snapshot.sequence >= stream.pages.length) throw snapshotBeyondEnd();
    const before = stream.snapshots;
    undo.push(() => {
      stream.snapshots = before;
    });
    const { sequence, schemaVersion, state } = snapshot;
    const same = before.find((other) => other.schemaVersion === schemaVersion && other.sequence === sequence);
    const retention =
      same?.retention === SNAPSHOT_KEEP || snapshot.retention === SNAPSHOT_KEEP ? SNAPSHOT_KEEP : SNAPSHOT_LATEST;
    const added: Snapshot = {
      sequence,
      schemaVersion,
      state: { typeUrl: state!.typeUrl, value: new Uint8Array(state!.value) },
      retention,
    };
    const all = before.filter((other) => other !== same).concat(added);
    const newest = Math.max(...all.map((other) => (other.schemaVersion === schemaVersion ? other.sequence : -1)));
    stream.snapshots = all
      .filter((s) => s.schemaVersion !== schemaVersion || s.retention === SNAPSHOT_KEEP || s.sequence === newest)
      .sort((a, b) => a.schemaVersion - b.schemaVersion || a.sequence - b.sequence);
  }

  #remember(outcome: Outcome, unitId: Uint8Array, position: number, undo: Undo): void {
    const text = outcomeText(outcome);
    if (this.#outcomes.has(text)) throw outcomeTwice();
    undo.push(() => this.#outcomes.delete(text));
    const { tenant, kind, key, hash, body, expiresAtMicros, correlationId } = outcome;
    const listed = { tenant, kind, key, hash: new Uint8Array(hash), body: new Uint8Array(body), unitId, position };
    this.#outcomes.set(text, { ...listed, expiresAtMicros, correlationId });
  }

  #outcome(key: OutcomeKey): StoredOutcome | undefined {
    const known = this.#outcomes.get(outcomeText(key));
    if (known === undefined) return undefined;
    const { hash, body, unitId, position } = known;
    return { hash, body, unitId, position };
  }

  *#scan(after: number, end: number): Iterable<LogEntry> {
    for (let position = after + 1; position <= end; position++) yield this.#log[position - 1]!;
  }

  /** In the order of `listStreams`. Streams that a failed batch left empty are not there. */
  #inOrder(): Stream[] {
    this.#sorted ??= [...this.#streams.values()]
      .filter((stream) => stream.pages.length > 0)
      .sort((a, b) => compareStreams(a.key, b.key));
    return this.#sorted;
  }
}

function pagesOf(stream: Stream | undefined, range: StreamRange): EventPage[] {
  const pages: EventPage[] = [];
  if (stream === undefined) return pages;
  const end = Math.min(range.to ?? Number.MAX_SAFE_INTEGER, stream.pages.length - 1);
  let bytes = 0;
  for (let sequence = range.from; sequence <= end; sequence++) {
    const page = stream.pages[sequence]!;
    bytes += pageBytes(page);
    if (pages.length > 0 && bytes > range.maxBytes) break;
    pages.push({ ...page });
  }
  return pages;
}

function newestSnapshot(stream: Stream | undefined, schemaVersion: number, atOrBefore: number): Snapshot | undefined {
  const found = stream?.snapshots.findLast((s) => s.schemaVersion === schemaVersion && s.sequence <= atOrBefore);
  return found && { ...found };
}

function bookOf(entries: readonly LogEntry[]): EventBook {
  const { stream, correlationId } = entries[0]!;
  const { tenant, domain, root } = stream.key;
  return {
    cover: { root: { value: root }, domain, correlationId, tenant },
    snapshot: undefined,
    pages: entries.map((entry) => ({ ...entry.page })),
    nextSequence: entries.at(-1)!.page.sequence + 1,
    consistencyToken: '',
  };
}

function compareStreams(a: StreamKey, b: StreamKey): number {
  return compareTexts(a.tenant, b.tenant) || compareTexts(a.domain, b.domain) || compareTexts(hex(a.root), hex(b.root));
}

function compareSnapshots(a: SnapshotHead, b: SnapshotHead): number {
  return compareStreams(a.stream, b.stream) || a.schemaVersion - b.schemaVersion || a.sequence - b.sequence;
}

/** Keys as UTF-8 compares them. */
function compareOutcomes(a: ListedOutcome, b: ListedOutcome): number {
  return (
    a.position - b.position || compareTexts(a.kind, b.kind) || Buffer.compare(Buffer.from(a.key), Buffer.from(b.key))
  );
}

function compareTexts(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Tenants contain no slash. */
function outcomeText(key: OutcomeKey): string {
  return `${key.tenant}/${key.kind}/${key.key}`;
}
