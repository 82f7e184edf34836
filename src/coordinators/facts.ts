// Facts are recorded, not decided: they happened. Each is recorded once per external source and id, for as long as its stream.

import type { AggregateComponent } from '../component.ts';
import { DaybookError } from '../errors.ts';
import {
  type CommandBook,
  type CommandResponse,
  type EventBook,
  type EventPage,
  NO_ORIGIN,
  pageBytes,
} from '../model/book.ts';
import { type DecisionLimits, stampDecision } from '../model/decision.ts';
import { checkFacts, type FactLimits, factKey } from '../model/fact.ts';
import { type StreamKey, streamText } from '../model/stream.ts';
import { toTimestamp } from '../model/time.ts';
import type { Runtime } from '../runtime.ts';
import type { LogIdentity, Outcome, OutcomeKey, StoredOutcome, Unit, WorkStore } from '../store.ts';
import type { Admission } from './admission.ts';
import { answer, bookOf } from './answers.ts';
import type { Asking, Hosts } from './asking.ts';
import type { Caller } from './caller.ts';
import { type Claim, ClaimLost } from './claim.ts';
import type { Committer } from './committer.ts';
import type { Histories } from './histories.ts';
import type { HotHistory } from './hot-cache.ts';
import { decodeOutcome, encodeOutcome, factHash } from './outcome.ts';
import { type ConflictLimits, untilCommitted } from './until-committed.ts';
import type { UpcastingReads } from './upcasting.ts';

export interface FactsParts {
  admission: Admission;
  hosts: Hosts;
  histories: Histories;
  asking: Asking;
  reads: UpcastingReads;
  store: WorkStore;
  committer: Committer;
  runtime: Runtime;
  limits: FactLimits & DecisionLimits & ConflictLimits;
  log: LogIdentity;
}

interface Recording {
  facts: EventBook;
  stream: StreamKey;
  text: string;
  /** Asked to turn the facts into its own events, when given. */
  component: AggregateComponent | undefined;
  caller: Caller;
  /** Present when they come from the outbox. */
  claim: Claim | undefined;
}

export class FactRecorder {
  readonly #parts: FactsParts;

  constructor(parts: FactsParts) {
    this.#parts = parts;
  }

  /**
   * The facts as they are recorded, with the events that the aggregate made of them; `duplicate` when all of them were known. With a
   * claim it rejects with ClaimLost when that does not hold any more.
   */
  async record(
    facts: EventBook | undefined,
    askAggregate: boolean,
    caller: Caller,
    claim?: Claim,
  ): Promise<CommandResponse> {
    const { admission, hosts, limits } = this.#parts;
    const stream = checkFacts(facts, limits);
    const text = streamText(stream);
    const component = askAggregate ? await hosts.find(stream.domain) : undefined;
    await hosts.checkKnown(stream.domain);
    hosts.checkOwned(stream.domain);
    const bytes = facts!.pages.reduce((sum, page) => sum + pageBytes(page), 0);
    const recording = { facts: facts!, stream, text, component, caller, claim };
    const reserved = (claim ?? caller.ancestors) !== undefined;
    return admission.run(text, { domain: stream.domain, bytes, reserved, ...caller }, () =>
      untilCommitted(text, this.#parts, caller.signal, () => this.#recordOnce(recording)),
    );
  }

  /** `undefined`: the history moved on, or somebody else has just recorded one of them. */
  async #recordOnce(recording: Recording): Promise<CommandResponse | undefined> {
    const { histories, committer, log } = this.#parts;
    const { facts, stream, text, component } = recording;
    const { hot } = await histories.load(stream, text, component, undefined);
    const known = await Promise.all(facts.pages.map((page) => this.#parts.store.readOutcome(keyOf(stream, page))));
    const fresh = facts.pages.filter((_, i) => known[i] === undefined);
    const before = await this.#recordedBefore(recording, known);
    if (fresh.length === 0) {
      if (recording.claim !== undefined) await this.#finish(recording.claim);
      return this.#answer(recording, before, hot.nextSequence, true);
    }

    const unit = await this.#unitOf(recording, fresh, hot);
    const result = await committer.commit(unit).catch((error) => {
      histories.forget(text);
      throw withKey(error, text, unit.outcomes[0]!.key);
    });
    if (result.kind === 'fenced') throw new ClaimLost(result.what);
    if (result.kind !== 'committed') return undefined;
    const pages = unit.appends[0]!.pages;
    histories.committed(stream, text, pages, undefined);
    const book = bookOf(stream, facts.cover!.correlationId, [...before, ...pages], result.books[0]!.nextSequence);
    return answer(log, book, pages.at(-1)!.position, false);
  }

  async #unitOf(recording: Recording, fresh: EventPage[], hot: HotHistory): Promise<Unit> {
    const { facts, stream } = recording;
    const { runtime } = this.#parts;
    const nextSequence = hot.nextSequence;
    const unitId = runtime.uuid();
    const createdAt = toTimestamp(Math.max(runtime.nowMicros(), hot.lastCreatedAtMicros));
    const pages = fresh.map((page, i): EventPage => {
      const { externalSource, externalId } = page.origin!;
      // What caused a fact is ours to say: a reaction's comes from the outbox, where we wrote it.
      const origin = recording.claim === undefined ? { ...NO_ORIGIN, externalSource, externalId } : page.origin!;
      return { ...page, sequence: nextSequence + i, createdAt, origin, unitId, position: 0 };
    });
    const correlationId = facts.cover!.correlationId;
    const outcomes = fresh.map((page, i): Outcome => {
      const body = { kind: 'events', firstSequence: nextSequence + i, count: 1, correlationId } as const;
      const hash = factHash(stream, page);
      return {
        ...keyOf(stream, page),
        hash,
        body: encodeOutcome(body),
        expiresAtMicros: undefined,
        correlationId: undefined,
      };
    });
    pages.push(
      ...(await this.#askedEvents(recording, fresh, hot, {
        nextSequence: nextSequence + fresh.length,
        createdAt,
        unitId,
      })),
    );
    const expect = { kind: 'exactly', nextSequence } as const;
    const appends = [{ stream, correlationId, expect, pages }];
    const unit: Unit = { unitId, appends, expectations: [], snapshots: [], outcomes };
    return recording.claim === undefined ? unit : { ...unit, work: recording.claim.work(undefined) };
  }

  /** The facts were there before the row that brings them. */
  async #finish(claim: Claim): Promise<void> {
    const { committer, runtime } = this.#parts;
    const nothing = { appends: [], expectations: [], snapshots: [], outcomes: [] };
    const result = await committer.commit({ unitId: runtime.uuid(), ...nothing, work: claim.work(undefined) });
    if (result.kind === 'fenced') throw new ClaimLost(result.what);
  }

  /** What the aggregate makes of the facts. It cannot refuse them: a rejection means that it makes nothing of them. */
  async #askedEvents(
    { facts, stream, text, component, caller }: Recording,
    fresh: EventPage[],
    hot: HotHistory,
    stamp: { nextSequence: number; createdAt: { seconds: number; nanos: number }; unitId: Uint8Array },
  ): Promise<EventPage[]> {
    if (component === undefined) return [];
    const command: CommandBook = {
      cover: facts.cover,
      pages: fresh.map((page) => ({ command: page.event })),
      origin: undefined,
      idempotencyKey: '',
      metadata: {},
      workId: '',
    };
    const decision = await this.#parts.asking.decide({
      stream,
      text,
      component,
      command,
      history: this.#parts.histories.history(stream, hot),
      // A snapshot with this reply could not include the facts.
      snapshotNext: hot.nextSequence,
      parent: undefined,
      caller,
    });
    if (decision.kind === 'rejection') return [];
    try {
      return stampDecision(decision.book, { stream, command, ...stamp }, this.#parts.limits).pages;
    } catch (error) {
      if (error instanceof DaybookError) decision.complain?.(error.message);
      throw error;
    }
  }

  async #recordedBefore({ stream }: Recording, known: (StoredOutcome | undefined)[]): Promise<EventPage[]> {
    const pages: EventPage[] = [];
    for (const outcome of known) {
      if (outcome === undefined) continue;
      const body = decodeOutcome(outcome.body);
      if (body.kind !== 'events') throw new Error(`a fact's outcome is of the kind ${body.kind}`);
      const from = body.firstSequence;
      pages.push(...(await this.#parts.reads.readStream(stream, { from, to: from, maxBytes: 1 })).pages);
    }
    return pages.sort((a, b) => a.sequence - b.sequence);
  }

  #answer({ stream, facts }: Recording, pages: EventPage[], nextSequence: number, duplicate: boolean): CommandResponse {
    const book = bookOf(stream, facts.cover!.correlationId, pages, nextSequence);
    return answer(this.#parts.log, book, pages.at(-1)!.position, duplicate);
  }
}

/** Facts carry their own keys: repeating the same ones is safe. */
function withKey(error: unknown, text: string, key: string): unknown {
  if (!(error instanceof DaybookError) || error.reason !== 'OUTCOME_UNKNOWN') return error;
  return new DaybookError('OUTCOME_UNKNOWN', `${text}: ${error.message}; record the same facts again`, {
    metadata: { idempotency_key: key },
    cause: error,
  });
}

function keyOf(stream: StreamKey, page: EventPage): OutcomeKey {
  const { externalSource, externalId } = page.origin!;
  return { tenant: stream.tenant, kind: 'fact', key: factKey(stream, externalSource, externalId) };
}
