// The aggregates of one domain on one attach stream: sends work within the host's credits, one item per aggregate at a time,
// and remembers how much of each history the host was sent, so that only new pages travel.

import type { Decision, DecisionRequest, History, HistoryPart, HostNeeds } from '../component.ts';
import type { Deadline, Deadlines } from '../deadlines.ts';
import { DaybookError } from '../errors.ts';
import type { AggregateHosting, ContextualCommand, Reply } from '../gen/daybook/v1/component.ts';
import type { EventBook } from '../model/book.ts';
import { fault } from '../model/decision.ts';
import { commandBytes } from '../model/validation.ts';
import type { Runtime } from '../runtime.ts';
import type { Outbox } from './outbox.ts';

/** A history longer than this is sent in chunks before the work. */
export const CHUNK_BYTES = 1 << 20;
/** Aggregates whose state a host is remembered to hold; beyond, the longest unused is sent whole again. */
const HELD_AGGREGATES = 100_000;
const DEFAULT_CREDIT_ITEMS = 64;
const DEFAULT_CREDIT_BYTES = 16 << 20;

interface Item {
  request: DecisionRequest;
  bytes: number;
  /** Uses the credit of the work that it was called from. */
  lent: boolean;
  /** Where the host was told to start; 0 after a whole history. */
  base: number;
  /** The caller has its answer; a reply is awaited all the same. */
  settled: boolean;
  deadline: Deadline;
  abort: () => void;
  resolve: (decision: Decision) => void;
  reject: (error: unknown) => void;
}

export class AttachedAggregate {
  readonly domain: string;
  readonly #hosting: AggregateHosting;
  readonly #outbox: Outbox;
  readonly #runtime: Runtime;
  readonly #deadlines: Deadlines;
  readonly #onLate: () => void;
  readonly #creditItems: number;
  readonly #creditBytes: number;
  /** Sent and not yet answered, by work id; withdrawn work included. */
  readonly #inHand = new Map<string, Item>();
  readonly #outstanding = new Map<string, Item>();
  /** For want of credit. */
  #waiting: Item[] = [];
  /** Until the host has answered withdrawn work of the same aggregate. */
  readonly #behind = new Map<string, Item>();
  readonly #held = new Map<string, number>();
  #itemsInHand = 0;
  #bytesInHand = 0;
  #closed: DaybookError | undefined;

  constructor(hosting: AggregateHosting, outbox: Outbox, runtime: Runtime, deadlines: Deadlines, onLate: () => void) {
    this.domain = hosting.domain;
    this.#hosting = hosting;
    this.#outbox = outbox;
    this.#runtime = runtime;
    this.#deadlines = deadlines;
    this.#onLate = onLate;
    this.#creditItems = hosting.credits?.items || DEFAULT_CREDIT_ITEMS;
    this.#creditBytes = hosting.credits?.bytes || DEFAULT_CREDIT_BYTES;
  }

  needs(streamText: string): HostNeeds {
    return {
      heldUpTo: this.#hosting.keepsState ? (this.#held.get(streamText) ?? 0) : 0,
      snapshotVersion: this.#hosting.snapshotSchemaVersion,
    };
  }

  decide(request: DecisionRequest): Promise<Decision> {
    return new Promise((resolve, reject) => {
      if (this.#closed !== undefined) return reject(this.#closed);
      const item: Item = {
        request,
        bytes: commandBytes(request.command),
        lent: request.ancestors.some((id) => this.#inHand.has(id)),
        base: 0,
        settled: false,
        deadline: this.#deadlines.add(request.deadlineMs, () => this.#withdraw(item, this.#timeout(request))),
        abort: () => this.#withdraw(item, request.signal.reason),
        resolve,
        reject,
      };
      request.signal.addEventListener('abort', item.abort, { once: true });
      this.#submit(item);
    });
  }

  /** Whether it waits for a reply to this work. */
  has(workId: string): boolean {
    return this.#inHand.has(workId);
  }

  reply(reply: Reply): void {
    const item = this.#inHand.get(reply.workId)!;
    const result = reply.result;
    if (result?.$case === 'needHistory' && !item.settled && item.base > 0) {
      this.#held.delete(item.request.streamText);
      this.#send(item);
      return;
    }
    this.#take(item);
    if (item.settled) this.#onLate();
    else this.#settle(item, reply);
    this.#next(item);
  }

  /** The stream is gone: nothing that it holds will be answered. */
  close(error: DaybookError): void {
    this.#closed = error;
    const items = [...this.#inHand.values(), ...this.#waiting, ...this.#behind.values()];
    this.#inHand.clear();
    this.#waiting = [];
    this.#behind.clear();
    this.#outstanding.clear();
    for (const item of items) this.#fail(item, error);
  }

  #submit(item: Item): void {
    const text = item.request.streamText;
    if (this.#outstanding.has(text)) this.#behind.set(text, item);
    else if (item.lent || (this.#waiting.length === 0 && this.#hasCredit(item))) this.#begin(item);
    else this.#waiting.push(item);
  }

  #hasCredit(item: Item): boolean {
    if (this.#itemsInHand === 0) return true;
    return this.#itemsInHand < this.#creditItems && this.#bytesInHand + item.bytes <= this.#creditBytes;
  }

  #begin(item: Item): void {
    this.#inHand.set(item.request.workId, item);
    this.#outstanding.set(item.request.streamText, item);
    if (!item.lent) {
      this.#itemsInHand++;
      this.#bytesInHand += item.bytes;
    }
    this.#send(item);
  }

  #send(item: Item): void {
    const { history, streamText } = item.request;
    const { heldUpTo, snapshotVersion } = this.needs(streamText);
    const part = history.atHand(heldUpTo, snapshotVersion);
    if (part !== undefined && fits(item, part)) this.#sendWork(item, heldUpTo, part);
    else this.#sendInParts(item, heldUpTo).catch((error) => this.#giveUp(item, error));
  }

  #sendWork(item: Item, base: number, part: HistoryPart | undefined): void {
    const { command, snapshotWanted, workId, streamText, deadlineMs, history } = item.request;
    item.base = base;
    if (this.#hosting.keepsState) this.#remember(streamText, history.nextSequence);
    const events = this.#book(item, part);
    const contextual: ContextualCommand = { events, command, snapshotWanted, baseSequence: base, workId };
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

  async #sendInParts(item: Item, heldUpTo: number): Promise<void> {
    const { history, workId, streamText } = item.request;
    const { snapshotVersion } = this.needs(streamText);
    // What is missing may be short even when it was not in memory.
    if (heldUpTo > 0) {
      for await (const part of history.parts(heldUpTo, snapshotVersion, CHUNK_BYTES)) {
        if (item.settled) return this.#abandon(item);
        if (reachesEnd(part, history) && fits(item, part)) return this.#sendWork(item, heldUpTo, part);
        break;
      }
    }
    // Until the work itself is sent, the host holds nothing that counts.
    this.#held.delete(streamText);
    let first = true;
    for await (const part of history.parts(0, snapshotVersion, CHUNK_BYTES)) {
      if (item.settled || this.#closed !== undefined) return this.#abandon(item);
      if (first && reachesEnd(part, history) && fits(item, part)) return this.#sendWork(item, 0, part);
      this.#outbox.history({ workId, events: this.#book(item, part), first }, part.bytes);
      first = false;
      await this.#outbox.writable();
    }
    if (item.settled || this.#closed !== undefined) return this.#abandon(item);
    this.#sendWork(item, 0, undefined);
  }

  /** Withdrawn before it was sent whole: no reply will come. */
  #abandon(item: Item): void {
    this.#take(item);
    this.#next(item);
  }

  #giveUp(item: Item, error: unknown): void {
    this.#take(item);
    this.#fail(item, error);
    this.#next(item);
  }

  #book(item: Item, part: HistoryPart | undefined): EventBook {
    const { command, history } = item.request;
    return {
      cover: command.cover,
      snapshot: part?.snapshot,
      pages: part?.pages ?? [],
      nextSequence: history.nextSequence,
      consistencyToken: '',
    };
  }

  #remember(streamText: string, nextSequence: number): void {
    this.#held.delete(streamText);
    this.#held.set(streamText, nextSequence);
    if (this.#held.size > HELD_AGGREGATES) this.#held.delete(this.#held.keys().next().value!);
  }

  /** Nobody waits any more. The host is told, and keeps the aggregate until it has answered. */
  #withdraw(item: Item, error: unknown): void {
    if (item.settled) return;
    this.#fail(item, error);
    const { workId, streamText } = item.request;
    if (this.#inHand.has(workId)) this.#outbox.cancel(workId);
    else if (this.#behind.get(streamText) === item) this.#behind.delete(streamText);
    else this.#waiting = this.#waiting.filter((waiting) => waiting !== item);
  }

  #take(item: Item): void {
    this.#inHand.delete(item.request.workId);
    this.#outstanding.delete(item.request.streamText);
    if (!item.lent) {
      this.#itemsInHand--;
      this.#bytesInHand -= item.bytes;
    }
  }

  /** What waited for the item's aggregate, and for its credit. */
  #next(item: Item): void {
    const behind = this.#behind.get(item.request.streamText);
    if (behind !== undefined) {
      this.#behind.delete(item.request.streamText);
      this.#submit(behind);
    }
    let begun = 0;
    while (begun < this.#waiting.length && this.#hasCredit(this.#waiting[begun]!)) this.#begin(this.#waiting[begun++]!);
    if (begun > 0) this.#waiting.splice(0, begun);
  }

  #settle(item: Item, reply: Reply): void {
    const decision = this.#decisionOf(item, reply);
    if (decision instanceof DaybookError) return this.#fail(item, decision);
    this.#release(item);
    item.resolve(decision);
  }

  #decisionOf({ request }: Item, reply: Reply): Decision | DaybookError {
    const complain = (sentence: string) => this.#outbox.notice(request.workId, 'COMPONENT_FAULT', sentence);
    const result = reply.result;
    switch (result?.$case) {
      case 'command':
        switch (result.value.result?.$case) {
          case 'events':
            return { kind: 'events', book: result.value.result.value, complain };
          case 'rejection':
            return { kind: 'rejection', rejection: result.value.result.value, complain };
        }
        break;
      case 'failure':
        return failed(request, result.value);
      case 'needHistory': {
        // It was sent everything: it must fold it.
        const sentence = 'the host asked for the history again after it was sent whole';
        complain(sentence);
        return fault(request.stream, sentence);
      }
    }
    const sentence = `expected a reply to a command, found ${result?.$case ?? 'none'}`;
    complain(sentence);
    return fault(request.stream, sentence);
  }

  #fail(item: Item, error: unknown): void {
    if (item.settled) return;
    this.#release(item);
    item.reject(error);
  }

  #release(item: Item): void {
    item.settled = true;
    item.deadline.cancel();
    item.request.signal.removeEventListener('abort', item.abort);
  }

  #timeout({ streamText }: DecisionRequest): DaybookError {
    return new DaybookError('COMPONENT_TIMEOUT', `${streamText}: the component did not answer in time`, {
      metadata: { component: this.domain },
    });
  }
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
