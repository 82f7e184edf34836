// What delivery's statements give, as the contract has it.

import type {
  InstanceRow,
  OutboxRow,
  ParkedKey,
  ParkedState,
  PartitionCursor,
  ProjectionRow,
  SubscriptionDefinition,
  SubscriptionKind,
  TimerRow,
} from '../../../store.ts';

export type InstanceTuple = [instance: string, body: Uint8Array, heartbeatAt: number, expiresAt: number];

export function instanceRow([instance, body, heartbeatAtMicros, expiresAtMicros]: InstanceTuple): InstanceRow {
  return { instance, body, heartbeatAtMicros, expiresAtMicros };
}

export type SubscriptionTuple = [
  name: string,
  generation: number,
  kind: SubscriptionKind,
  version: number,
  domains: string,
  types: string,
  partitions: number,
  startAfter: number,
  sync: boolean,
  paused: boolean,
];

export function subscriptionRow(row: SubscriptionTuple): SubscriptionDefinition {
  const [name, generation, kind, version, domains, types, partitions, startAfter, sync, paused] = row;
  const filter = { domains: JSON.parse(domains), types: JSON.parse(types) };
  return { name, generation, kind, version, ...filter, partitions, startAfter, sync, paused };
}

export type CursorTuple = [
  subscription: string,
  generation: number,
  partition: number,
  position: number,
  epoch: number,
  owner: string | null,
  definitionVersion: number,
];

export function cursorRow(row: CursorTuple): PartitionCursor {
  const [subscription, generation, partition, position, epoch, owner, definitionVersion] = row;
  return { subscription, generation, partition, position, epoch, owner: owner ?? undefined, definitionVersion };
}

export type ParkedTuple = [
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

export function parkedRow(row: ParkedTuple): ParkedKey {
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

export type OutboxTuple = [
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

export function outboxRow(row: OutboxTuple): OutboxRow {
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

export type TimerTuple = [
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

export function timerRow(row: TimerTuple): TimerRow {
  const [tenant, subscription, process, name, partition, correlationId, dueAtMicros, body, version] = row;
  return { tenant, subscription, process, name, partition, correlationId, dueAtMicros, body, version };
}

export type ProjectionTuple = [
  projector: string,
  generation: number,
  tenant: string,
  key: string,
  streamTenant: string,
  streamDomain: string,
  streamRoot: Uint8Array,
  sequence: number,
  position: number,
  typeUrl: string | null,
  payload: Uint8Array | null,
];

export function projectionRow(row: ProjectionTuple): ProjectionRow {
  const [projector, generation, tenant, key, streamTenant, domain, root, sequence, position, typeUrl, value] = row;
  return {
    projector,
    generation,
    tenant,
    key,
    stream: { tenant: streamTenant, domain, root },
    sequence,
    position,
    payload: typeUrl === null ? undefined : { typeUrl, value: value! },
  };
}
