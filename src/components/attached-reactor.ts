// One projector, saga or process manager on one attach stream. The three differ in nothing but the messages that travel.

import { type About, HostLost, type ReactionCall, type ReactorDeclaration } from '../component.ts';
import type { Deadlines } from '../deadlines.ts';
import { DaybookError } from '../errors.ts';
import type { Credits, Failure, Reply, Work } from '../gen/daybook/v1/component.ts';
import type { ReactionMessages, ReactorKind } from '../model/reaction.ts';
import type { Outbox } from './outbox.ts';
import { type Job, WorkLane } from './work-lane.ts';

/** What the request is called in Work, and the response in Reply. */
const CASES = { projector: 'projector', saga: 'saga', process_manager: 'processManager' } as const;

export class AttachedReactor<Kind extends ReactorKind = ReactorKind> {
  readonly declaration: ReactorDeclaration & { kind: Kind };
  readonly #outbox: Outbox;
  readonly #lane: WorkLane;

  constructor(
    declaration: ReactorDeclaration & { kind: Kind },
    credits: Credits | undefined,
    outbox: Outbox,
    deadlines: Deadlines,
    onLate: () => void,
  ) {
    this.declaration = declaration;
    this.#outbox = outbox;
    this.#lane = new WorkLane(credits, outbox, deadlines, onLate);
  }

  /** Items that the host has or waits to get. */
  get load(): number {
    return this.#lane.size;
  }

  handle(request: ReactionMessages[Kind]['request'], call: ReactionCall): Promise<ReactionMessages[Kind]['response']> {
    return new Promise((resolve, reject) => {
      const { workId, key, bytes, timeoutMs, signal, about } = call;
      // It may have been withdrawn while it was made.
      if (signal.aborted) return reject(signal.reason);
      const job: Job = {
        workId,
        bytes,
        key,
        ancestors: [],
        deadlineMs: undefined,
        timeoutMs,
        signal,
        send: () => this.#send(request, call),
        answer: (reply) => {
          const response = this.#responseOf(reply, call);
          if (response instanceof DaybookError) reject(response);
          else resolve(response);
        },
        fail: reject,
        timeout: () =>
          new DaybookError('COMPONENT_TIMEOUT', `${about}: the component did not answer within ${timeoutMs} ms`, {
            metadata: { component: this.declaration.name, timeout_ms: timeoutMs },
          }),
        lost: () => new HostLost(this.declaration.name, about),
      };
      this.#lane.submit(job);
    });
  }

  /** Whether it waits for a reply to this work. */
  has(workId: string): boolean {
    return this.#lane.has(workId);
  }

  reply(reply: Reply): void {
    this.#lane.reply(reply);
  }

  /** The host gets no work, for this reason. */
  refuse(sentence: string): void {
    this.#outbox.notice('', 'DECLARATION_REFUSED', sentence);
  }

  /** The stream is gone. */
  close(): void {
    const { name } = this.declaration;
    this.#lane.close(
      new DaybookError('COMPONENT_UNAVAILABLE', `${name}: the host went away before it was sent the work`, {
        metadata: { component: name },
        retryDelayMs: 200,
      }),
    );
  }

  #send(request: ReactionMessages[Kind]['request'], call: ReactionCall): void {
    const { kind, name } = this.declaration;
    this.#outbox.work(
      {
        workId: call.workId,
        timeoutMs: Math.max(1, Math.ceil(call.timeoutMs)),
        traceparent: call.traceparent,
        tracestate: call.tracestate,
        component: name,
        // The compiler cannot relate the rows of the table to the kind.
        request: { $case: CASES[kind], value: request } as Work['request'],
      },
      call.bytes,
    );
  }

  #responseOf({ workId, result }: Reply, call: ReactionCall): ReactionMessages[Kind]['response'] | DaybookError {
    const expected = CASES[this.declaration.kind];
    if (result?.$case === expected) return result.value;
    if (result?.$case === 'failure') return this.#failed(result.value, call.about);
    const sentence = `expected a reply to a ${expected} request, found ${result?.$case ?? 'none'}`;
    this.#outbox.notice(workId, 'COMPONENT_FAULT', sentence);
    return this.#fault(call.about, sentence);
  }

  #failed({ overloaded, message }: Failure, about: About): DaybookError {
    if (!overloaded) return this.#fault(about, `the handler failed: ${message}`);
    return new DaybookError('OVERLOADED', `${about}: the component is overloaded: ${message}`, {
      metadata: { limit: 'component', component: this.declaration.name },
      retryDelayMs: 100,
    });
  }

  #fault(about: About, what: string): DaybookError {
    return new DaybookError('COMPONENT_FAULT', `${about}: ${what}`, { metadata: { component: this.declaration.name } });
  }
}
