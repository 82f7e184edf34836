// What a store must offer. Two contracts that one backend normally implements together:
//
// - EventStore: the log. Append units, read a stream, read the log, snapshots, heads.
// - WorkStore: what the daemon remembers about its own work. Idempotency outcomes, and for delivery: subscriptions and the
//   cursors of their partitions, leases, parked keys, the outbox, timers and projections.
//
// `test/contract/store-contract.ts` says the same as tests; every member passes it.

import type { EventBook, EventPage, Snapshot } from './model/book.ts';
import type { LogFilter } from './model/filter.ts';
import type { StreamKey } from './model/stream.ts';

/** What the history of a stream must look like for a unit to commit. The four mean four different things. */
export type Expectation =
  | { kind: 'exactly'; nextSequence: number }
  | { kind: 'no-stream' }
  | { kind: 'exists' }
  | { kind: 'any' };

/** Events for one stream. A unit names a stream at most once. */
export interface Append {
  stream: StreamKey;
  correlationId: string;
  expect: Expectation;
  /**
   * At least one. Times, event, origin and metadata are stored as they are; the store decides sequence and position and
   * does not change the pages.
   */
  pages: readonly EventPage[];
}

/** Who may know an outcome by its key. The three kinds never meet. */
export interface OutcomeKey {
  tenant: string;
  kind: 'client' | 'fact' | 'reaction';
  key: string;
}

/** To be remembered under a key: what happened the first time. */
export interface Outcome extends OutcomeKey {
  /** Of what was asked: 32 bytes. The store keeps it; whoever asks compares. */
  hash: Uint8Array;
  /** Opaque to the store. */
  body: Uint8Array;
  /** Microseconds since 1970; `undefined` is for ever. */
  expiresAtMicros: number | undefined;
  /** When given, `listOutcomes` finds it. */
  correlationId: string | undefined;
}

/** An outcome as it was stored, with the unit that stored it. */
export interface StoredOutcome {
  hash: Uint8Array;
  body: Uint8Array;
  unitId: Uint8Array;
  /** Of the unit's first event; of the log's end when the unit has none. */
  position: number;
}

/** The smallest thing that commits: all of it or nothing. */
export interface Unit {
  /**
   * A UUIDv7, 16 bytes; stored with each event. Sending the same unit again is safe, whatever it expects: it is `committed` where it
   * was the first time, and nothing changes. A repeat is known by the unit's events, for ever; without events by its
   * outcomes, as long as they are kept; and a unit with neither, but with a work part, by its id, which is kept until
   * 65,536 later units of this kind are stored. (Rows that carry the id of their last unit would not do: a repeat also comes
   * when its rows have gone, or when the next unit has been there.)
   */
  unitId: Uint8Array;
  appends: readonly Append[];
  /** Of streams that the unit does not write. */
  expectations: readonly { stream: StreamKey; expect: Expectation }[];
  /**
   * Each within its stream, after the unit's own events. LATEST goes as soon as a newer one of its version is there (so one that
   * comes late is not kept), KEEP stays; the newest of a version always stays. The same sequence again replaces the state.
   */
  snapshots: readonly { stream: StreamKey; snapshot: Snapshot }[];
  outcomes: readonly Outcome[];
  /** What delivery does; absent for commands. */
  work?: WorkPart;
}

/** Conflict and duplicate are data: they are answers, not failures. */
export type UnitResult =
  | {
      kind: 'committed';
      /** Of the first event; the others follow without gap, in the order of appends and pages. The log's end without events. */
      position: number;
      /** The sequence of each append's first page. */
      sequences: readonly number[];
    }
  /** `actual` is the stream's next sequence. */
  | { kind: 'conflict'; stream: StreamKey; expected: Expectation; actual: number }
  /** The outcome at `index` of the unit's outcomes was known, from another unit. */
  | { kind: 'duplicate'; index: number; outcome: StoredOutcome }
  /**
   * Something that the unit's work part builds on is not so any more: a lease (somebody else holds the partition), a cursor, a
   * done mark, or the version of a row. `what` is for people.
   */
  | { kind: 'fenced'; what: string };

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
  /** draining: the retry lane has handled everything up to here. Else 0. */
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

/** Something that a reaction wants done elsewhere. */
export interface OutboxRow extends OutboxKey {
  partition: number;
  /** Rows of a lane are dispatched in order of position and index, one at a time. */
  lane: string;
  /** dead: blocks its lane until it is replayed or discarded. */
  state: 'ready' | 'dead';
  target: StreamKey;
  correlationId: string;
  kind: 'command' | 'fact' | 'notification';
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

export type ListedOutcome = OutcomeKey & StoredOutcome;

export interface LogIdentity {
  /** A UUID in text form, made with the log. */
  logId: string;
  /** A UUID in text form, made anew by a restore or a lossy failover. */
  incarnation: string;
}

export interface LogHead extends LogIdentity {
  /** Of the last event; 0 for an empty log. */
  position: number;
  /** The unit of the last event; empty for an empty log. */
  unitId: Uint8Array;
}

export interface StreamRange {
  /** The first sequence. */
  from: number;
  /** The last sequence, included; to the end when absent. */
  to?: number;
  /** Stops before this is exceeded, but never before the first page. As `pageBytes` counts. */
  maxBytes: number;
}

export interface StreamPages {
  /** Consecutive, from `from` on; empty when the stream ends before it. */
  pages: EventPage[];
  /** Of the whole stream; 0 when there is none. */
  nextSequence: number;
}

/** Everything that deciding a command on an aggregate needs, read at one instant. */
export interface StreamOpening extends StreamPages {
  /** The newest of the wanted schema version, when `from` is 0. Pages then start after it. */
  snapshot: Snapshot | undefined;
  /** The sequence after the newest snapshot of the wanted version; 0 when there is none. Set whatever `from` is. */
  snapshotNext: number;
  /** The sequence of the first page that was looked for. */
  from: number;
  /** Of the last event, microseconds since 1970; 0 when there is none. */
  lastCreatedAtMicros: number;
  /** What is known under the key that was asked for. */
  outcome: StoredOutcome | undefined;
}

export interface OpenStream {
  /** Pages before this sequence are not wanted. 0: everything, or the newest snapshot and what follows it. */
  from: number;
  /** Only a snapshot of this version serves; `undefined`: none does. */
  snapshotVersion: number | undefined;
  outcomeKey: OutcomeKey | undefined;
  /** As in StreamRange: a longer history comes in parts, the rest by readStream. */
  maxBytes: number;
}

export interface ReadLog {
  /** Positions at or below this are not wanted. */
  after: number;
  /** Positions above this are not wanted. */
  to?: number;
  filter: LogFilter;
  /** Looks at about so many events, matching or not. */
  maxEvents: number;
  maxBytes: number;
}

export interface LogBooks {
  /**
   * In order of positions. Each is exactly the pages of one stream from one unit, whole; cover, sequences, positions, unit ids and
   * `nextSequence` are set. No book crosses the end of what was looked at. Only where `after` or `to` lies within a
   * book does it come with the wanted pages alone: neither ever does when they come from `through` or from a head.
   */
  books: EventBook[];
  /** Everything up to this position was looked at. Equal to `after` only when the log ends there. */
  through: number;
}

export interface StreamHead {
  stream: StreamKey;
  nextSequence: number;
}

export interface SnapshotHead {
  stream: StreamKey;
  sequence: number;
  schemaVersion: number;
}

/**
 * The log of one service. Promises:
 *
 * - `commit` resolves when every committed unit is durable by the store's rules.
 * - Sequences of a stream are 0, 1, 2 … without gap or duplicate.
 * - Positions follow commit order from 1 without gap: whoever has read position n never later finds a new event at or below n.
 * - Reads see everything that was committed before they began.
 *
 * Errors: STORE_UNAVAILABLE when the store cannot be reached and nothing was stored; OUTCOME_UNKNOWN from `commit` when it
 * cannot be told. After both, the same call may be repeated. Anything else is a defect, or a value that the store cannot hold.
 */
export interface EventStore {
  /**
   * Commits each unit that passes its checks, in order, all in one transaction; each later unit sees the earlier ones. Results come
   * in the same order. Per unit, before its first write: known outcome keys (duplicate; but committed, if this very unit
   * stored them), then the work part (fenced; but committed, if this very unit is stored already), then expectations (conflict; but
   * committed, if the event at the expected sequence carries this unit's id). When the whole batch fails, nothing of it is
   * stored. A value that the store cannot hold (a NUL in a text, a snapshot beyond the end of its stream, a cursor that
   * goes back) fails the batch with INTERNAL.
   */
  commit(units: readonly Unit[]): Promise<UnitResult[]>;

  /** Who this log is, and how far it goes. */
  head(): Promise<LogHead>;

  openStream(stream: StreamKey, open: OpenStream): Promise<StreamOpening>;

  readStream(stream: StreamKey, range: StreamRange): Promise<StreamPages>;

  /** The newest snapshot of the version that lies at or before the sequence. */
  readSnapshot(stream: StreamKey, schemaVersion: number, atOrBefore: number): Promise<Snapshot | undefined>;

  readLog(read: ReadLog): Promise<LogBooks>;

  /**
   * After which position to read the log to see everything that was recorded at or after the time: the one before the first such
   * event, or the log's end when there is none. Costs little, however long the log.
   */
  positionBefore(timeMicros: number): Promise<number>;

  /** Streams in order of tenant, domain and root, after the given one. */
  listStreams(list: { tenant?: string; domain?: string; after?: StreamKey; limit: number }): Promise<StreamHead[]>;

  /** Snapshots of streams, in the order of `listStreams` and then by version and sequence, after the given one. */
  listSnapshots(list: { after?: SnapshotHead; limit: number }): Promise<SnapshotHead[]>;
}

/** What the daemon remembers about its own work. */
export interface WorkStore {
  readOutcome(key: OutcomeKey): Promise<StoredOutcome | undefined>;

  /**
   * Outcomes of a tenant that were stored with this correlation id, in order of positions and then of kind and key, after the
   * given one.
   */
  listOutcomes(list: {
    tenant: string;
    correlationId: string;
    after?: ListedOutcome;
    limit: number;
  }): Promise<ListedOutcome[]>;

  /** Forgets at most `limit` outcomes that expired before `nowMicros`. Returns how many. */
  expireOutcomes(nowMicros: number, limit: number): Promise<number>;
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
   * Makes a generation of a subscription known: a cursor for each partition at `startAfter`. Known already: a newer version replaces
   * its declaration (not its partitions and start, nor whether it is paused), another one changes nothing. Returns what
   * holds now. A projector's first generation is the one that its readers get.
   */
  declare(definition: SubscriptionDefinition): Promise<SubscriptionDefinition>;

  /** All, in order of name and generation. */
  listSubscriptions(): Promise<SubscriptionDefinition[]>;

  /** Stops or goes on, for all daemons. */
  setPaused(subscription: string, paused: boolean): Promise<void>;

  /**
   * Removes a generation with everything that belongs to it, its leases first: whoever still works for it is fenced. The subscription's
   * timers go with its last generation. Projections go in batches of at most `limit`: true when all is gone, else call again.
   */
  removeGeneration(subscription: string, generation: number, limit: number): Promise<boolean>;

  /** In order of subscription, generation and partition. */
  listCursors(subscription?: string): Promise<PartitionCursor[]>;

  /**
   * Takes a partition whose owner is gone (no live heartbeat), that has none, or that the instance holds already: a new epoch, and
   * the definition's version. `undefined` when somebody else holds it, the version is older than the one that it was held with before,
   * or there is no such partition.
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

  readOutbox(key: OutboxKey): Promise<OutboxRow | undefined>;

  /** In order of subscription, generation, position and index, after the given one. The tenant is the target's. */
  listOutbox(list: {
    subscription?: string;
    state?: 'ready' | 'dead';
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

  /** In order of keys, after the given one; rows that are gone are left out. */
  listProjections(list: {
    tenant: string;
    projector: string;
    generation: number;
    prefix: string;
    after?: string;
    limit: number;
  }): Promise<ProjectionRow[]>;

  /** The generation that readers of a projector get; 0 before the first is declared and when it was removed. */
  activeGeneration(projector: string): Promise<number>;

  /**
   * Makes `next` the generation that readers get, in one transaction that checks that each of its cursors is at or past the corresponding
   * progress of `previous` (the least of its cursors, when partitions differ) and nothing of it is parked. False when that is not
   * so, when readers do not get `previous` now, or when `next` was never declared.
   */
  switchGeneration(projector: string, previous: number, next: number): Promise<boolean>;
}

export interface Store extends EventStore, WorkStore, DeliveryStore {
  /** For people: which store this is, as `sqlite ./data/daybook.db`. Never holds a secret. */
  readonly description: string;
  close(): Promise<void>;
}
