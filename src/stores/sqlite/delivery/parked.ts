// What is finished beyond a cursor, and what is held up: one function per statement.

import type { DatabaseSync } from 'node:sqlite';
import type { DeliveryStore, ParkedCount, ParkedKey, ParkedState, PartitionKey } from '../../../store.ts';
import { comparePlaces } from '../../order.ts';
import { all, get, run } from '../statements.ts';

const PARTITION = 'subscription = ? AND generation = ? AND partition = ?';
const PARKED = `subscription, generation, partition, key, state, position, first_position, through, attempts, due_at,
  parked_at, reason, message, version`;

export const SQL = {
  findDone: `SELECT 1 FROM done WHERE ${PARTITION} AND position = ?`,
  listDone: `SELECT position FROM done WHERE ${PARTITION} ORDER BY position`,
  insertDone: 'INSERT INTO done (subscription, generation, partition, position) VALUES (?, ?, ?, ?)',
  deleteDone: `DELETE FROM done WHERE ${PARTITION} AND position <= ?`,
  deleteDoneOf: 'DELETE FROM done WHERE subscription = ? AND generation = ?',
  findParkedVersion: `SELECT version FROM parked WHERE ${PARTITION} AND key = ?`,
  findParked: `SELECT ${PARKED} FROM parked WHERE ${PARTITION} AND key = ?`,
  findAnyParked: `SELECT 1 FROM parked WHERE subscription = ? AND generation = ? AND state <> 'draining' LIMIT 1`,
  listParked: `SELECT ${PARKED} FROM parked
    WHERE (subscription, generation, partition, key) >= (?1, ?2, ?3, ?4)
      AND (subscription, generation, partition) <= (?5, ?6, ?7) AND (?8 IS NULL OR state = ?8)
    ORDER BY subscription, generation, partition, key LIMIT ?9`,
  countParked: `SELECT subscription, generation, state, count(*) FROM parked
    GROUP BY subscription, generation, state ORDER BY subscription, generation, state`,
  putParked: `INSERT INTO parked (${PARKED}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (subscription, generation, partition, key) DO UPDATE
    SET state = excluded.state, position = excluded.position, first_position = excluded.first_position,
      through = excluded.through, attempts = excluded.attempts, due_at = excluded.due_at,
      parked_at = excluded.parked_at, reason = excluded.reason, message = excluded.message,
      version = excluded.version`,
  deleteParked: `DELETE FROM parked WHERE ${PARTITION} AND key = ?`,
  deleteDrained: `DELETE FROM parked WHERE ${PARTITION} AND through <= ? AND state = 'draining'`,
  deleteParkedOf: 'DELETE FROM parked WHERE subscription = ? AND generation = ?',
} as const;

/** Sorts behind every name: those are ASCII. */
const LAST = '\u{10ffff}';

export function isDone(db: DatabaseSync, key: PartitionKey, position: number): boolean {
  return get(db, SQL.findDone, key.subscription, key.generation, key.partition, position) !== undefined;
}

export function listDone(db: DatabaseSync, key: PartitionKey): number[] {
  return all<[number]>(db, SQL.listDone, key.subscription, key.generation, key.partition).map(([position]) => position);
}

export function insertDone(db: DatabaseSync, key: PartitionKey, position: number): void {
  run(db, SQL.insertDone, key.subscription, key.generation, key.partition, position);
}

export function deleteDone(db: DatabaseSync, key: PartitionKey, upTo: number): void {
  run(db, SQL.deleteDone, key.subscription, key.generation, key.partition, upTo);
}

export function deleteDoneOf(db: DatabaseSync, subscription: string, generation: number): void {
  run(db, SQL.deleteDoneOf, subscription, generation);
}

type ParkedTuple = [
  subscription: string,
  generation: number,
  partition: number,
  key: string,
  state: ParkedState,
  position: number,
  firstPosition: number,
  through: number,
  attempts: number,
  dueAt: number,
  parkedAt: number,
  reason: string,
  message: string,
  version: number,
];

function parkedRow(row: ParkedTuple): ParkedKey {
  return {
    partition: { subscription: row[0], generation: row[1], partition: row[2] },
    key: row[3],
    state: row[4],
    position: row[5],
    firstPosition: row[6],
    through: row[7],
    attempts: row[8],
    dueAtMicros: row[9],
    parkedAtMicros: row[10],
    reason: row[11],
    message: row[12],
    version: row[13],
  };
}

/** 0 when there is none. */
export function findParkedVersion(db: DatabaseSync, partition: PartitionKey, key: string): number {
  const { subscription, generation, partition: number } = partition;
  return get<[number]>(db, SQL.findParkedVersion, subscription, generation, number, key)?.[0] ?? 0;
}

export function findParked(db: DatabaseSync, partition: PartitionKey, key: string): ParkedKey | undefined {
  const { subscription, generation, partition: number } = partition;
  const row = get<ParkedTuple>(db, SQL.findParked, subscription, generation, number, key);
  return row && parkedRow(row);
}

export function hasParked(db: DatabaseSync, subscription: string, generation: number): boolean {
  return get(db, SQL.findAnyParked, subscription, generation) !== undefined;
}

export function listParked(db: DatabaseSync, list: Parameters<DeliveryStore['listParked']>[0]): ParkedKey[] {
  const { partition, state, after, limit } = list;
  const subscription = partition?.subscription ?? list.subscription;
  if (list.subscription !== undefined && list.subscription !== subscription) return [];
  const begin = [subscription ?? '', partition?.generation ?? -1, partition?.partition ?? -1, ''] as const;
  const end = [
    subscription ?? LAST,
    partition?.generation ?? Number.MAX_SAFE_INTEGER,
    partition?.partition ?? Number.MAX_SAFE_INTEGER,
  ] as const;
  const next =
    after &&
    ([after.partition.subscription, after.partition.generation, after.partition.partition, behind(after.key)] as const);
  const from = next !== undefined && comparePlaces(next, begin) > 0 ? next : begin;
  return all<ParkedTuple>(db, SQL.listParked, ...from, ...end, state ?? null, limit).map(parkedRow);
}

export function countParked(db: DatabaseSync): ParkedCount[] {
  const rows = all<[string, number, ParkedState, number]>(db, SQL.countParked);
  return rows.map(([subscription, generation, state, count]) => ({ subscription, generation, state, count }));
}

export function putParked(db: DatabaseSync, row: ParkedKey, version: number): void {
  const { subscription, generation, partition } = row.partition;
  run(
    db,
    SQL.putParked,
    subscription,
    generation,
    partition,
    row.key,
    row.state,
    row.position,
    row.firstPosition,
    row.through,
    row.attempts,
    row.dueAtMicros,
    row.parkedAtMicros,
    row.reason,
    row.message,
    version,
  );
}

export function deleteParked(db: DatabaseSync, partition: PartitionKey, key: string): void {
  run(db, SQL.deleteParked, partition.subscription, partition.generation, partition.partition, key);
}

export function deleteDrained(db: DatabaseSync, key: PartitionKey, upTo: number): void {
  run(db, SQL.deleteDrained, key.subscription, key.generation, key.partition, upTo);
}

export function deleteParkedOf(db: DatabaseSync, subscription: string, generation: number): void {
  run(db, SQL.deleteParkedOf, subscription, generation);
}

/** The next text: none lies between, as none contains a NUL. */
function behind(text: string): string {
  return `${text}\0`;
}
