// What projectors, sagas and process managers have in common: what they want to see, what surrounds an event, what they ask for.

import { type Command, commandBook, cover } from './command.ts';
import { draftBook, draftPage } from './fold.ts';
import type { Credits, EventFilter, SubscriptionStart } from './gen/daybook/v1/component.ts';
import type { CommandBook, Cover, Delivery, EventBook, EventPage } from './gen/daybook/v1/types.ts';
import type { Any } from './gen/google/protobuf/any.ts';
import { timestamp } from './query.ts';
import type { CompleteCover, WorkContext } from './work-in-hand.ts';

/** Which events a component wants to see. */
export interface Subscription {
  /** `[a-z][a-z0-9_-]{0,63}`. Daybook remembers under it how far the component has come: another name begins anew. */
  name: string;
  /** Events of any of these domains. Default: of all. */
  domains?: readonly string[];
  /** Full type names, such as `shop.v1.OrderPlaced`: any of these. Default: all. */
  types?: readonly string[];
  /** Of `domains` and `types`: raise it with each change of them, so that old and new processes can run side by side. Default: 1. */
  version?: number;
  /** Where it begins when Daybook sees the name for the first time. Default: at the beginning of the log. */
  start?: StartPoint;
  /** Into how many parts its work is divided between processes; fixed when the name is first seen. Default: 16. */
  partitions?: number;
  /** How much work may be in hand at once. Default: 64 items, 16 MiB. */
  credits?: { items: number; bytes: number };
}

export type StartPoint = 'beginning' | 'now' | { afterPosition: number } | { fromTime: Date };

/** An event as it was recorded, with sequence, time, position and origin. */
export type RecordedPage = EventPage & { event: Any };

/** What surrounds an event that is handled. */
export interface ReactionContext extends WorkContext {
  /** How it got here. A handler with effects of its own elsewhere looks at `replaying`, `dryRun` and `epoch`. */
  readonly delivery: Delivery;
}

/** A command that Daybook sends for you, once, whatever happens. It stays in the conversation and tenant of the event. */
export type ReactionCommand = Pick<Command, 'domain' | 'root' | 'payload' | 'metadata'>;

/**
 * An event that already happened elsewhere, recorded in its aggregate without a veto; once for each source and id. Without them it is
 * told apart by the event that is handled.
 */
export interface Fact {
  domain: string;
  root: Uint8Array;
  event: Any;
  /** The system in which it happened: at most 64 printable characters without space and slash. */
  source?: string;
  /** Its id there: at most 256 printable characters. */
  id?: string;
  /** When it happened in the world. */
  occurredAt?: Date;
  metadata?: Record<string, string>;
}

/** Waits for the handler, unless it answered at once. */
export function whenDone<T, R>(outcome: T | Promise<T>, answer: (outcome: T) => R): R | Promise<R> {
  return outcome instanceof Promise ? outcome.then(answer) : answer(outcome);
}

/** Of a book that Daybook sends with an event: complete, or the work fails. */
export function coverOf(book: EventBook | undefined): CompleteCover {
  return completeCover(book?.cover);
}

export function completeCover(of: Cover | undefined): CompleteCover {
  if (of?.root === undefined) throw new Error('the work names no aggregate');
  return of as CompleteCover;
}

export function deliveryOf(delivery: Delivery | undefined): Delivery {
  if (delivery === undefined) throw new Error('the work does not say how it was delivered');
  return delivery;
}

/** Sagas and process managers get exactly one page. */
export function onlyPage(book: EventBook): RecordedPage {
  const [page, ...others] = book.pages;
  if (page?.event === undefined || others.length > 0) throw new Error(`expected one event, found ${book.pages.length}`);
  return page as RecordedPage;
}

/**
 * No sequence, because what a reaction wants must hold whenever it arrives. No key, tenant and correlation id, because Daybook fills in
 * those of the event.
 */
export function reactionCommands(commands: readonly ReactionCommand[]): CommandBook[] {
  return commands.map((command) => commandBook({ ...command, idempotencyKey: '' }));
}

/** One book for each: their order is kept. */
export function factBooks(facts: readonly Fact[]): EventBook[] {
  return facts.map((fact) => ({
    ...draftBook([factPage(fact)]),
    cover: cover({ domain: fact.domain, root: fact.root }),
  }));
}

function factPage(fact: Fact): EventPage {
  return {
    ...draftPage(0, fact.event),
    origin: {
      component: '',
      source: undefined,
      sourceSequence: 0,
      sourcePosition: 0,
      logId: '',
      index: 0,
      depth: 0,
      externalSource: fact.source ?? '',
      externalId: fact.id ?? '',
      commands: [],
    },
    metadata: fact.metadata ?? {},
    occurredAt: fact.occurredAt && timestamp(fact.occurredAt),
  };
}

/** The parts of a declaration that all three share. */
export function hostingOf(subscription: Subscription): {
  name: string;
  filter: EventFilter;
  credits: Credits | undefined;
  start: SubscriptionStart | undefined;
  partitions: number;
  version: number;
} {
  const { name, domains = [], types = [], credits, start, partitions = 0, version = 0 } = subscription;
  return {
    name,
    filter: { domains: [...domains], types: [...types] },
    credits,
    start: start === undefined ? undefined : { start: startOf(start) },
    partitions,
    version,
  };
}

export function startOf(from: StartPoint): SubscriptionStart['start'] {
  if (from === 'beginning') return { $case: 'beginning', value: true };
  if (from === 'now') return { $case: 'now', value: true };
  if ('afterPosition' in from) return { $case: 'afterPosition', value: from.afterPosition };
  return { $case: 'fromTime', value: timestamp(from.fromTime) };
}
