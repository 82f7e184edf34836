// The outbox: one function per statement.

import type { DatabaseSync } from 'node:sqlite';
import type { DeliveryStore, HostShare, OutboxKey, OutboxRow, PartitionDue, PartitionKey } from '../../../store.ts';
import { comparePlaces } from '../../order.ts';
import { all, get, run } from '../statements.ts';

const PARTITION = 'subscription = ? AND generation = ? AND partition = ?';
const OUTBOX = `log_id, incarnation, subscription, generation, position, "index", partition, lane, state, tenant, domain,
  root, correlation_id, kind, body, attempts, due_at, expires_at, created_at, reason, message, version`;
const OUTBOX_PLACE = 'subscription, generation, position, "index", log_id, incarnation';
const OUTBOX_KEY =
  'subscription = ? AND generation = ? AND position = ? AND "index" = ? AND log_id = ? AND incarnation = ?';

export const SQL = {
  findOutboxVersion: `SELECT version FROM outbox WHERE ${OUTBOX_KEY}`,
  findOutboxPlace: `SELECT id, head, subscription, generation, partition, lane FROM outbox WHERE ${OUTBOX_KEY}`,
  findOutbox: `SELECT ${OUTBOX} FROM outbox WHERE ${OUTBOX_KEY}`,
  findFirstOfLane: `SELECT id, position, "index" FROM outbox WHERE ${PARTITION} AND lane = ?
    ORDER BY position, "index", id LIMIT 1`,
  insertOutbox: `INSERT INTO outbox (head, ${OUTBOX})
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  setHead: 'UPDATE outbox SET head = ? WHERE id = ?',
  updateOutbox: `UPDATE outbox
    SET state = ?, attempts = ?, due_at = ?, expires_at = ?, reason = ?, message = ?, version = ? WHERE ${OUTBOX_KEY}`,
  deleteOutbox: 'DELETE FROM outbox WHERE id = ?',
  deleteOutboxOf: 'DELETE FROM outbox WHERE subscription = ? AND generation = ?',
  dueOutbox: `SELECT ${OUTBOX} FROM outbox WHERE ${PARTITION} AND due_at <= ? AND head = 1 AND state = 'ready'
    ORDER BY due_at, position, "index", id LIMIT ?`,
  nextOutboxDue: `SELECT due_at FROM outbox WHERE ${PARTITION} AND head = 1 AND state = 'ready' ORDER BY due_at LIMIT 1`,
  dueForwarded: `SELECT ${OUTBOX} FROM outbox WHERE domain = ? AND partition % ? = ? AND due_at <= ? AND head = 1
    AND state = 'forwarded' ORDER BY due_at, position, "index", id LIMIT ?`,
  nextDue: `SELECT * FROM
      (SELECT subscription, generation, partition,
          (SELECT o.due_at FROM outbox o WHERE o.subscription = c.subscription AND o.generation = c.generation
            AND o.partition = c.partition AND o.head = 1 AND o.state = 'ready' ORDER BY o.due_at LIMIT 1) AS outbox_due,
          (SELECT t.due_at FROM timers t WHERE t.subscription = c.subscription AND t.partition = c.partition
            ORDER BY t.due_at LIMIT 1) AS timer_due
        FROM cursors c WHERE owner = ?)
    WHERE outbox_due IS NOT NULL OR timer_due IS NOT NULL ORDER BY subscription, generation, partition`,
  listOutbox: `SELECT ${OUTBOX} FROM outbox WHERE (${OUTBOX_PLACE}) > (?1, ?2, ?3, ?4, ?5, ?6) AND subscription <= ?7
    AND (?8 IS NULL OR state = ?8) ORDER BY ${OUTBOX_PLACE} LIMIT ?9`,
  listDeadOutbox: `SELECT ${OUTBOX} FROM outbox WHERE (${OUTBOX_PLACE}) > (?1, ?2, ?3, ?4, ?5, ?6)
    AND subscription <= ?7 AND state = 'dead' ORDER BY ${OUTBOX_PLACE} LIMIT ?8`,
  listCorrelatedOutbox: `SELECT ${OUTBOX} FROM outbox WHERE correlation_id = ?10 AND tenant = ?11
    AND (${OUTBOX_PLACE}) > (?1, ?2, ?3, ?4, ?5, ?6) AND subscription <= ?7
    AND (?8 IS NULL OR state = ?8) ORDER BY ${OUTBOX_PLACE} LIMIT ?9`,
} as const;

/** Sorts behind every name: those are ASCII. */
const LAST = '\u{10ffff}';

type OutboxTuple = [
  logId: string,
  incarnation: string,
  subscription: string,
  generation: number,
  position: number,
  index: number,
  partition: number,
  lane: string,
  state: OutboxRow['state'],
  tenant: string,
  domain: string,
  root: Uint8Array,
  correlationId: string,
  kind: OutboxRow['kind'],
  body: Uint8Array,
  attempts: number,
  dueAt: number,
  expiresAt: number | null,
  createdAt: number,
  reason: string,
  message: string,
  version: number,
];

function outboxRow(row: OutboxTuple): OutboxRow {
  return {
    logId: row[0],
    incarnation: row[1],
    subscription: row[2],
    generation: row[3],
    position: row[4],
    index: row[5],
    partition: row[6],
    lane: row[7],
    state: row[8],
    target: { tenant: row[9], domain: row[10], root: row[11] },
    correlationId: row[12],
    kind: row[13],
    body: row[14],
    attempts: row[15],
    dueAtMicros: row[16],
    expiresAtMicros: row[17] ?? undefined,
    createdAtMicros: row[18],
    reason: row[19],
    message: row[20],
    version: row[21],
  };
}

function outboxPlace(key: OutboxKey) {
  return [key.subscription, key.generation, key.position, key.index, key.logId, key.incarnation] as const;
}

/** 0 when there is none. */
export function findOutboxVersion(db: DatabaseSync, key: OutboxKey): number {
  return get<[number]>(db, SQL.findOutboxVersion, ...outboxPlace(key))?.[0] ?? 0;
}

export function findOutbox(db: DatabaseSync, key: OutboxKey): OutboxRow | undefined {
  const row = get<OutboxTuple>(db, SQL.findOutbox, ...outboxPlace(key));
  return row && outboxRow(row);
}

/** Where a row of the outbox stands. */
export interface OutboxPlace extends PartitionKey {
  id: number;
  lane: string;
  isHead: boolean;
}

export function findOutboxPlace(db: DatabaseSync, key: OutboxKey): OutboxPlace | undefined {
  const row = get<[number, number, string, number, number, string]>(db, SQL.findOutboxPlace, ...outboxPlace(key));
  if (row === undefined) return undefined;
  const [id, head, subscription, generation, partition, lane] = row;
  return { id, isHead: head === 1, subscription, generation, partition, lane };
}

export function findFirstOfLane(
  db: DatabaseSync,
  lane: PartitionKey & { lane: string },
): { id: number; position: number; index: number } | undefined {
  const { subscription, generation, partition, lane: name } = lane;
  const row = get<[number, number, number]>(db, SQL.findFirstOfLane, subscription, generation, partition, name);
  return row && { id: row[0], position: row[1], index: row[2] };
}

export function insertOutbox(db: DatabaseSync, row: OutboxRow, version: number, isHead: boolean): void {
  run(
    db,
    SQL.insertOutbox,
    Number(isHead),
    row.logId,
    row.incarnation,
    row.subscription,
    row.generation,
    row.position,
    row.index,
    row.partition,
    row.lane,
    row.state,
    row.target.tenant,
    row.target.domain,
    row.target.root,
    row.correlationId,
    row.kind,
    row.body,
    row.attempts,
    row.dueAtMicros,
    row.expiresAtMicros ?? null,
    row.createdAtMicros,
    row.reason,
    row.message,
    version,
  );
}

export function setHead(db: DatabaseSync, id: number, isHead: boolean): void {
  run(db, SQL.setHead, Number(isHead), id);
}

export function updateOutbox(db: DatabaseSync, row: OutboxRow, version: number): void {
  const { state, attempts, dueAtMicros, expiresAtMicros, reason, message } = row;
  run(
    db,
    SQL.updateOutbox,
    state,
    attempts,
    dueAtMicros,
    expiresAtMicros ?? null,
    reason,
    message,
    version,
    ...outboxPlace(row),
  );
}

export function deleteOutbox(db: DatabaseSync, id: number): void {
  run(db, SQL.deleteOutbox, id);
}

export function deleteOutboxOf(db: DatabaseSync, subscription: string, generation: number): void {
  run(db, SQL.deleteOutboxOf, subscription, generation);
}

export function dueOutbox(db: DatabaseSync, key: PartitionKey, nowMicros: number, limit: number): OutboxRow[] {
  const { subscription, generation, partition } = key;
  return all<OutboxTuple>(db, SQL.dueOutbox, subscription, generation, partition, nowMicros, limit).map(outboxRow);
}

export function nextOutboxDue(db: DatabaseSync, key: PartitionKey): number | undefined {
  return get<[number]>(db, SQL.nextOutboxDue, key.subscription, key.generation, key.partition)?.[0];
}

export function dueForwarded(
  db: DatabaseSync,
  shares: readonly HostShare[],
  nowMicros: number,
  limit: number,
): OutboxRow[] {
  return shares
    .flatMap(({ domain, part, parts }) =>
      all<OutboxTuple>(db, SQL.dueForwarded, domain, parts, part, nowMicros, limit).map(outboxRow),
    )
    .sort((a, b) => comparePlaces(duePlace(a), duePlace(b)))
    .slice(0, limit);
}

function duePlace({ dueAtMicros, position, index }: OutboxRow) {
  return [dueAtMicros, position, index] as const;
}

export function nextDue(db: DatabaseSync, instance: string): PartitionDue[] {
  const found = all<[string, number, number, number | null, number | null]>(db, SQL.nextDue, instance);
  return found.map(([subscription, generation, partition, outboxDue, timerDue]) => ({
    subscription,
    generation,
    partition,
    outboxDue: outboxDue ?? undefined,
    timerDue: timerDue ?? undefined,
  }));
}

export function listOutbox(db: DatabaseSync, list: Parameters<DeliveryStore['listOutbox']>[0]): OutboxRow[] {
  const { subscription, state, correlation, after, limit } = list;
  const begin = [subscription ?? '', -1, -1, -1, '', ''] as const;
  const next = after && outboxPlace(after);
  const from = next !== undefined && comparePlaces(next, begin) > 0 ? next : begin;
  const last = subscription ?? LAST;
  const rows = () => {
    if (correlation !== undefined) {
      const { tenant, correlationId } = correlation;
      return all(db, SQL.listCorrelatedOutbox, ...from, last, state ?? null, limit, correlationId, tenant);
    }
    if (state === 'dead') return all(db, SQL.listDeadOutbox, ...from, last, limit);
    return all(db, SQL.listOutbox, ...from, last, state ?? null, limit);
  };
  return (rows() as OutboxTuple[]).map(outboxRow);
}
