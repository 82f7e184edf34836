// How a call is made: with a deadline, a signal, and repeats where they are safe.

import type { MethodDefinition } from '@grpc/grpc-js';
import { beforeRetry, type RetryPolicy } from './retry.ts';
import type { CallLimits, Transport } from './transport.ts';

export interface CallOptions {
  /** Of the whole call, repeats included. Streams have no limit unless you set one. */
  timeoutMs?: number;
  /** The call then rejects with the signal's reason. A command may have taken effect all the same. */
  signal?: AbortSignal;
}

export interface CallSettings {
  timeoutMs: number;
  retry: RetryPolicy;
  /** Ends every call: of the work within which this client is used. */
  signal?: AbortSignal;
}

type Method<Request, Response> = MethodDefinition<Request, Response>;

export class Calls {
  readonly transport: Transport;
  readonly #settings: CallSettings;

  constructor(transport: Transport, settings: CallSettings) {
    this.transport = transport;
    this.#settings = settings;
  }

  until(signal: AbortSignal | undefined): Calls {
    return signal === undefined ? this : new Calls(this.transport, { ...this.#settings, signal });
  }

  /** For what takes effect once however often it is sent. */
  repeated<Q, R>(method: Method<Q, R>, request: Q, options: CallOptions = {}): Promise<R> {
    return this.repeating(options, (limits) => this.transport.unary(method, request, limits));
  }

  once<Q, R>(method: Method<Q, R>, request: Q, options: CallOptions = {}): Promise<R> {
    return this.transport.unary(method, request, this.limits(options, this.#settings.timeoutMs));
  }

  stream<Q, R>(method: Method<Q, R>, request: Q, options: CallOptions = {}): AsyncGenerator<R, void, undefined> {
    return this.transport.serverStream(method, request, this.limits(options, Infinity));
  }

  async repeating<T>(options: CallOptions, call: (limits: CallLimits) => Promise<T>): Promise<T> {
    const limits = this.limits(options, this.#settings.timeoutMs);
    for (let failures = 0; ; ) {
      try {
        return await call(limits);
      } catch (error) {
        await this.pauseAfter(error, ++failures, limits);
      }
    }
  }

  /** Before the next attempt. Throws the error when there shall be none. */
  pauseAfter(error: unknown, failures: number, limits: CallLimits): Promise<void> {
    return beforeRetry(error, failures, { policy: this.#settings.retry, ...limits });
  }

  limits(options: CallOptions, defaultTimeoutMs: number): CallLimits {
    const signals = [options.signal, this.#settings.signal].filter((signal) => signal !== undefined);
    return {
      deadlineMs: Date.now() + (options.timeoutMs ?? defaultTimeoutMs),
      signal: signals.length > 1 ? AbortSignal.any(signals) : signals[0],
    };
  }
}
