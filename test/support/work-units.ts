// Work parts and their rows for tests of stores: everything that a test does not care about is filled in.

import { randomBytes, randomUUID } from 'node:crypto';
import type {
  OutboxKey,
  OutboxRow,
  ParkedKey,
  PartitionKey,
  ProjectionRow,
  SubscriptionDefinition,
  TimerKey,
  TimerRow,
  Unit,
  WorkPart,
} from '../../src/store.ts';
import { freshStream, unit } from './store-units.ts';

export function work(parts: Partial<WorkPart> = {}): WorkPart {
  return {
    fences: [],
    cursors: [],
    done: [],
    parked: [],
    outboxAdded: [],
    outboxChanged: [],
    timers: [],
    timersEnded: [],
    projections: [],
    ...parts,
  };
}

/** A unit with a work part alone. */
export function working(parts: Partial<WorkPart>): Unit {
  return unit({ work: work(parts) });
}

export function freshName(): string {
  return `s-${randomUUID()}`;
}

export function definition(parts: Partial<SubscriptionDefinition> = {}): SubscriptionDefinition {
  return {
    name: freshName(),
    kind: 'saga',
    generation: 1,
    version: 1,
    domains: [],
    types: [],
    partitions: 2,
    startAfter: 0,
    sync: true,
    paused: false,
    ...parts,
  };
}

export function parkedKey(partition: PartitionKey, key: string, parts: Partial<ParkedKey> = {}): ParkedKey {
  const { subscription, generation, partition: number } = partition;
  return {
    partition: { subscription, generation, partition: number },
    key,
    state: 'retrying',
    position: 5,
    firstPosition: 5,
    through: 0,
    attempts: 1,
    dueAtMicros: 1_000,
    parkedAtMicros: 500,
    reason: 'COMPONENT_FAULT',
    message: 'the handler failed',
    version: 0,
    ...parts,
  };
}

export function outboxRow(
  partition: PartitionKey,
  place: { position: number; index?: number },
  parts: Partial<OutboxRow> = {},
): OutboxRow {
  return {
    logId: 'log',
    incarnation: 'first',
    subscription: partition.subscription,
    generation: partition.generation,
    partition: partition.partition,
    position: place.position,
    index: place.index ?? 0,
    lane: 'a',
    state: 'ready',
    target: freshStream({ domain: 'stock' }),
    correlationId: randomUUID(),
    kind: 'command',
    body: new Uint8Array(randomBytes(30)),
    attempts: 0,
    dueAtMicros: 1_000,
    expiresAtMicros: undefined,
    createdAtMicros: 900,
    reason: '',
    message: '',
    version: 0,
    ...parts,
  };
}

export function outboxKey(row: OutboxKey): OutboxKey {
  const { logId, incarnation, subscription, generation, position, index } = row;
  return { logId, incarnation, subscription, generation, position, index };
}

export function timerKey(subscription: string, process: string, name: string, tenant = ''): TimerKey {
  return { tenant, subscription, process, name };
}

export function timerRow(key: TimerKey, dueAtMicros: number, parts: Partial<TimerRow> = {}): TimerRow {
  const body = new Uint8Array(randomBytes(9));
  return { ...key, partition: 0, correlationId: 'c', dueAtMicros, body, version: 0, ...parts };
}

export function projection(projector: string, key: string, parts: Partial<ProjectionRow> = {}): ProjectionRow {
  return {
    tenant: '',
    projector,
    generation: 1,
    key,
    stream: freshStream(),
    sequence: 0,
    position: 1,
    payload: { typeUrl: 'type.googleapis.com/test.v1.Row', value: new Uint8Array(randomBytes(12)) },
    ...parts,
  };
}
