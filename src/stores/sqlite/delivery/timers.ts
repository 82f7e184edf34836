// Timers: one function per statement.

import type { DatabaseSync } from 'node:sqlite';
import type { TimerKey, TimerRow } from '../../../store.ts';
import { all, get, run } from '../statements.ts';

const TIMER = 'tenant, subscription, process, name, partition, correlation_id, due_at, body, version';
const TIMER_KEY = 'subscription = ? AND tenant = ? AND process = ? AND name = ?';

export const SQL = {
  findTimerVersion: `SELECT version FROM timers WHERE ${TIMER_KEY}`,
  findTimer: `SELECT ${TIMER} FROM timers WHERE ${TIMER_KEY}`,
  putTimer: `INSERT INTO timers (${TIMER}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (subscription, tenant, process, name) DO UPDATE
    SET partition = excluded.partition, correlation_id = excluded.correlation_id, due_at = excluded.due_at,
      body = excluded.body, version = excluded.version`,
  deleteTimer: `DELETE FROM timers WHERE ${TIMER_KEY}`,
  deleteTimersOfProcess: 'DELETE FROM timers WHERE subscription = ? AND tenant = ? AND process = ?',
  deleteTimersOf: 'DELETE FROM timers WHERE subscription = ?',
  dueTimers: `SELECT ${TIMER} FROM timers WHERE subscription = ? AND partition = ? AND due_at <= ?
    ORDER BY due_at, tenant, process, name LIMIT ?`,
  nextTimerDue: 'SELECT due_at FROM timers WHERE subscription = ? AND partition = ? ORDER BY due_at LIMIT 1',
} as const;

type TimerTuple = [
  tenant: string,
  subscription: string,
  process: string,
  name: string,
  partition: number,
  correlationId: string,
  dueAt: number,
  body: Uint8Array,
  version: number,
];

function timerRow(row: TimerTuple): TimerRow {
  const [tenant, subscription, process, name, partition, correlationId, dueAtMicros, body, version] = row;
  return { tenant, subscription, process, name, partition, correlationId, dueAtMicros, body, version };
}

function timerPlace(key: TimerKey) {
  return [key.subscription, key.tenant, key.process, key.name] as const;
}

/** 0 when there is none. */
export function findTimerVersion(db: DatabaseSync, key: TimerKey): number {
  return get<[number]>(db, SQL.findTimerVersion, ...timerPlace(key))?.[0] ?? 0;
}

export function findTimer(db: DatabaseSync, key: TimerKey): TimerRow | undefined {
  const row = get<TimerTuple>(db, SQL.findTimer, ...timerPlace(key));
  return row && timerRow(row);
}

export function putTimer(db: DatabaseSync, row: TimerRow, version: number): void {
  const { tenant, subscription, process, name, partition, correlationId, dueAtMicros, body } = row;
  run(db, SQL.putTimer, tenant, subscription, process, name, partition, correlationId, dueAtMicros, body, version);
}

export function deleteTimer(db: DatabaseSync, key: TimerKey): void {
  run(db, SQL.deleteTimer, ...timerPlace(key));
}

export function deleteTimersOfProcess(db: DatabaseSync, subscription: string, tenant: string, process: string): void {
  run(db, SQL.deleteTimersOfProcess, subscription, tenant, process);
}

export function deleteTimersOf(db: DatabaseSync, subscription: string): void {
  run(db, SQL.deleteTimersOf, subscription);
}

export function dueTimers(
  db: DatabaseSync,
  subscription: string,
  partition: number,
  nowMicros: number,
  limit: number,
): TimerRow[] {
  return all<TimerTuple>(db, SQL.dueTimers, subscription, partition, nowMicros, limit).map(timerRow);
}

export function nextTimerDue(db: DatabaseSync, subscription: string, partition: number): number | undefined {
  return get<[number]>(db, SQL.nextTimerDue, subscription, partition)?.[0];
}
