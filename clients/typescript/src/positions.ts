// How far the log, and those who follow it, have come.

import type { CallOptions, Calls } from './calls.ts';
import { type HeadResponse, PositionsDefinition } from './gen/daybook/v1/positions.ts';
import { durationOf } from './sync-mode.ts';
import { methodOf } from './transport.ts';

export interface WaitOptions extends CallOptions {
  /** Names of projectors, sagas and process managers. Default: all of this log. */
  subscriptions?: readonly string[];
  /** Default: 10 s. */
  waitTimeoutMs?: number;
}

export class Positions {
  readonly #calls: Calls;

  constructor(calls: Calls) {
    this.#calls = calls;
  }

  /**
   * Resolves when they have passed what the answer with this token knew, with the position of the slowest. Rejects with WAIT_TIMEOUT
   * when they did not in time: wait again.
   */
  async wait(consistencyToken: string, options: WaitOptions = {}): Promise<number> {
    const { subscriptions = [], waitTimeoutMs } = options;
    // The wait ends first, so that its end is told by name.
    const timeoutMs = options.timeoutMs ?? (waitTimeoutMs ?? DEFAULT_WAIT_MS) + 20_000;
    const request = { consistencyToken, subscriptions: [...subscriptions], timeout: durationOf(waitTimeoutMs) };
    const { position } = await this.#calls.repeated(WAIT, request, { ...options, timeoutMs });
    return position;
  }

  /** The end of the log. */
  head(options?: CallOptions): Promise<HeadResponse> {
    return this.#calls.repeated(HEAD, {}, options);
  }
}

const DEFAULT_WAIT_MS = 10_000;
const WAIT = methodOf(PositionsDefinition, PositionsDefinition.methods.wait);
const HEAD = methodOf(PositionsDefinition, PositionsDefinition.methods.head);
