// What domain code must offer, however it is reached: served (we call it), attached (it holds a stream to us), or in
// this process (tests). Aggregates decide, upcasters translate, reactors (projectors, sagas, process managers) handle what happened.

import { DaybookError } from './errors.ts';
import type { CommandBook, EventBook, EventPage, Rejection, Snapshot } from './model/book.ts';
import type { ReactionMessages, ReactorKind } from './model/reaction.ts';
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

/** Where a subscription begins when it is first seen. */
export type StartPoint =
  | { kind: 'beginning' }
  | { kind: 'now' }
  | { kind: 'after'; position: number }
  /** Microseconds since 1970. */
  | { kind: 'time'; timeMicros: number };

/** What a projector, saga or process manager says of itself. */
export interface ReactorDeclaration {
  kind: ReactorKind;
  name: string;
  /** Any of these; empty: all. */
  domains: readonly string[];
  /** Full event type names, any of these; empty: all. */
  types: readonly string[];
  /** From 1. Raised when what a projector stores changes incompatibly. */
  generation: number;
  /** From 1. Raised with each change of domains and types within a generation. */
  version: number;
  start: StartPoint;
  partitions: number;
  /** SIMPLE waits for it; only of projectors. */
  sync: boolean;
  /** One partition in log order; only of projectors. */
  ordered: boolean;
  /** Pages of one stream in one request, at most; 1 but for projectors. */
  maxPages: number;
  /** Of the process manager's own streams; else empty. */
  domain: string;
  snapshotSchemaVersion: number;
}

/** A text that is made when somebody reads it. */
export class LazyText {
  readonly #make: () => string;

  constructor(make: () => string) {
    this.#make = make;
  }

  toString(): string {
    return this.#make();
  }
}

/** What sentences are about. Work comes by the thousand, and nearly never is anything said of it. */
export type About = string | LazyText;

export interface ReactionCall {
  /** For sentences: `fulfilment: event 3 of /order/018f…`. */
  about: About;
  /** Names this work in calls that the component makes while it handles it. */
  workId: string;
  /** A host has one of a key in hand at a time; `undefined`: it waits for no other. */
  key: string | undefined;
  /** As `pageBytes` counts; against the credits. */
  bytes: number;
  /** Counts from when the request is sent, not while it waits for credit. */
  timeoutMs: number;
  /** Nobody waits any more. */
  signal: AbortSignal;
  /** W3C trace context of the event; empty when nothing is traced. */
  traceparent: string;
  tracestate: string;
}

/** The host went away with the work in hand: it may have died of it. Work that was not sent fails with COMPONENT_UNAVAILABLE alone. */
export class HostLost extends DaybookError {
  constructor(component: string, about: About) {
    super('COMPONENT_UNAVAILABLE', `${about}: the host of ${component} went away with it in hand`, {
      metadata: { component },
      retryDelayMs: 200,
    });
  }
}

/**
 * Handles events for a subscription. Errors of `handle`: COMPONENT_UNAVAILABLE (nobody there, or HostLost), OVERLOADED,
 * COMPONENT_TIMEOUT, COMPONENT_FAULT (the handler failed, or answered something else). The response is as the component sent it: the
 * coordinators check it. The same order key is never in hand twice.
 */
export interface Reactor<Kind extends ReactorKind = ReactorKind> {
  readonly declaration: ReactorDeclaration & { kind: Kind };
  /** Somebody is there to be asked now. */
  readonly available: boolean;
  handle(request: ReactionMessages[Kind]['request'], call: ReactionCall): Promise<ReactionMessages[Kind]['response']>;
  /** Tells those who declared it, in their log or on their stream, that it gets no work and why; `undefined`: that this is over. */
  refuse(sentence: string | undefined): void;
}

/** Finds domain code. */
export interface Components {
  /**
   * Every reactor that is hosted now, or was since the start: one for each kind, name, generation and version. The same
   * object as long as anybody hosts it.
   */
  reactors(): readonly Reactor[];
  /** Called after reactors came, went, or became available or not. */
  onReactorsChanged(listener: () => void): void;
  /** `undefined`: the domain has none. One that is known but not there now answers COMPONENT_UNAVAILABLE. */
  upcaster(domain: string): Upcaster | undefined;
  readonly hasUpcasters: boolean;
  /** `undefined`: nobody hosts it now. */
  aggregate(domain: string): AggregateComponent | undefined;
  /** Somebody hosted it since the start, or the configuration names it. */
  knowsDomain(domain: string): boolean;
}
