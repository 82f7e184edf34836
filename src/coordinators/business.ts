// A command becomes durable events. `execute` reads like the list of steps in docs/architecture.md; the numbers are theirs.

import type { AggregateComponent, Components, Decision } from '../component.ts';
import { DaybookError, invalid } from '../errors.ts';
import type { CommandBook, CommandResponse, EventBook, EventPage } from '../model/book.ts';
import { checkRejection, type DecisionLimits, stampDecision } from '../model/decision.ts';
import { type RetrySchedule, retryDelayMs } from '../model/retry.ts';
import { type StreamKey, sameBytes, streamText, uuidText } from '../model/stream.ts';
import { toMicros, toTimestamp } from '../model/time.ts';
import { encodeToken } from '../model/token.ts';
import { type CommandLimits, checkCommand, commandBytes } from '../model/validation.ts';
import { type Runtime, sleep } from '../runtime.ts';
import type { LogIdentity, Outcome, OutcomeKey, Store, StoredOutcome, Unit } from '../store.ts';
import type { Committer } from './committer.ts';
import { CachedHistory } from './history.ts';
import type { HotCache, HotHistory } from './hot-cache.ts';
import { commandHash, decodeOutcome, encodeOutcome, type OutcomeBody } from './outcome.ts';
import { overloaded, RootQueues } from './root-queues.ts';
import { ancestors, type Work, WorkInHand } from './work-in-hand.ts';

export interface BusinessLimits extends CommandLimits, DecisionLimits {
  perRootCommands: number;
  executingCommands: number;
  executingBytes: number;
  hotCacheAggregateBytes: number;
  snapshotAfterPages: number;
  componentTimeoutMs: number;
  conflictTries: number;
  conflictMinMs: number;
  conflictMaxMs: number;
  idempotencyRetentionDays: number;
}

/** Who waits for the answer. */
export interface Caller {
  /** By the monotonic clock; Infinity for none. */
  deadlineMs: number;
  /** Aborted when nobody waits any more; its reason is thrown. */
  signal: AbortSignal;
}

export interface BusinessParts {
  store: Store;
  committer: Committer;
  components: Components;
  cache: HotCache;
  runtime: Runtime;
  limits: BusinessLimits;
  log: LogIdentity;
  /** Tells this daemon's work ids from those of others. */
  instance: string;
}

/** Of the executing limits, kept for what is already under way: calls from inside work, and later reactions. */
const RESERVED = 0.2;

const DAY_MICROS = 86_400_000_000;

/** One command on its way. */
interface Execution {
  command: CommandBook;
  stream: StreamKey;
  text: string;
  component: AggregateComponent;
  parent: Work | undefined;
  caller: Caller;
  /** Present when the command has an idempotency key. */
  outcome: { key: OutcomeKey; hash: Uint8Array } | undefined;
}

export class BusinessCoordinator {
  readonly #parts: BusinessParts;
  readonly #queues: RootQueues;
  readonly #work: WorkInHand;
  readonly #conflictRetry: RetrySchedule;
  #executing = 0;
  #executingBytes = 0;
  #draining = false;
  #whenIdle: (() => void) | undefined;

  constructor(parts: BusinessParts) {
    this.#parts = parts;
    this.#queues = new RootQueues(parts.limits);
    const { conflictTries: tries, conflictMinMs: minMs, conflictMaxMs: maxMs } = parts.limits;
    this.#conflictRetry = { tries, minMs, maxMs };
    this.#work = new WorkInHand(parts.instance);
  }

  /**
   * Resolves when the outcome is durable. Rejects with a DaybookError; REJECTED carries the domain's rejection, which is durable
   * too. See docs/architecture.md for the eleven steps; the eleventh, waiting, belongs to the sync modes.
   */
  async execute(command: CommandBook, caller: Caller): Promise<CommandResponse> {
    const stream = checkCommand(command, this.#parts.limits); // 1
    const text = streamText(stream);
    const component = await this.#findComponent(stream.domain); // 2
    const parent = this.#work.find(command.workId);
    if (parent !== undefined) this.#work.checkReentrance(parent, text);

    const bytes = commandBytes(command);
    this.#admit(bytes, text, parent !== undefined);
    parent?.awaited.add(text);
    try {
      await this.#queues.enter(text, caller.signal); // 3
      try {
        const outcome = this.#outcomeKey(stream, command);
        return await this.#decideUntilCommitted({ command, stream, text, component, parent, caller, outcome }); // 4 to 9
      } finally {
        this.#queues.leave(text); // 10
      }
    } finally {
      parent?.awaited.delete(text);
      this.#release(bytes);
    }
  }

  /** Refuses new commands from now on; resolves when none is under way. */
  drain(): Promise<void> {
    this.#draining = true;
    if (this.#executing === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#whenIdle = resolve;
    });
  }

  async #findComponent(domain: string): Promise<AggregateComponent> {
    const component = this.#parts.components.aggregate(domain);
    if (component !== undefined) return component;
    const known =
      this.#parts.components.knowsDomain(domain) ||
      (await this.#parts.store.listStreams({ domain, limit: 1 })).length > 0;
    if (known) {
      throw new DaybookError('COMPONENT_UNAVAILABLE', `${domain}: no host of this domain is reachable`, {
        metadata: { component: domain },
        retryDelayMs: 200,
      });
    }
    throw new DaybookError('UNKNOWN_DOMAIN', `${domain}: nobody ever served this domain, and no route leads to it`, {
      metadata: { domain },
    });
  }

  #admit(bytes: number, text: string, reserved: boolean): void {
    if (this.#draining && !reserved)
      throw new DaybookError('SHUTTING_DOWN', 'the daemon is stopping; nothing was stored');
    const { executingCommands, executingBytes } = this.#parts.limits;
    const share = reserved ? 1 : 1 - RESERVED;
    if (this.#executing >= executingCommands * share) throw overloaded('executing_commands', text);
    if (this.#executingBytes + bytes > executingBytes * share) throw overloaded('executing_bytes', text);
    this.#executing++;
    this.#executingBytes += bytes;
  }

  #release(bytes: number): void {
    this.#executing--;
    this.#executingBytes -= bytes;
    if (this.#executing === 0) this.#whenIdle?.();
  }

  #outcomeKey(stream: StreamKey, command: CommandBook): Execution['outcome'] {
    if (command.idempotencyKey === '') return undefined;
    const key: OutcomeKey = { tenant: stream.tenant, kind: 'client', key: command.idempotencyKey };
    return { key, hash: commandHash(stream, command) };
  }

  async #decideUntilCommitted(execution: Execution): Promise<CommandResponse> {
    const { runtime } = this.#parts;
    for (let tries = 1; ; tries++) {
      execution.caller.signal.throwIfAborted();
      const answer = await this.#decideOnce(execution);
      if (answer !== undefined) return answer;
      // 9: somebody else changed the history. What is cached of it is wrong.
      this.#parts.cache.forget(execution.text);
      const delayMs = retryDelayMs(this.#conflictRetry, tries, runtime.random());
      if (delayMs === undefined) {
        throw new DaybookError(
          'CONTENTION',
          `${execution.text}: others kept changing the history; gave up after ${tries} tries`,
          {
            metadata: { attempts: tries },
            retryDelayMs: this.#conflictRetry.maxMs,
          },
        );
      }
      await sleep(runtime, delayMs, execution.caller.signal);
    }
  }

  /** `undefined`: the history moved on, decide again. */
  async #decideOnce(execution: Execution): Promise<CommandResponse | undefined> {
    const { hot, known } = await this.#load(execution); // 4
    if (known !== undefined) return this.#firstOutcome(execution, known);

    const explicit = execution.command.pages[0]!.sequence;
    if (explicit !== undefined && explicit !== hot.nextSequence) {
      return await this.#mismatch(execution, explicit); // 5
    }

    const nextSequence = hot.nextSequence;
    const lastCreatedAtMicros = hot.lastCreatedAtMicros;
    const decision = await this.#ask(execution, hot); // 6
    const unit = this.#unitOf(execution, decision, nextSequence, lastCreatedAtMicros); // 7
    const result = await this.#parts.committer.commit(unit).catch((error) => {
      // Whether it was stored is not known here: the next command reads.
      this.#parts.cache.forget(execution.text);
      throw this.#withKey(execution, error);
    }); // 8
    switch (result.kind) {
      case 'conflict':
        return undefined;
      case 'duplicate':
        return this.#firstOutcome(execution, result.outcome);
      case 'fenced':
        throw new Error('a command holds no lease and cannot be fenced');
      case 'committed':
        break;
    }
    if (decision.kind === 'rejection') throw rejected(execution.text, decision.rejection, false);
    const append = unit.appends[0];
    this.#parts.cache.extend(
      execution.text,
      append?.pages ?? [],
      append === undefined ? lastCreatedAtMicros : toMicros(append.pages[0]!.createdAt!),
      unit.snapshots[0]?.snapshot,
    );
    const book = result.books[0] ?? this.#bookOf(execution, [], nextSequence);
    return this.#answer(book, result.position + Math.max(0, book.pages.length - 1), false);
  }

  async #load(execution: Execution): Promise<{ hot: HotHistory; known?: StoredOutcome | undefined }> {
    const { cache, store, limits } = this.#parts;
    const cached = cache.get(execution.text);
    if (cached !== undefined) return { hot: cached };
    const needs = execution.component.needs(execution.stream, execution.text);
    const opened = await store.openStream(execution.stream, {
      from: needs.heldUpTo,
      snapshotVersion: needs.snapshotVersion,
      outcomeKey: execution.outcome?.key,
      maxBytes: limits.hotCacheAggregateBytes,
    });
    const whole = opened.from + opened.pages.length >= opened.nextSequence;
    const hot = cache.put(execution.text, {
      nextSequence: opened.nextSequence,
      lastCreatedAtMicros: opened.lastCreatedAtMicros,
      snapshot: opened.snapshot,
      snapshotNext: opened.snapshotNext,
      // Too long to keep: only its end is remembered, the component gets it in parts.
      from: whole ? Math.min(opened.from, opened.nextSequence) : opened.nextSequence,
      pages: whole ? opened.pages : [],
    });
    return { hot, known: opened.outcome };
  }

  /** Never answered from the cache, which may be behind: the store says where the stream is, and whether the key is known. */
  async #mismatch(execution: Execution, explicit: number): Promise<CommandResponse | undefined> {
    const opened = await this.#parts.store.openStream(execution.stream, {
      from: explicit,
      snapshotVersion: undefined,
      outcomeKey: execution.outcome?.key,
      maxBytes: 1,
    });
    if (opened.outcome !== undefined) return this.#firstOutcome(execution, opened.outcome);
    if (opened.nextSequence === explicit) return undefined;
    throw new DaybookError(
      'SEQUENCE_CONFLICT',
      `${execution.text}: the command expects next sequence ${explicit}, it is ${opened.nextSequence}`,
      { metadata: { expected: explicit, actual: opened.nextSequence } },
    );
  }

  async #ask(execution: Execution, hot: HotHistory): Promise<Decision> {
    const { limits, runtime, store } = this.#parts;
    const work = this.#work.begin(execution.text, execution.parent);
    try {
      return await execution.component.decide({
        stream: execution.stream,
        streamText: execution.text,
        command: execution.command,
        history: new CachedHistory(store, execution.stream, hot),
        snapshotWanted: hot.nextSequence - hot.snapshotNext >= limits.snapshotAfterPages,
        workId: work.id,
        ancestors: ancestors(execution.parent),
        deadlineMs: Math.min(execution.caller.deadlineMs, runtime.monotonicMs() + limits.componentTimeoutMs),
        signal: execution.caller.signal,
      });
    } finally {
      this.#work.end(work);
    }
  }

  /** A rejection, and a decision without events, is a unit too: true only of the history that it was decided against. */
  #unitOf(execution: Execution, decision: Decision, nextSequence: number, lastCreatedAtMicros: number): Unit {
    const { stream, command } = execution;
    const expect = { kind: 'exactly', nextSequence } as const;
    const unitId = this.#parts.runtime.uuid();
    try {
      if (decision.kind === 'rejection') {
        checkRejection(decision.rejection, stream, this.#parts.limits);
        const outcomes = this.#outcomes(execution, { kind: 'rejection', rejection: decision.rejection });
        return { unitId, appends: [], expectations: [{ stream, expect }], snapshots: [], outcomes };
      }
      const createdAt = toTimestamp(Math.max(this.#parts.runtime.nowMicros(), lastCreatedAtMicros));
      const stamp = { stream, command, nextSequence, createdAt, unitId };
      const { pages, snapshot } = stampDecision(decision.book, stamp, this.#parts.limits);
      const correlationId = command.cover!.correlationId;
      const snapshots = snapshot === undefined ? [] : [{ stream, snapshot }];
      const outcomes = this.#outcomes(execution, {
        kind: 'events',
        firstSequence: nextSequence,
        count: pages.length,
        correlationId,
      });
      return pages.length === 0
        ? { unitId, appends: [], expectations: [{ stream, expect }], snapshots, outcomes }
        : { unitId, appends: [{ stream, correlationId, expect, pages }], expectations: [], snapshots, outcomes };
    } catch (error) {
      if (error instanceof DaybookError) decision.complain?.(error.message);
      throw error;
    }
  }

  #outcomes(execution: Execution, body: OutcomeBody): Outcome[] {
    if (execution.outcome === undefined) return [];
    const expiresAtMicros = this.#parts.runtime.nowMicros() + this.#parts.limits.idempotencyRetentionDays * DAY_MICROS;
    return [{ ...execution.outcome.key, hash: execution.outcome.hash, body: encodeOutcome(body), expiresAtMicros }];
  }

  /** The key was known: the answer of the first time, whatever the domain would say now. */
  async #firstOutcome(execution: Execution, stored: StoredOutcome): Promise<CommandResponse> {
    if (!sameBytes(stored.hash, execution.outcome!.hash)) {
      throw invalid(
        'idempotency_key',
        `idempotency_key: ${JSON.stringify(execution.outcome!.key.key)} was used before, for another command`,
      );
    }
    const body = decodeOutcome(stored.body);
    if (body.kind === 'rejection') throw rejected(execution.text, body.rejection, true);
    const to = body.firstSequence + body.count - 1;
    const { pages } =
      body.count === 0
        ? { pages: [] }
        : await this.#parts.store.readStream(execution.stream, { from: body.firstSequence, to, maxBytes: Infinity });
    const book = this.#bookOf(execution, pages, body.firstSequence + body.count);
    book.cover!.correlationId = body.correlationId;
    return this.#answer(book, stored.position + Math.max(0, body.count - 1), true);
  }

  #bookOf({ stream, command }: Execution, pages: EventPage[], nextSequence: number): EventBook {
    const cover = {
      root: { value: stream.root },
      domain: stream.domain,
      correlationId: command.cover!.correlationId,
      tenant: stream.tenant,
    };
    return { cover, snapshot: undefined, pages, nextSequence, consistencyToken: '' };
  }

  #answer(events: EventBook, position: number, duplicate: boolean): CommandResponse {
    const consistencyToken = encodeToken({ ...this.#parts.log, position });
    return { events, projections: [], reactionErrors: [], position, duplicate, settled: true, consistencyToken };
  }

  /** Only with its key may a command of unknown outcome be repeated. */
  #withKey({ command, text }: Execution, error: unknown): unknown {
    if (!(error instanceof DaybookError) || error.reason !== 'OUTCOME_UNKNOWN') return error;
    return new DaybookError('OUTCOME_UNKNOWN', `${text}: ${error.message}; repeat the command only with its key`, {
      metadata: { idempotency_key: command.idempotencyKey },
      cause: error,
    });
  }
}

function rejected(text: string, rejection: NonNullable<DaybookError['rejection']>, duplicate: boolean): DaybookError {
  const { code, page } = rejection;
  return new DaybookError('REJECTED', `${text}: ${rejection.message || code || 'the domain said no'}`, {
    metadata: { code, kind: REJECTION_KINDS[rejection.kind] ?? 'CONFLICT', page, duplicate: String(duplicate) },
    rejection,
  });
}

const REJECTION_KINDS: Record<number, string> = { 1: 'INVALID', 2: 'CONFLICT', 3: 'NOT_FOUND', 4: 'DENIED' };

/** Fills in what a client's command may leave open. Changes the command, which the caller owns. */
export function completeCommand(command: CommandBook, runtime: Runtime): void {
  if (command.cover !== undefined && command.cover.correlationId === '') {
    command.cover.correlationId = uuidText(runtime.uuid());
  }
}
