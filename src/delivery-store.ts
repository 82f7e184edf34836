// The part of the store contract that delivery needs (src/store.ts has the rest): subscriptions and the cursors of their
// partitions, leases, parked keys, the outbox, timers and projections. `test/contract/delivery-contract.ts` says the same as tests.

import type { StreamKey } from './model/stream.ts';

/** Names one partition of one generation of a subscription. */
export interface PartitionKey {
  subscription: string;
  generation: number;
  /** From 0. */
  partition: number;
}

export type SubscriptionKind = 'projector' | 'saga' | 'process_manager' | 'relay' | 'stream';

/** What a subscription is, as its component declared it. */
export interface SubscriptionDefinition {
  name: string;
  kind: SubscriptionKind;
  generation: number;
  /** Increases with each change of the declaration within a generation. */
  version: number;
  /** Any of these domains; empty: all. */
  domains: readonly string[];
  /** Any of these full event type names; empty: all. */
  types: readonly string[];
  /** How many partitions there are; never changes within a generation. */
  partitions: number;
  /** The position after which its cursors began. */
  startAfter: number;
  /** SIMPLE waits for it. */
  sync: boolean;
  /** Stopped by an operator. */
  paused: boolean;
}

/** Everything up to `position` is finished for this partition; what is finished beyond has done marks. */
export interface PartitionCursor extends PartitionKey {
  position: number;
  /** Increases with each change of owner. */
  epoch: number;
  /** The instance that holds the lease; `undefined`: nobody. */
  owner: string | undefined;
  /** Of the definition by which the owner filters. */
  definitionVersion: number;
}

/** The one order within which events are handled: the stream, or tenant and correlation id, as text. */
export type OrderingKey = string;

export type ParkedState =
  /** Tried again when `dueAtMicros` has come. */
  | 'retrying'
  /** Waits for somebody to replay or discard it. */
  | 'dead'
  /** Caught up to `through`; what comes later is the tail's. */
  | 'draining';

/** A key that is held up for one subscription: none of its events behind `position` is handled before it. */
export interface ParkedKey {
  partition: PartitionKey;
  key: OrderingKey;
  state: ParkedState;
  /** The first event that was not handled, now. */
  position: number;
  /** Where it all began. */
  firstPosition: number;
  /**
   * draining: the retry lane has handled everything up to here. Else the generation that is built to replace this one has handled what it
   * found held up here, up to this event; 0: nothing.
   */
  through: number;
  /** Of the event at `position`. */
  attempts: number;
  dueAtMicros: number;
  parkedAtMicros: number;
  reason: string;
  message: string;
  /**
   * Given by the store with every write (so it does not matter in a row that is written), and never given again, not even when the row
   * has gone and comes again. A change names the version it builds on; 0 for a row that must not be there.
   */
  version: number;
}

export interface ParkedCount {
  subscription: string;
  generation: number;
  state: ParkedState;
  count: number;
}

/** Names a reaction's output for ever: the n-th output of the event at the position, for this subscription. */
export interface OutboxKey {
  logId: string;
  incarnation: string;
  subscription: string;
  generation: number;
  position: number;
  index: number;
}

export type OutboxState =
  /** For the daemon that holds its partition. */
  | 'ready'
  /** For any daemon that hosts the domain of its target. */
  | 'forwarded'
  /** Blocks its lane until it is replayed or discarded. */
  | 'dead';

/** The n-th of so many hosts of a domain takes the rows whose `partition`, divided by `parts`, leaves `part`. */
export interface HostShare {
  domain: string;
  part: number;
  parts: number;
}

/** What waits in a partition: when the first row of its outbox is due, and its first timer. */
export interface PartitionDue extends PartitionKey {
  outboxDue: number | undefined;
  timerDue: number | undefined;
}

/** Something that a reaction wants done elsewhere, or a command on its way to another daemon of this log. */
export interface OutboxRow extends OutboxKey {
  partition: number;
  /** Rows of a lane are dispatched in order of position and index, one at a time. */
  lane: string;
  state: OutboxState;
  target: StreamKey;
  correlationId: string;
  /** timer: one that fired and could not be handled; to its own process, as a notification is. */
  kind: 'command' | 'fact' | 'notification' | 'timer';
  /** Opaque to the store. */
  body: Uint8Array;
  attempts: number;
  dueAtMicros: number;
  /** Nobody wants it after this; `undefined`: for ever. */
  expiresAtMicros: number | undefined;
  createdAtMicros: number;
  reason: string;
  message: string;
  /** As that of a parked key. */
  version: number;
}

export interface TimerKey {
  tenant: string;
  /** The process manager. */
  subscription: string;
  /** The process, as text. */
  process: OrderingKey;
  name: string;
}

export interface TimerRow extends TimerKey {
  partition: number;
  correlationId: string;
  dueAtMicros: number;
  /** Opaque to the store. */
  body: Uint8Array;
  /** As that of a parked key. */
  version: number;
}

export interface ProjectionKey {
  tenant: string;
  projector: string;
  generation: number;
  key: string;
}

/** One row of a read model. */
export interface ProjectionRow extends ProjectionKey {
  /** The stream that it was made from last. */
  stream: StreamKey;
  sequence: number;
  position: number;
  /** Opaque to the store; `undefined`: the row is gone, and is remembered as such. */
  payload: { typeUrl: string; value: Uint8Array } | undefined;
}

/**
 * What delivery does in a unit. Every comparison is made before the first write of the unit, with what was there before it; any
 * that fails makes the unit `fenced`, and nothing of it is stored. Then the parts are written in the order in which they
 * stand here, but the cursors move last: done marks and draining keys that this very unit brings go with them too. A
 * unit names a row at most once in each part.
 */
export interface WorkPart {
  /** Leases that must still be held: the partition has an owner, and its cursor this epoch. A heartbeat is not asked for. */
  fences: readonly { partition: PartitionKey; epoch: number }[];
  /**
   * Cursors that move. `from` is where the cursor must be. Done marks at or below `to` go with it, and so do draining keys of the
   * partition whose `through` it has reached.
   */
  cursors: readonly { partition: PartitionKey; epoch: number; from: number; to: number }[];
  /** Events that are finished out of order. Fenced when one is marked already, or lies at or below the cursor. */
  done: readonly { partition: PartitionKey; position: number }[];
  /** `version` of the row is the one it builds on; `row: undefined` removes it. */
  parked: readonly { partition: PartitionKey; key: OrderingKey; version: number; row: ParkedKey | undefined }[];
  /** New rows; fenced when one is there already. */
  outboxAdded: readonly OutboxRow[];
  /**
   * Rows that change, or go (`row: undefined`), by the version they build on. State, attempts, due time, expiry, reason and message
   * change; the rest stays as it was. A row that is not there cannot change: the version is never 0.
   */
  outboxChanged: readonly { key: OutboxKey; version: number; row: OutboxRow | undefined }[];
  /** Set, set again, or removed (`row: undefined`). `version` is the one it builds on: 0, there must be none; `undefined`, whatever is there. */
  timers: readonly { key: TimerKey; version: number | undefined; row: TimerRow | undefined }[];
  /** All timers of these processes are removed, also those that the same unit sets. */
  timersEnded: readonly { tenant: string; subscription: string; process: OrderingKey }[];
  /** Put in the place of what is there under their keys. */
  projections: readonly ProjectionRow[];
}

/** What a daemon of this log says of itself. */
export interface InstanceRow {
  instance: string;
  /** Opaque to the store: what it hosts, its version, its address for peers. */
  body: Uint8Array;
  heartbeatAtMicros: number;
  expiresAtMicros: number;
}

/** A partition that was taken, as it is now. */
export interface AcquiredPartition extends PartitionCursor {
  /** Who held it and neither released it nor left: it may have died in the middle of something. `undefined`: nobody. */
  takenFrom: string | undefined;
}

/** The part of the WorkStore that delivery needs. Times are by the store's own clock, which all daemons of a log share. */
export interface DeliveryStore {
  /** Microseconds since 1970. */
  now(): Promise<number>;

  /** Says that this instance is there for `ttlMs`. Returns all that are there now, this one among them, in order of their names. */
  heartbeat(instance: string, body: Uint8Array, ttlMs: number): Promise<InstanceRow[]>;

  /** The instance is gone: its heartbeat and all its leases. */
  leave(instance: string): Promise<void>;

  /**
   * Makes a generation of a subscription known: a cursor for each partition at `startAfter`. Known already: a newer version of the same
   * declared generation (`isNewer`) replaces its declaration (not its partitions and start, nor whether it is paused), another one changes
   * nothing: somebody else may have taken this generation's number a moment ago, for another one of the component. Returns what
   * holds now. A projector's first generation is the one that its readers get.
   */
  declare(definition: SubscriptionDefinition): Promise<SubscriptionDefinition>;

  /** All, in order of name and generation. */
  listSubscriptions(): Promise<SubscriptionDefinition[]>;

  /** Stops or goes on, for all daemons. */
  setPaused(subscription: string, paused: boolean): Promise<void>;

  /**
   * Removes a generation with everything that belongs to it, its leases first: whoever still works for it is fenced. The subscription's
   * timers go with its last generation. Projections go in batches of at most `limit`, and its declaration with the last of them: true when all is
   * gone, else call again. Of the one that readers get nothing is removed while there are others: true as well.
   */
  removeGeneration(subscription: string, generation: number, limit: number): Promise<boolean>;

  /** In order of subscription, generation and partition. */
  listCursors(subscription?: string): Promise<PartitionCursor[]>;

  /**
   * Takes a partition whose owner is gone (no live heartbeat), that has none, or that the instance holds already: a new epoch, and
   * the definition's version. `undefined` when somebody else holds it, the version is older than the one that it was held with before,
   * readers get a newer generation, or there is no such partition.
   */
  acquire(partition: PartitionKey, instance: string, definitionVersion: number): Promise<AcquiredPartition | undefined>;

  /** Gives a partition back, if it is still held with this epoch. */
  release(partition: PartitionKey, epoch: number): Promise<void>;

  /** Positions above the cursor that are finished, ascending. */
  listDone(partition: PartitionKey): Promise<number[]>;

  readParked(partition: PartitionKey, key: OrderingKey): Promise<ParkedKey | undefined>;

  /** In order of subscription, generation, partition and key, after the given one. */
  listParked(list: {
    subscription?: string;
    partition?: PartitionKey;
    state?: ParkedState;
    after?: { partition: PartitionKey; key: OrderingKey };
    limit: number;
  }): Promise<ParkedKey[]>;

  /** In order of subscription, generation and state; of what there is. */
  countParked(): Promise<ParkedCount[]>;

  /**
   * The first row of each lane of the partition, if it is ready and due; the earliest due first, then in order of position and index.
   * A lane whose first row is dead or not due yet has none. Costs what it returns, however many rows and lanes wait.
   */
  dueOutbox(partition: PartitionKey, nowMicros: number, limit: number): Promise<OutboxRow[]>;

  /** When the next lane of the partition is due; `undefined`: nothing is ready. */
  nextOutboxDue(partition: PartitionKey): Promise<number | undefined>;

  /**
   * The first row of each lane, if it is forwarded and due, of these domains and of this daemon's share of each; in the order of
   * `dueOutbox`. Costs what it returns, and the due ones of others' shares.
   */
  dueForwarded(shares: readonly HostShare[], nowMicros: number, limit: number): Promise<OutboxRow[]>;

  /** Of each partition that the instance holds and in which something is ready or a timer set; in order. Costs one look at each that it holds. */
  nextDue(instance: string): Promise<PartitionDue[]>;

  readOutbox(key: OutboxKey): Promise<OutboxRow | undefined>;

  /** In order of subscription, generation, position and index, after the given one. The tenant is the target's. */
  listOutbox(list: {
    subscription?: string;
    state?: OutboxState;
    correlation?: { tenant: string; correlationId: string };
    after?: OutboxKey;
    limit: number;
  }): Promise<OutboxRow[]>;

  /** Due timers of the partition, the earliest first, then in order of tenant, process and name. */
  dueTimers(subscription: string, partition: number, nowMicros: number, limit: number): Promise<TimerRow[]>;

  /** When the next timer of the partition is due; `undefined`: there is none. */
  nextTimerDue(subscription: string, partition: number): Promise<number | undefined>;

  readTimer(key: TimerKey): Promise<TimerRow | undefined>;

  readProjection(key: ProjectionKey): Promise<ProjectionRow | undefined>;

  /** A generation of a projector has rows, those that are gone included. */
  hasProjections(projector: string, generation: number): Promise<boolean>;

  /** In order of keys, after the given one; rows that are gone are left out. */
  listProjections(list: {
    tenant: string;
    projector: string;
    generation: number;
    prefix: string;
    after?: string;
    limit: number;
  }): Promise<ProjectionRow[]>;

  /** Rows that were made last from events of this stream at or after the position, in order of position and key. */
  projectionsOf(of: {
    stream: StreamKey;
    projector: string;
    generation: number;
    from: number;
    limit: number;
  }): Promise<ProjectionRow[]>;

  /** The generation that readers of a projector get; 0 before the first is declared and when it was removed. */
  activeGeneration(projector: string): Promise<number>;

  /** The same of all projectors that have one, in order of their names. */
  activeGenerations(): Promise<{ projector: string; generation: number }[]>;

  /**
   * Makes `next` the generation that readers get, in one transaction that checks that each of its cursors is at or past the corresponding
   * progress of `previous` (the least of its cursors, when partitions differ) and nothing of it is parked, but for what is draining. False when that is not
   * so, when readers do not get `previous` now, or when `next` was never declared. With the switch the leases of `previous` end, and nobody acquires
   * it again.
   */
  switchGeneration(projector: string, previous: number, next: number): Promise<boolean>;
}
