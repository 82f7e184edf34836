// The work parts of a batch as the database's function takes them: a JSON document for each unit, and what JSON cannot hold beside it,
// by numbers from 1. Parts that are empty are left out.

import type { OutboxKey, OutboxRow, PartitionKey, Unit, WorkPart } from '../../store.ts';

export interface WorkDocuments {
  /** What is locked before anything is read. */
  locks: string;
  /** One for each unit; `undefined` for one without a work part. */
  documents: (string | undefined)[];
  bytes: Uint8Array[];
}

/** `undefined` when no unit of the batch has a work part. */
export function workOf(units: readonly Unit[]): WorkDocuments | undefined {
  if (!units.some((unit) => unit.work !== undefined)) return undefined;
  const bytes: Uint8Array[] = [];
  const numberOf = (value: Uint8Array) => bytes.push(value);
  const parts = units.map(({ work }) => work);
  return {
    locks: JSON.stringify(locksOf(parts.filter((work) => work !== undefined))),
    documents: parts.map((work) => work && JSON.stringify(documentOf(work, numberOf))),
    bytes,
  };
}

/** Each once: whoever names a row twice locks it once. */
function locksOf(parts: readonly WorkPart[]) {
  const partitions = new Map<string, PartitionKey>();
  const timers = new Map<string, object>();
  const outbox = new Map<string, object>();
  const add = ({ subscription, generation, partition }: PartitionKey) => {
    partitions.set(`${subscription}/${generation}/${partition}`, { subscription, generation, partition });
  };
  for (const work of parts) {
    for (const { partition } of work.fences) add(partition);
    for (const { partition } of work.cursors) add(partition);
    for (const { partition } of work.done) add(partition);
    for (const { partition } of work.parked) add(partition);
    for (const row of work.outboxAdded) add(row);
    for (const { key } of work.outboxChanged) {
      const place = outboxPlace(key);
      outbox.set(JSON.stringify(place), place);
    }
    for (const { key } of work.timers) {
      const { subscription, tenant, process, name } = key;
      timers.set(JSON.stringify([subscription, tenant, process, name]), { subscription, tenant, process, name });
    }
  }
  return { partitions: [...partitions.values()], timers: [...timers.values()], outbox: [...outbox.values()] };
}

function documentOf(work: WorkPart, numberOf: (value: Uint8Array) => number) {
  const fences = [
    ...work.fences.map(({ partition, epoch }) => ({ ...place(partition), epoch })),
    ...work.cursors.map(({ partition, epoch, from, to }) => ({
      ...place(partition),
      epoch,
      from_position: from,
      to_position: to,
    })),
  ];
  const done = work.done.map(({ partition, position }) => ({ ...place(partition), position }));
  const parked = work.parked.map(({ partition, key, version, row }) => ({
    ...place(partition),
    key,
    builds_on: version,
    ...(row && {
      state: row.state,
      position: row.position,
      first_position: row.firstPosition,
      through: row.through,
      attempts: row.attempts,
      due_at: row.dueAtMicros,
      parked_at: row.parkedAtMicros,
      reason: row.reason,
      message: row.message,
    }),
  }));
  const outbox = [
    ...work.outboxAdded.map((row) => ({
      ...outboxPlace(row),
      builds_on: 0,
      ...learned(row),
      partition: row.partition,
      lane: row.lane,
      tenant: row.target.tenant,
      domain: row.target.domain,
      root: numberOf(row.target.root),
      correlation_id: row.correlationId,
      kind: row.kind,
      body: numberOf(row.body),
      created_at: row.createdAtMicros,
    })),
    ...work.outboxChanged.map(({ key, version, row }) => ({
      ...outboxPlace(key),
      builds_on: version,
      ...(row && learned(row)),
    })),
  ];
  const timers = work.timers.map(({ key, version, row }) => ({
    subscription: key.subscription,
    tenant: key.tenant,
    process: key.process,
    name: key.name,
    builds_on: version,
    ...(row && {
      partition: row.partition,
      correlation_id: row.correlationId,
      due_at: row.dueAtMicros,
      body: numberOf(row.body),
    }),
  }));
  const projections = work.projections.map((row) => ({
    projector: row.projector,
    generation: row.generation,
    tenant: row.tenant,
    key: row.key,
    stream_tenant: row.stream.tenant,
    stream_domain: row.stream.domain,
    stream_root: numberOf(row.stream.root),
    sequence: row.sequence,
    position: row.position,
    ...(row.payload && { type_url: row.payload.typeUrl, payload: numberOf(row.payload.value) }),
  }));
  const parts = { fences, done, parked, outbox, timers, ended: work.timersEnded, projections };
  return Object.fromEntries(Object.entries(parts).filter(([, rows]) => rows.length > 0));
}

function place({ subscription, generation, partition }: PartitionKey) {
  return { subscription, generation, partition };
}

function outboxPlace({ subscription, generation, position, index, logId, incarnation }: OutboxKey) {
  return { subscription, generation, position, index, log_id: logId, incarnation };
}

/** What a dispatcher changes in a row. */
function learned(row: OutboxRow) {
  return {
    state: row.state,
    attempts: row.attempts,
    due_at: row.dueAtMicros,
    expires_at: row.expiresAtMicros,
    reason: row.reason,
    message: row.message,
  };
}
