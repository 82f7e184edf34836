// One call to a component that is a gRPC server of its own, and what its status means.

import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { onAbort } from '../abort.ts';
import type { About } from '../component.ts';
import { type Encoder, encode } from '../encode.ts';
import { DaybookError } from '../errors.ts';
import type { Runtime } from '../runtime.ts';
import { arrivedNever, diedInHand, isTooLarge } from './served-status.ts';

/** Statuses after which the component is not ready until it answers something else: a bad deployment, not a bad command. */
const NOT_READY: readonly status[] = [status.UNAVAILABLE, status.UNIMPLEMENTED, status.UNAUTHENTICATED];

/** Nobody decided anything. A server that stops cancels what it has in hand: when we cancel, nobody reads the status. */
const UNAVAILABLE: readonly status[] = [...NOT_READY, status.CANCELLED];

/** How soon somebody who came back is found. */
const RECONNECT_MAX_MS = 1000;

export interface Method<Request, Response> {
  path: string;
  request: Encoder<Request>;
  response: { decode(bytes: Uint8Array): Response };
}

export interface ServedCall<Response> {
  /** What it is about, in sentences: the aggregate, or the upcaster. */
  about: About;
  /** By the monotonic clock. */
  deadlineMs: number;
  signal: AbortSignal;
  /** Travel along; values that no header may have do not. */
  headers?: { readonly [name: string]: string };
  /** What to fail with when the server may have died of it; absent: as when it was not there. */
  lost?: () => DaybookError;
  /** Makes an answer of a status; `undefined`: it is a failure. */
  answerOf?: (error: ServiceError) => Response | undefined;
}

export class ServedClient {
  readonly #component: string;
  readonly #address: string;
  readonly #client: Client;
  readonly #runtime: Runtime;
  #notReady: string | undefined;

  /** `component` names it in errors. */
  constructor(component: string, address: string, messageBytes: number, runtime: Runtime) {
    this.#component = component;
    this.#address = address;
    this.#runtime = runtime;
    this.#client = new Client(address, credentials.createInsecure(), {
      'grpc.max_receive_message_length': 4 * messageBytes,
      'grpc.max_send_message_length': -1,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': RECONNECT_MAX_MS,
      'grpc.enable_retries': 0,
    });
  }

  /** Why it cannot be used, as far as known; `undefined` when it can. */
  get notReady(): string | undefined {
    return this.#notReady;
  }

  call<Request, Response>(
    method: Method<Request, Response>,
    message: Request,
    call: ServedCall<Response>,
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      // It may have been withdrawn while its history was read.
      if (call.signal.aborted) return reject(call.signal.reason);
      const leftMs = call.deadlineMs - this.#runtime.monotonicMs();
      const running = this.#client.makeUnaryRequest(
        method.path,
        (m: Request) => Buffer.from(encode(method.request, m).buffer),
        (bytes: Buffer) => method.response.decode(bytes),
        message,
        metadataOf(call.headers),
        leftMs === Infinity ? {} : { deadline: this.#runtime.nowMicros() / 1000 + leftMs },
        (error: ServiceError | null, response?: Response) => {
          ignoreAbort();
          const answer = error === null ? response : call.answerOf?.(error);
          if (answer !== undefined) {
            this.#notReady = undefined;
            resolve(answer);
          } else if (call.signal.aborted) reject(call.signal.reason);
          else reject(this.#failureOf(error!, call, leftMs));
        },
      );
      const ignoreAbort = onAbort(call.signal, () => running.cancel());
    });
  }

  /** Calls once there is a connection, whenever that is; connects if need be. Not after `close`. */
  whenConnected(call: () => void): void {
    this.#client.waitForReady(Infinity, (error) => {
      if (!error) call();
    });
  }

  close(): void {
    this.#client.close();
  }

  #failureOf(error: ServiceError, { about, lost }: ServedCall<unknown>, leftMs: number): DaybookError {
    const metadata = { component: this.#component, status: status[error.code]! };
    const said = `${about}: the component at ${this.#address} answered ${status[error.code]}: ${error.details}`;
    if (lost !== undefined && diedInHand(error)) {
      this.#notReady = `${status[error.code]}: ${error.details}`;
      return lost();
    }
    if (lost !== undefined && arrivedNever(error)) {
      this.#notReady = `${status[error.code]}: ${error.details}`;
      return new DaybookError('COMPONENT_UNAVAILABLE', said, { metadata, cause: error, retryDelayMs: 200 });
    }
    if (error.code === status.DEADLINE_EXCEEDED) {
      const timed = { ...metadata, timeout_ms: Math.round(leftMs) };
      return new DaybookError('COMPONENT_TIMEOUT', said, { metadata: timed, cause: error });
    }
    if (NOT_READY.includes(error.code)) this.#notReady = `${status[error.code]}: ${error.details}`;
    if (UNAVAILABLE.includes(error.code)) {
      return new DaybookError('COMPONENT_UNAVAILABLE', said, { metadata, cause: error, retryDelayMs: 200 });
    }
    if (error.code === status.RESOURCE_EXHAUSTED && !isTooLarge(error)) {
      const limited = { ...metadata, limit: 'component' };
      return new DaybookError('OVERLOADED', said, { metadata: limited, cause: error, retryDelayMs: 200 });
    }
    return new DaybookError('COMPONENT_FAULT', said, { metadata, cause: error });
  }
}

const HEADER_VALUE = /^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/;

function metadataOf(headers: { readonly [name: string]: string } = {}): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(headers)) if (HEADER_VALUE.test(value)) metadata.set(name, value);
  return metadata;
}
