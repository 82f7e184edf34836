// One stream to Daybook: work comes in, replies go out, in any order. It lives until the stream ends; what the host knows of
// aggregates ends with it, because Daybook then begins anew.

import type { ClientDuplexStream } from '@grpc/grpc-js';
import {
  type Aggregate,
  assertComplete,
  type CompleteCommand,
  type DecideContext,
  eventsReply,
  Rejection,
  rejectionReply,
  States,
} from './aggregate.ts';
import type { Client } from './client.ts';
import { DaybookError, fromServiceError, messageOf } from './errors.ts';
import type {
  ComponentMessage,
  ContextualCommand,
  CoordinatorMessage,
  Hello,
  Notice,
  Reply,
  Welcome,
  Work,
} from './gen/daybook/v1/component.ts';
import type { Any } from './gen/google/protobuf/any.ts';
import { pause } from './retry.ts';
import { durationOf } from './sync-mode.ts';

export interface SessionOptions {
  hello: Hello;
  aggregates: readonly Aggregate<unknown>[];
  /** The client that handlers get is made from it. */
  client: Client;
  onWelcome(welcome: Welcome): void;
  onNotice(notice: Notice): void;
  /** A handler failed, or its state could not be folded. */
  onFailure(work: Work, error: unknown): void;
}

/** Undefined when the stream ended as agreed. */
export type SessionEnd = DaybookError | undefined;

type Stream = ClientDuplexStream<ComponentMessage, CoordinatorMessage>;
type Result = NonNullable<Reply['result']>;

export class Session {
  readonly ended: Promise<SessionEnd>;
  readonly #stream: Stream;
  readonly #options: SessionOptions;
  readonly #states: Map<string, States<unknown>>;
  readonly #inHand = new Map<string, Decision>();
  readonly #end = Promise.withResolvers<SessionEnd>();
  #replies: Reply[] = [];
  #flushing = false;
  #draining = false;
  #over = false;
  #welcome: Welcome | undefined;

  constructor(stream: Stream, options: SessionOptions) {
    this.#stream = stream;
    this.#options = options;
    this.#states = new Map(options.aggregates.map((aggregate) => [aggregate.domain, new States(aggregate)]));
    this.ended = this.#end.promise;
    stream.on('data', (message: CoordinatorMessage) => this.#take(message));
    stream.on('error', (error) => this.#finish(fromServiceError(error)));
    stream.on('end', () => this.#finish(undefined));
    stream.write({ hello: options.hello, replies: [], drain: undefined });
  }

  /** Asks for no more work, answers what is in hand, and ends the stream; after the time is over, ends it anyhow. */
  async drain(timeoutMs: number): Promise<void> {
    if (this.#welcome === undefined) this.#stream.cancel();
    if (this.#over) return;
    this.#stream.write({ hello: undefined, replies: [], drain: { timeout: durationOf(timeoutMs) } });
    const timer = setTimeout(() => this.#stream.cancel(), timeoutMs);
    await Promise.race([pause(CROSSING_MS), this.ended]);
    this.#draining = true;
    this.#endWhenIdle();
    await this.ended;
    clearTimeout(timer);
  }

  #take(message: CoordinatorMessage): void {
    if (message.welcome !== undefined) {
      this.#welcome = message.welcome;
      this.#options.onWelcome(message.welcome);
    }
    for (const chunk of message.history) this.#states.get(chunk.events?.cover?.domain ?? '')?.chunk(chunk);
    for (const work of message.work) this.#begin(work);
    for (const cancel of message.cancels) this.#cancel(cancel.workId);
    for (const notice of message.notices) this.#options.onNotice(notice);
    if (message.drain !== undefined) {
      this.#draining = true;
      this.#endWhenIdle();
    }
  }

  /**
   * Another kind of component is another case here, with a class beside States that handles it, and a list in
   * `AttachOptions` that `helloOf` declares.
   */
  #begin(work: Work): void {
    switch (work.request?.$case) {
      case 'command':
        this.#decide(work, work.request.value);
        break;
      default: {
        const error = new Error(`this host has no handler for ${work.request?.$case ?? 'empty work'}`);
        this.#reply(work.workId, this.#refusal(work, error, false));
      }
    }
  }

  /** Asks the aggregate. A decision that is made at once is answered at once, without a promise between. */
  #decide(work: Work, command: ContextualCommand): void {
    try {
      assertComplete(command);
      const states = this.#states.get(command.command.cover.domain);
      if (states === undefined) throw new Error(`this host has no aggregate '${command.command.cover.domain}'`);
      const held = states.take(command, work.workId);
      if (held === undefined) {
        this.#reply(work.workId, { $case: 'needHistory', value: {} });
        return;
      }
      const { aggregate } = states;
      const decision = new Decision(work, command, states, held.next, this.#options.client);
      const answer = (events: readonly Any[]): Result => ({
        $case: 'command',
        value: eventsReply(aggregate, held, events, command),
      });
      const decided = aggregate.decide(held.state, payloadsOf(command), decision);
      if (!(decided instanceof Promise)) {
        this.#reply(work.workId, answer(decided));
        return;
      }
      this.#inHand.set(work.workId, decision);
      decided
        .then(answer)
        .catch((error) => this.#refusal(work, error, decision.cancelled))
        .then((result) => this.#settle(decision, result));
    } catch (error) {
      this.#reply(work.workId, this.#refusal(work, error, false));
    }
  }

  #settle(decision: Decision, result: Result): void {
    // False after its stream ended, or after a cancelled decision took too long: there is nobody to tell.
    if (this.#inHand.delete(decision.workId)) this.#reply(decision.workId, result);
  }

  #refusal(work: Work, error: unknown, cancelled: boolean): Result {
    if (error instanceof Rejection) return { $case: 'command', value: rejectionReply(error) };
    if (cancelled) return { $case: 'cancelled', value: {} };
    this.#options.onFailure(work, error);
    return { $case: 'failure', value: { message: messageOf(error), overloaded: false } };
  }

  /**
   * Tells the handler, and waits a little for it to settle, so that no second decision looks at the same state meanwhile. A handler
   * that does not listen keeps the state for itself: it is forgotten here, and Daybook will send the history again.
   */
  #cancel(workId: string): void {
    const decision = this.#inHand.get(workId);
    if (decision === undefined) {
      for (const states of this.#states.values()) states.forget(workId);
      return;
    }
    decision.cancel(new DaybookError('CLOSED', 'nobody waits for this decision any more'));
    const timer = setTimeout(() => {
      if (!this.#inHand.has(workId)) return;
      decision.states.forget(workId, decision.cover);
      this.#settle(decision, { $case: 'cancelled', value: {} });
    }, CANCEL_PATIENCE_MS);
    timer.unref();
  }

  /** Replies made in one turn of the event loop share messages. Not more wait here than there are credits. */
  #reply(workId: string, result: Result): void {
    if (this.#over) return;
    this.#replies.push({ workId, result });
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(() => {
      this.#flushing = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#over) return;
    const limit = this.#welcome?.messageBytes || DEFAULT_MESSAGE_BYTES;
    let replies: Reply[] = [];
    let bytes = 0;
    for (const reply of this.#replies.splice(0)) {
      let size = roughBytes(reply);
      let fitting = reply;
      if (size > limit) {
        // Fails alone: a message over the limit would end the stream for everybody.
        const message = `the reply has about ${size} bytes, and the daemon takes ${limit}`;
        fitting = { workId: reply.workId, result: { $case: 'failure', value: { message, overloaded: false } } };
        size = roughBytes(fitting);
      }
      if (bytes + size > limit && replies.length > 0) {
        this.#stream.write({ hello: undefined, replies, drain: undefined });
        replies = [];
        bytes = 0;
      }
      replies.push(fitting);
      bytes += size;
    }
    if (replies.length > 0) this.#stream.write({ hello: undefined, replies, drain: undefined });
    this.#endWhenIdle();
  }

  #endWhenIdle(): void {
    if (this.#over || !this.#draining || this.#inHand.size > 0 || this.#replies.length > 0) return;
    this.#stream.end();
  }

  #finish(error: SessionEnd): void {
    if (this.#over) return;
    this.#over = true;
    const why = error ?? new DaybookError('CLOSED', 'the stream to Daybook ended');
    for (const decision of this.#inHand.values()) decision.cancel(why);
    this.#inHand.clear();
    this.#end.resolve(error);
  }
}

/** A decision in hand, and what it may know. Signal and client are made when somebody asks for them. */
class Decision implements DecideContext {
  readonly workId: string;
  readonly domain: string;
  readonly root: Uint8Array;
  readonly tenant: string;
  readonly correlationId: string;
  readonly nextSequence: number;
  readonly metadata: Readonly<Record<string, string>>;
  readonly idempotencyKey: string;
  readonly traceparent: string;
  readonly tracestate: string;
  readonly deadlineMs: number;
  readonly cover: CompleteCommand['command']['cover'];
  readonly states: States<unknown>;
  readonly #client: Client;
  #controller: AbortController | undefined;
  #cancelledBy: Error | undefined;

  constructor(work: Work, asked: CompleteCommand, states: States<unknown>, nextSequence: number, client: Client) {
    const { cover, metadata, idempotencyKey } = asked.command;
    this.workId = work.workId;
    this.domain = cover.domain;
    this.root = cover.root.value;
    this.tenant = cover.tenant;
    this.correlationId = cover.correlationId;
    this.nextSequence = nextSequence;
    this.metadata = metadata;
    this.idempotencyKey = idempotencyKey;
    this.traceparent = work.traceparent;
    this.tracestate = work.tracestate;
    this.deadlineMs = work.timeoutMs === 0 ? Number.POSITIVE_INFINITY : Date.now() + work.timeoutMs;
    this.cover = cover;
    this.states = states;
    this.#client = client;
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#cancelledBy !== undefined) this.#controller.abort(this.#cancelledBy);
    return this.#controller.signal;
  }

  get client(): Client {
    const { workId, correlationId, tenant } = this;
    return this.#client.within({ workId, correlationId, tenant }, this.signal);
  }

  get cancelled(): boolean {
    return this.#cancelledBy !== undefined;
  }

  cancel(why: Error): void {
    this.#cancelledBy ??= why;
    this.#controller?.abort(why);
  }
}

function payloadsOf(command: CompleteCommand): Any[] {
  return command.command.pages.map((page) => page.command!);
}

function roughBytes(reply: Reply): number {
  if (reply.result?.$case !== 'command') return 256;
  const { result } = reply.result.value;
  if (result?.$case === 'rejection') return 512 + 3 * result.value.message.length;
  let bytes = 256 + (result?.value.snapshot?.state?.value.length ?? 0);
  for (const page of result?.value.pages ?? []) bytes += 32 + page.event!.typeUrl.length + page.event!.value.length;
  return bytes;
}

/** For work that was on its way here when we asked for no more. */
const CROSSING_MS = 50;
const CANCEL_PATIENCE_MS = 5_000;
const DEFAULT_MESSAGE_BYTES = 4 * 1024 * 1024;
