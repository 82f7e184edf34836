// A component that is a gRPC server of its own: we call it, with the whole history each time.

import { Client, credentials, type ServiceError, status } from '@grpc/grpc-js';
import type { AggregateComponent, Decision, DecisionRequest, History, HistoryPart, HostNeeds } from '../component.ts';
import { DaybookError } from '../errors.ts';
import { BusinessLogicDefinition, BusinessResponse, ContextualCommand } from '../gen/daybook/v1/component.ts';
import type { Rejection } from '../model/book.ts';
import { fault } from '../model/decision.ts';
import { commandBytes } from '../model/validation.ts';
import type { Runtime } from '../runtime.ts';

const HANDLE = `/${BusinessLogicDefinition.fullName}/${BusinessLogicDefinition.methods.handle.name}`;

/** Statuses by which a served component says no; every other one is a failure. */
const REJECTIONS: { [code: number]: { kind: Rejection['kind']; code: string } } = {
  [status.INVALID_ARGUMENT]: { kind: 1, code: 'INVALID_ARGUMENT' },
  [status.OUT_OF_RANGE]: { kind: 1, code: 'OUT_OF_RANGE' },
  [status.FAILED_PRECONDITION]: { kind: 2, code: 'FAILED_PRECONDITION' },
  [status.ALREADY_EXISTS]: { kind: 2, code: 'ALREADY_EXISTS' },
  [status.NOT_FOUND]: { kind: 3, code: 'NOT_FOUND' },
};

/** Statuses after which the component is not ready until it answers something else: a bad deployment, not a bad command. */
const NOT_READY: readonly status[] = [status.UNAVAILABLE, status.UNIMPLEMENTED, status.UNAUTHENTICATED];

export interface ServedLimits {
  messageBytes: number;
}

export class ServedAggregate implements AggregateComponent {
  readonly domain: string;
  readonly address: string;
  readonly #client: Client;
  readonly #runtime: Runtime;
  readonly #limits: ServedLimits;
  readonly #snapshotVersion: number;
  #notReady: string | undefined;

  constructor(domain: string, address: string, snapshotVersion: number, runtime: Runtime, limits: ServedLimits) {
    this.domain = domain;
    this.address = address;
    this.#snapshotVersion = snapshotVersion;
    this.#runtime = runtime;
    this.#limits = limits;
    this.#client = new Client(address, credentials.createInsecure(), {
      'grpc.max_receive_message_length': 4 * limits.messageBytes,
      'grpc.max_send_message_length': -1,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 5000,
      'grpc.enable_retries': 0,
    });
  }

  /** Why it cannot be used, as far as known; `undefined` when it can. */
  get notReady(): string | undefined {
    return this.#notReady;
  }

  needs(): HostNeeds {
    return { heldUpTo: 0, snapshotVersion: this.#snapshotVersion };
  }

  async decide(request: DecisionRequest): Promise<Decision> {
    const part = await this.#wholeHistory(request);
    const message: ContextualCommand = {
      events: {
        cover: request.command.cover,
        snapshot: part.snapshot,
        pages: part.pages,
        nextSequence: request.history.nextSequence,
        consistencyToken: '',
      },
      command: request.command,
      snapshotWanted: request.snapshotWanted,
      baseSequence: 0,
      workId: request.workId,
    };
    const response = await this.#call(message, request);
    switch (response.result?.$case) {
      case 'events':
        return { kind: 'events', book: response.result.value };
      case 'rejection':
        return { kind: 'rejection', rejection: response.result.value };
      default:
        throw fault(request.stream, 'expected events or a rejection in the reply, found neither');
    }
  }

  close(): void {
    this.#client.close();
  }

  async #wholeHistory(request: DecisionRequest): Promise<HistoryPart> {
    const limit = this.#limits.messageBytes - commandBytes(request.command);
    const whole = await gather(request.history, this.#snapshotVersion, limit);
    if (whole.bytes <= limit) return whole;
    throw new DaybookError(
      'HISTORY_TOO_LARGE',
      `${request.streamText}: its history of ${whole.bytes} bytes or more does not fit into one message; let the component return snapshots, attach it, or raise limits.message_bytes`,
      { metadata: { size: whole.bytes, limit: this.#limits.messageBytes } },
    );
  }

  #call(message: ContextualCommand, request: DecisionRequest): Promise<BusinessResponse> {
    return new Promise((resolve, reject) => {
      const leftMs = request.deadlineMs - this.#runtime.monotonicMs();
      const call = this.#client.makeUnaryRequest(
        HANDLE,
        (m: ContextualCommand) => Buffer.from(ContextualCommand.encode(m).finish()),
        (bytes: Buffer) => BusinessResponse.decode(bytes),
        message,
        { deadline: Date.now() + leftMs },
        (error: ServiceError | null, response?: BusinessResponse) => {
          request.signal.removeEventListener('abort', abort);
          if (error === null) {
            this.#notReady = undefined;
            resolve(response!);
            return;
          }
          if (request.signal.aborted) return reject(request.signal.reason);
          const rejection = this.#rejectionOf(error);
          if (rejection === undefined) reject(this.#failureOf(error, request));
          else resolve({ result: { $case: 'rejection', value: rejection } });
        },
      );
      const abort = () => call.cancel();
      request.signal.addEventListener('abort', abort, { once: true });
    });
  }

  #rejectionOf(error: ServiceError): Rejection | undefined {
    const known = REJECTIONS[error.code];
    if (known === undefined) return undefined;
    this.#notReady = undefined;
    return { ...known, message: error.details, details: undefined, page: 0 };
  }

  #failureOf(error: ServiceError, { stream, streamText }: DecisionRequest): DaybookError {
    const details = { metadata: { component: this.domain, status: status[error.code] }, cause: error };
    const said = `${streamText}: the component at ${this.address} answered ${status[error.code]}: ${error.details}`;
    if (error.code === status.DEADLINE_EXCEEDED) return new DaybookError('COMPONENT_TIMEOUT', said, details);
    if (NOT_READY.includes(error.code)) {
      this.#notReady = `${status[error.code]}: ${error.details}`;
      return new DaybookError('COMPONENT_UNAVAILABLE', said, { ...details, retryDelayMs: 200 });
    }
    if (error.code === status.RESOURCE_EXHAUSTED) {
      return new DaybookError('OVERLOADED', said, {
        ...details,
        metadata: { ...details.metadata, limit: 'component' },
        retryDelayMs: 200,
      });
    }
    return fault(stream, said);
  }
}

async function gather(history: History, snapshotVersion: number, limit: number): Promise<HistoryPart> {
  const atHand = history.atHand(0, snapshotVersion);
  if (atHand !== undefined) return atHand;
  let whole: HistoryPart | undefined;
  for await (const part of history.parts(0, snapshotVersion, 1 << 20)) {
    if (whole === undefined) whole = part;
    else {
      whole.pages.push(...part.pages);
      whole.bytes += part.bytes;
    }
    if (whole.bytes > limit) break;
  }
  return whole!;
}
