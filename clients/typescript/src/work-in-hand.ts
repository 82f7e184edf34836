// A piece of work that a handler has in hand, and what it may know of it.

import type { Client } from './client.ts';
import type { Work } from './gen/daybook/v1/component.ts';
import type { Cover } from './gen/daybook/v1/types.ts';

/** What surrounds every piece of work. */
export interface WorkContext {
  /** The aggregate that it is about: its kind, and 16 bytes. */
  readonly domain: string;
  readonly root: Uint8Array;
  readonly tenant: string;
  readonly correlationId: string;
  readonly workId: string;
  /** W3C trace context; empty when nothing is traced. */
  readonly traceparent: string;
  readonly tracestate: string;
  /** When Daybook stops waiting: milliseconds since 1970; Infinity is never. */
  readonly deadlineMs: number;
  /** Aborted when nobody waits for this work any more. */
  readonly signal: AbortSignal;
  /**
   * For commands to other aggregates, and for reading. They are marked as part of this work, so that Daybook can refuse what
   * would wait for itself, and inherit its correlation id and tenant.
   */
  readonly client: Client;
}

/** A cover that names one aggregate. */
export type CompleteCover = Cover & { root: { value: Uint8Array } };

/** Signal and client are made when somebody asks for them. */
export class WorkInHand implements WorkContext {
  readonly workId: string;
  readonly domain: string;
  readonly root: Uint8Array;
  readonly tenant: string;
  readonly correlationId: string;
  readonly traceparent: string;
  readonly tracestate: string;
  readonly deadlineMs: number;
  readonly #client: Client;
  #controller: AbortController | undefined;
  #cancelledBy: Error | undefined;

  constructor(work: Work, cover: CompleteCover, client: Client) {
    this.workId = work.workId;
    this.domain = cover.domain;
    this.root = cover.root.value;
    this.tenant = cover.tenant;
    this.correlationId = cover.correlationId;
    this.traceparent = work.traceparent;
    this.tracestate = work.tracestate;
    this.deadlineMs = work.timeoutMs === 0 ? Number.POSITIVE_INFINITY : Date.now() + work.timeoutMs;
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

  /** The handler did not let go in time: whatever it may still change must not be used again. */
  abandon(): void {}
}
