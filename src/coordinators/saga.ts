// Sagas answer single events with commands and facts for other aggregates. What they want goes through the outbox.

import type { Reactor } from '../component.ts';
import { assert } from '../errors.ts';
import type { EventBook } from '../model/book.ts';
import type { SagaResponse } from '../model/reaction.ts';
import {
  aboutEvents,
  ask,
  type Cause,
  deliveryOf,
  type Effect,
  effectOf,
  type Occasion,
  outboxRows,
  type Place,
  type ReactionCoordinator,
  type ReactionParts,
  workOf,
} from './reaction.ts';

export class SagaCoordinator implements ReactionCoordinator {
  readonly #parts: ReactionParts;

  constructor(parts: ReactionParts) {
    this.#parts = parts;
  }

  async handle(occasion: Occasion, reactor: Reactor, place: Place): Promise<Effect> {
    assert(occasion.kind === 'events', 'a saga is handed events');
    const response = await this.#ask(occasion.book, reactor as Reactor<'saga'>, place, false);
    const work = workOf({ outboxAdded: this.#rows(occasion.book, response, reactor, place) });
    return effectOf(response, { work, position: occasion.book.pages[0]!.position });
  }

  /** What it would want; nothing is stored or sent. */
  async dryRun(book: EventBook, reactor: Reactor<'saga'>, place: Place): Promise<SagaResponse> {
    const response = await this.#ask(book, reactor, place, true);
    this.#rows(book, response, reactor, place);
    return response;
  }

  #ask(book: EventBook, reactor: Reactor<'saga'>, place: Place, dryRun: boolean): Promise<SagaResponse> {
    const page = book.pages[0]!;
    const delivery = { ...deliveryOf(place, page.position), dryRun };
    const about = aboutEvents(reactor.declaration.name, book);
    return ask(this.#parts, reactor, about, book.pages, place, (workId) => ({ source: book, delivery, workId }));
  }

  #rows(book: EventBook, response: SagaResponse, reactor: Reactor, place: Place) {
    const cause = causeOf(reactor.declaration.name, book);
    return outboxRows(this.#parts, place, cause, { commands: response.commands, facts: response.events });
  }
}

/** One event caused it. */
export function causeOf(component: string, book: EventBook): Cause {
  const { cover, pages } = book;
  const page = pages[0]!;
  return {
    component,
    about: aboutEvents(component, book),
    tenant: cover!.tenant,
    correlationId: cover!.correlationId,
    source: { cover: cover!, sequence: page.sequence, position: page.position },
    depth: page.origin?.depth ?? 0,
    metadata: page.metadata,
    position: page.position,
    index: 0,
  };
}
