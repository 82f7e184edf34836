// One function per statement. Nothing here knows what a unit is.

import type { DatabaseSync } from 'node:sqlite';
import { streamSlice } from '../../model/slice.ts';
import type { StreamKey } from '../../model/stream.ts';
import type { ListedOutcome, LogIdentity, Outcome, OutcomeKey, StoredOutcome, StreamHead } from '../../store.ts';
import type { EventTuple } from '../page-texts.ts';
import { get, statement } from './statements.ts';

/** What is stored of an event beside its place. */
export interface PageRow {
  createdAt: number;
  occurredAt: number | undefined;
  typeUrl: string;
  origin: string | null;
  metadata: string | null;
  payload: Uint8Array;
}

export interface EventRow extends PageRow {
  position: number;
  sequence: number;
  unitId: Uint8Array;
}

/** An event as a scan of the log finds it. */
export interface LogEventRow extends EventRow {
  stream: number;
  tenant: string;
  domain: string;
  root: Uint8Array;
  correlationId: string;
}

export interface StreamRow {
  id: number;
  nextSequence: number;
  lastCreatedAt: number;
}

export interface SnapshotRow {
  sequence: number;
  schemaVersion: number;
  retention: number;
  typeUrl: string;
  state: Uint8Array;
}

export interface SnapshotHeadRow {
  stream: StreamKey;
  sequence: number;
  schemaVersion: number;
}

const EVENT =
  'e.position, e.sequence, e.unit_id, e.created_at, e.occurred_at, e.type_url, e.origin, e.metadata, e.payload';
const LOG_EVENT = `${EVENT}, e.stream, s.tenant, s.domain, s.root, e.correlation_id`;

/** What outcomes of one correlation are ordered by. */
export interface OutcomePlace {
  position: number;
  kind: OutcomeKey['kind'];
  key: string;
}

/** Every statement that runs while the daemon works; a test pins how SQLite executes the hot ones. */
export const SQL = {
  insertLog: 'INSERT INTO log (id, log_id, incarnation, last_position) VALUES (1, ?, ?, 0)',
  findHead: `SELECT l.log_id, l.incarnation, l.last_position, e.unit_id
    FROM log l LEFT JOIN events e ON e.position = l.last_position WHERE l.id = 1`,
  setLastPosition: 'UPDATE log SET last_position = ? WHERE id = 1',
  findLastStreamId: 'SELECT coalesce(max(id), 0) FROM streams',

  findStream: 'SELECT id, next_sequence, last_created_at FROM streams WHERE tenant = ? AND domain = ? AND root = ?',
  insertStream: `INSERT INTO streams (id, tenant, domain, root, slice, next_sequence, last_created_at)
    VALUES (?, ?, ?, ?, ?, ?, ?)`,
  updateStream: 'UPDATE streams SET next_sequence = ?, last_created_at = ? WHERE id = ?',
  listStreams: `SELECT tenant, domain, root, next_sequence FROM streams
    WHERE (tenant, domain, root) > (?, ?, ?) AND (tenant, domain) <= (?, ?) AND (?6 IS NULL OR domain = ?6)
    ORDER BY tenant, domain, root LIMIT ?7`,

  insertEvent: `INSERT INTO events (position, stream, sequence, unit_id, created_at, occurred_at, correlation_id,
    correlation_slice, type_url, origin, metadata, payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  findUnitAt: 'SELECT position, unit_id FROM events WHERE stream = ? AND sequence = ?',
  findSequenceAt: 'SELECT sequence FROM events WHERE position = ?',
  scanStream: `SELECT ${EVENT} FROM events e WHERE e.stream = ? AND e.sequence BETWEEN ? AND ? ORDER BY e.sequence`,
  scanLog: `SELECT ${LOG_EVENT} FROM events e CROSS JOIN streams s ON s.id = e.stream
    WHERE e.position > ? AND e.position <= ? ORDER BY e.position`,
  scanCorrelation: `SELECT ${LOG_EVENT} FROM events e CROSS JOIN streams s ON s.id = e.stream
    WHERE e.correlation_id = ? AND e.position > ? AND e.position <= ? ORDER BY e.position`,

  insertTime: 'INSERT INTO times (latest, position) VALUES (?, ?)',
  findLastTime: 'SELECT latest, position FROM times ORDER BY latest DESC, position DESC LIMIT 1',
  findTimeSince: 'SELECT position FROM times WHERE latest >= ? ORDER BY latest, position LIMIT 1',
  findLatestAfter: 'SELECT max(created_at) FROM events WHERE position > ?',
  findEventSince: `SELECT position FROM events
    WHERE position > ? AND position <= ? AND created_at >= ? ORDER BY position LIMIT 1`,

  findUnit: 'SELECT position FROM units WHERE unit_id = ?',
  insertUnit: 'INSERT INTO units (unit_id, position) VALUES (?, ?)',

  findSnapshot: `SELECT sequence, schema_version, retention, type_url, state FROM snapshots
    WHERE stream = ? AND schema_version = ? AND sequence <= ? ORDER BY sequence DESC LIMIT 1`,
  findNewestSnapshot: `SELECT max(sequence) FROM snapshots WHERE stream = ? AND schema_version = ?`,
  putSnapshot: `INSERT INTO snapshots (stream, schema_version, sequence, retention, type_url, state)
    VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (stream, schema_version, sequence) DO UPDATE
    SET retention = max(retention, excluded.retention), type_url = excluded.type_url, state = excluded.state`,
  deleteOldSnapshots: `DELETE FROM snapshots WHERE stream = ?1 AND schema_version = ?2 AND retention = 0
    AND sequence < (SELECT max(sequence) FROM snapshots WHERE stream = ?1 AND schema_version = ?2)`,
  listSnapshots: `SELECT s.tenant, s.domain, s.root, p.sequence, p.schema_version
    FROM streams s CROSS JOIN snapshots p ON p.stream = s.id
    WHERE (s.tenant, s.domain, s.root) >= (?1, ?2, ?3)
      AND (s.tenant, s.domain, s.root, p.schema_version, p.sequence) > (?1, ?2, ?3, ?4, ?5)
    ORDER BY s.tenant, s.domain, s.root, p.schema_version, p.sequence LIMIT ?6`,

  findOutcome: 'SELECT hash, body, unit_id, position FROM outcomes WHERE tenant = ? AND kind = ? AND key = ?',
  insertOutcome: `INSERT INTO outcomes (tenant, kind, key, hash, body, unit_id, position, expires_at, correlation_id)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  listOutcomes: `SELECT kind, key, hash, body, unit_id, position FROM outcomes
    WHERE tenant = ? AND correlation_id = ? AND (position, kind, key) > (?, ?, ?) ORDER BY position, kind, key LIMIT ?`,
  deleteExpired: `DELETE FROM outcomes WHERE rowid IN
    (SELECT rowid FROM outcomes WHERE expires_at < ? ORDER BY expires_at LIMIT ?)`,
} as const;

export function insertLog(db: DatabaseSync, log: LogIdentity): void {
  statement(db, SQL.insertLog).run(log.logId, log.incarnation);
}

export function findHead(db: DatabaseSync): LogIdentity & { position: number; unitId: Uint8Array } {
  const [logId, incarnation, position, unitId] = get<[string, string, number, Uint8Array | null]>(db, SQL.findHead)!;
  return { logId, incarnation, position, unitId: unitId ?? new Uint8Array(0) };
}

export function setLastPosition(db: DatabaseSync, position: number): void {
  statement(db, SQL.setLastPosition).run(position);
}

export function findLastStreamId(db: DatabaseSync): number {
  return get<[number]>(db, SQL.findLastStreamId)![0];
}

export function findStream(db: DatabaseSync, key: StreamKey): StreamRow | undefined {
  const row = get<[number, number, number]>(db, SQL.findStream, key.tenant, key.domain, key.root);
  return row && { id: row[0], nextSequence: row[1], lastCreatedAt: row[2] };
}

export function insertStream(db: DatabaseSync, key: StreamKey, row: StreamRow): void {
  statement(db, SQL.insertStream).run(
    row.id,
    key.tenant,
    key.domain,
    key.root,
    streamSlice(key),
    row.nextSequence,
    row.lastCreatedAt,
  );
}

export function updateStream(db: DatabaseSync, row: StreamRow): void {
  statement(db, SQL.updateStream).run(row.nextSequence, row.lastCreatedAt, row.id);
}

/** Sorts behind every tenant and every domain: those are ASCII. */
const LAST = '\u{10ffff}';

export function listStreams(
  db: DatabaseSync,
  list: { tenant: string | undefined; domain: string | undefined; after: StreamKey | undefined; limit: number },
): StreamHead[] {
  const { tenant, domain, after, limit } = list;
  const begin = { tenant: tenant ?? '', domain: tenant === undefined ? '' : (domain ?? ''), root: new Uint8Array(0) };
  const from = after !== undefined && afterBegin(after, begin) ? after : begin;
  const upTo = tenant === undefined ? [LAST, LAST] : [tenant, domain ?? LAST];
  const rows = statement(db, SQL.listStreams).all(
    from.tenant,
    from.domain,
    from.root,
    upTo[0]!,
    upTo[1]!,
    domain ?? null,
    limit,
  ) as unknown as [string, string, Uint8Array, number][];
  return rows.map(([tenant, domain, root, nextSequence]) => ({ stream: { tenant, domain, root }, nextSequence }));
}

function afterBegin(after: StreamKey, begin: StreamKey): boolean {
  return after.tenant > begin.tenant || (after.tenant === begin.tenant && after.domain >= begin.domain);
}

export function insertEvent(
  db: DatabaseSync,
  place: { position: number; stream: number; sequence: number; unitId: Uint8Array },
  correlation: { id: string; slice: number },
  page: PageRow,
): void {
  statement(db, SQL.insertEvent).run(
    place.position,
    place.stream,
    place.sequence,
    place.unitId,
    page.createdAt,
    page.occurredAt ?? null,
    correlation.id,
    correlation.slice,
    page.typeUrl,
    page.origin,
    page.metadata,
    page.payload,
  );
}

export function findUnitAt(
  db: DatabaseSync,
  stream: number,
  sequence: number,
): { position: number; unitId: Uint8Array } | undefined {
  const row = get<[number, Uint8Array]>(db, SQL.findUnitAt, stream, sequence);
  return row && { position: row[0], unitId: row[1] };
}

export function findSequenceAt(db: DatabaseSync, position: number): number | undefined {
  return get<[number]>(db, SQL.findSequenceAt, position)?.[0];
}

/** Every so many positions the table of times has a row. */
export const TIMES_EVERY = 1024;

export interface TimeRow {
  latest: number;
  position: number;
}

export function insertTime(db: DatabaseSync, row: TimeRow): void {
  statement(db, SQL.insertTime).run(row.latest, row.position);
}

export function findLastTime(db: DatabaseSync): TimeRow | undefined {
  const row = get<[number, number]>(db, SQL.findLastTime);
  return row && { latest: row[0], position: row[1] };
}

/** The first position of the table at which the log had reached the time. */
export function findTimeSince(db: DatabaseSync, timeMicros: number): number | undefined {
  return get<[number]>(db, SQL.findTimeSince, timeMicros)?.[0];
}

/** The latest time of the events behind a position. Looks at all of them. */
export function findLatestAfter(db: DatabaseSync, position: number): number | undefined {
  return get<[number | null]>(db, SQL.findLatestAfter, position)![0] ?? undefined;
}

/** The first event of the time or later. Looks at all of them up to it. */
export function findEventSince(db: DatabaseSync, after: number, to: number, timeMicros: number): number | undefined {
  return get<[number]>(db, SQL.findEventSince, after, to, timeMicros)?.[0];
}

/** Whoever breaks off the iteration frees the statement with it. */
export function* scanStream(db: DatabaseSync, stream: number, from: number, to: number): Iterable<EventRow> {
  for (const row of statement(db, SQL.scanStream).iterate(stream, from, to))
    yield eventRow(row as unknown as EventTuple);
}

export function* scanLog(db: DatabaseSync, after: number, to: number): Iterable<LogEventRow> {
  for (const row of statement(db, SQL.scanLog).iterate(after, to)) yield logEventRow(row as unknown as LogEventTuple);
}

export function* scanCorrelation(
  db: DatabaseSync,
  correlationId: string,
  after: number,
  to: number,
): Iterable<LogEventRow> {
  for (const row of statement(db, SQL.scanCorrelation).iterate(correlationId, after, to)) {
    yield logEventRow(row as unknown as LogEventTuple);
  }
}

type LogEventTuple = [
  ...EventTuple,
  stream: number,
  tenant: string,
  domain: string,
  root: Uint8Array,
  correlationId: string,
];

function eventRow(row: EventTuple): EventRow {
  return {
    position: row[0],
    sequence: row[1],
    unitId: row[2],
    createdAt: row[3],
    occurredAt: row[4] ?? undefined,
    typeUrl: row[5],
    origin: row[6],
    metadata: row[7],
    payload: row[8],
  };
}

function logEventRow(row: LogEventTuple): LogEventRow {
  return {
    position: row[0],
    sequence: row[1],
    unitId: row[2],
    createdAt: row[3],
    occurredAt: row[4] ?? undefined,
    typeUrl: row[5],
    origin: row[6],
    metadata: row[7],
    payload: row[8],
    stream: row[9],
    tenant: row[10],
    domain: row[11],
    root: row[12],
    correlationId: row[13],
  };
}

export function findUnit(db: DatabaseSync, unitId: Uint8Array): number | undefined {
  return get<[number]>(db, SQL.findUnit, unitId)?.[0];
}

export function insertUnit(db: DatabaseSync, unitId: Uint8Array, position: number): void {
  statement(db, SQL.insertUnit).run(unitId, position);
}

export function findSnapshot(
  db: DatabaseSync,
  stream: number,
  schemaVersion: number,
  atOrBefore: number,
): SnapshotRow | undefined {
  const row = get<[number, number, number, string, Uint8Array]>(
    db,
    SQL.findSnapshot,
    stream,
    schemaVersion,
    atOrBefore,
  );
  return row && { sequence: row[0], schemaVersion: row[1], retention: row[2], typeUrl: row[3], state: row[4] };
}

/** Its sequence. */
export function findNewestSnapshot(db: DatabaseSync, stream: number, schemaVersion: number): number | undefined {
  return get<[number | null]>(db, SQL.findNewestSnapshot, stream, schemaVersion)?.[0] ?? undefined;
}

export function putSnapshot(db: DatabaseSync, stream: number, row: SnapshotRow): void {
  statement(db, SQL.putSnapshot).run(stream, row.schemaVersion, row.sequence, row.retention, row.typeUrl, row.state);
}

export function deleteOldSnapshots(db: DatabaseSync, stream: number, schemaVersion: number): void {
  statement(db, SQL.deleteOldSnapshots).run(stream, schemaVersion);
}

export function listSnapshots(db: DatabaseSync, after: SnapshotHeadRow | undefined, limit: number): SnapshotHeadRow[] {
  const rows = statement(db, SQL.listSnapshots).all(
    after?.stream.tenant ?? '',
    after?.stream.domain ?? '',
    after?.stream.root ?? new Uint8Array(0),
    after?.schemaVersion ?? -1,
    after?.sequence ?? -1,
    limit,
  ) as unknown as [string, string, Uint8Array, number, number][];
  return rows.map(([tenant, domain, root, sequence, schemaVersion]) => ({
    stream: { tenant, domain, root },
    sequence,
    schemaVersion,
  }));
}

export function findOutcome(db: DatabaseSync, key: OutcomeKey): StoredOutcome | undefined {
  const row = get<[Uint8Array, Uint8Array, Uint8Array, number]>(db, SQL.findOutcome, key.tenant, key.kind, key.key);
  return row && { hash: row[0], body: row[1], unitId: row[2], position: row[3] };
}

export function insertOutcome(db: DatabaseSync, outcome: Outcome, unitId: Uint8Array, position: number): void {
  const { tenant, kind, key, hash, body, expiresAtMicros, correlationId } = outcome;
  statement(db, SQL.insertOutcome).run(
    tenant,
    kind,
    key,
    hash,
    body,
    unitId,
    position,
    expiresAtMicros ?? null,
    correlationId ?? null,
  );
}

export function listOutcomes(
  db: DatabaseSync,
  list: { tenant: string; correlationId: string; after: OutcomePlace | undefined; limit: number },
): ListedOutcome[] {
  const { tenant, correlationId, after, limit } = list;
  const rows = statement(db, SQL.listOutcomes).all(
    tenant,
    correlationId,
    after?.position ?? -1,
    after?.kind ?? '',
    after?.key ?? '',
    limit,
  ) as unknown as [OutcomeKey['kind'], string, Uint8Array, Uint8Array, Uint8Array, number][];
  return rows.map(([kind, key, hash, body, unitId, position]) => ({
    tenant,
    kind,
    key,
    hash,
    body,
    unitId,
    position,
  }));
}

/** Returns how many. */
export function deleteExpired(db: DatabaseSync, nowMicros: number, limit: number): number {
  return Number(statement(db, SQL.deleteExpired).run(nowMicros, limit).changes);
}
