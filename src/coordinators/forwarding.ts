// Finds who decides: this daemon, or another one of the log. What another one hosts is passed on once: to a daemon that can be called, or
// through the outbox. The answer is the one that the other daemon gave.

import { asDaybookError, DaybookError } from '../errors.ts';
import { type CommandBook, type CommandResponse, type EventBook, pageBytes } from '../model/book.ts';
import { checkFacts, type FactLimits } from '../model/fact.ts';
import { type StreamKey, streamText, uuidText } from '../model/stream.ts';
import { type CommandLimits, checkCommand, commandBytes } from '../model/validation.ts';
import type { Runtime } from '../runtime.ts';
import type { LogIdentity, Store } from '../store.ts';
import type { Admission } from './admission.ts';
import { firstAnswer } from './answers.ts';
import type { Asking, Hosts } from './asking.ts';
import type { BusinessCoordinator } from './business.ts';
import type { Caller } from './caller.ts';
import type { DryRunner } from './dry-run.ts';
import type { FactRecorder } from './facts.ts';
import type { Handover } from './handover.ts';
import { commandHash } from './outcome.ts';
import { type ForwardedWork, PeerLost, type Peers, PeerUnreachable } from './peers.ts';
import type { UpcastingReads } from './upcasting.ts';
import { chainOf } from './work-in-hand.ts';

/** Another daemon that hosts a domain now. */
export interface Neighbour {
  instance: string;
  /** Empty: it cannot be called. */
  address: string;
}

export interface ForwardingParts {
  business: Pick<BusinessCoordinator, 'execute'>;
  facts: Pick<FactRecorder, 'record'>;
  dryRunner: Pick<DryRunner, 'run'>;
  handover: Handover;
  peers: Peers;
  /** Other daemons that host the domain now. */
  neighbours: (domain: string) => readonly Neighbour[];
  /** Learns of other daemons that have just come. */
  lookAround: () => Promise<void>;
  hosts: Hosts;
  admission: Admission;
  asking: Asking;
  reads: UpcastingReads;
  store: Store;
  runtime: Runtime;
  limits: CommandLimits & FactLimits & { forwardTimeoutMs: number };
  log: LogIdentity;
  logger: { warn(about: object, message: string): void };
}

/** The answer is on its way before the call's own deadline. */
const ANSWER_MS = 50;

export class Forwarding {
  readonly #parts: ForwardingParts;

  constructor(parts: ForwardingParts) {
    this.#parts = parts;
  }

  /** As `BusinessCoordinator.execute`, wherever the domain is hosted. */
  async execute(command: CommandBook, caller: Caller): Promise<CommandResponse> {
    const { business, limits, asking } = this.#parts;
    const neighbours = await this.#elsewhere(command.cover?.domain);
    if (neighbours.length === 0) return business.execute(command, caller);
    const stream = checkCommand(command, limits);
    const text = streamText(stream);
    const parent = asking.enter(command.workId, text, caller);
    // Only with a key may it be sent again.
    const key = command.idempotencyKey || uuidText(this.#parts.runtime.uuid());
    const keyed = { ...command, idempotencyKey: key };
    const work: ForwardedWork = { work: { $case: 'command', value: keyed }, hops: 1, ancestors: chainOf(parent) };
    const job = { bytes: commandBytes(command), reserved: parent !== undefined };
    try {
      const response = await this.#forward(neighbours, stream, work, job, caller, async (duplicate) => {
        const outcomeKey = { tenant: stream.tenant, kind: 'client', key } as const;
        const stored = await this.#parts.store.readOutcome(outcomeKey);
        const asked = { stream, text, key: outcomeKey, hash: commandHash(stream, keyed) };
        return stored && firstAnswer(this.#parts, asked, stored, duplicate);
      });
      // A key that was made here is known from a try of this call alone.
      return command.idempotencyKey === '' ? { ...response, duplicate: false } : response;
    } catch (error) {
      throw withKey(text, key, error);
    } finally {
      asking.leave(parent, text);
    }
  }

  /** As `FactRecorder.record`, wherever the domain is hosted. */
  async record(facts: EventBook | undefined, askAggregate: boolean, caller: Caller): Promise<CommandResponse> {
    const { facts: recorder, limits } = this.#parts;
    const neighbours = await this.#elsewhere(facts?.cover?.domain);
    if (neighbours.length === 0) return recorder.record(facts, askAggregate, caller);
    const stream = checkFacts(facts, limits);
    const work: ForwardedWork = { work: { $case: 'facts', value: { facts, askAggregate } }, hops: 1, ancestors: [] };
    const job = { bytes: facts!.pages.reduce((sum, page) => sum + pageBytes(page), 0), reserved: false };
    return this.#forward(neighbours, stream, work, job, caller, async () => {
      // All are known now, so this only reads.
      const response = await recorder.record(facts, false, caller);
      return { ...response, duplicate: false };
    });
  }

  /** As `DryRunner.run`, wherever the domain is hosted; a question does not wait in the outbox. */
  readonly dryRun: DryRunner['run'] = async (command, asOf, caller) => {
    const { dryRunner, peers } = this.#parts;
    const neighbours = await this.#elsewhere(command.cover?.domain);
    if (neighbours.length === 0) return dryRunner.run(command, asOf, caller);
    const stream = checkCommand(command, this.#parts.limits);
    for (const { address } of inTurn(neighbours, streamText(stream))) {
      try {
        if (address !== '') return await peers.dryRun(address, command, asOf, caller);
      } catch (thrown) {
        if (!this.#isElsewhere(address, thrown)) throw thrown;
      }
    }
    throw unavailable(
      stream,
      'the daemons that host it cannot be called from here, and a dry run needs an answer at once',
    );
  };

  /** Other daemons that host the domain; none when this one does, or nobody. */
  async #elsewhere(domain: string | undefined): Promise<readonly Neighbour[]> {
    const { hosts, neighbours, lookAround } = this.#parts;
    if (domain === undefined || hosts.here(domain)) return [];
    const known = neighbours(domain);
    if (known.length > 0) return known;
    await lookAround();
    return hosts.here(domain) ? [] : neighbours(domain);
  }

  /** In the order of arrival for each aggregate, as at home. `answerOf` reads what was stored under a row of the outbox. */
  async #forward(
    neighbours: readonly Neighbour[],
    stream: StreamKey,
    work: ForwardedWork,
    job: { bytes: number; reserved: boolean },
    caller: Caller,
    answerOf: (duplicate: boolean) => Promise<CommandResponse | undefined>,
  ): Promise<CommandResponse> {
    const text = streamText(stream);
    const end = await this.#parts.admission.run(text, { domain: stream.domain, ...job, ...caller }, async () => {
      return (await this.#call(inTurn(neighbours, text), work, caller)) ?? (await this.#handOver(stream, work, caller));
    });
    if (typeof end === 'object') return end;
    const response = await answerOf(end === 'duplicate');
    if (response !== undefined) return response;
    throw unavailable(stream, 'the row that was to bring it there was removed; nothing was stored');
  }

  /** The answer of the first that can be called; `undefined`: none can, or one of them went away with it in hand. */
  async #call(
    neighbours: readonly Neighbour[],
    work: ForwardedWork,
    caller: Caller,
  ): Promise<CommandResponse | undefined> {
    let refused: unknown;
    for (const { address } of neighbours) {
      if (address === '') continue;
      try {
        return await this.#parts.peers.execute(address, work, caller);
      } catch (thrown) {
        if (!this.#isElsewhere(address, thrown)) throw thrown;
        if (thrown instanceof DaybookError) refused = thrown;
      }
    }
    // Each of them was asked, and none is able to.
    if (refused !== undefined && neighbours.every(({ address }) => address !== '')) throw refused;
    return undefined;
  }

  /** Another daemon may still do it: this one did not, or the same key makes it happen once. */
  #isElsewhere(address: string, thrown: unknown): boolean {
    if (thrown instanceof PeerUnreachable || thrown instanceof PeerLost) {
      this.#parts.logger.warn({ peer: address, why: thrown.message }, 'a command could not be passed on to a daemon');
      return true;
    }
    return thrown instanceof DaybookError && NOT_THERE.has(thrown.reason);
  }

  #handOver(stream: StreamKey, work: ForwardedWork, caller: Caller): Promise<'done' | 'duplicate'> {
    const { handover, runtime, limits } = this.#parts;
    const now = runtime.monotonicMs();
    const leftMs = caller.deadlineMs - now;
    const deadlineMs = Math.min(now + limits.forwardTimeoutMs, caller.deadlineMs - Math.min(ANSWER_MS, leftMs / 10));
    const { value } = work.work!;
    const cover = 'facts' in value ? value.facts!.cover! : value.cover!;
    return handover.run(stream, cover.correlationId, work, { deadlineMs, signal: caller.signal });
  }
}

/** Nothing was stored there. */
const NOT_THERE: ReadonlySet<string> = new Set(['COMPONENT_UNAVAILABLE', 'SHUTTING_DOWN', 'UNKNOWN_DOMAIN']);

function unavailable({ domain }: StreamKey, why: string): DaybookError {
  return new DaybookError('COMPONENT_UNAVAILABLE', `${domain}: ${why}`, {
    metadata: { component: domain },
    retryDelayMs: 200,
  });
}

/** An aggregate's commands go to the same daemon while that is there: it has the history in memory. */
function inTurn(neighbours: readonly Neighbour[], text: string): Neighbour[] {
  return neighbours
    .map((neighbour) => ({ neighbour, score: score(`${neighbour.instance} ${text}`) }))
    .sort((a, b) => b.score - a.score)
    .map(({ neighbour }) => neighbour);
}

/** FNV-1a, finished so that texts that differ in one place differ everywhere. */
function score(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  return (hash ^ (hash >>> 13)) >>> 0;
}

function withKey(text: string, key: string, thrown: unknown): unknown {
  const error = asDaybookError(thrown);
  if (error.reason !== 'OUTCOME_UNKNOWN' || error.metadata.idempotency_key !== undefined) return thrown;
  return new DaybookError('OUTCOME_UNKNOWN', `${text}: ${error.message}; repeat the command only with its key`, {
    metadata: { idempotency_key: key },
    cause: error,
  });
}
