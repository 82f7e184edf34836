// What a store must offer. Two contracts that one backend normally implements together:
//
// - EventStore: the log. Append units, read a stream, read the log, snapshots, heads.
// - WorkStore: what the daemon remembers about its own work. Idempotency outcomes, and for delivery: subscriptions and the
//   cursors of their partitions, leases, parked keys, the outbox, timers and projections.
//
// `test/contract/store-contract.ts` says the same as tests; every member passes it.

import type { DeliveryStore, WorkPart } from './delivery-store.ts';
import type { EventBook, EventPage, Snapshot } from './model/book.ts';
import type { LogFilter } from './model/filter.ts';
import type { StreamKey } from './model/stream.ts';

export type * from './delivery-store.ts';

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

/** Hints between the daemons of a log. Any may be lost or come late: whoever listens looks now and then anyhow. */
export interface News {
  /**
   * Tells all other daemons of the log. `events`: something is in the log. `outbox`: rows have come or gone that concern others.
   * `daemons`: what daemons host or hold has changed.
   */
  announce(topic: NewsTopic): Promise<void>;
  /** Called with what others announce, and with every topic when something may have been missed. */
  listen(listener: (topic: NewsTopic) => void): void;
}

export type NewsTopic = 'events' | 'outbox' | 'daemons';

export interface Store extends EventStore, WorkStore, DeliveryStore {
  /** Absent: nobody tells. */
  readonly news?: News | undefined;
  /** For people: which store this is, as `sqlite ./data/daybook.db`. Never holds a secret. */
  readonly description: string;
  close(): Promise<void>;
}
