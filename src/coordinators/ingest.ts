// Events of other services' domains, brought by whoever has them: appended with the sequences that they have there, marked foreign.
// Delivery then takes them as it takes any other.

import type { Components, Reactor } from '../component.ts';
import { DaybookError, invalid } from '../errors.ts';
import type { EventBook, EventPage } from '../model/book.ts';
import type { ReactionMessages, ReactorKind } from '../model/reaction.ts';
import { type StreamKey, sameBytes, streamText } from '../model/stream.ts';
import { toMicros, toTimestamp } from '../model/time.ts';
import { checkCorrelationId, checkMetadata, checkPayload, checkTime, streamOf } from '../model/validation.ts';
import type { Runtime } from '../runtime.ts';
import type { LogIdentity, Unit } from '../store.ts';
import type { Admission } from './admission.ts';
import { answer, bookOf } from './answers.ts';
import type { Caller } from './caller.ts';
import type { Committer } from './committer.ts';
import type { Histories } from './histories.ts';
import type { ProcessManagerCoordinator } from './process-manager.ts';
import { ProjectorCoordinator, type ProjectorParts } from './projector.ts';
import { dryRunPlace, type Effect } from './reaction.ts';
import type { SagaCoordinator } from './saga.ts';
import { type ConflictLimits, untilCommitted } from './until-committed.ts';
import type { UpcastingReads } from './upcasting.ts';
import type { Waiting } from './waiting.ts';

export interface IngestParts {
  admission: Admission;
  components: Components;
  histories: Histories;
  reads: Pick<UpcastingReads, 'readStored'>;
  committer: Committer;
  waiting: Waiting;
  delivery: { onStored(listener: (subscription: string, effect: Effect) => void): () => void };
  sagas: SagaCoordinator;
  processManagers: ProcessManagerCoordinator;
  projectors: ProjectorParts;
  runtime: Runtime;
  log: LogIdentity;
  limits: ConflictLimits & { payloadBytes: number; eventsPerReply: number };
}

/** In the metadata of events that this log does not own. */
export const FOREIGN = 'daybook-foreign';

type Response = ReactionMessages[ReactorKind]['response'];

export class Ingest {
  readonly #parts: IngestParts;

  constructor(parts: IngestParts) {
    this.#parts = parts;
  }

  /**
   * Resolves when the events are durable here; those that are there already are passed over. INVALID_ARGUMENT for a domain of this
   * log's own, or an event that is there with another content; SEQUENCE_CONFLICT when earlier events are missing.
   */
  async append(book: EventBook, caller: Caller): Promise<EventBook> {
    const { admission, limits } = this.#parts;
    const stream = this.#check(book);
    const text = streamText(stream);
    const bytes = book.pages.reduce((sum, page) => sum + page.event!.value.length, 0);
    return admission.run(text, { domain: stream.domain, bytes, reserved: false, ...caller }, () =>
      untilCommitted(text, { ...this.#parts, limits }, caller.signal, () => this.#appendOnce(book, stream, text)),
    );
  }

  /**
   * The same, and then waits until every reactor of the kind has handled them. What they answered now, in no certain order; nothing for
   * events that were handled before. The first reaction that is parked or dead is thrown.
   */
  async handle(kind: ReactorKind, book: EventBook, deadlineMs: number, caller: Caller) {
    const { waiting, delivery, components, log } = this.#parts;
    const place = waiting.enter();
    const heard: Effect[] = [];
    const isMeant = ({ declaration }: Reactor, name: string) => declaration.kind === kind && declaration.name === name;
    const stop = delivery.onStored((name, effect) => {
      if (components.reactors().some((reactor) => isMeant(reactor, name))) heard.push(effect);
    });
    try {
      const stored = await this.append(book, caller);
      const { position } = stored.pages.at(-1)!;
      const followed = await waiting.follow(answer(log, stored, position, false), kind, deadlineMs, caller.signal);
      if (!followed.settled) {
        throw new DaybookError('WAIT_TIMEOUT', 'the events are stored; not every reaction handled them in time', {
          metadata: { position },
        });
      }
      const [failed] = followed.reactionErrors;
      if (failed !== undefined) {
        throw new DaybookError('COMPONENT_FAULT', `${failed.component}: ${failed.message}`, {
          metadata: { component: failed.component },
        });
      }
      const positions = new Set(stored.pages.map((page) => page.position));
      const responses = heard.filter((effect) => positions.has(effect.position)).map(({ response }) => response);
      return {
        projections: followed.projections,
        responses: responses.filter((each): each is Response => each !== undefined),
      };
    } finally {
      stop();
      place.leave();
    }
  }

  /** What the component would answer; nothing is stored or sent. */
  async dryRun<Kind extends ReactorKind>(
    kind: Kind,
    component: string,
    book: EventBook | undefined,
    caller: Caller,
  ): Promise<ReactionMessages[Kind]['response']> {
    const reactor = this.#find(kind, component);
    const events = this.#checkEvents(book, kind === 'projector' ? this.#parts.limits.eventsPerReply : 1);
    const place = dryRunPlace(component, caller.signal);
    return this.#dryRun(reactor, events, place) as Promise<ReactionMessages[Kind]['response']>;
  }

  #dryRun(reactor: Reactor, book: EventBook, place: ReturnType<typeof dryRunPlace>): Promise<Response> {
    const { sagas, processManagers, projectors } = this.#parts;
    switch (reactor.declaration.kind) {
      case 'saga':
        return sagas.dryRun(book, reactor as Reactor<'saga'>, place);
      case 'process_manager':
        return processManagers.dryRun(book, reactor as Reactor<'process_manager'>, place);
      case 'projector':
        return new ProjectorCoordinator(projectors).dryRun(book, reactor as Reactor<'projector'>, 0, place);
    }
  }

  #find(kind: ReactorKind, name: string): Reactor {
    const known = this.#parts.components.reactors().filter(({ declaration }) => declaration.kind === kind);
    const named = known.filter(({ declaration }) => declaration.name === name);
    const reactor = named.find(({ available }) => available);
    if (reactor !== undefined) return reactor;
    const title = kind.replace('_', ' ');
    if (named.length > 0) {
      throw new DaybookError('COMPONENT_UNAVAILABLE', `${name}: no host of this ${title} is reachable`, {
        metadata: { component: name },
        retryDelayMs: 200,
      });
    }
    const names = known.map(({ declaration }) => declaration.name);
    const hosted = names.length === 0 ? 'this daemon hosts none' : `this daemon hosts ${names.join(', ')}`;
    throw invalid('component', `component: expected a ${title}, found ${JSON.stringify(name)}; ${hosted}`);
  }

  #check(book: EventBook): StreamKey {
    const { components, limits } = this.#parts;
    const events = this.#checkEvents(book, limits.eventsPerReply);
    const { domain } = events.cover!;
    const process = components.reactors().some(({ declaration }) => declaration.domain === domain);
    if (process || components.knowsDomain(domain)) {
      throw invalid('cover.domain', `cover.domain: events of ${domain} are this log's own, and are read from it`);
    }
    return streamOf(events.cover);
  }

  #checkEvents(book: EventBook | undefined, most: number): EventBook {
    if (book === undefined) throw invalid('events', 'events: expected a book, found none');
    streamOf(book.cover);
    checkCorrelationId(book.cover!.correlationId);
    const { length } = book.pages;
    if (length < 1 || length > most) throw invalid('pages', `pages: expected 1 to ${most} pages, found ${length}`);
    for (const [i, page] of book.pages.entries()) {
      checkPayload(page.event, `pages[${i}].event`, this.#parts.limits.payloadBytes);
      checkMetadata(page.metadata, `pages[${i}].metadata`);
      checkTime(page.createdAt, `pages[${i}].created_at`);
      checkTime(page.occurredAt, `pages[${i}].occurred_at`);
      const expected = book.pages[0]!.sequence + i;
      if (page.sequence !== expected) {
        throw invalid(`pages[${i}].sequence`, `pages[${i}].sequence: expected ${expected}, found ${page.sequence}`);
      }
    }
    return book;
  }

  /** `undefined`: somebody else appended meanwhile. */
  async #appendOnce(book: EventBook, stream: StreamKey, text: string): Promise<EventBook | undefined> {
    const { histories, reads, committer, runtime } = this.#parts;
    const { hot } = await histories.load(stream, text, undefined, undefined);
    const first = book.pages[0]!.sequence;
    const { nextSequence } = hot;
    if (first > nextSequence) {
      throw new DaybookError(
        'SEQUENCE_CONFLICT',
        `${text}: expected its event ${nextSequence} next, found ${first}; send the events between first`,
        { metadata: { expected: first, actual: nextSequence } },
      );
    }
    const overlap = Math.min(book.pages.length, nextSequence - first);
    const known: EventPage[] = [];
    while (known.length < overlap) {
      const from = first + known.length;
      known.push(...(await reads.readStored(stream, { from, to: first + overlap - 1, maxBytes: 1 << 20 })).pages);
    }
    for (const [i, page] of known.entries()) checkSame(page, book.pages[i]!, text);
    const { correlationId } = book.cover!;
    if (overlap === book.pages.length) return bookOf(stream, correlationId, known, first + overlap);

    const createdAtMicros = Math.max(runtime.nowMicros(), hot.lastCreatedAtMicros);
    const unitId = runtime.uuid();
    const pages = book.pages.slice(overlap).map((page, i) => ({
      ...page,
      sequence: nextSequence + i,
      createdAt: toTimestamp(createdAtMicros),
      occurredAt: page.occurredAt ?? (page.createdAt && toTimestamp(toMicros(page.createdAt))),
      metadata: { ...page.metadata, [FOREIGN]: '1' },
      position: 0,
      unitId,
    }));
    const expect = { kind: 'exactly', nextSequence } as const;
    const appends = [{ stream, correlationId, expect, pages }];
    const unit: Unit = { unitId, appends, expectations: [], snapshots: [], outcomes: [] };
    const result = await committer.commit(unit).catch((error) => {
      histories.forget(text);
      throw error;
    });
    if (result.kind !== 'committed') return undefined;
    histories.committed(stream, text, pages, undefined);
    return bookOf(stream, correlationId, [...known, ...pages], nextSequence + pages.length);
  }
}

function checkSame(known: EventPage, given: EventPage, text: string): void {
  const same = known.event!.typeUrl === given.event!.typeUrl && sameBytes(known.event!.value, given.event!.value);
  if (same) return;
  throw invalid('pages', `${text}: event ${given.sequence} is here with another content: two sources disagree`);
}
