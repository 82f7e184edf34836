// What your code says to lead a process across aggregates, with a memory of its own.

import type { Client } from './client.ts';
import { before, eventsBook, type Folding, fold, type Held } from './fold.ts';
import type {
  ProcessManagerHosting,
  ProcessManagerRequest,
  ProcessManagerResponse,
  Timer,
  Work,
} from './gen/daybook/v1/component.ts';
import type { Delivery } from './gen/daybook/v1/types.ts';
import type { Any } from './gen/google/protobuf/any.ts';
import type { Timestamp } from './gen/google/protobuf/timestamp.ts';
import { timestamp } from './query.ts';
import {
  coverOf,
  deliveryOf,
  type Fact,
  factBooks,
  hostingOf,
  onlyPage,
  type ReactionCommand,
  type ReactionContext,
  type RecordedPage,
  reactionCommands,
  type Subscription,
  whenDone,
} from './reactor.ts';
import { completeNotification, type RejectionNotification } from './rejection-notification.ts';
import { durationOf } from './sync-mode.ts';
import { WorkInHand } from './work-in-hand.ts';

/**
 * There is one process for each correlation id. Its state is folded from the events that it returned before, which Daybook keeps in
 * a stream of its own; events, timers and rejections reach it one after the other.
 */
export interface ProcessManager<S> extends Subscription, Folding<S> {
  /** Of its own stream. Default: its name. */
  domain?: string;

  /**
   * What shall be done. All of it is stored together, with the fact that the trigger was handled: so it is done once, even if
   * `handle` is asked again. Whatever is thrown is a failure: the trigger is tried again later, and the process waits. Must not
   * change the state.
   */
  handle(state: S, trigger: Trigger, context: ProcessContext): Outcome | Promise<Outcome>;
}

export type Trigger =
  /** Something happened in the aggregate with this domain and root. */
  | { kind: 'event'; event: Any; page: RecordedPage; domain: string; root: Uint8Array }
  /** A timer of this process has run out. */
  | { kind: 'timer'; name: string; due: Date; payload: Any | undefined }
  /** A command of this process was rejected. */
  | { kind: 'rejection'; notification: RejectionNotification };

// biome-ignore lint/suspicious/noConfusingVoidType: many triggers are of no interest, and a handler then just returns.
export type Outcome = ProcessStep | undefined | void;

/** Whatever is left out is nothing. */
export interface ProcessStep {
  /** For the process's own stream: what it has to remember. */
  events?: readonly Any[];
  commands?: readonly ReactionCommand[];
  facts?: readonly Fact[];
  /** A timer of the same name is set again. */
  timers?: readonly TimerSetting[];
  /** By name. */
  cancelTimers?: readonly string[];
  /** The process is over: its timers are cancelled, and later triggers passed over. */
  ended?: boolean;
}

/** `afterMs` counts from when Daybook stores it. The payload comes back when the timer runs out. */
export type TimerSetting = { name: string; payload?: Any } & ({ afterMs: number } | { due: Date });

/** Domain and root are those of the process's own stream. */
export interface ProcessContext extends ReactionContext {
  /** The sequence that the first event of this step will get in the process's own stream. */
  readonly nextSequence: number;
}

export class ProcessWork extends WorkInHand implements ProcessContext {
  readonly delivery: Delivery;
  readonly nextSequence: number;
  readonly held: Held<unknown>;

  constructor(work: Work, request: ProcessManagerRequest, manager: ProcessManager<unknown>, client: Client) {
    super(work, coverOf(request.processState), client);
    this.delivery = deliveryOf(request.delivery);
    this.held = fold(manager, before(manager), request.processState!, manager.name);
    this.nextSequence = this.held.next;
  }
}

export function handled(
  manager: ProcessManager<unknown>,
  request: ProcessManagerRequest,
  context: ProcessWork,
): ProcessManagerResponse | Promise<ProcessManagerResponse> {
  const { held } = context;
  const { snapshotWanted } = request;
  return whenDone(manager.handle(held.state, triggerOf(request), context), (outcome) => {
    const { events = [], commands = [], facts = [], timers = [], cancelTimers = [], ended = false } = outcome ?? {};
    const of = `handle of ${manager.name}`;
    return {
      processEvents: events.length === 0 ? undefined : eventsBook(manager, held, events, { of, snapshotWanted }),
      commands: reactionCommands(commands),
      facts: factBooks(facts),
      timers: timers.map(timerOf),
      cancelledTimers: [...cancelTimers],
      ended,
    };
  });
}

export function processManagerHosting(manager: ProcessManager<unknown>): ProcessManagerHosting {
  return {
    ...hostingOf(manager),
    generation: 0,
    domain: manager.domain ?? '',
    snapshotSchemaVersion: manager.snapshot?.version ?? 0,
  };
}

function triggerOf({ trigger }: ProcessManagerRequest): Trigger {
  switch (trigger?.$case) {
    case 'events': {
      const { domain, root } = coverOf(trigger.value);
      const page = onlyPage(trigger.value);
      return { kind: 'event', event: page.event, page, domain, root: root.value };
    }
    case 'timer': {
      const { name, due, payload } = trigger.value;
      return { kind: 'timer', name, due: dateOf(due), payload };
    }
    case 'rejection':
      return { kind: 'rejection', notification: completeNotification(trigger.value) };
    default:
      throw new Error('the work has no trigger');
  }
}

function timerOf(setting: TimerSetting): Timer {
  const { name, payload } = setting;
  const when: Timer['when'] =
    'due' in setting
      ? { $case: 'due', value: timestamp(setting.due) }
      : { $case: 'after', value: durationOf(setting.afterMs) };
  return { name, when, payload };
}

function dateOf(time: Timestamp | undefined): Date {
  return new Date(time === undefined ? 0 : time.seconds * 1000 + Math.floor(time.nanos / 1e6));
}
