// The reads. Each is one transaction, so that all it reads is of one instant, and short: a reader that stays keeps the
// write-ahead log from being folded back into the file.

import type { DatabaseSync } from 'node:sqlite';
import { typeName } from '../../model/book.ts';
import type { LogFilter } from '../../model/filter.ts';
import type { StreamKey } from '../../model/stream.ts';
import type { OpenStream, ReadLog, StoredOutcome, StreamRange } from '../../store.ts';
import { collectBooks, type LogRow } from '../books.ts';
import * as queries from './queries.ts';

export interface OpeningRows {
  pages: queries.EventRow[];
  nextSequence: number;
  snapshot: queries.SnapshotRow | undefined;
  snapshotNext: number;
  from: number;
  lastCreatedAt: number;
  outcome: StoredOutcome | undefined;
}

export function openStream(db: DatabaseSync, key: StreamKey, open: OpenStream): OpeningRows {
  const outcome = open.outcomeKey && queries.findOutcome(db, open.outcomeKey);
  const { from, snapshotVersion } = open;
  const stream = queries.findStream(db, key);
  if (stream === undefined) {
    return { pages: [], nextSequence: 0, snapshot: undefined, snapshotNext: 0, from, lastCreatedAt: 0, outcome };
  }
  const newest = snapshotVersion === undefined ? undefined : queries.findNewestSnapshot(db, stream.id, snapshotVersion);
  const snapshot =
    newest === undefined || from > 0 ? undefined : queries.findSnapshot(db, stream.id, snapshotVersion!, newest);
  const start = snapshot === undefined ? from : snapshot.sequence + 1;
  return {
    pages: pagesWithin(db, stream, { from: start, maxBytes: open.maxBytes }),
    nextSequence: stream.nextSequence,
    snapshot,
    snapshotNext: newest === undefined ? 0 : newest + 1,
    from: start,
    lastCreatedAt: stream.lastCreatedAt,
    outcome,
  };
}

export function readStream(
  db: DatabaseSync,
  key: StreamKey,
  range: StreamRange,
): { pages: queries.EventRow[]; nextSequence: number } {
  const stream = queries.findStream(db, key);
  if (stream === undefined) return { pages: [], nextSequence: 0 };
  return { pages: pagesWithin(db, stream, range), nextSequence: stream.nextSequence };
}

function pagesWithin(db: DatabaseSync, stream: queries.StreamRow, range: StreamRange): queries.EventRow[] {
  const to = Math.min(range.to ?? Number.MAX_SAFE_INTEGER, stream.nextSequence - 1);
  const pages: queries.EventRow[] = [];
  if (range.from > to) return pages;
  let bytes = 0;
  for (const row of queries.scanStream(db, stream.id, range.from, to)) {
    bytes += bytesOf(row);
    if (pages.length > 0 && bytes > range.maxBytes) break;
    pages.push(row);
  }
  return pages;
}

export function readSnapshot(
  db: DatabaseSync,
  key: StreamKey,
  schemaVersion: number,
  atOrBefore: number,
): queries.SnapshotRow | undefined {
  const stream = queries.findStream(db, key);
  return stream && queries.findSnapshot(db, stream.id, schemaVersion, atOrBefore);
}

export function readLog(db: DatabaseSync, read: ReadLog): { books: queries.LogEventRow[][]; through: number } {
  const end = Math.min(read.to ?? Number.MAX_SAFE_INTEGER, queries.findHead(db).position);
  const { correlationId } = read.filter;
  const found =
    correlationId === undefined
      ? queries.scanLog(db, read.after, end)
      : queries.scanCorrelation(db, correlationId, read.after, end);
  return collectBooks(measured(found), read, end, (book) => wanted(read.filter, book));
}

/** The table of times says between which two of its rows the first event since the time lies, or that it lies behind them all. */
export function positionBefore(db: DatabaseSync, timeMicros: number): number {
  const end = queries.findHead(db).position;
  const to = queries.findTimeSince(db, timeMicros);
  const after = to === undefined ? (queries.findLastTime(db)?.position ?? 0) : to - queries.TIMES_EVERY;
  const first = queries.findEventSince(db, after, to ?? end, timeMicros);
  return first === undefined ? end : first - 1;
}

function* measured(rows: Iterable<queries.LogEventRow>): Iterable<queries.LogEventRow & LogRow> {
  for (const row of rows) yield Object.assign(row, { bytes: bytesOf(row) });
}

/** The same as `matches` of the model, over rows. */
function wanted(filter: LogFilter, book: readonly queries.LogEventRow[]): boolean {
  const { tenant, domain, correlationId } = book[0]!;
  if (filter.tenant !== undefined && tenant !== filter.tenant) return false;
  if (filter.correlationId !== undefined && correlationId !== filter.correlationId) return false;
  if (filter.domains !== undefined && !filter.domains.includes(domain)) return false;
  const { types } = filter;
  return types === undefined || book.some((row) => types.includes(typeName(row.typeUrl)));
}

function bytesOf(row: queries.PageRow): number {
  const texts = Buffer.byteLength(row.origin ?? '') + Buffer.byteLength(row.metadata ?? '');
  return 128 + row.typeUrl.length + row.payload.length + texts;
}
