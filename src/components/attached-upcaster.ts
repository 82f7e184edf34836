// The upcaster of one domain on one attach stream.

import type { Deadlines } from '../deadlines.ts';
import { DaybookError } from '../errors.ts';
import type { Reply, UpcasterHosting } from '../gen/daybook/v1/component.ts';
import { type EventBook, type EventPage, pageBytes } from '../model/book.ts';
import type { Runtime } from '../runtime.ts';
import type { Outbox } from './outbox.ts';
import { type Job, WorkLane } from './work-lane.ts';

export interface UpcastingLimits {
  componentTimeoutMs: number;
}

const NEVER = new AbortController().signal;

export class AttachedUpcaster {
  readonly domain: string;
  readonly types: ReadonlySet<string> | undefined;
  readonly #outbox: Outbox;
  readonly #runtime: Runtime;
  readonly #limits: UpcastingLimits;
  readonly #lane: WorkLane;
  #count = 0;

  constructor(
    hosting: UpcasterHosting,
    outbox: Outbox,
    runtime: Runtime,
    deadlines: Deadlines,
    limits: UpcastingLimits,
    onLate: () => void,
  ) {
    this.domain = hosting.domain;
    this.types = hosting.types.length === 0 ? undefined : new Set(hosting.types);
    this.#outbox = outbox;
    this.#runtime = runtime;
    this.#limits = limits;
    this.#lane = new WorkLane(hosting.credits, outbox, deadlines, onLate);
  }

  upcast(book: EventBook): Promise<EventPage[]> {
    return new Promise((resolve, reject) => {
      const workId = `u-${this.domain}-${(this.#count++).toString(36)}`;
      const bytes = book.pages.reduce((sum, page) => sum + pageBytes(page), 0);
      const timeoutMs = this.#limits.componentTimeoutMs;
      const job: Job = {
        workId,
        bytes,
        key: undefined,
        ancestors: [],
        deadlineMs: this.#runtime.monotonicMs() + timeoutMs,
        signal: NEVER,
        send: () =>
          this.#outbox.work(
            {
              workId,
              timeoutMs,
              traceparent: '',
              tracestate: '',
              component: this.domain,
              request: { $case: 'upcast', value: { events: book } },
            },
            bytes,
          ),
        answer: (reply) => {
          if (reply.result?.$case === 'upcast') resolve(reply.result.value.pages);
          else reject(this.#fault(reply));
        },
        fail: reject,
        timeout: () => this.#error('COMPONENT_TIMEOUT', `did not answer within ${timeoutMs} ms`),
      };
      this.#lane.submit(job);
    });
  }

  has(workId: string): boolean {
    return this.#lane.has(workId);
  }

  reply(reply: Reply): void {
    this.#lane.reply(reply);
  }

  close(): void {
    this.#lane.close(this.#error('COMPONENT_UNAVAILABLE', 'went away with the work in hand'));
  }

  #fault({ workId, result }: Reply): DaybookError {
    if (result?.$case === 'failure') {
      const { overloaded, message } = result.value;
      return this.#error(overloaded ? 'OVERLOADED' : 'COMPONENT_FAULT', `failed: ${message}`);
    }
    const sentence = `expected a reply to an upcast, found ${result?.$case ?? 'none'}`;
    this.#outbox.notice(workId, 'COMPONENT_FAULT', sentence);
    return this.#error('COMPONENT_FAULT', sentence);
  }

  #error(
    reason: 'COMPONENT_TIMEOUT' | 'COMPONENT_UNAVAILABLE' | 'COMPONENT_FAULT' | 'OVERLOADED',
    what: string,
  ): DaybookError {
    const metadata: Record<string, string | number> = { component: this.domain };
    if (reason === 'OVERLOADED') metadata.limit = 'component';
    if (reason === 'COMPONENT_TIMEOUT') metadata.timeout_ms = this.#limits.componentTimeoutMs;
    const retry = reason === 'OVERLOADED' || reason === 'COMPONENT_UNAVAILABLE';
    return new DaybookError(reason, `the upcaster of ${this.domain}: ${what}`, {
      metadata,
      ...(retry && { retryDelayMs: 200 }),
    });
  }
}
