// One stream to Daybook: work comes in, replies go out, in any order. It lives until the stream ends.

import type { ClientDuplexStream } from '@grpc/grpc-js';
import type { Client } from './client.ts';
import { Deciding } from './deciding.ts';
import { DaybookError, fromServiceError, isShortage, messageOf } from './errors.ts';
import type {
  ComponentMessage,
  CoordinatorMessage,
  Hello,
  Notice,
  Reply,
  Welcome,
  Work,
} from './gen/daybook/v1/component.ts';
import type { Hosted } from './hosted.ts';
import { Reacting } from './reacting.ts';
import { replyBytes } from './reply-bytes.ts';
import { pause } from './retry.ts';
import { durationOf } from './sync-mode.ts';
import type { WorkInHand } from './work-in-hand.ts';

export interface SessionOptions {
  hello: Hello;
  hosted: Hosted;
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
export type Result = NonNullable<Reply['result']>;

/** Work that a handler was given. A promise comes with what cancels it. */
export type Begun = { result: Result } | { result: Promise<Result>; inHand: WorkInHand };

export class Session {
  readonly ended: Promise<SessionEnd>;
  readonly #stream: Stream;
  readonly #options: SessionOptions;
  readonly #deciding: Deciding;
  readonly #reacting: Reacting;
  readonly #inHand = new Map<string, WorkInHand>();
  readonly #end = Promise.withResolvers<SessionEnd>();
  #replies: Reply[] = [];
  #flushing = false;
  #draining = false;
  #over = false;
  #welcome: Welcome | undefined;

  constructor(stream: Stream, options: SessionOptions) {
    this.#stream = stream;
    this.#options = options;
    this.#deciding = new Deciding(options.hosted.aggregates, options.client);
    this.#reacting = new Reacting(options.hosted, options.client);
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
    for (const chunk of message.history) this.#deciding.chunk(chunk);
    for (const work of message.work) this.#begin(work);
    for (const cancel of message.cancels) this.#cancel(cancel.workId);
    for (const notice of message.notices) this.#options.onNotice(notice);
    if (message.drain !== undefined) {
      this.#draining = true;
      this.#endWhenIdle();
    }
  }

  /** What can be answered at once is, without a promise between. */
  #begin(work: Work): void {
    try {
      const begun = this.#start(work);
      if (!('inHand' in begun)) {
        this.#reply(work.workId, begun.result);
        return;
      }
      this.#inHand.set(work.workId, begun.inHand);
      begun.result
        .catch((error) => this.#failure(work, error, begun.inHand.cancelled))
        .then((result) => this.#settle(begun.inHand, result));
    } catch (error) {
      this.#reply(work.workId, this.#failure(work, error, false));
    }
  }

  #start(work: Work): Begun {
    const { request } = work;
    return request?.$case === 'command'
      ? this.#deciding.begin(work, request.value)
      : this.#reacting.begin(work, request);
  }

  #settle(inHand: WorkInHand, result: Result): void {
    // False after its stream ended, or after cancelled work took too long: there is nobody to tell.
    if (this.#inHand.delete(inHand.workId)) this.#reply(inHand.workId, result);
  }

  #failure(work: Work, error: unknown, cancelled: boolean): Result {
    if (cancelled) return { $case: 'cancelled', value: {} };
    this.#options.onFailure(work, error);
    return { $case: 'failure', value: { message: messageOf(error), overloaded: isShortage(error) } };
  }

  /**
   * Tells the handler, and waits a little for it to settle, so that no second decision looks at the same state meanwhile. A handler
   * that does not listen is abandoned, with whatever it may still change.
   */
  #cancel(workId: string): void {
    const inHand = this.#inHand.get(workId);
    if (inHand === undefined) {
      this.#deciding.forget(workId);
      return;
    }
    inHand.cancel(new DaybookError('CLOSED', 'nobody waits for this work any more'));
    const timer = setTimeout(() => {
      if (!this.#inHand.has(workId)) return;
      inHand.abandon();
      this.#settle(inHand, { $case: 'cancelled', value: {} });
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
      const { fitting, size } = this.#fitted(reply, limit);
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

  /** What does not fit, or cannot be written, fails alone: as it is it would end the stream for everybody. */
  #fitted(reply: Reply, limit: number): { fitting: Reply; size: number } {
    let message: string;
    try {
      const size = replyBytes(reply);
      if (size <= limit) return { fitting: reply, size };
      message = `the reply has about ${size} bytes, and the daemon takes ${limit}`;
    } catch (error) {
      message = `the reply cannot be sent: ${messageOf(error)}`;
    }
    const fitting: Reply = {
      workId: reply.workId,
      result: { $case: 'failure', value: { message, overloaded: false } },
    };
    return { fitting, size: replyBytes(fitting) };
  }

  #endWhenIdle(): void {
    if (this.#over || !this.#draining || this.#inHand.size > 0 || this.#replies.length > 0) return;
    this.#stream.end();
  }

  #finish(error: SessionEnd): void {
    if (this.#over) return;
    this.#over = true;
    const why = error ?? new DaybookError('CLOSED', 'the stream to Daybook ended');
    for (const inHand of this.#inHand.values()) inHand.cancel(why);
    this.#inHand.clear();
    this.#end.resolve(error);
  }
}

/** For work that was on its way here when we asked for no more. */
const CROSSING_MS = 50;
const CANCEL_PATIENCE_MS = 5_000;
const DEFAULT_MESSAGE_BYTES = 4 * 1024 * 1024;
