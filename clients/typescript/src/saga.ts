// What your code says to answer events of one aggregate with commands for others.

import type { Client } from './client.ts';
import type { SagaHosting, SagaRequest, SagaResponse, Work } from './gen/daybook/v1/component.ts';
import type { Delivery } from './gen/daybook/v1/types.ts';
import type { Any } from './gen/google/protobuf/any.ts';
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
import { WorkInHand } from './work-in-hand.ts';

/**
 * Knows nothing but the event in front of it: what has to be remembered belongs into the event, or into a process manager. What
 * it asks for is stored together with the fact that the event was handled, so it is done once, even if `react` is asked again.
 *
 * When the aggregate that gets a command rejects it, the aggregate whose event caused it hears of it: see `RejectionNotification`.
 */
export interface Saga extends Subscription {
  /**
   * What shall be done. Domain and root of the context are those of the aggregate whose event it is. Whatever is thrown is a
   * failure: the event is tried again later, and the aggregate's later events wait.
   */
  react(event: Any, context: ReactContext): Reaction | Promise<Reaction>;
}

/** An array is commands. Undefined and nothing mean the same. */
export type Reaction =
  | readonly ReactionCommand[]
  | { commands?: readonly ReactionCommand[]; facts?: readonly Fact[] }
  | undefined
  // biome-ignore lint/suspicious/noConfusingVoidType: most events are of no interest, and a handler then just returns.
  | void;

export interface ReactContext extends ReactionContext {
  /** The event as it was recorded. */
  readonly page: RecordedPage;
}

export class SagaWork extends WorkInHand implements ReactContext {
  readonly delivery: Delivery;
  readonly page: RecordedPage;

  constructor(work: Work, request: SagaRequest, client: Client) {
    super(work, coverOf(request.source), client);
    this.delivery = deliveryOf(request.delivery);
    this.page = onlyPage(request.source!);
  }
}

export function reacted(saga: Saga, context: ReactContext): SagaResponse | Promise<SagaResponse> {
  return whenDone(saga.react(context.page.event, context), (reaction) => {
    const { commands = [], facts = [] } = isCommands(reaction) ? { commands: reaction } : (reaction ?? {});
    return { commands: reactionCommands(commands), events: factBooks(facts) };
  });
}

export function sagaHosting(saga: Saga): SagaHosting {
  return { ...hostingOf(saga), generation: 0 };
}

function isCommands(reaction: Reaction): reaction is readonly ReactionCommand[] {
  return Array.isArray(reaction);
}
