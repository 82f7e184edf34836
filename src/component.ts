// What domain code must offer, however it is reached: served (we call it), attached (it holds a stream to us), or in
// this process (tests). Aggregates and upcasters so far; projectors, sagas and process managers join with delivery.

import type { CommandBook, EventBook, EventPage, Rejection, Snapshot } from './model/book.ts';
import type { StreamKey } from './model/stream.ts';

/** A consecutive part of a history. */
export interface HistoryPart {
  snapshot: Snapshot | undefined;
  /** The sequence of the first page, or where it would be. */
  from: number;
  pages: EventPage[];
  /** As `pageBytes` counts, the snapshot included. */
  bytes: number;
}

/** The history that a command is decided against. It ends before `nextSequence`, whatever happens meanwhile. */
export interface History {
  readonly nextSequence: number;
  /**
   * From the sequence on, when it is in memory; no I/O. 0 is everything, by the newest snapshot of the version if there is one.
   */
  atHand(from: number, snapshotVersion: number): HistoryPart | undefined;
  /** The same in parts of at most `maxBytes`, read as they are asked for. At least one part. */
  parts(from: number, snapshotVersion: number, maxBytes: number): AsyncIterable<HistoryPart>;
}

export interface DecisionRequest {
  stream: StreamKey;
  /** `streamText(stream)`. */
  streamText: string;
  command: CommandBook;
  history: History;
  snapshotWanted: boolean;
  /** Decide from exactly this history and keep nothing of it. */
  dryRun: boolean;
  /** Names this work in calls that the component makes while it decides. */
  workId: string;
  /** Work in hand from inside which the command came, nearest first; its credit is lent. */
  ancestors: readonly string[];
  /** By the monotonic clock. The component answers COMPONENT_TIMEOUT soon after. */
  deadlineMs: number;
  /** Nobody waits any more. */
  signal: AbortSignal;
}

export type Decision = ({ kind: 'events'; book: EventBook } | { kind: 'rejection'; rejection: Rejection }) & {
  /** Tells the component that its reply could not be used. */
  complain?: (sentence: string) => void;
};

export interface HostNeeds {
  /** The sequence up to which the host holds the state already; 0 for none. */
  heldUpTo: number;
  /** Only snapshots of this version mean anything to it. */
  snapshotVersion: number;
}

/**
 * Decides for the aggregates of one domain. Errors: COMPONENT_UNAVAILABLE, COMPONENT_TIMEOUT, COMPONENT_FAULT,
 * HISTORY_TOO_LARGE. A rejection is an answer, not an error.
 */
export interface AggregateComponent {
  readonly domain: string;
  /** What the host that would get this aggregate's work needs, so that no more is read. A hint: hosts come and go. */
  needs(stream: StreamKey, streamText: string): HostNeeds;
  decide(request: DecisionRequest): Promise<Decision>;
}

/**
 * Turns old events of one domain into today's. Errors: COMPONENT_UNAVAILABLE, COMPONENT_TIMEOUT, COMPONENT_FAULT; whoever wanted the
 * pages does not get them in their old shape instead.
 */
export interface Upcaster {
  readonly domain: string;
  /** Full names of the types that it wants to see; `undefined`: all. */
  readonly types: ReadonlySet<string> | undefined;
  /** As many pages, in the same order, with the same sequences: the caller checks. */
  upcast(book: EventBook): Promise<EventPage[]>;
}

/** Finds domain code. */
export interface Components {
  /** `undefined`: the domain has none. One that is known but not there now answers COMPONENT_UNAVAILABLE. */
  upcaster(domain: string): Upcaster | undefined;
  readonly hasUpcasters: boolean;
  /** `undefined`: nobody hosts it now. */
  aggregate(domain: string): AggregateComponent | undefined;
  /** Somebody hosted it since the start, or the configuration names it. */
  knowsDomain(domain: string): boolean;
}
