// The aggregates of one domain on one attach stream: one item per aggregate at a time, and a memory of how much of each
// history the host was sent, so that only new pages travel.

import type { Decision, DecisionRequest, History, HistoryPart, HostNeeds } from '../component.ts';
import type { Deadlines } from '../deadlines.ts';
import { DaybookError } from '../errors.ts';
import type { AggregateHosting, ContextualCommand, Reply } from '../gen/daybook/v1/component.ts';
import type { EventBook } from '../model/book.ts';
import { fault } from '../model/decision.ts';
import { commandBytes } from '../model/validation.ts';
import type { Runtime } from '../runtime.ts';
import { TransientMap } from '../transient-map.ts';
import type { Outbox } from './outbox.ts';
import { type Job, WorkLane } from './work-lane.ts';

/** A history longer than this is sent in chunks before the work. */
export const CHUNK_BYTES = 1 << 20;
/** Aggregates whose state a host is remembered to hold; beyond, the longest unused is sent whole again. */
const HELD_AGGREGATES = 100_000;

interface Item extends Job {
  readonly request: DecisionRequest;
  /** Where the host was told to start; 0 after a whole history. */
  base: number;
}

export class AttachedAggregate {
  readonly domain: string;
  readonly #hosting: AggregateHosting;
  readonly #outbox: Outbox;
  readonly #runtime: Runtime;
  readonly #lane: WorkLane;
  readonly #items = new TransientMap<string, Item>();
  readonly #held = new Map<string, number>();

  constructor(hosting: AggregateHosting, outbox: Outbox, runtime: Runtime, deadlines: Deadlines, onLate: () => void) {
    this.domain = hosting.domain;
    this.#hosting = hosting;
    this.#outbox = outbox;
    this.#runtime = runtime;
    this.#lane = new WorkLane(hosting.credits, outbox, deadlines, onLate);
  }

  needs(streamText: string): HostNeeds {
    return {
      heldUpTo: this.#hosting.keepsState ? (this.#held.get(streamText) ?? 0) : 0,
      snapshotVersion: this.#hosting.snapshotSchemaVersion,
    };
  }

  decide(request: DecisionRequest): Promise<Decision> {
    return new Promise((resolve, reject) => {
      const { workId, streamText, ancestors, deadlineMs, signal } = request;
      const timeoutMs = Math.round(deadlineMs - this.#runtime.monotonicMs());
      const over = () => this.#items.delete(workId);
      const item: Item = {
        request,
        base: 0,
        workId,
        bytes: commandBytes(request.command),
        key: streamText,
        ancestors,
        deadlineMs,
        signal,
        send: () => this.#send(item),
        answer: (reply) => {
          over();
          const decision = this.#decisionOf(request, reply);
          if (decision instanceof DaybookError) reject(decision);
          else resolve(decision);
        },
        fail: (error) => {
          over();
          reject(error);
        },
        timeout: () => this.#timeout(streamText, timeoutMs),
      };
      this.#items.set(workId, item);
      this.#lane.submit(item);
    });
  }

  /** Whether it waits for a reply to this work. */
  has(workId: string): boolean {
    return this.#lane.has(workId);
  }

  reply(reply: Reply): void {
    const item = this.#items.get(reply.workId);
    if (reply.result?.$case === 'needHistory' && item !== undefined && item.base > 0) {
      this.#held.delete(item.request.streamText);
      this.#send(item);
    } else this.#lane.reply(reply);
  }

  close(error: DaybookError): void {
    this.#lane.close(error);
  }

  #send(item: Item): void {
    const { history, dryRun, streamText } = item.request;
    const { heldUpTo, snapshotVersion } = this.needs(streamText);
    const base = dryRun ? 0 : heldUpTo;
    const part = history.atHand(base, snapshotVersion);
    if (part !== undefined && fits(item, part)) this.#sendWork(item, base, part);
    else this.#sendInParts(item, base).catch((error) => this.#lane.abandon(item.workId, error));
  }

  #sendWork(item: Item, base: number, part: HistoryPart | undefined): void {
    const { command, snapshotWanted, workId, streamText, deadlineMs, history, dryRun } = item.request;
    item.base = base;
    if (this.#hosting.keepsState && !dryRun) this.#remember(streamText, history.nextSequence);
    const events = bookOf(item, part);
    const contextual: ContextualCommand = { events, command, snapshotWanted, baseSequence: base, workId, dryRun };
    const leftMs = deadlineMs === Infinity ? 0 : Math.max(1, Math.ceil(deadlineMs - this.#runtime.monotonicMs()));
    this.#outbox.work(
      {
        workId,
        timeoutMs: leftMs,
        traceparent: command.metadata.traceparent ?? '',
        tracestate: command.metadata.tracestate ?? '',
        component: this.domain,
        request: { $case: 'command', value: contextual },
      },
      item.bytes + (part?.bytes ?? 0),
    );
  }

  async #sendInParts(item: Item, base: number): Promise<void> {
    const { history, workId, streamText, dryRun } = item.request;
    const { snapshotVersion } = this.needs(streamText);
    // What is missing may be short even when it was not in memory.
    if (base > 0) {
      for await (const part of history.parts(base, snapshotVersion, CHUNK_BYTES)) {
        if (!this.#lane.isWanted(workId)) return this.#lane.abandon(workId, undefined);
        if (reachesEnd(part, history) && fits(item, part)) return this.#sendWork(item, base, part);
        break;
      }
    }
    // Until the work itself is sent, the host holds nothing that counts; a dry run leaves what it holds as it is.
    if (!dryRun) this.#held.delete(streamText);
    let first = true;
    for await (const part of history.parts(0, snapshotVersion, CHUNK_BYTES)) {
      if (!this.#lane.isWanted(workId)) return this.#lane.abandon(workId, undefined);
      if (first && reachesEnd(part, history) && fits(item, part)) return this.#sendWork(item, 0, part);
      this.#outbox.history({ workId, events: bookOf(item, part), first }, part.bytes);
      first = false;
      await this.#outbox.writable();
    }
    if (!this.#lane.isWanted(workId)) return this.#lane.abandon(workId, undefined);
    this.#sendWork(item, 0, undefined);
  }

  #remember(streamText: string, nextSequence: number): void {
    this.#held.delete(streamText);
    this.#held.set(streamText, nextSequence);
    if (this.#held.size > HELD_AGGREGATES) this.#held.delete(this.#held.keys().next().value!);
  }

  #decisionOf(request: DecisionRequest, reply: Reply): Decision | DaybookError {
    const complain = (sentence: string) => this.#outbox.notice(request.workId, 'COMPONENT_FAULT', sentence);
    const result = reply.result;
    if (result?.$case === 'command') {
      const answer = result.value.result;
      if (answer?.$case === 'events') return { kind: 'events', book: answer.value, complain };
      if (answer?.$case === 'rejection') return { kind: 'rejection', rejection: answer.value, complain };
    }
    if (result?.$case === 'failure') return failed(request, result.value);
    const sentence =
      result?.$case === 'needHistory'
        ? 'the host asked for the history again after it was sent whole'
        : `expected a reply to a command, found ${result?.$case ?? 'none'}`;
    complain(sentence);
    return fault(request.stream, sentence);
  }

  #timeout(streamText: string, timeoutMs: number): DaybookError {
    return new DaybookError('COMPONENT_TIMEOUT', `${streamText}: the component did not answer within ${timeoutMs} ms`, {
      metadata: { component: this.domain, timeout_ms: timeoutMs },
    });
  }
}

function bookOf({ request: { command, history } }: Item, part: HistoryPart | undefined): EventBook {
  return {
    cover: command.cover,
    snapshot: part?.snapshot,
    pages: part?.pages ?? [],
    nextSequence: history.nextSequence,
    consistencyToken: '',
  };
}

/** Short enough to travel in one message with its command. */
function fits(item: Item, part: HistoryPart): boolean {
  return part.bytes === 0 || part.bytes + item.bytes <= 2 * CHUNK_BYTES;
}

function reachesEnd(part: HistoryPart, history: History): boolean {
  return part.from + part.pages.length === history.nextSequence;
}

function failed(
  { stream, streamText }: DecisionRequest,
  failure: { message: string; overloaded: boolean },
): DaybookError {
  if (!failure.overloaded) return fault(stream, `the handler failed: ${failure.message}`);
  return new DaybookError('OVERLOADED', `${streamText}: the component is overloaded: ${failure.message}`, {
    metadata: { limit: 'component', component: stream.domain },
    retryDelayMs: 100,
  });
}
