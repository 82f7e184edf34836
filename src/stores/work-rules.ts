// What the work part of a unit builds on, compared in the same way by every store, and what no store can hold of it.

import type { OutboxKey, OutboxRow, ParkedKey, PartitionCursor, PartitionKey, TimerKey, WorkPart } from '../store.ts';
import { checkCount, checkSafe, checkStream, checkText, refuse } from './values.ts';

/** A unit with a work part alone is known again until so many later ones of its kind are stored. */
export const REPEATS_KEPT = 65_536;

/** Whether only its id can tell that a unit is a repeat. */
export function isWorkAlone(unit: { appends: readonly unknown[]; outcomes: readonly unknown[]; work?: unknown }) {
  return unit.work !== undefined && unit.appends.length === 0 && unit.outcomes.length === 0;
}

/** What is there now. A version of 0: there is no such row. */
export interface WorkState {
  cursor(partition: PartitionKey): PartitionCursor | undefined;
  isDone(partition: PartitionKey, position: number): boolean;
  parkedVersion(partition: PartitionKey, key: string): number;
  outboxVersion(key: OutboxKey): number;
  timerVersion(key: TimerKey): number;
}

/** What is not so any more, for people; `undefined` when the work part may be written. */
export function fencedBy(work: WorkPart, state: WorkState): string | undefined {
  for (const { partition, epoch } of work.fences) {
    const lost = leaseLost(partition, epoch, state.cursor(partition));
    if (lost !== undefined) return lost;
  }
  for (const { partition, epoch, from } of work.cursors) {
    const cursor = state.cursor(partition);
    const lost = leaseLost(partition, epoch, cursor);
    if (lost !== undefined) return lost;
    const at = cursor!.position;
    if (at !== from) return `the cursor of ${partitionText(partition)} is at ${at}, not at ${from}`;
  }
  for (const { partition, position } of work.done) {
    const cursor = state.cursor(partition);
    if (cursor === undefined) return `there is no ${partitionText(partition)}`;
    if (position > cursor.position && !state.isDone(partition, position)) continue;
    return `position ${position} is finished for ${partitionText(partition)}`;
  }
  for (const { partition, key, version } of work.parked) {
    const changed = versionChanged(state.parkedVersion(partition, key), version);
    if (changed) return `key ${key} of ${partitionText(partition)} ${changed}`;
  }
  for (const row of work.outboxAdded) {
    const changed = versionChanged(state.outboxVersion(row), 0);
    if (changed) return `${outboxText(row)} ${changed}`;
  }
  for (const { key, version } of work.outboxChanged) {
    const changed = versionChanged(state.outboxVersion(key), version);
    if (changed) return `${outboxText(key)} ${changed}`;
  }
  for (const { key, version } of work.timers) {
    if (version === undefined) continue;
    const changed = versionChanged(state.timerVersion(key), version);
    if (changed) return `timer ${key.name} of ${key.subscription} and process ${key.process} ${changed}`;
  }
  return undefined;
}

function leaseLost(partition: PartitionKey, epoch: number, cursor: PartitionCursor | undefined): string | undefined {
  if (cursor === undefined) return `there is no ${partitionText(partition)}`;
  if (cursor.epoch !== epoch) return `${partitionText(partition)} is held with epoch ${cursor.epoch}, not ${epoch}`;
  if (cursor.owner === undefined) return `${partitionText(partition)} is not held any more`;
  return undefined;
}

function versionChanged(actual: number, expected: number): string | undefined {
  if (actual === expected) return undefined;
  if (actual === 0) return 'is gone';
  return expected === 0 ? 'is there already' : `has version ${actual}, not ${expected}`;
}

function partitionText(partition: PartitionKey): string {
  return `partition ${partition.partition} of ${partition.subscription}, generation ${partition.generation}`;
}

function outboxText(key: OutboxKey): string {
  return `output ${key.index} of position ${key.position} by ${key.subscription}, generation ${key.generation},`;
}

/** Throws INTERNAL with a sentence. */
export function checkWork(work: WorkPart): void {
  const named = new Set<string>();
  const once = (...parts: (string | number)[]) => {
    const text = parts.join('\0');
    if (named.has(text)) refuse('a unit', 'names a row twice in one part');
    named.add(text);
  };
  for (const { partition, epoch } of work.fences) {
    once('fence', ...checkPartition(partition));
    checkCount(epoch, 'an epoch');
  }
  for (const { partition, epoch, from, to } of work.cursors) {
    once('cursor', ...checkPartition(partition));
    checkCount(epoch, 'an epoch');
    checkCount(from, 'a position');
    checkCount(to, 'a position');
    if (to < from) refuse('a cursor', `does not go back: from ${from} to ${to}`);
  }
  for (const { partition, position } of work.done) {
    checkCount(position, 'a position');
    once('done', ...checkPartition(partition), position);
  }
  for (const { partition, key, version, row } of work.parked) {
    checkCount(version, 'a version');
    checkText(key, 'an ordering key');
    const place = [...checkPartition(partition), key];
    once('parked', ...place);
    if (row !== undefined) checkParked(row, place);
  }
  for (const row of work.outboxAdded) {
    once('outbox', ...checkOutboxKey(row));
    checkOutbox(row);
  }
  for (const { key, version, row } of work.outboxChanged) {
    checkCount(version, 'a version');
    if (version === 0) refuse('a change of the outbox', 'builds on no version');
    const place = checkOutboxKey(key);
    once('outbox', ...place);
    if (row === undefined) continue;
    checkSame(place, checkOutboxKey(row));
    checkOutbox(row);
  }
  for (const { key, version, row } of work.timers) {
    if (version !== undefined) checkCount(version, 'a version');
    const place = checkTimerKey(key);
    once('timer', ...place);
    if (row === undefined) continue;
    checkSame(place, checkTimerKey(row));
    checkCount(row.partition, 'a partition');
    checkText(row.correlationId, 'a correlation id');
    checkSafe(row.dueAtMicros, 'a time');
  }
  for (const { tenant, subscription, process } of work.timersEnded) {
    once('process', ...checkTimerKey({ tenant, subscription, process, name: '' }));
  }
  for (const row of work.projections) {
    checkText(row.tenant, 'a tenant');
    checkText(row.projector, 'a projector');
    checkCount(row.generation, 'a generation');
    checkText(row.key, 'a projection key');
    once('projection', row.tenant, row.projector, row.generation, row.key);
    checkStream(row.stream);
    checkCount(row.sequence, 'a sequence');
    checkCount(row.position, 'a position');
    if (row.payload !== undefined) checkText(row.payload.typeUrl, 'a type URL');
  }
}

type Place = (string | number)[];

function checkPartition({ subscription, generation, partition }: PartitionKey): Place {
  checkText(subscription, 'a subscription');
  checkCount(generation, 'a generation');
  checkCount(partition, 'a partition');
  return [subscription, generation, partition];
}

function checkParked(row: ParkedKey, place: Place): void {
  checkSame(place, [...checkPartition(row.partition), row.key]);
  checkCount(row.position, 'a position');
  checkCount(row.firstPosition, 'a position');
  checkCount(row.through, 'a position');
  checkCount(row.attempts, 'a number of attempts');
  checkSafe(row.dueAtMicros, 'a time');
  checkSafe(row.parkedAtMicros, 'a time');
  checkText(row.reason, 'a reason');
  checkText(row.message, 'a message');
}

function checkOutboxKey({ logId, incarnation, subscription, generation, position, index }: OutboxKey): Place {
  checkText(logId, 'a log id');
  checkText(incarnation, 'an incarnation');
  checkText(subscription, 'a subscription');
  checkCount(generation, 'a generation');
  checkCount(position, 'a position');
  checkCount(index, 'an index');
  return [logId, incarnation, subscription, generation, position, index];
}

function checkOutbox(row: OutboxRow): void {
  checkCount(row.partition, 'a partition');
  checkText(row.lane, 'a lane');
  checkStream(row.target);
  checkText(row.correlationId, 'a correlation id');
  checkCount(row.attempts, 'a number of attempts');
  checkSafe(row.dueAtMicros, 'a time');
  if (row.expiresAtMicros !== undefined) checkSafe(row.expiresAtMicros, 'an expiry');
  checkSafe(row.createdAtMicros, 'a time');
  checkText(row.reason, 'a reason');
  checkText(row.message, 'a message');
}

function checkTimerKey({ tenant, subscription, process, name }: TimerKey): Place {
  checkText(tenant, 'a tenant');
  checkText(subscription, 'a subscription');
  checkText(process, 'a process');
  checkText(name, 'a timer name');
  return [tenant, subscription, process, name];
}

function checkSame(named: Place, inside: Place): void {
  if (named.some((part, i) => part !== inside[i])) refuse('a row', 'is not the one that its change names');
}
