// Components that are gRPC servers of their own: we call them, an aggregate with the whole history each time.

import { type ServiceError, status } from '@grpc/grpc-js';
import type {
  AggregateComponent,
  Decision,
  DecisionRequest,
  History,
  HistoryPart,
  HostNeeds,
  Upcaster,
} from '../component.ts';
import { DaybookError } from '../errors.ts';
import {
  BusinessLogicDefinition,
  BusinessResponse,
  ContextualCommand,
  UpcasterDefinition,
  UpcastRequest,
  UpcastResponse,
} from '../gen/daybook/v1/component.ts';
import type { EventBook, EventPage, Rejection } from '../model/book.ts';
import { fault } from '../model/decision.ts';
import { commandBytes } from '../model/validation.ts';
import type { Runtime } from '../runtime.ts';
import { ServedClient } from './served-client.ts';

const HANDLE = {
  path: `/${BusinessLogicDefinition.fullName}/${BusinessLogicDefinition.methods.handle.name}`,
  request: ContextualCommand,
  response: BusinessResponse,
};

const UPCAST = {
  path: `/${UpcasterDefinition.fullName}/${UpcasterDefinition.methods.upcast.name}`,
  request: UpcastRequest,
  response: UpcastResponse,
};

/** Statuses by which a served component says no; every other one is a failure. */
const REJECTIONS: { [code: number]: { kind: Rejection['kind']; code: string } } = {
  [status.INVALID_ARGUMENT]: { kind: 1, code: 'INVALID_ARGUMENT' },
  [status.OUT_OF_RANGE]: { kind: 1, code: 'OUT_OF_RANGE' },
  [status.FAILED_PRECONDITION]: { kind: 2, code: 'FAILED_PRECONDITION' },
  [status.ALREADY_EXISTS]: { kind: 2, code: 'ALREADY_EXISTS' },
  [status.NOT_FOUND]: { kind: 3, code: 'NOT_FOUND' },
};

export interface ServedLimits {
  messageBytes: number;
  componentTimeoutMs: number;
}

/** What all served components have. */
export interface Served {
  readonly address: string;
  /** For people: `component order`. */
  readonly title: string;
  /** Why it cannot be used, as far as known; `undefined` when it can. */
  readonly notReady: string | undefined;
  close(): void;
}

export class ServedAggregate implements AggregateComponent, Served {
  readonly domain: string;
  readonly address: string;
  readonly #client: ServedClient;
  readonly #limits: ServedLimits;
  readonly #snapshotVersion: number;

  constructor(domain: string, address: string, snapshotVersion: number, runtime: Runtime, limits: ServedLimits) {
    this.domain = domain;
    this.address = address;
    this.#snapshotVersion = snapshotVersion;
    this.#limits = limits;
    this.#client = new ServedClient(domain, address, limits.messageBytes, runtime);
  }

  get title(): string {
    return `component ${this.domain}`;
  }

  get notReady(): string | undefined {
    return this.#client.notReady;
  }

  needs(): HostNeeds {
    return { heldUpTo: 0, snapshotVersion: this.#snapshotVersion };
  }

  async decide(request: DecisionRequest): Promise<Decision> {
    const { command, history, workId, dryRun, snapshotWanted, streamText, deadlineMs, signal } = request;
    const part = await this.#wholeHistory(request);
    const events: EventBook = {
      cover: command.cover,
      snapshot: part.snapshot,
      pages: part.pages,
      nextSequence: history.nextSequence,
      consistencyToken: '',
    };
    const message: ContextualCommand = { events, command, snapshotWanted, baseSequence: 0, workId, dryRun };
    const { result } = await this.#client.call(HANDLE, message, {
      about: streamText,
      deadlineMs,
      signal,
      answerOf: rejectionOf,
    });
    switch (result?.$case) {
      case 'events':
        return { kind: 'events', book: result.value };
      case 'rejection':
        return { kind: 'rejection', rejection: result.value };
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
}

export class ServedUpcaster implements Upcaster, Served {
  readonly domain: string;
  readonly address: string;
  readonly types: ReadonlySet<string> | undefined;
  readonly #client: ServedClient;
  readonly #runtime: Runtime;
  readonly #limits: ServedLimits;

  /** `types`: full names of the old types that it wants to see; empty: all of the domain. */
  constructor(domain: string, address: string, types: readonly string[], runtime: Runtime, limits: ServedLimits) {
    this.domain = domain;
    this.address = address;
    this.types = types.length === 0 ? undefined : new Set(types);
    this.#runtime = runtime;
    this.#limits = limits;
    this.#client = new ServedClient(domain, address, limits.messageBytes, runtime);
  }

  get title(): string {
    return `upcaster ${this.domain}`;
  }

  get notReady(): string | undefined {
    return this.#client.notReady;
  }

  async upcast(events: EventBook): Promise<EventPage[]> {
    const deadlineMs = this.#runtime.monotonicMs() + this.#limits.componentTimeoutMs;
    const call = { about: `the upcaster of ${this.domain}`, deadlineMs, signal: NEVER };
    return (await this.#client.call(UPCAST, { events }, call)).pages;
  }

  close(): void {
    this.#client.close();
  }
}

const NEVER = new AbortController().signal;

function rejectionOf(error: ServiceError): BusinessResponse | undefined {
  const known = REJECTIONS[error.code];
  if (known === undefined) return undefined;
  const value: Rejection = { ...known, message: error.details, details: undefined, page: 0 };
  return { result: { $case: 'rejection', value } };
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
