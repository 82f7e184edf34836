// A command becomes durable events. `execute` reads like the list of steps in docs/architecture.md; the numbers are theirs.

import type { AggregateComponent, Decision } from '../component.ts';
import { DaybookError } from '../errors.ts';
import type { CommandBook, CommandResponse } from '../model/book.ts';
import { checkRejection, type DecisionLimits, stampDecision } from '../model/decision.ts';
import { type StreamKey, streamText } from '../model/stream.ts';
import { toTimestamp } from '../model/time.ts';
import { type CommandLimits, checkCommand, commandBytes } from '../model/validation.ts';
import type { Runtime } from '../runtime.ts';
import type { LogIdentity, Outcome, OutcomeKey, StoredOutcome, Unit } from '../store.ts';
import type { Admission } from './admission.ts';
import { answer, bookOf, firstAnswer, rejected } from './answers.ts';
import type { Asking, Hosts } from './asking.ts';
import type { Caller } from './caller.ts';
import { type Claim, ClaimLost } from './claim.ts';
import type { Committer } from './committer.ts';
import type { Histories } from './histories.ts';
import type { HotHistory } from './hot-cache.ts';
import { commandHash, encodeOutcome, type OutcomeBody, rejectionBody } from './outcome.ts';
import { type ConflictLimits, untilCommitted } from './until-committed.ts';
import type { UpcastingReads } from './upcasting.ts';
import type { Work } from './work-in-hand.ts';

export interface BusinessLimits extends CommandLimits, DecisionLimits, ConflictLimits {
  idempotencyRetentionDays: number;
}

export interface BusinessParts {
  admission: Admission;
  hosts: Hosts;
  histories: Histories;
  asking: Asking;
  reads: UpcastingReads;
  committer: Committer;
  runtime: Runtime;
  limits: BusinessLimits;
  log: LogIdentity;
}

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
  /** Present when it comes from the outbox. */
  claim: Claim | undefined;
}

export class BusinessCoordinator {
  readonly #parts: BusinessParts;

  constructor(parts: BusinessParts) {
    this.#parts = parts;
  }

  /**
   * Resolves when the outcome is durable. Rejects with a DaybookError; REJECTED carries the domain's rejection, which is durable
   * too. See docs/architecture.md for the eleven steps; the eleventh, waiting, belongs to the sync modes. With a claim it rejects
   * with ClaimLost when that does not hold any more.
   */
  async execute(command: CommandBook, caller: Caller, claim?: Claim): Promise<CommandResponse> {
    const { admission, asking, hosts, limits } = this.#parts;
    const stream = checkCommand(command, limits); // 1
    const text = streamText(stream);
    const component = await hosts.find(stream.domain); // 2
    const parent = asking.enter(command.workId, text, caller);
    try {
      const reserved = (parent ?? claim ?? caller.ancestors) !== undefined;
      const job = { domain: stream.domain, bytes: commandBytes(command), reserved, ...caller };
      // 3 and 10: the root is this command's from here to the commit.
      return await admission.run(text, job, () => {
        const outcome = this.#outcomeKey(stream, command);
        const execution = { command, stream, text, component, parent, caller, outcome, claim };
        return untilCommitted(text, this.#parts, caller.signal, () => this.#decideOnce(execution)); // 9
      });
    } finally {
      asking.leave(parent, text);
    }
  }

  #outcomeKey(stream: StreamKey, command: CommandBook): Execution['outcome'] {
    if (command.idempotencyKey === '') return undefined;
    const key: OutcomeKey = { tenant: stream.tenant, kind: 'client', key: command.idempotencyKey };
    return { key, hash: commandHash(stream, command) };
  }

  /** `undefined`: the history moved on, decide again. */
  async #decideOnce(execution: Execution): Promise<CommandResponse | undefined> {
    const { stream, text, component, outcome } = execution;
    const { histories } = this.#parts;
    const { hot, known } = await histories.load(stream, text, component, outcome?.key); // 4
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
      histories.forget(text);
      throw this.#withKey(execution, error);
    }); // 8
    switch (result.kind) {
      case 'conflict':
        return undefined;
      case 'duplicate':
        // The row should have gone with it: counted, so that it becomes visible.
        if (execution.outcome === undefined) {
          throw new DaybookError('INTERNAL', `${execution.text}: this output was rejected before, and is there again`);
        }
        return this.#firstOutcome(execution, result.outcome);
      case 'fenced':
        throw new ClaimLost(result.what);
      case 'committed':
        break;
    }
    if (decision.kind === 'rejection') throw rejected(execution.text, decision.rejection, false);
    const { heldUpTo } = component.needs(stream, text);
    histories.committed(stream, text, unit.appends[0]?.pages ?? [], unit.snapshots[0]?.snapshot, heldUpTo);
    const book = result.books[0] ?? bookOf(stream, execution.command.cover!.correlationId, [], nextSequence);
    return answer(this.#parts.log, book, result.position + Math.max(0, book.pages.length - 1), false);
  }

  /** Never answered from the cache, which may be behind: the store says where the stream is, and whether the key is known. */
  async #mismatch(execution: Execution, explicit: number): Promise<CommandResponse | undefined> {
    const { nextSequence, known } = await this.#parts.histories.look(execution.stream, execution.outcome?.key);
    if (known !== undefined) return this.#firstOutcome(execution, known);
    if (nextSequence === explicit) return undefined;
    throw new DaybookError(
      'SEQUENCE_CONFLICT',
      `${execution.text}: the command expects next sequence ${explicit}, it is ${nextSequence}`,
      { metadata: { expected: explicit, actual: nextSequence } },
    );
  }

  #ask({ stream, text, component, command, parent, caller }: Execution, hot: HotHistory): Promise<Decision> {
    const history = this.#parts.histories.history(stream, hot);
    const snapshotNext = hot.snapshotNext;
    return this.#parts.asking.decide({ stream, text, component, command, parent, caller, history, snapshotNext });
  }

  /** A rejection, and a decision without events, is a unit too: true only of the history that it was decided against. */
  #unitOf(execution: Execution, decision: Decision, nextSequence: number, lastCreatedAtMicros: number): Unit {
    const { stream, command } = execution;
    const expect = { kind: 'exactly', nextSequence } as const;
    const unitId = this.#parts.runtime.uuid();
    try {
      if (decision.kind === 'rejection') {
        checkRejection(decision.rejection, stream, this.#parts.limits);
        const { rejection } = decision;
        const outcomes = this.#outcomes(execution, rejectionBody(command, rejection, this.#parts.runtime.nowMicros()));
        const unit = { unitId, appends: [], expectations: [{ stream, expect }], snapshots: [], outcomes };
        return execution.claim === undefined ? unit : { ...unit, work: execution.claim.work(rejection) };
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
      const unit: Unit =
        pages.length === 0
          ? { unitId, appends: [], expectations: [{ stream, expect }], snapshots, outcomes }
          : { unitId, appends: [{ stream, correlationId, expect, pages }], expectations: [], snapshots, outcomes };
      return execution.claim === undefined ? unit : { ...unit, work: execution.claim.work(undefined) };
    } catch (error) {
      if (error instanceof DaybookError) decision.complain?.(error.message);
      throw error;
    }
  }

  #outcomes({ outcome, claim, command, stream }: Execution, body: OutcomeBody): Outcome[] {
    const rejection = body.kind === 'rejection';
    // The row that goes is what keeps a claimed command from happening twice; only its rejection has to be found again.
    if (outcome === undefined && (claim === undefined || !rejection)) return [];
    const expiresAtMicros = this.#parts.runtime.nowMicros() + this.#parts.limits.idempotencyRetentionDays * DAY_MICROS;
    // Rejections are in no stream: only so can they be found again.
    const correlationId = rejection ? command.cover!.correlationId : undefined;
    const { key, hash } = outcome ?? { key: claim!.key, hash: commandHash(stream, command) };
    return [{ ...key, hash, body: encodeOutcome(body), expiresAtMicros, correlationId }];
  }

  /** The key was known: the answer of the first time, whatever the domain would say now. */
  #firstOutcome({ stream, text, outcome }: Execution, stored: StoredOutcome): Promise<CommandResponse> {
    return firstAnswer(this.#parts, { stream, text, ...outcome! }, stored, true);
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
