// Statements on the log: one function per statement, and their texts for a schema. Nothing here knows what a unit is.

import { type EventPage, NO_METADATA, type Snapshot, utf8Length } from '../../model/book.ts';
import type { StreamKey } from '../../model/stream.ts';
import { toTimestamp } from '../../model/time.ts';
import type { ListedOutcome, LogHead, OutcomeKey, SnapshotHead, StoredOutcome, StreamHead } from '../../store.ts';
import { type EventTuple, parseOrigin } from '../page-texts.ts';
import { byteas, int8s, texts } from './arrays.ts';
import type { BinaryRows } from './binary-rows.ts';
import { COMMIT_PARAMETERS, PLAIN_PARAMETERS } from './commit.ts';
import type { Connection } from './connect.ts';
import { quoted } from './migrate.ts';

/** Every so many positions the table of times has a row. */
export const TIMES_EVERY = 1024;

/** What is stored of an event beside its place, and how many bytes of memory it takes, as the limits of reads count. */
const EVENT =
  'e.position, e.sequence, e.unit_id, e.created_at, e.occurred_at, e.type_url, e.origin, e.metadata, e.payload';
const BYTES = `(128 + octet_length(e.type_url) + octet_length(e.payload) + coalesce(octet_length(e.origin), 0)
  + coalesce(octet_length(e.metadata), 0))`;
/** As a scan of the log gives it: of its stream the number, see stream-names.ts. */
const SCANNED = `${EVENT}, e.stream, e.correlation_id`;
const WINDOW = '(ORDER BY e.position ROWS UNBOUNDED PRECEDING)';

const parameters = (count: number) => Array.from({ length: count }, (_, i) => `$${i + 1}`).join(', ');

/** Every statement on the log that runs while the daemon works; a test pins how PostgreSQL executes the hot ones. */
export function logSql(schema: string) {
  const s = quoted(schema);
  // The last event of a stream, by its row `t`.
  const lastOf = (columns: string) => `(SELECT ${columns} FROM ${s}.events x
    WHERE x.stream = t.id AND x.position >= t.since
    ORDER BY x.sequence DESC LIMIT 1)`;
  const range = `FROM ${s}.events e WHERE e.position > $1 AND e.position <= $2`;
  const before = `sum(${BYTES}) OVER ${WINDOW} - ${BYTES} AS before`;
  return {
    commit: `SELECT places, sequences, refusals, fences FROM ${s}.commit_units(${parameters(COMMIT_PARAMETERS)})`,
    commitPlain: `SELECT ${s}.commit_plain_unit(${parameters(PLAIN_PARAMETERS)})`,
    head: `SELECT l.log_id::text, l.incarnation::text, coalesce(e.position, 0), e.unit_id FROM ${s}.log l
      LEFT JOIN LATERAL (SELECT position, unit_id FROM ${s}.events ORDER BY position DESC LIMIT 1) e ON true`,
    recognise: `SELECT log_id::text, incarnation::text FROM ${s}.recognise_log()`,
    makePartitions: `SELECT ${s}.make_partitions()`,
    partitionEvents: `SELECT partition_events FROM ${s}.log`,
    // Everything of several streams at one instant. What is there once stands in the first row of its stream only.
    openStreams: `SELECT q.n, t.id, f.sequence + 1, f.created_at, n.sequence, n.retention, n.type_url,
        CASE WHEN e.position IS NULL OR e.sequence = b.start THEN n.state END,
        o.unit_id, o.position, CASE WHEN e.position IS NULL OR e.sequence = b.start THEN o.hash END,
        CASE WHEN e.position IS NULL OR e.sequence = b.start THEN o.body END, b.start, e.*
      FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::text[],
        $9::text[]) WITH ORDINALITY q(tenant, domain, root, since, version, max_bytes, key_tenant, key_kind, key, n)
      LEFT JOIN ${s}.streams t ON t.tenant = q.tenant AND t.domain = q.domain AND t.root = q.root
      LEFT JOIN LATERAL ${lastOf('x.sequence, x.created_at')} f ON true
      LEFT JOIN LATERAL (SELECT sequence, retention, type_url, state FROM ${s}.snapshots
        WHERE stream = t.id AND schema_version = q.version ORDER BY sequence DESC LIMIT 1) n ON true
      LEFT JOIN ${s}.outcomes o ON o.tenant = q.key_tenant AND o.kind = q.key_kind AND o.key = q.key
      CROSS JOIN LATERAL (SELECT CASE WHEN q.since > 0 THEN q.since ELSE coalesce(n.sequence + 1, 0) END AS start) b
      LEFT JOIN LATERAL (SELECT * FROM
        (SELECT ${EVENT}, sum(${BYTES}) OVER (ORDER BY e.sequence ROWS UNBOUNDED PRECEDING) - ${BYTES} AS before
          FROM ${s}.events e WHERE e.stream = t.id AND e.sequence >= b.start AND e.sequence < b.start + $10::bigint
          ORDER BY e.sequence) v WHERE v.before <= q.max_bytes ORDER BY v.sequence) e ON true`,
    scanStream: `SELECT f.sequence + 1, e.* FROM ${s}.streams t
      CROSS JOIN LATERAL ${lastOf('x.sequence')} f LEFT JOIN LATERAL (SELECT * FROM
        (SELECT ${EVENT}, sum(${BYTES}) OVER (ORDER BY e.sequence ROWS UNBOUNDED PRECEDING) - ${BYTES} AS before
          FROM ${s}.events e WHERE e.stream = t.id AND e.sequence >= $4 AND e.sequence <= $5 ORDER BY e.sequence) v
        WHERE v.before <= $6 ORDER BY v.sequence) e ON true
      WHERE t.tenant = $1 AND t.domain = $2 AND t.root = $3`,
    findSnapshot: `SELECT n.sequence, n.schema_version, n.retention, n.type_url, n.state
      FROM ${s}.streams t CROSS JOIN LATERAL (SELECT * FROM ${s}.snapshots p
        WHERE p.stream = t.id AND p.schema_version = $4 AND p.sequence <= $5 ORDER BY p.sequence DESC LIMIT 1) n
      WHERE t.tenant = $1 AND t.domain = $2 AND t.root = $3`,
    // Only where all together have more bytes than there may be are they added up from event to event.
    scanLog: `SELECT ${SCANNED} ${range} ORDER BY e.position LIMIT (SELECT CASE WHEN sum(${BYTES}) > $3 THEN
      (SELECT count(*) FROM (SELECT ${before} ${range}) v WHERE v.before <= $3) END ${range})`,
    // The log's end, and events, of which the statement looks at no more than it may answer.
    scanCorrelation: `SELECT h.head, w.* FROM (SELECT coalesce(max(position), 0) AS head FROM ${s}.events) h
      LEFT JOIN LATERAL (SELECT * FROM
        (SELECT ${SCANNED}, ${before} ${range} AND e.correlation_id = $4 ORDER BY e.position LIMIT $5) v
        WHERE v.before <= $3 ORDER BY v.position) w ON true`,
    findStreams: `SELECT id, tenant, domain, root FROM ${s}.streams WHERE id = ANY ($1::bigint[])`,
    findTimes: `SELECT (SELECT position FROM ${s}.times WHERE latest >= $1 ORDER BY latest, position LIMIT 1),
      (SELECT position FROM ${s}.times ORDER BY latest DESC, position DESC LIMIT 1),
      (SELECT coalesce(max(position), 0) FROM ${s}.events)`,
    findEventSince: `SELECT position FROM ${s}.events
      WHERE position > $1 AND position <= $2 AND created_at >= $3 ORDER BY position LIMIT 1`,
    listStreams: `SELECT tenant, domain, root, ${lastOf('x.sequence + 1')} FROM ${s}.streams t
      WHERE (tenant, domain, root) > ($1, $2, $3) AND (tenant, domain) <= ($4, $5) AND ($6::text IS NULL OR domain = $6)
      ORDER BY tenant, domain, root LIMIT $7`,
    listSnapshots: `SELECT t.tenant, t.domain, t.root, p.sequence, p.schema_version
      FROM ${s}.streams t JOIN ${s}.snapshots p ON p.stream = t.id
      WHERE (t.tenant, t.domain, t.root) >= ($1, $2, $3)
        AND (t.tenant, t.domain, t.root, p.schema_version, p.sequence) > ($1, $2, $3, $4, $5)
      ORDER BY t.tenant, t.domain, t.root, p.schema_version, p.sequence LIMIT $6`,
    findOutcome: `SELECT hash, body, unit_id, position FROM ${s}.outcomes WHERE tenant = $1 AND kind = $2 AND key = $3`,
    listOutcomes: `SELECT kind, key, hash, body, unit_id, position FROM ${s}.outcomes
      WHERE tenant = $1 AND correlation_id = $2 AND (position, kind, key) > ($3, $4, $5)
      ORDER BY position, kind, key LIMIT $6`,
    expireOutcomes: `WITH gone AS (DELETE FROM ${s}.outcomes WHERE (tenant, kind, key) IN
      (SELECT tenant, kind, key FROM ${s}.outcomes WHERE expires_at < $1 ORDER BY expires_at LIMIT $2
        FOR UPDATE SKIP LOCKED) RETURNING 1) SELECT count(*) FROM gone`,
    now: 'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint',
  } as const;
}

export type LogSql = ReturnType<typeof logSql>;

/** A page, and what it counts. */
export interface Measured {
  page: EventPage;
  bytes: number;
}

/** Of an `EventTuple`: as `EVENT` says. */
const EVENT_COLUMNS = 9;

function pageOf(
  ...[position, sequence, unitId, createdAt, occurredAt, typeUrl, origin, metadata, value]: EventTuple
): EventPage {
  return {
    sequence,
    createdAt: toTimestamp(createdAt),
    event: { typeUrl, value },
    position,
    origin: origin === null ? undefined : parseOrigin(origin),
    metadata: metadata === null ? NO_METADATA : JSON.parse(metadata),
    unitId,
    occurredAt: occurredAt === null ? undefined : toTimestamp(occurredAt),
  };
}

/** As `BYTES` says. */
function bytesOf(typeUrl: string, value: Uint8Array, origin: string | null, metadata: string | null): number {
  let bytes = 128 + utf8Length(typeUrl) + value.length;
  if (origin !== null) bytes += utf8Length(origin);
  if (metadata !== null) bytes += utf8Length(metadata);
  return bytes;
}

/** The event in a row, from a column on; of a join whose events may be missing: those columns are NULL then. */
function eventAt(row: unknown[], at: number): Measured | undefined {
  if (row[at] === null) return undefined;
  const stored = row.slice(at, at + EVENT_COLUMNS) as EventTuple;
  const [, , , , , typeUrl, origin, metadata, value] = stored;
  return { page: pageOf(...stored), bytes: bytesOf(typeUrl, value, origin, metadata) };
}

export async function findHead(connection: Connection, sql: LogSql): Promise<LogHead> {
  const rows = await connection.query<[string, string, number, Uint8Array | null]>({ name: 'head', text: sql.head });
  const [logId, incarnation, position, unitId] = rows[0]!;
  return { logId, incarnation, position, unitId: unitId ?? new Uint8Array(0) };
}

export interface OpeningRows {
  nextSequence: number;
  lastCreatedAt: number;
  /** The newest of the version. */
  newest: Snapshot | undefined;
  outcome: StoredOutcome | undefined;
  start: number;
  pages: Measured[];
}

export interface Opening {
  stream: StreamKey;
  from: number;
  version: number | undefined;
  outcomeKey: OutcomeKey | undefined;
  maxBytes: number;
}

/** In the order in which they were asked for. */
export async function openStreams(
  connection: Connection,
  sql: LogSql,
  openings: readonly Opening[],
  maxPages: number,
): Promise<OpeningRows[]> {
  const rows = await connection.query<unknown[]>({
    name: 'open_streams',
    text: sql.openStreams,
    values: [
      texts(openings.map(({ stream }) => stream.tenant)),
      texts(openings.map(({ stream }) => stream.domain)),
      byteas(openings.map(({ stream }) => stream.root)),
      int8s(openings.map(({ from }) => from)),
      int8s(openings.map(({ version }) => version)),
      int8s(openings.map(({ maxBytes }) => Math.min(maxBytes, Number.MAX_SAFE_INTEGER))),
      texts(openings.map(({ outcomeKey }) => outcomeKey?.tenant)),
      texts(openings.map(({ outcomeKey }) => outcomeKey?.kind)),
      texts(openings.map(({ outcomeKey }) => outcomeKey?.key)),
      maxPages,
    ],
  });
  const found = openings.map((): unknown[][] => []);
  for (const row of rows) found[(row[0] as number) - 1]!.push(row);
  return found.map((rows, i) => openingRows(rows, openings[i]!.version));
}

function openingRows(rows: unknown[][], version: number | undefined): OpeningRows {
  const first = rows[0]!;
  const [, , nextSequence, lastCreatedAt, sequence, retention, typeUrl, state, unitId, position, hash, body, start] =
    first as [
      n: number,
      id: number | null,
      nextSequence: number | null,
      lastCreatedAt: number | null,
      sequence: number | null,
      retention: number,
      typeUrl: string,
      state: Uint8Array,
      unitId: Uint8Array | null,
      position: number,
      hash: Uint8Array,
      body: Uint8Array,
      start: number,
    ];
  const newest = sequence === null ? undefined : snapshotOf([sequence, version!, retention, typeUrl, state]);
  const pages = rows.map((row) => eventAt(row, 13)).filter((event) => event !== undefined);
  return {
    nextSequence: nextSequence ?? 0,
    lastCreatedAt: lastCreatedAt ?? 0,
    newest,
    outcome: unitId === null ? undefined : { hash, body, unitId, position },
    start,
    pages,
  };
}

/** Pages from one sequence to another; a limit of bytes ends them after the one that exceeds it. */
export async function scanStream(
  connection: Connection,
  sql: LogSql,
  key: StreamKey,
  range: { from: number; to: number; maxBytes: number },
): Promise<{ nextSequence: number; pages: Measured[] }> {
  const rows = await connection.query<unknown[]>({
    name: 'scan_stream',
    text: sql.scanStream,
    values: [key.tenant, key.domain, bytea(key.root), range.from, range.to, range.maxBytes],
  });
  const pages = rows.map((row) => eventAt(row, 1)).filter((event) => event !== undefined);
  return { nextSequence: (rows[0]?.[0] as number | undefined) ?? 0, pages };
}

type SnapshotTuple = [sequence: number, schemaVersion: number, retention: number, typeUrl: string, state: Uint8Array];

function snapshotOf([sequence, schemaVersion, retention, typeUrl, value]: SnapshotTuple): Snapshot {
  return { sequence, state: { typeUrl, value }, retention: retention === 1 ? 1 : 0, schemaVersion };
}

export async function findSnapshot(
  connection: Connection,
  sql: LogSql,
  key: StreamKey,
  schemaVersion: number,
  atOrBefore: number,
): Promise<Snapshot | undefined> {
  const rows = await connection.query<SnapshotTuple>({
    name: 'find_snapshot',
    text: sql.findSnapshot,
    values: [key.tenant, key.domain, bytea(key.root), schemaVersion, atOrBefore],
  });
  return rows[0] && snapshotOf(rows[0]);
}

/** An event as a scan of the log finds it. */
export interface LogEvent extends Measured {
  position: number;
  unitId: Uint8Array;
  stream: number;
  correlationId: string;
}

export interface Scan {
  after: number;
  to: number;
  /** Ends after the event that exceeds it. */
  maxBytes: number;
}

/** All events, in order of positions. `many`: they are copied, which begins more slowly, and then takes a third of the time. */
export async function scanLog(
  connection: Connection,
  sql: LogSql,
  { after, to, maxBytes }: Scan,
  many: boolean,
): Promise<LogEvent[]> {
  const values = [after, to, maxBytes];
  if (many) return connection.copy(sql.scanLog, values, copiedEvent);
  const rows = await connection.query<unknown[]>({ name: 'scan_log', text: sql.scanLog, values });
  return rows.map((row) => scannedEvent(row, 0)!);
}

/** The event in a row, from a column on, as `eventAt`. */
function scannedEvent(row: unknown[], at: number): LogEvent | undefined {
  const measured = eventAt(row, at);
  if (measured === undefined) return undefined;
  const { position, unitId } = measured.page;
  const [stream, correlationId] = row.slice(at + EVENT_COLUMNS) as [number, string];
  return { ...measured, position, unitId, stream, correlationId };
}

function copiedEvent(row: BinaryRows): LogEvent {
  const position = row.number()!;
  const sequence = row.number()!;
  const unitId = row.bytes()!;
  const createdAt = row.number()!;
  const occurredAt = row.number();
  const typeUrl = row.repeatedText(0)!;
  const origin = row.repeatedText(1);
  const metadata = row.repeatedText(2);
  const value = row.bytes()!;
  const stream = row.number()!;
  const correlationId = row.text()!;
  const page = pageOf(position, sequence, unitId, createdAt, occurredAt, typeUrl, origin, metadata, value);
  return { page, bytes: bytesOf(typeUrl, value, origin, metadata), position, unitId, stream, correlationId };
}

/** Those of a correlation, at most so many, in order of positions; and where the log ends. */
export async function scanCorrelation(
  connection: Connection,
  sql: LogSql,
  { after, to, maxBytes, correlationId, limit }: Scan & { correlationId: string; limit: number },
): Promise<{ head: number; events: LogEvent[] }> {
  const rows = await connection.query<unknown[]>({
    name: 'scan_correlation',
    text: sql.scanCorrelation,
    values: [after, to, maxBytes, correlationId, limit],
  });
  const events = rows.map((row) => scannedEvent(row, 1)).filter((event) => event !== undefined);
  return { head: rows[0]![0] as number, events };
}

/** In any order. */
export async function findStreams(
  connection: Connection,
  sql: LogSql,
  streams: readonly number[],
): Promise<[stream: number, key: StreamKey][]> {
  const rows = await connection.query<[number, string, string, Uint8Array]>({
    name: 'find_streams',
    text: sql.findStreams,
    values: [int8s(streams)],
  });
  return rows.map(([stream, tenant, domain, root]) => [stream, { tenant, domain, root }]);
}

/** The first position of the table of times at which the log had reached the time, that table's last one, and the log's end. */
export async function findTimes(
  connection: Connection,
  sql: LogSql,
  timeMicros: number,
): Promise<{ since: number | undefined; last: number; end: number }> {
  const rows = await connection.query<[number | null, number | null, number]>({
    name: 'find_times',
    text: sql.findTimes,
    values: [timeMicros],
  });
  const [since, last, end] = rows[0]!;
  return { since: since ?? undefined, last: last ?? 0, end };
}

/** The first event of the time or later. Looks at all of them up to it. */
export async function findEventSince(
  connection: Connection,
  sql: LogSql,
  after: number,
  to: number,
  timeMicros: number,
): Promise<number | undefined> {
  const rows = await connection.query<[number]>({
    name: 'find_event_since',
    text: sql.findEventSince,
    values: [after, to, timeMicros],
  });
  return rows[0]?.[0];
}

/** Sorts behind every tenant and every domain: those are ASCII. */
const LAST = '\u{10ffff}';

export async function listStreams(
  connection: Connection,
  sql: LogSql,
  list: { tenant?: string; domain?: string; after?: StreamKey; limit: number },
): Promise<StreamHead[]> {
  const { tenant, domain, after, limit } = list;
  const begin = { tenant: tenant ?? '', domain: tenant === undefined ? '' : (domain ?? ''), root: new Uint8Array(0) };
  const from = after !== undefined && afterBegin(after, begin) ? after : begin;
  const upTo = tenant === undefined ? [LAST, LAST] : [tenant, domain ?? LAST];
  const rows = await connection.query<[string, string, Uint8Array, number]>({
    name: 'list_streams',
    text: sql.listStreams,
    values: [from.tenant, from.domain, bytea(from.root), upTo[0], upTo[1], domain ?? null, limit],
  });
  return rows.map(([tenant, domain, root, nextSequence]) => ({ stream: { tenant, domain, root }, nextSequence }));
}

function afterBegin(after: StreamKey, begin: StreamKey): boolean {
  return after.tenant > begin.tenant || (after.tenant === begin.tenant && after.domain >= begin.domain);
}

export async function listSnapshots(
  connection: Connection,
  sql: LogSql,
  after: SnapshotHead | undefined,
  limit: number,
): Promise<SnapshotHead[]> {
  const rows = await connection.query<[string, string, Uint8Array, number, number]>({
    name: 'list_snapshots',
    text: sql.listSnapshots,
    values: [
      after?.stream.tenant ?? '',
      after?.stream.domain ?? '',
      bytea(after?.stream.root ?? new Uint8Array(0)),
      after?.schemaVersion ?? -1,
      after?.sequence ?? -1,
      limit,
    ],
  });
  return rows.map(([tenant, domain, root, sequence, schemaVersion]) => ({
    stream: { tenant, domain, root },
    sequence,
    schemaVersion,
  }));
}

export async function findOutcome(
  connection: Connection,
  sql: LogSql,
  key: OutcomeKey,
): Promise<StoredOutcome | undefined> {
  const rows = await connection.query<[Uint8Array, Uint8Array, Uint8Array, number]>({
    name: 'find_outcome',
    text: sql.findOutcome,
    values: [key.tenant, key.kind, key.key],
  });
  const row = rows[0];
  return row && { hash: row[0], body: row[1], unitId: row[2], position: row[3] };
}

export async function listOutcomes(
  connection: Connection,
  sql: LogSql,
  list: { tenant: string; correlationId: string; after?: ListedOutcome; limit: number },
): Promise<ListedOutcome[]> {
  const { tenant, correlationId, after, limit } = list;
  const rows = await connection.query<[OutcomeKey['kind'], string, Uint8Array, Uint8Array, Uint8Array, number]>({
    name: 'list_outcomes',
    text: sql.listOutcomes,
    values: [tenant, correlationId, after?.position ?? -1, after?.kind ?? '', after?.key ?? '', limit],
  });
  return rows.map(([kind, key, hash, body, unitId, position]) => ({ tenant, kind, key, hash, body, unitId, position }));
}

/** Bytes as the driver takes them: without copying. */
export function bytea(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
