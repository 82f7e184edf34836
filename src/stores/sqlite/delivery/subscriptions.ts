// Instances, subscriptions and the cursors of their partitions: one function per statement.

import type { DatabaseSync } from 'node:sqlite';
import type {
  InstanceRow,
  PartitionCursor,
  PartitionKey,
  SubscriptionDefinition,
  SubscriptionKind,
} from '../../../store.ts';
import { all, get, run } from '../statements.ts';

const SUBSCRIPTION = 'name, generation, kind, version, domains, types, partitions, start_after, sync, paused';
const CURSOR = 'subscription, generation, partition, position, epoch, owner, definition_version';
const PARTITION = 'subscription = ? AND generation = ? AND partition = ?';

export const SQL = {
  listInstances:
    'SELECT instance, body, heartbeat_at, expires_at FROM instances WHERE expires_at > ? ORDER BY instance',
  findInstance: 'SELECT 1 FROM instances WHERE instance = ? AND expires_at > ?',
  putInstance: `INSERT INTO instances (instance, body, heartbeat_at, expires_at) VALUES (?, ?, ?, ?)
    ON CONFLICT (instance) DO UPDATE
    SET body = excluded.body, heartbeat_at = excluded.heartbeat_at, expires_at = excluded.expires_at`,
  deleteInstance: 'DELETE FROM instances WHERE instance = ?',
  deleteExpiredInstances: 'DELETE FROM instances WHERE expires_at <= ?',
  deleteInstances: 'DELETE FROM instances',
  findSubscription: `SELECT ${SUBSCRIPTION} FROM subscriptions WHERE name = ? AND generation = ?`,
  listSubscriptions: `SELECT ${SUBSCRIPTION} FROM subscriptions ORDER BY name, generation`,
  findOther: 'SELECT 1 FROM subscriptions WHERE name = ? AND generation <> ? LIMIT 1',
  insertSubscription: `INSERT INTO subscriptions (${SUBSCRIPTION}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  updateSubscription: `UPDATE subscriptions SET kind = ?, version = ?, domains = ?, types = ?, sync = ?
    WHERE name = ? AND generation = ?`,
  setPaused: 'UPDATE subscriptions SET paused = ? WHERE name = ?',
  deleteSubscription: 'DELETE FROM subscriptions WHERE name = ? AND generation = ?',
  findActive: 'SELECT generation FROM active_generations WHERE projector = ?',
  listActive: 'SELECT projector, generation FROM active_generations ORDER BY projector',
  putActive: `INSERT INTO active_generations (projector, generation) VALUES (?, ?)
    ON CONFLICT (projector) DO UPDATE SET generation = excluded.generation`,
  deleteActive: 'DELETE FROM active_generations WHERE projector = ? AND generation = ?',
  findCursor: `SELECT ${CURSOR} FROM cursors WHERE ${PARTITION}`,
  listCursors: `SELECT ${CURSOR} FROM cursors WHERE subscription >= ? AND subscription <= ?
    ORDER BY subscription, generation, partition`,
  insertCursor: `INSERT INTO cursors (${CURSOR}) VALUES (?, ?, ?, ?, 0, NULL, 0)`,
  moveCursor: `UPDATE cursors SET position = ? WHERE ${PARTITION}`,
  takeCursor: `UPDATE cursors SET owner = ?, epoch = ?, definition_version = ? WHERE ${PARTITION}`,
  releaseCursor: `UPDATE cursors SET owner = NULL WHERE ${PARTITION} AND epoch = ?`,
  releaseCursors: 'UPDATE cursors SET owner = NULL WHERE owner = ?',
  deleteCursors: 'DELETE FROM cursors WHERE subscription = ? AND generation = ?',
} as const;

/** Sorts behind every name: those are ASCII. */
const LAST = '\u{10ffff}';

export function listInstances(db: DatabaseSync, nowMicros: number): InstanceRow[] {
  const rows = all<[string, Uint8Array, number, number]>(db, SQL.listInstances, nowMicros);
  return rows.map(([instance, body, heartbeatAtMicros, expiresAtMicros]) => ({
    instance,
    body,
    heartbeatAtMicros,
    expiresAtMicros,
  }));
}

/** Whether it has a live heartbeat. */
export function isThere(db: DatabaseSync, instance: string, nowMicros: number): boolean {
  return get(db, SQL.findInstance, instance, nowMicros) !== undefined;
}

export function putInstance(db: DatabaseSync, row: InstanceRow): void {
  run(db, SQL.putInstance, row.instance, row.body, row.heartbeatAtMicros, row.expiresAtMicros);
}

export function deleteInstance(db: DatabaseSync, instance: string): void {
  run(db, SQL.deleteInstance, instance);
}

export function deleteExpiredInstances(db: DatabaseSync, nowMicros: number): void {
  run(db, SQL.deleteExpiredInstances, nowMicros);
}

export function deleteInstances(db: DatabaseSync): void {
  run(db, SQL.deleteInstances);
}

type SubscriptionTuple = [
  name: string,
  generation: number,
  kind: SubscriptionKind,
  version: number,
  domains: string,
  types: string,
  partitions: number,
  startAfter: number,
  sync: number,
  paused: number,
];

function subscriptionRow(row: SubscriptionTuple): SubscriptionDefinition {
  const [name, generation, kind, version, domains, types, partitions, startAfter, sync, paused] = row;
  return {
    name,
    generation,
    kind,
    version,
    domains: JSON.parse(domains),
    types: JSON.parse(types),
    partitions,
    startAfter,
    sync: sync === 1,
    paused: paused === 1,
  };
}

export function findSubscription(
  db: DatabaseSync,
  name: string,
  generation: number,
): SubscriptionDefinition | undefined {
  const row = get<SubscriptionTuple>(db, SQL.findSubscription, name, generation);
  return row && subscriptionRow(row);
}

export function listSubscriptions(db: DatabaseSync): SubscriptionDefinition[] {
  return all<SubscriptionTuple>(db, SQL.listSubscriptions).map(subscriptionRow);
}

/** Generations beside this one. */
export function hasOthers(db: DatabaseSync, name: string, generation: number): boolean {
  return get(db, SQL.findOther, name, generation) !== undefined;
}

export function insertSubscription(db: DatabaseSync, definition: SubscriptionDefinition): void {
  const { name, generation, kind, version, domains, types, partitions, startAfter, sync, paused } = definition;
  run(
    db,
    SQL.insertSubscription,
    name,
    generation,
    kind,
    version,
    JSON.stringify(domains),
    JSON.stringify(types),
    partitions,
    startAfter,
    Number(sync),
    Number(paused),
  );
}

/** All but partitions, start and whether it is paused. */
export function updateSubscription(db: DatabaseSync, definition: SubscriptionDefinition): void {
  const { name, generation, kind, version, domains, types, sync } = definition;
  const filter = [JSON.stringify(domains), JSON.stringify(types)] as const;
  run(db, SQL.updateSubscription, kind, version, ...filter, Number(sync), name, generation);
}

export function setPaused(db: DatabaseSync, subscription: string, paused: boolean): void {
  run(db, SQL.setPaused, Number(paused), subscription);
}

export function deleteSubscription(db: DatabaseSync, name: string, generation: number): void {
  run(db, SQL.deleteSubscription, name, generation);
}

/** 0 when there is none. */
export function findActive(db: DatabaseSync, projector: string): number {
  return get<[number]>(db, SQL.findActive, projector)?.[0] ?? 0;
}

export function listActive(db: DatabaseSync): { projector: string; generation: number }[] {
  return all<[string, number]>(db, SQL.listActive).map(([projector, generation]) => ({ projector, generation }));
}

export function putActive(db: DatabaseSync, projector: string, generation: number): void {
  run(db, SQL.putActive, projector, generation);
}

export function deleteActive(db: DatabaseSync, projector: string, generation: number): void {
  run(db, SQL.deleteActive, projector, generation);
}

type CursorTuple = [
  subscription: string,
  generation: number,
  partition: number,
  position: number,
  epoch: number,
  owner: string | null,
  definitionVersion: number,
];

function cursorRow(row: CursorTuple): PartitionCursor {
  const [subscription, generation, partition, position, epoch, owner, definitionVersion] = row;
  return { subscription, generation, partition, position, epoch, owner: owner ?? undefined, definitionVersion };
}

export function findCursor(db: DatabaseSync, key: PartitionKey): PartitionCursor | undefined {
  const row = get<CursorTuple>(db, SQL.findCursor, key.subscription, key.generation, key.partition);
  return row && cursorRow(row);
}

export function listCursors(db: DatabaseSync, subscription: string | undefined): PartitionCursor[] {
  return all<CursorTuple>(db, SQL.listCursors, subscription ?? '', subscription ?? LAST).map(cursorRow);
}

export function insertCursor(db: DatabaseSync, key: PartitionKey, position: number): void {
  run(db, SQL.insertCursor, key.subscription, key.generation, key.partition, position);
}

export function moveCursor(db: DatabaseSync, key: PartitionKey, position: number): void {
  run(db, SQL.moveCursor, position, key.subscription, key.generation, key.partition);
}

export function takeCursor(db: DatabaseSync, cursor: PartitionCursor): void {
  const { subscription, generation, partition, owner, epoch, definitionVersion } = cursor;
  run(db, SQL.takeCursor, owner ?? null, epoch, definitionVersion, subscription, generation, partition);
}

export function releaseCursor(db: DatabaseSync, key: PartitionKey, epoch: number): void {
  run(db, SQL.releaseCursor, key.subscription, key.generation, key.partition, epoch);
}

export function releaseCursors(db: DatabaseSync, owner: string): void {
  run(db, SQL.releaseCursors, owner);
}

export function deleteCursors(db: DatabaseSync, subscription: string, generation: number): void {
  run(db, SQL.deleteCursors, subscription, generation);
}
