// How the parts of the contract lie on a tape: for each a writer, and below it the reader that takes the same steps.
// The daemon's side speaks of pages and snapshots, the worker's of rows.

import type { EventBook, EventPage, Snapshot } from '../../model/book.ts';
import type { LogFilter } from '../../model/filter.ts';
import type { StreamKey } from '../../model/stream.ts';
import { toMicros, toTimestamp } from '../../model/time.ts';
import type {
  Expectation,
  ListedOutcome,
  OpenStream,
  Outcome,
  OutcomeKey,
  ReadLog,
  SnapshotHead,
  StoredOutcome,
  StreamRange,
  Unit,
  UnitResult,
  WorkPart,
} from '../../store.ts';
import { metadataJson, originJson, parseOrigin } from '../page-texts.ts';
import { readValue, writeValue } from './plain-value.ts';
import type { EventRow, LogEventRow, OutcomePlace, PageRow, SnapshotRow } from './queries.ts';
import type { TapeReader, TapeWriter } from './tape.ts';

/** A unit as the worker sees it. */
export interface UnitRows {
  unitId: Uint8Array;
  appends: AppendRows[];
  expectations: { stream: StreamKey; expect: Expectation }[];
  snapshots: { stream: StreamKey; row: SnapshotRow }[];
  outcomes: Outcome[];
  work?: WorkPart | undefined;
}

export interface AppendRows {
  stream: StreamKey;
  correlationId: string;
  expect: Expectation;
  pages: PageRow[];
}

/** A result as it travels: what the daemon's side knows of its own units stays there. */
export type ResultRow =
  | { kind: 'committed'; position: number; sequences: number[] }
  /** `index` counts appends, then expectations. */
  | { kind: 'conflict'; index: number; actual: number }
  | { kind: 'duplicate'; index: number; outcome: StoredOutcome }
  | { kind: 'fenced'; what: string };

const EXPECTATIONS = ['exactly', 'no-stream', 'exists', 'any'] as const;
const RESULTS = ['committed', 'conflict', 'duplicate', 'fenced'] as const;

export function writeUnit(tape: TapeWriter, unit: Unit): void {
  tape.bytes(unit.unitId);
  tape.number(unit.appends.length);
  for (const append of unit.appends) {
    writeStream(tape, append.stream);
    tape.word(append.correlationId);
    writeExpectation(tape, append.expect);
    tape.number(append.pages.length);
    for (const page of append.pages) writePage(tape, page);
  }
  tape.number(unit.expectations.length);
  for (const { stream, expect } of unit.expectations) {
    writeStream(tape, stream);
    writeExpectation(tape, expect);
  }
  tape.number(unit.snapshots.length);
  for (const { stream, snapshot } of unit.snapshots) {
    const { sequence, schemaVersion, retention, state } = snapshot;
    writeStream(tape, stream);
    writeSnapshot(tape, { sequence, schemaVersion, retention, typeUrl: state!.typeUrl, state: state!.value });
  }
  tape.number(unit.outcomes.length);
  for (const outcome of unit.outcomes) {
    writeOutcomeKey(tape, outcome);
    tape.bytes(outcome.hash);
    tape.bytes(outcome.body);
    tape.maybe(outcome.expiresAtMicros);
    writeOptional(tape, outcome.correlationId, writeText);
  }
  writeValue(tape, unit.work);
}

export function readUnit(tape: TapeReader): UnitRows {
  return {
    unitId: tape.bytes(),
    appends: times(tape.number(), () => ({
      stream: readStream(tape),
      correlationId: tape.text(),
      expect: readExpectation(tape),
      pages: times(tape.number(), () => readPageRow(tape)),
    })),
    expectations: times(tape.number(), () => ({ stream: readStream(tape), expect: readExpectation(tape) })),
    snapshots: times(tape.number(), () => ({ stream: readStream(tape), row: readSnapshotRow(tape) })),
    outcomes: times(tape.number(), () => ({
      ...readOutcomeKey(tape),
      hash: tape.bytes(),
      body: tape.bytes(),
      expiresAtMicros: tape.maybe(),
      correlationId: readOptional(tape, readText),
    })),
    work: readValue(tape) as WorkPart | undefined,
  };
}

export function writeResult(tape: TapeWriter, result: ResultRow): void {
  tape.number(RESULTS.indexOf(result.kind));
  switch (result.kind) {
    case 'committed':
      tape.number(result.position);
      tape.number(result.sequences.length);
      for (const sequence of result.sequences) tape.number(sequence);
      return;
    case 'conflict':
      tape.number(result.index);
      tape.number(result.actual);
      return;
    case 'duplicate':
      tape.number(result.index);
      writeStoredOutcome(tape, result.outcome);
      return;
    case 'fenced':
      tape.text(result.what);
      return;
  }
}

export function readResult(tape: TapeReader, unit: Unit): UnitResult {
  const kind = RESULTS[tape.number()]!;
  switch (kind) {
    case 'committed':
      return { kind, position: tape.number(), sequences: times(tape.number(), () => tape.number()) };
    case 'conflict': {
      const index = tape.number();
      const failed = unit.appends[index] ?? unit.expectations[index - unit.appends.length]!;
      return { kind, stream: failed.stream, expected: failed.expect, actual: tape.number() };
    }
    case 'duplicate':
      return { kind, index: tape.number(), outcome: readStoredOutcome(tape) };
    case 'fenced':
      return { kind, what: tape.text() };
  }
}

export function writeStream(tape: TapeWriter, stream: StreamKey): void {
  tape.word(stream.tenant);
  tape.word(stream.domain);
  tape.bytes(stream.root);
}

export function readStream(tape: TapeReader): StreamKey {
  return { tenant: tape.text(), domain: tape.text(), root: tape.bytes() };
}

export interface ListStreams {
  tenant: string | undefined;
  domain: string | undefined;
  after: StreamKey | undefined;
  limit: number;
}

export function writeListStreams(tape: TapeWriter, list: ListStreams): void {
  writeOptional(tape, list.tenant, writeText);
  writeOptional(tape, list.domain, writeText);
  writeOptional(tape, list.after, writeStream);
  tape.number(list.limit);
}

export function readListStreams(tape: TapeReader): ListStreams {
  return {
    tenant: readOptional(tape, readText),
    domain: readOptional(tape, readText),
    after: readOptional(tape, readStream),
    limit: tape.number(),
  };
}

export function writeSnapshotHead(tape: TapeWriter, head: SnapshotHead): void {
  writeStream(tape, head.stream);
  tape.number(head.sequence);
  tape.number(head.schemaVersion);
}

export function readSnapshotHead(tape: TapeReader): SnapshotHead {
  return { stream: readStream(tape), sequence: tape.number(), schemaVersion: tape.number() };
}

export function writeOpenStream(tape: TapeWriter, open: OpenStream): void {
  tape.number(open.from);
  tape.maybe(open.snapshotVersion);
  writeOptional(tape, open.outcomeKey, writeOutcomeKey);
  tape.number(open.maxBytes);
}

export function readOpenStream(tape: TapeReader): OpenStream {
  return {
    from: tape.number(),
    snapshotVersion: tape.maybe(),
    outcomeKey: readOptional(tape, readOutcomeKey),
    maxBytes: tape.number(),
  };
}

export function writeStreamRange(tape: TapeWriter, range: StreamRange): void {
  tape.number(range.from);
  tape.number(range.to ?? Number.MAX_SAFE_INTEGER);
  tape.number(range.maxBytes);
}

export function readStreamRange(tape: TapeReader): Required<StreamRange> {
  return { from: tape.number(), to: tape.number(), maxBytes: tape.number() };
}

export function writeReadLog(tape: TapeWriter, read: ReadLog): void {
  const { tenant, domains, types, correlationId } = read.filter;
  tape.number(read.after);
  tape.number(read.to ?? Number.MAX_SAFE_INTEGER);
  writeOptional(tape, tenant, writeText);
  writeOptional(tape, domains, writeTexts);
  writeOptional(tape, types, writeTexts);
  writeOptional(tape, correlationId, writeText);
  tape.number(read.maxEvents);
  tape.number(read.maxBytes);
}

export function readReadLog(tape: TapeReader): ReadLog {
  const after = tape.number();
  const to = tape.number();
  const tenant = readOptional(tape, readText);
  const domains = readOptional(tape, readTexts);
  const types = readOptional(tape, readTexts);
  const correlationId = readOptional(tape, readText);
  const filter: LogFilter = {};
  if (tenant !== undefined) filter.tenant = tenant;
  if (domains !== undefined) filter.domains = domains;
  if (types !== undefined) filter.types = types;
  if (correlationId !== undefined) filter.correlationId = correlationId;
  return { after, to, filter, maxEvents: tape.number(), maxBytes: tape.number() };
}

function writeText(tape: TapeWriter, text: string): void {
  tape.text(text);
}

function readText(tape: TapeReader): string {
  return tape.text();
}

function writeTexts(tape: TapeWriter, texts: readonly string[]): void {
  tape.number(texts.length);
  for (const text of texts) tape.text(text);
}

function readTexts(tape: TapeReader): string[] {
  return times(tape.number(), () => tape.text());
}

function writeExpectation(tape: TapeWriter, expect: Expectation): void {
  tape.number(EXPECTATIONS.indexOf(expect.kind));
  tape.number(expect.kind === 'exactly' ? expect.nextSequence : 0);
}

function readExpectation(tape: TapeReader): Expectation {
  const kind = EXPECTATIONS[tape.number()]!;
  const nextSequence = tape.number();
  return kind === 'exactly' ? { kind, nextSequence } : { kind };
}

function writePage(tape: TapeWriter, page: EventPage): void {
  tape.number(toMicros(page.createdAt!));
  tape.maybe(page.occurredAt && toMicros(page.occurredAt));
  tape.word(page.event!.typeUrl);
  tape.text(page.origin === undefined ? '' : originJson(page.origin));
  tape.text(metadataJson(page.metadata));
  tape.bytes(page.event!.value);
}

export function writePageRow(tape: TapeWriter, row: PageRow): void {
  tape.number(row.createdAt);
  tape.maybe(row.occurredAt);
  tape.word(row.typeUrl);
  tape.text(row.origin ?? '');
  tape.text(row.metadata ?? '');
  tape.bytes(row.payload);
}

function readPageRow(tape: TapeReader): PageRow {
  return {
    createdAt: tape.number(),
    occurredAt: tape.maybe(),
    typeUrl: tape.text(),
    origin: tape.text() || null,
    metadata: tape.text() || null,
    payload: tape.bytes(),
  };
}

export function writeEvents(tape: TapeWriter, rows: readonly EventRow[]): void {
  tape.number(rows.length);
  for (const row of rows) {
    tape.number(row.position);
    tape.number(row.sequence);
    tape.bytes(row.unitId);
    writePageRow(tape, row);
  }
}

export function readEvents(tape: TapeReader): EventPage[] {
  return times(tape.number(), () => {
    const position = tape.number();
    const sequence = tape.number();
    const unitId = tape.bytes();
    const { createdAt, occurredAt, typeUrl, origin, metadata, payload } = readPageRow(tape);
    return {
      sequence,
      createdAt: toTimestamp(createdAt),
      event: { typeUrl, value: payload },
      position,
      origin: origin === null ? undefined : parseOrigin(origin),
      metadata: metadata === null ? {} : JSON.parse(metadata),
      unitId,
      occurredAt: occurredAt === undefined ? undefined : toTimestamp(occurredAt),
    };
  });
}

/** All of one stream and one unit. */
export function writeBook(tape: TapeWriter, rows: readonly LogEventRow[]): void {
  const first = rows[0]!;
  writeStream(tape, first);
  tape.word(first.correlationId);
  writeEvents(tape, rows);
}

export function readBook(tape: TapeReader): EventBook {
  const { tenant, domain, root } = readStream(tape);
  const cover = { root: { value: root }, domain, correlationId: tape.text(), tenant };
  const pages = readEvents(tape);
  return { cover, snapshot: undefined, pages, nextSequence: pages.at(-1)!.sequence + 1, consistencyToken: '' };
}

export function writeSnapshot(tape: TapeWriter, row: SnapshotRow): void {
  tape.number(row.sequence);
  tape.number(row.schemaVersion);
  tape.number(row.retention);
  tape.word(row.typeUrl);
  tape.bytes(row.state);
}

function readSnapshotRow(tape: TapeReader): SnapshotRow {
  return {
    sequence: tape.number(),
    schemaVersion: tape.number(),
    retention: tape.number(),
    typeUrl: tape.text(),
    state: tape.bytes(),
  };
}

export function readSnapshot(tape: TapeReader): Snapshot {
  const { sequence, schemaVersion, retention, typeUrl, state } = readSnapshotRow(tape);
  return { sequence, state: { typeUrl, value: state }, retention: retention === 1 ? 1 : 0, schemaVersion };
}

export function writeOutcomeKey(tape: TapeWriter, key: OutcomeKey): void {
  tape.word(key.tenant);
  tape.word(key.kind);
  tape.text(key.key);
}

export function readOutcomeKey(tape: TapeReader): OutcomeKey {
  return { tenant: tape.text(), kind: tape.text() as OutcomeKey['kind'], key: tape.text() };
}

export function writeStoredOutcome(tape: TapeWriter, outcome: StoredOutcome): void {
  tape.bytes(outcome.hash);
  tape.bytes(outcome.body);
  tape.bytes(outcome.unitId);
  tape.number(outcome.position);
}

export function readStoredOutcome(tape: TapeReader): StoredOutcome {
  return { hash: tape.bytes(), body: tape.bytes(), unitId: tape.bytes(), position: tape.number() };
}

export interface ListOutcomes {
  tenant: string;
  correlationId: string;
  after: OutcomePlace | undefined;
  limit: number;
}

export function writeListOutcomes(tape: TapeWriter, list: ListOutcomes): void {
  tape.text(list.tenant);
  tape.text(list.correlationId);
  writeOptional(tape, list.after, (tape, { position, kind, key }) => {
    tape.number(position);
    tape.text(kind);
    tape.text(key);
  });
  tape.number(list.limit);
}

export function readListOutcomes(tape: TapeReader): ListOutcomes {
  return {
    tenant: tape.text(),
    correlationId: tape.text(),
    after: readOptional(tape, (tape) => ({
      position: tape.number(),
      kind: tape.text() as OutcomeKey['kind'],
      key: tape.text(),
    })),
    limit: tape.number(),
  };
}

export function writeListedOutcome(tape: TapeWriter, outcome: ListedOutcome): void {
  writeOutcomeKey(tape, outcome);
  writeStoredOutcome(tape, outcome);
}

export function readListedOutcome(tape: TapeReader): ListedOutcome {
  return { ...readOutcomeKey(tape), ...readStoredOutcome(tape) };
}

/** What may be absent travels behind a 0 or a 1. */
export function writeOptional<T>(tape: TapeWriter, value: T | undefined, write: (tape: TapeWriter, value: T) => void) {
  tape.number(value === undefined ? 0 : 1);
  if (value !== undefined) write(tape, value);
}

export function readOptional<T>(tape: TapeReader, read: (tape: TapeReader) => T): T | undefined {
  return tape.number() === 0 ? undefined : read(tape);
}

export function times<T>(count: number, read: () => T): T[] {
  const all: T[] = [];
  for (let i = 0; i < count; i++) all.push(read());
  return all;
}
