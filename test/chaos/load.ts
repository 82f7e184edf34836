// Senders that never give a command up: what was not answered is sent again with its key until it is.

import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Client,
  type Command,
  type CommandResponse,
  DaybookError,
  Rejected,
  rootOf,
  SequenceConflict,
} from '@daybook/client';
import { type Random, seeded } from '../support/random.ts';
import { DOMAIN, payload } from './ledger.ts';

export type Answer = {
  /** Of everything in it but whether it is a duplicate. */
  digest: string;
  duplicate: boolean;
} & (
  | { kind: 'events'; sequences: number[]; positions: number[] }
  | { kind: 'rejection' }
  | { kind: 'conflict'; expected: number; actual: number }
);

export interface Sent {
  number: number;
  command: Command;
  /** Events that it has when it is accepted. */
  parts: number;
  answer: Answer | undefined;
}

/** One of the ways to send commands, to one of the daemons. */
interface Way {
  send(command: Command): Promise<CommandResponse>;
  close(): Promise<void>;
}

export interface LoadOptions {
  seed: number;
  aggregates: number;
  pipelines: number;
  /** Commands in hand on each. */
  perPipeline: number;
  unary: number;
}

export class Load {
  readonly sent: Sent[] = [];
  /** Why commands were sent again, and how often. */
  readonly repeats = new Map<string, number>();
  readonly faults: string[] = [];
  answered = 0;
  readonly #options: LoadOptions;
  readonly #clients: readonly Client[];
  readonly #random: Random;
  /** By aggregate: the next sequence as the newest answer told it. */
  readonly #seen = new Map<number, number>();
  #stopping = false;
  readonly #ways: Way[] = [];
  readonly #workers: Promise<void>[] = [];

  /** A client for each daemon. */
  constructor(clients: readonly Client[], options: LoadOptions) {
    this.#clients = clients;
    this.#options = options;
    this.#random = seeded(options.seed);
  }

  start(): void {
    const { pipelines, perPipeline, unary } = this.#options;
    const client = (n: number) => this.#clients[n % this.#clients.length]!;
    const waysOfEach = Math.max(pipelines, this.#clients.length);
    for (let i = 0; i < waysOfEach; i++) this.#employ((perPipeline * pipelines) / waysOfEach, pipelined(client(i)));
    for (let i = 0; i < this.#clients.length; i++) this.#employ(unary / this.#clients.length, oneByOne(client(i)));
  }

  /** Resolves when every command that was begun is answered. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#workers);
    for (const way of this.#ways) await way.close();
  }

  /** Sends every command once more; each must be told what it was told before. */
  async repeatAll(atOnce: number): Promise<{ duplicates: number; conflicts: number }> {
    const way = pipelined(this.#clients[0]!);
    this.#ways.splice(0, this.#ways.length, way);
    const counts = { duplicates: 0, conflicts: 0 };
    let next = 0;
    const worker = async () => {
      while (next < this.sent.length) {
        const sent = this.sent[next++]!;
        const again = await this.#untilAnswered(sent, way);
        if (again === undefined) continue;
        this.#compare(sent, again);
        counts[again.kind === 'conflict' ? 'conflicts' : 'duplicates']++;
      }
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
    await way.close();
    return counts;
  }

  #employ(workers: number, way: Way): void {
    this.#ways.push(way);
    for (let i = 0; i < workers; i++) this.#workers.push(this.#work(way));
  }

  #compare(sent: Sent, again: Answer): void {
    const first = sent.answer!;
    const same =
      first.kind === 'conflict'
        ? // Nothing is recorded of a conflict: it is one again, because histories only grow.
          again.kind === 'conflict' && again.expected === first.expected && again.actual >= first.actual
        : again.duplicate && again.digest === first.digest;
    if (!same) this.#fault(sent, `was answered ${JSON.stringify(first)}, and repeated ${JSON.stringify(again)}`);
  }

  async #work(way: Way): Promise<void> {
    while (!this.#stopping) {
      const sent = this.#next();
      const answer = await this.#untilAnswered(sent, way);
      if (answer === undefined) return;
      sent.answer = answer;
      this.answered++;
    }
  }

  /** `undefined`: a failure that no repeat can mend; it is among the faults. */
  async #untilAnswered(sent: Sent, first: Way): Promise<Answer | undefined> {
    let pauseMs = 20;
    for (let way = first; ; way = this.#ways[Math.floor(Math.random() * this.#ways.length)]!) {
      try {
        const response = await way.send(sent.command);
        this.#seen.set(aggregateOf(sent), response.events!.nextSequence);
        return answerOf(response);
      } catch (error) {
        const answer = refusalOf(error);
        if (answer !== undefined) return answer;
        const reason = reasonOf(error);
        if (!REPEATED.has(reason)) {
          this.#fault(sent, `failed: ${reason}: ${error instanceof Error ? error.stack : error}`);
          return undefined;
        }
        this.repeats.set(reason, (this.repeats.get(reason) ?? 0) + 1);
        await sleep(pauseMs * (1 + Math.random()));
        pauseMs = Math.min(PAUSE_MAX_MS, pauseMs * 2);
      }
    }
  }

  #next(): Sent {
    const random = this.#random;
    const number = this.sent.length;
    const aggregate = Math.floor(random() * this.#options.aggregates);
    const amounts = amountsOf(random);
    const sequence = random() < 0.15 ? (this.#seen.get(aggregate) ?? 0) : undefined;
    const sent: Sent = {
      number,
      command: {
        domain: DOMAIN,
        root: rootOf(`${this.#options.seed}/${aggregate}`),
        payload: amounts.map((amount) => payload('Wish', { command: number, amount })),
        idempotencyKey: `${this.#options.seed}/${number}/${aggregate}`,
        ...(sequence === undefined ? {} : { sequence }),
      },
      parts: amounts.filter((amount) => amount !== 0).length,
      answer: undefined,
    };
    this.sent.push(sent);
    return sent;
  }

  #fault(sent: Sent, what: string): void {
    this.faults.push(`command ${sent.number} ${what}`);
  }
}

/** What may come of a daemon, a host or a database that goes away. Everything else would be a fault of its own. */
export const REPEATED: ReadonlySet<string> = new Set([
  'UNREACHABLE',
  'PIPELINE_BROKEN',
  'COMPONENT_UNAVAILABLE',
  'CONTENTION',
  'STORE_UNAVAILABLE',
  'OUTCOME_UNKNOWN',
  'OVERLOADED',
  'SHUTTING_DOWN',
  'DEADLINE_EXCEEDED',
  'COMPONENT_TIMEOUT',
  'NO_ANSWER',
]);

/** Between two tries of one command: hundreds of senders must not keep a machine busy on which a daemon starts. */
const PAUSE_MAX_MS = 300;
/** Of one try. A daemon that stands still says nothing: somebody else is asked then. */
const TRY_MS = 5000;

export function reasonOf(error: unknown): string {
  if (error instanceof DaybookError) return error.reason;
  return error instanceof Error && error.name === 'TimeoutError' ? 'NO_ANSWER' : 'no DaybookError';
}

function aggregateOf(sent: Sent): number {
  return Number(sent.command.idempotencyKey!.split('/')[2]);
}

function amountsOf(random: Random): number[] {
  const amount = () => 1 + Math.floor(random() * 9);
  const kind = random();
  if (kind < 0.55) return [amount()];
  if (kind < 0.7) return Array.from({ length: 2 + Math.floor(random() * 4) }, amount);
  if (kind < 0.75) return [amount(), 0, -amount()];
  if (kind < 0.9) return [-10 * amount()];
  return [0];
}

function oneByOne(client: Client): Way {
  return { send: (command) => client.execute(command, { timeoutMs: TRY_MS }), close: () => Promise.resolve() };
}

/** A pipeline that is made anew whenever it broke. */
function pipelined(client: Client): Way {
  let pipeline = client.pipeline();
  return {
    async send(command) {
      const mine = pipeline;
      try {
        return await mine.send(command, { timeoutMs: TRY_MS, signal: AbortSignal.timeout(TRY_MS + 500) });
      } catch (error) {
        const broken = error instanceof DaybookError && error.reason === 'PIPELINE_BROKEN';
        if (broken && mine === pipeline) pipeline = client.pipeline();
        throw error;
      }
    },
    close: () => pipeline.close(),
  };
}

function answerOf(response: CommandResponse): Answer {
  const { duplicate, ...rest } = response;
  const pages = response.events!.pages;
  return {
    kind: 'events',
    digest: digestOf(rest),
    duplicate,
    sequences: pages.map(({ sequence }) => sequence),
    positions: pages.map(({ position }) => position),
  };
}

function refusalOf(error: unknown): Answer | undefined {
  if (error instanceof SequenceConflict) {
    const { expected, actual } = error;
    return { kind: 'conflict', digest: '', duplicate: false, expected, actual };
  }
  if (!(error instanceof Rejected)) return undefined;
  const { duplicate, ...metadata } = error.metadata;
  const { code, message, rejection } = error;
  return {
    kind: 'rejection',
    digest: digestOf({ code, message, rejection, metadata }),
    duplicate: duplicate === 'true',
  };
}

/** By which two answers are compared, byte by byte, without keeping them. */
function digestOf(answer: object): string {
  const text = JSON.stringify(answer, (_, value) =>
    value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value,
  );
  return createHash('sha256').update(text).digest('base64');
}
