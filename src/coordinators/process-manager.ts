// Process managers lead a process across domains. A process is everything with one tenant and correlation id; its state is a stream of
// its own. What a trigger leads to (events, commands, timers) is one unit.

import { hash } from 'node:crypto';
import type { History, HistoryPart, Reactor } from '../component.ts';
import { DaybookError } from '../errors.ts';
import type { Any, CommandBook, Cover, EventBook, EventPage } from '../model/book.ts';
import { stampDecision } from '../model/decision.ts';
import { placeOf } from '../model/ordering.ts';
import type { ProcessManagerRequest, ProcessManagerResponse, Timer, Trigger } from '../model/reaction.ts';
import { type StreamKey, streamText } from '../model/stream.ts';
import { toMicros, toTimestamp } from '../model/time.ts';
import { checkPayload } from '../model/validation.ts';
import type { Append, OrderingKey, OutboxRow, Store, WorkPart } from '../store.ts';
import type { Bodies } from './bodies.ts';
import type { Histories } from './histories.ts';
import {
  aboutEvents,
  ask,
  asReactionFault,
  type Cause,
  deliveryOf,
  type Effect,
  effectOf,
  type Occasion,
  originOf,
  outboxRows,
  type Place,
  type ReactionCoordinator,
  type ReactionParts,
  reactionFault,
  tracedMetadata,
  triggerIndex,
  workOf,
} from './reaction.ts';
import { causeOf } from './saga.ts';
import type { UpcastingReads } from './upcasting.ts';

export interface ProcessManagerParts extends ReactionParts {
  store: Pick<Store, 'listOutbox'>;
  histories: Histories;
  reads: Pick<UpcastingReads, 'readStored'>;
  limits: ReactionParts['limits'] & { snapshotAfterPages: number };
}

/** Daybook's namespace for names of processes, as RFC 9562 wants one for UUIDs of version 5. */
const NAMESPACE = Buffer.from('6f1d1c0b5d5f4b6b9a6c0d6a7c1f7e52', 'hex');

/** The root of a process: a UUID of version 5 over the process manager's name, a slash and the correlation id. */
export function processRoot(name: string, correlationId: string): Uint8Array {
  const root = hash('sha1', Buffer.concat([NAMESPACE, Buffer.from(`${name}/${correlationId}`)]), 'buffer').subarray(
    0,
    16,
  );
  root[6] = 0x50 | (root[6]! & 0x0f);
  root[8] = 0x80 | (root[8]! & 0x3f);
  return root;
}

const TIMER_NAME = /^[\x20-\x7e]{1,128}$/;
const LIST_ROWS = 500;
/** Further away is a mistake. */
const TIMER_MAX_MICROS = 100 * 365 * 86_400_000_000;

export class ProcessManagerCoordinator implements ReactionCoordinator {
  readonly #parts: ProcessManagerParts;
  #passedOver = 0;

  constructor(parts: ProcessManagerParts) {
    this.#parts = parts;
  }

  /** Triggers without a correlation id, or of processes that have ended. */
  get passedOver(): number {
    return this.#passedOver;
  }

  async handle(occasion: Occasion, given: Reactor, place: Place): Promise<Effect> {
    const reactor = given as Reactor<'process_manager'>;
    const process = processOf(reactor, place.key);
    const fired = firedOf(occasion);
    if (process === undefined) return this.#passOver(fired);
    const state = await this.#stateOf(process, reactor);
    if (await this.#hasEnded(process.stream, state)) return this.#passOver(fired);

    const { trigger, cause } = this.#triggerOf(occasion, reactor, process, place);
    const response = await this.#ask(reactor, process, state, trigger, cause, place, false);
    const work = this.#workOf(response, reactor, process, cause, place, fired);
    work.outboxChanged = [...work.outboxChanged, ...(await this.#deadTimers(response, process, place, occasion))];
    const { append, snapshots } = this.#appendOf(response, reactor, process, state, cause);
    const expect = { kind: 'exactly', nextSequence: state.history.nextSequence } as const;
    return effectOf(response, {
      appends: append === undefined ? [] : [append],
      // What it decided on must still be so, also when it has nothing to say.
      expectations: append === undefined ? [{ stream: process.stream, expect }] : [],
      snapshots,
      work,
      position: occasion.kind === 'events' ? occasion.book.pages[0]!.position : 0,
      committed: () => {
        const pages = append?.pages ?? [];
        this.#parts.histories.committed(process.stream, process.text, pages, snapshots[0]?.snapshot);
      },
      dropped: () => this.#parts.histories.forget(process.text),
    });
  }

  /** What it would answer to an event now; nothing is stored or sent. */
  async dryRun(book: EventBook, reactor: Reactor<'process_manager'>, given: Place): Promise<ProcessManagerResponse> {
    const { tenant, correlationId } = book.cover!;
    const place = { ...given, key: `${tenant}/${correlationId}` };
    const process = processOf(reactor, place.key);
    const about = aboutEvents(reactor.declaration.name, book);
    if (process === undefined) {
      throw reactionFault(reactor.declaration.name, about, 'expected a correlation id, which names the process');
    }
    const state = await this.#stateOf(process, reactor);
    const cause = causeOf(reactor.declaration.name, book);
    const trigger = { $case: 'events', value: book } as const;
    const response = await this.#ask(reactor, process, state, trigger, cause, place, true);
    this.#workOf(response, reactor, process, cause, place, undefined);
    this.#appendOf(response, reactor, process, state, cause);
    return response;
  }

  #passOver(fired: Partial<Effect['work']>): Effect {
    this.#passedOver++;
    return effectOf(undefined, { work: workOf(fired) });
  }

  /** As it is now: what is cached of it may grow while the component is asked. */
  async #stateOf(process: Process, reactor: Reactor): Promise<ProcessState> {
    const { histories } = this.#parts;
    const { hot } = await histories.load(process.stream, process.text, needsOf(reactor), undefined);
    const history = histories.history(process.stream, hot);
    return {
      history,
      last: hot.pages.at(-1),
      snapshotNext: hot.snapshotNext,
      lastCreatedAtMicros: hot.lastCreatedAtMicros,
    };
  }

  async #hasEnded(stream: StreamKey, state: ProcessState): Promise<boolean> {
    const { nextSequence } = state.history;
    if (nextSequence === 0) return false;
    const sequence = nextSequence - 1;
    const [last] =
      state.last !== undefined
        ? [state.last]
        : (await this.#parts.reads.readStored(stream, { from: sequence, to: sequence, maxBytes: 1 })).pages;
    return last?.event?.typeUrl === this.#parts.bodies.PROCESS_ENDED.typeUrl;
  }

  #triggerOf(occasion: Occasion, reactor: Reactor, process: Process, place: Place): { trigger: Trigger; cause: Cause } {
    const { name } = reactor.declaration;
    if (occasion.kind === 'events') {
      return { trigger: { $case: 'events', value: occasion.book }, cause: causeOf(name, occasion.book) };
    }
    const row = occasion.kind === 'timer' ? (occasion.from ?? occasion.row) : occasion.row;
    const { tenant, correlationId } = process;
    const cause = { component: name, tenant, correlationId, position: place.scanned, index: triggerIndex(row.version) };
    if (occasion.kind === 'timer') {
      const due = toTimestamp(occasion.row.dueAtMicros);
      const { payload } = decodeTimer(this.#parts.bodies, occasion.row.body);
      return {
        trigger: { $case: 'timer', value: { name: occasion.row.name, due, payload, cover: process.cover } },
        cause: {
          ...cause,
          about: aboutTimer(name, occasion.row.name, process),
          source: undefined,
          depth: 0,
          metadata: {},
        },
      };
    }
    const [page] = this.#parts.bodies.decodeCommand(row.body).pages;
    const notification = this.#parts.bodies.unpackNotification(page!.command!);
    const { source, sourceSequence, sourcePosition, command } = notification;
    return {
      trigger: { $case: 'rejection', value: notification },
      cause: {
        ...cause,
        about: `${name}: a rejected command of the process ${process.text}`,
        source: source && { cover: source, sequence: sourceSequence, position: sourcePosition },
        depth: command?.origin?.depth ?? 0,
        metadata: command?.metadata ?? {},
      },
    };
  }

  async #ask(
    reactor: Reactor<'process_manager'>,
    process: Process,
    state: ProcessState,
    trigger: Trigger,
    cause: Cause,
    place: Place,
    dryRun: boolean,
  ): Promise<ProcessManagerResponse> {
    const { limits } = this.#parts;
    const processState = await this.#wholeState(reactor, process, state, cause);
    const delivery = { ...deliveryOf(place, cause.source?.position ?? 0), dryRun };
    const snapshotWanted = !dryRun && state.history.nextSequence - state.snapshotNext >= limits.snapshotAfterPages;
    const pages = [...processState.pages, ...(trigger.$case === 'events' ? trigger.value.pages : [])];
    const request = { trigger, processState, delivery, snapshotWanted };
    return ask(
      this.#parts,
      reactor,
      cause.about,
      pages,
      place,
      (workId): ProcessManagerRequest => ({ ...request, workId }),
    );
  }

  async #wholeState(reactor: Reactor, process: Process, state: ProcessState, cause: Cause): Promise<EventBook> {
    const { limits } = this.#parts;
    const { snapshotVersion } = needsOf(reactor).needs();
    const { history } = state;
    let whole: HistoryPart | undefined = history.atHand(0, snapshotVersion);
    if (whole === undefined) {
      for await (const part of history.parts(0, snapshotVersion, 1 << 20)) {
        if (whole === undefined) whole = part;
        else {
          whole.pages.push(...part.pages);
          whole.bytes += part.bytes;
        }
        if (whole.bytes > limits.messageBytes) break;
      }
    }
    const { snapshot, pages, bytes } = whole!;
    if (bytes > limits.messageBytes) {
      throw new DaybookError(
        'HISTORY_TOO_LARGE',
        `${cause.about}: the history of ${process.text}, ${bytes} bytes or more, does not fit into one message; let the process manager return snapshots, or raise limits.message_bytes`,
        { metadata: { size: bytes, limit: limits.messageBytes } },
      );
    }
    return { cover: process.cover, snapshot, pages, nextSequence: history.nextSequence, consistencyToken: '' };
  }

  #workOf(
    response: ProcessManagerResponse,
    reactor: Reactor,
    process: Process,
    cause: Cause,
    place: Place,
    fired: Partial<Effect['work']> | undefined,
  ): Effect['work'] {
    const { name } = reactor.declaration;
    const timers = new Map<string, WorkPart['timers'][number]>();
    for (const change of fired?.timers ?? []) timers.set(change.key.name, change);
    const keyOf = (timer: string) => ({ tenant: process.tenant, subscription: name, process: place.key, name: timer });
    const set = new Set<string>();
    for (const timer of response.cancelledTimers) {
      // Timers that are not there are cancelled.
      if (!timers.has(timer)) timers.set(timer, { key: keyOf(timer), version: undefined, row: undefined });
    }
    for (const timer of response.timers) {
      if (set.has(timer.name) || response.cancelledTimers.includes(timer.name)) {
        throw reactionFault(name, cause.about, `the timer ${timer.name} is named twice`);
      }
      set.add(timer.name);
      const key = keyOf(timer.name);
      const row = {
        ...key,
        partition: place.partition.partition,
        correlationId: process.correlationId,
        dueAtMicros: this.#dueOf(timer, name, cause),
        body: encodeTimer(this.#parts.bodies, { attempts: 0, payload: timer.payload }),
        version: 0,
      };
      timers.set(timer.name, { key, version: timers.get(timer.name)?.version, row });
    }
    const ended = { tenant: process.tenant, subscription: name, process: place.key };
    return workOf({
      outboxAdded: outboxRows(this.#parts, place, cause, response),
      outboxChanged: fired?.outboxChanged ?? [],
      timers: [...timers.values()],
      timersEnded: response.ended ? [ended] : [],
    });
  }

  /** A timer that failed too often waits in the outbox: when it is set again or cancelled, that one is not to fire any more. */
  async #deadTimers(
    { timers, cancelledTimers }: ProcessManagerResponse,
    { tenant, correlationId }: Process,
    { key, partition: { subscription } }: Place,
    occasion: Occasion,
  ): Promise<Effect['work']['outboxChanged']> {
    const lanes = [...timers.map(({ name }) => name), ...cancelledTimers].map((name) => timerLane(key, name));
    if (lanes.length === 0) return [];
    const fired = occasion.kind === 'timer' ? occasion.from : undefined;
    const found: OutboxRow[] = [];
    for (let after: OutboxRow | undefined; ; ) {
      const list = { correlation: { tenant, correlationId }, subscription, limit: LIST_ROWS };
      const rows = await this.#parts.store.listOutbox({ ...list, ...(after && { after }) });
      found.push(...rows.filter(({ kind, lane }) => kind === 'timer' && lanes.includes(lane)));
      if (rows.length < LIST_ROWS) break;
      after = rows.at(-1)!;
    }
    const others = found.filter(({ position, index }) => position !== fired?.position || index !== fired?.index);
    return others.map((row) => ({ key: row, version: row.version, row: undefined }));
  }

  /** By the store's clock. */
  #dueOf({ name: timer, when, payload }: Timer, component: string, { about }: Cause): number {
    if (!TIMER_NAME.test(timer)) {
      throw reactionFault(component, about, 'timers: expected a name of at most 128 printable ASCII characters');
    }
    if (payload !== undefined) {
      const { payloadBytes } = this.#parts.limits;
      asReactionFault(component, about, () => checkPayload(payload, `timers.${timer}.payload`, payloadBytes));
    }
    const now = this.#parts.storeClock();
    // Both are seconds and nanoseconds.
    const micros = when === undefined ? Number.NaN : toMicros(when.value);
    const due = when?.$case === 'after' ? now + micros : micros;
    if (!(due >= 0 && due - now < TIMER_MAX_MICROS)) {
      throw reactionFault(component, about, `timers.${timer}: expected a time, or a duration, within 100 years`);
    }
    return Math.round(due);
  }

  #appendOf(
    response: ProcessManagerResponse,
    reactor: Reactor,
    process: Process,
    state: ProcessState,
    cause: Cause,
  ): { append: Append | undefined; snapshots: Effect['snapshots'] } {
    const { runtime, limits, bodies, log } = this.#parts;
    const { name } = reactor.declaration;
    const { stream, correlationId, cover } = process;
    const { nextSequence } = state.history;
    const origin = originOf(cause, 0, log);
    const metadata = tracedMetadata(cause.metadata);
    const command: CommandBook = { cover, pages: [], origin, idempotencyKey: '', metadata, workId: '' };
    const createdAt = toTimestamp(Math.max(runtime.nowMicros(), state.lastCreatedAtMicros));
    // The committer sets the unit's id.
    const stamp = { stream, command, nextSequence, createdAt, unitId: new Uint8Array() };
    const book = response.processEvents ?? emptyBook(cover);
    const stamped = asReactionFault(name, cause.about, () => stampDecision(book, stamp, limits));
    const pages: EventPage[] = [...stamped.pages];
    if (response.ended) {
      const sequence = nextSequence + pages.length;
      const event = bodies.PROCESS_ENDED;
      const unitId = new Uint8Array();
      pages.push({ sequence, createdAt, event, position: 0, origin, metadata, unitId, occurredAt: undefined });
    }
    // Nobody reads the state of a process that is over.
    const { snapshot } = response.ended ? { snapshot: undefined } : stamped;
    if (pages.length === 0) return { append: undefined, snapshots: snapshot ? [{ stream, snapshot }] : [] };
    const expect = { kind: 'exactly', nextSequence } as const;
    return {
      append: { stream, correlationId, expect, pages },
      snapshots: snapshot === undefined ? [] : [{ stream, snapshot }],
    };
  }
}

interface ProcessState {
  history: History;
  /** The newest event, when it is at hand. */
  last: EventPage | undefined;
  snapshotNext: number;
  lastCreatedAtMicros: number;
}

interface Process {
  stream: StreamKey;
  text: string;
  cover: Cover;
  tenant: string;
  correlationId: string;
}

/** `undefined`: without a correlation id there is no process. */
function processOf({ declaration }: Reactor, key: string): Process | undefined {
  const place = placeOf('correlation', key);
  if (place.ordering !== 'correlation' || place.correlationId === '') return undefined;
  const { tenant, correlationId } = place;
  const root = processRoot(declaration.name, correlationId);
  const stream = { tenant, domain: declaration.domain, root };
  const cover = { root: { value: root }, domain: declaration.domain, correlationId, tenant };
  return { stream, text: streamText(stream), cover, tenant, correlationId };
}

function needsOf({ declaration }: Reactor) {
  const needs = { heldUpTo: 0, snapshotVersion: declaration.snapshotSchemaVersion };
  return { needs: () => needs };
}

/** The row that fired goes with whatever comes of it; compared, because it may have been changed meanwhile. */
function firedOf(occasion: Occasion): Partial<Effect['work']> {
  switch (occasion.kind) {
    case 'events':
      return {};
    case 'timer': {
      const { from } = occasion;
      if (from !== undefined) return { outboxChanged: [{ key: from, version: from.version, row: undefined }] };
      const { tenant, subscription, process, name, version } = occasion.row;
      return { timers: [{ key: { tenant, subscription, process, name }, version, row: undefined }] };
    }
    case 'rejection':
      return { outboxChanged: [{ key: occasion.row, version: occasion.row.version, row: undefined }] };
  }
}

/** Where a timer waits in the outbox that has failed too often. */
export function timerLane(process: OrderingKey, timer: string): string {
  return `${process}>timer ${timer}`;
}

/** What a timer's row carries: how often it was tried, and what the process gave it. */
export interface TimerBody {
  attempts: number;
  payload: Any | undefined;
}

export function encodeTimer(bodies: Bodies, { attempts, payload }: TimerBody): Uint8Array {
  const bytes = bodies.encodeAny(payload);
  const body = new Uint8Array(4 + bytes.length);
  new DataView(body.buffer).setUint32(0, attempts);
  body.set(bytes, 4);
  return body;
}

export function decodeTimer(bodies: Bodies, body: Uint8Array): TimerBody {
  const attempts = new DataView(body.buffer, body.byteOffset).getUint32(0);
  return { attempts, payload: bodies.decodeAny(body.subarray(4)) };
}

function aboutTimer(component: string, timer: string, process: Process): string {
  return `${component}: the timer ${timer} of the process ${process.text}`;
}

function emptyBook(cover: Cover): EventBook {
  return { cover, snapshot: undefined, pages: [], nextSequence: 0, consistencyToken: '' };
}
