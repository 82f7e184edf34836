// What projectors, sagas and process managers have in common: what they are handed, and what becomes of what they answer. Delivery
// (src/delivery) decides when, in which order and how often; the coordinators decide what a request and its effect look like.

import { type About, LazyText, type Reactor } from '../component.ts';
import { DaybookError } from '../errors.ts';
import {
  type CommandBook,
  type Cover,
  type EventBook,
  type EventPage,
  metadataBytes,
  NO_ORIGIN,
  type Origin,
  pageBytes,
} from '../model/book.ts';
import { checkFacts } from '../model/fact.ts';
import type { Delivery, ReactionMessages, ReactorKind } from '../model/reaction.ts';
import { type StreamKey, streamText } from '../model/stream.ts';
import { type CommandLimits, checkCommand, commandBytes } from '../model/validation.ts';
import type { Runtime } from '../runtime.ts';
import type { Append, LogIdentity, OrderingKey, OutboxRow, PartitionKey, TimerRow, Unit, WorkPart } from '../store.ts';
import type { Asking } from './asking.ts';
import type { Bodies } from './bodies.ts';

/** What there is to handle. */
export type Occasion =
  /** Pages of one stream, in order, in today's shape; one but for projectors. */
  | { kind: 'events'; book: EventBook }
  /** `from`: it waited in the outbox, after it had failed too often. */
  | { kind: 'timer'; row: TimerRow; from: OutboxRow | undefined }
  /** A command of this process manager was rejected. */
  | { kind: 'rejection'; row: OutboxRow };

/** Where and how it is handled. */
export interface Place {
  partition: PartitionKey;
  epoch: number;
  key: OrderingKey;
  /** 1 for the first time. */
  attempt: number;
  /** An earlier generation has handled it. */
  replaying: boolean;
  /** How far the log was looked at: what no event caused comes after everything up to here. */
  scanned: number;
  signal: AbortSignal;
}

/** What a unit has to hold so that the occasion is handled; delivery adds its own marks. */
export interface Effect {
  appends: Append[];
  expectations: Unit['expectations'];
  snapshots: Unit['snapshots'];
  work: Pick<WorkPart, 'outboxAdded' | 'outboxChanged' | 'timers' | 'timersEnded' | 'projections'>;
  /** Of the last event that it handles; 0 for what no event brought. */
  position: number;
  /** As the component gave it; `undefined` when it was not asked. */
  response: ReactionMessages[ReactorKind]['response'] | undefined;
  /** The unit is stored. */
  committed(): void;
  /** The unit will never be stored: nothing of it may be remembered. */
  dropped(): void;
}

export interface ReactionCoordinator {
  /** Errors as those of `Reactor.handle`, and COMPONENT_FAULT for answers that break the contract. */
  handle(occasion: Occasion, reactor: Reactor, place: Place): Promise<Effect>;
}

const NOTHING = () => {};

export function effectOf(response: Effect['response'], parts: Partial<Effect> = {}): Effect {
  return {
    appends: [],
    expectations: [],
    snapshots: [],
    work: workOf({}),
    position: 0,
    response,
    committed: NOTHING,
    dropped: NOTHING,
    ...parts,
  };
}

export function workOf(work: Partial<Effect['work']>): Effect['work'] {
  return { outboxAdded: [], outboxChanged: [], timers: [], timersEnded: [], projections: [], ...work };
}

export function emptyWork(): {
  -readonly [part in keyof WorkPart]: WorkPart[part] extends readonly (infer Row)[] ? Row[] : never;
} {
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
  };
}

export interface ReactionLimits extends CommandLimits {
  componentTimeoutMs: number;
  eventsPerReply: number;
  eventBytesPerReply: number;
  messageBytes: number;
  reactionDepth: number;
}

export interface ReactionParts {
  asking: Asking;
  bodies: Bodies;
  runtime: Runtime;
  /** Microseconds since 1970, as the store counts them. */
  storeClock: () => number;
  limits: ReactionLimits;
  log: LogIdentity;
}

export function deliveryOf(place: Place, position: number): Delivery {
  const { subscription, generation, partition } = place.partition;
  const { epoch, attempt, replaying } = place;
  return { subscription, generation, epoch, partition, attempt, replaying, position, dryRun: false };
}

/** For questions whose answer is shown and not stored. */
export function dryRunPlace(subscription: string, signal: AbortSignal): Place {
  const partition = { subscription, generation: 0, partition: 0 };
  return { partition, epoch: 0, key: '', attempt: 1, replaying: true, scanned: 0, signal };
}

/** Asks the component, under a work id of its own. */
export function ask<Kind extends ReactorKind>(
  parts: Pick<ReactionParts, 'asking' | 'limits'>,
  reactor: Reactor<Kind>,
  about: About,
  pages: readonly EventPage[],
  place: Place,
  request: (workId: string) => ReactionMessages[Kind]['request'],
): Promise<ReactionMessages[Kind]['response']> {
  const { name } = reactor.declaration;
  const metadata = pages[0]?.metadata;
  return parts.asking.react(`${name} ${place.key}`, (workId) =>
    reactor.handle(request(workId), {
      about,
      workId,
      key: place.key === '' ? undefined : `${place.partition.generation} ${place.key}`,
      bytes: pages.reduce((sum, page) => sum + pageBytes(page), 64),
      timeoutMs: parts.limits.componentTimeoutMs,
      signal: place.signal,
      traceparent: metadata?.traceparent ?? '',
      tracestate: metadata?.tracestate ?? '',
    }),
  );
}

/** For sentences. */
export function aboutEvents(name: string, { cover, pages }: EventBook): About {
  return new LazyText(() => {
    const { tenant, domain, root } = cover!;
    const text = streamText({ tenant, domain, root: root!.value });
    const first = pages[0]!.sequence;
    const last = pages.at(-1)!.sequence;
    return `${name}: ${first === last ? `event ${first}` : `events ${first} to ${last}`} of ${text}`;
  });
}

export function reactionFault(name: string, about: About, what: string): DaybookError {
  return new DaybookError('COMPONENT_FAULT', `${about}: ${what}`, { metadata: { component: name } });
}

/** What a check finds wrong with an answer is the component's fault. */
export function asReactionFault<T>(name: string, about: About, check: () => T): T {
  try {
    return check();
  } catch (error) {
    throw reactionFault(name, about, error instanceof Error ? error.message : String(error));
  }
}

/** What caused outputs, and where they stand in the order of the outbox. */
export interface Cause {
  component: string;
  about: About;
  tenant: string;
  correlationId: string;
  /** What happened; `undefined` for a timer. */
  source: { cover: Cover; sequence: number; position: number } | undefined;
  /** Of what happened; 0 for a client's command and for a timer. */
  depth: number;
  metadata: { [key: string]: string };
  /** Of the outbox key. Rows of a lane are dispatched in this order. */
  position: number;
  /** Of the first output. */
  index: number;
}

/** Outputs of one event have even indexes from 0; the notification of a rejected one has the odd index after it. */
export const INDEX_STEP = 2;
/** Rows that one trigger other than an event may have. */
const TRIGGER_INDEXES = 8192;

/**
 * Timers and rejections stand nowhere in the log. Their outputs come after everything up to `scanned`, and are told apart
 * by the version of the row that fired, which no other row ever has.
 */
export function triggerIndex(version: number): number {
  return (version + 1) * TRIGGER_INDEXES;
}

export function originOf(cause: Cause, index: number, log: LogIdentity): Origin {
  const { component, source, depth } = cause;
  return {
    ...NO_ORIGIN,
    component,
    source: source?.cover,
    sourceSequence: source?.sequence ?? 0,
    sourcePosition: source?.position ?? 0,
    logId: log.logId,
    index,
    depth: depth + 1,
  };
}

/** The trace goes on in what follows. */
export function tracedMetadata(metadata: { [key: string]: string }): { [key: string]: string } {
  const { traceparent, tracestate } = metadata;
  if (traceparent === undefined) return {};
  return tracestate === undefined ? { traceparent } : { traceparent, tracestate };
}

/** Commands and facts that a component wants, as rows of the outbox. COMPONENT_FAULT when they break the contract. */
export function outboxRows(
  parts: ReactionParts,
  place: Place,
  cause: Cause,
  outputs: { commands: readonly CommandBook[]; facts: readonly EventBook[] },
): OutboxRow[] {
  const { limits } = parts;
  const { component, about } = cause;
  const count = outputs.commands.length + outputs.facts.length;
  if (count > limits.eventsPerReply) {
    const most = `expected at most ${limits.eventsPerReply} commands and facts in one reply`;
    throw reactionFault(component, about, `${most}, found ${count}`);
  }
  let bytes = 0;
  const rows: OutboxRow[] = [];
  for (const [i, command] of outputs.commands.entries()) {
    const named = `commands[${i}]`;
    if (command.pages.some((page) => page.sequence !== undefined)) {
      throw reactionFault(component, about, `${named}: a command of a reaction carries no sequence`);
    }
    const book = { ...command, cover: coverOf(command.cover, cause, named), idempotencyKey: '', workId: '' };
    book.origin = originOf(cause, rows.length, parts.log);
    book.metadata = { ...tracedMetadata(cause.metadata), ...command.metadata };
    const target = asReactionFault(component, `${about}: ${named}`, () => checkCommand(book, limits));
    bytes += commandBytes(book);
    rows.push(rowOf(parts, place, cause, rows.length, 'command', target, parts.bodies.encodeCommand(book)));
  }
  for (const [i, facts] of outputs.facts.entries()) {
    const named = `facts[${i}]`;
    const index = rows.length;
    const pages = facts.pages.map((page, n) => withFactKey(page, parts, place, cause, index, n));
    const book = { ...facts, cover: coverOf(facts.cover, cause, named), pages };
    const target = asReactionFault(component, `${about}: ${named}`, () => checkFacts(book, limits));
    for (const page of pages) bytes += pageBytes(page) + metadataBytes(page.metadata);
    rows.push(rowOf(parts, place, cause, index, 'fact', target, parts.bodies.encodeEvents(book)));
  }
  if (bytes > limits.eventBytesPerReply) {
    const most = `expected at most ${limits.eventBytesPerReply} bytes of commands and facts in one reply`;
    throw reactionFault(component, about, `${most}, found ${bytes}`);
  }
  return rows;
}

/** Everything downstream inherits tenant and correlation. */
function coverOf(cover: Cover | undefined, cause: Cause, named: string): Cover {
  const { component, about, tenant, correlationId } = cause;
  if (cover === undefined) throw reactionFault(component, about, `${named}: expected a cover, found none`);
  if (cover.tenant !== '' && cover.tenant !== tenant) {
    throw reactionFault(
      component,
      about,
      `${named}: a reaction stays within its tenant ${JSON.stringify(tenant)}, found ${JSON.stringify(cover.tenant)}`,
    );
  }
  if (cover.correlationId !== '' && cover.correlationId !== correlationId) {
    throw reactionFault(
      component,
      about,
      `${named}: a reaction keeps the correlation id ${JSON.stringify(correlationId)}, found ${JSON.stringify(cover.correlationId)}`,
    );
  }
  return { ...cover, tenant, correlationId };
}

/** A fact that brings no key of its own gets one from what caused it: recorded once, however often it is sent. */
function withFactKey(
  page: EventPage,
  { log }: ReactionParts,
  { partition }: Place,
  cause: Cause,
  index: number,
  n: number,
): EventPage {
  const own = [log.logId, partition.generation, cause.position, cause.index + INDEX_STEP * index, n].join('/');
  const externalSource = page.origin?.externalSource || cause.component;
  const externalId = page.origin?.externalId || own;
  return { ...page, origin: { ...originOf(cause, index, log), externalSource, externalId } };
}

function rowOf(
  { storeClock, limits, log }: ReactionParts,
  { partition, key }: Place,
  cause: Cause,
  output: number,
  kind: 'command' | 'fact',
  target: StreamKey,
  body: Uint8Array,
): OutboxRow {
  const now = storeClock();
  const tooDeep = cause.depth + 1 > limits.reactionDepth;
  return {
    logId: log.logId,
    incarnation: log.incarnation,
    subscription: partition.subscription,
    generation: partition.generation,
    partition: partition.partition,
    position: cause.position,
    index: cause.index + INDEX_STEP * output,
    lane: laneOf(key, target),
    state: tooDeep ? 'dead' : 'ready',
    target,
    correlationId: cause.correlationId,
    kind,
    body,
    attempts: 0,
    dueAtMicros: now,
    expiresAtMicros: undefined,
    createdAtMicros: now,
    reason: tooDeep ? 'COMPONENT_FAULT' : '',
    message: tooDeep
      ? `${cause.about}: reactions follow each other more than ${limits.reactionDepth} deep (limits.reaction_depth): they may answer each other without end`
      : '',
    version: 0,
  };
}

/** Of one source's outputs to one target, the order is kept; a dead one holds up no other. */
export function laneOf(key: OrderingKey, target: StreamKey): string {
  return `${key}>${streamText(target)}`;
}
