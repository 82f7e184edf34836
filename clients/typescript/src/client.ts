// The calls. Commands carry an idempotency key, so whatever may succeed later is repeated without asking you.

import type { MethodDefinition } from '@grpc/grpc-js';
import { type CallOptions, type CallSettings, Calls } from './calls.ts';
import { type Command, commandBook, type Surroundings } from './command.ts';
import { Control } from './control.ts';
import { DeadLetters } from './dead-letters.ts';
import { DaybookError } from './errors.ts';
import { CommandGatewayDefinition, type ExecuteStreamTimeRequest } from './gen/daybook/v1/gateway.ts';
import { EventQueryDefinition, type ReadLogResponse } from './gen/daybook/v1/query.ts';
import type { CommandBook, CommandResponse, EventBook } from './gen/daybook/v1/types.ts';
import { Pipeline, type PipelineOptions } from './pipeline.ts';
import { Positions } from './positions.ts';
import { Projections } from './projections.ts';
import { type HistoryQuery, historyQuery, type LogQuery, logQuery } from './query.ts';
import { DEFAULT_RETRY, type RetryPolicy } from './retry.ts';
import { durationOf, SYNC_MODES, type SyncModeName } from './sync-mode.ts';
import { methodOf, Transport, type TransportOptions } from './transport.ts';

export interface ConnectOptions extends TransportOptions {
  /** For each call that answers once, repeats included. Default: 30 s. */
  timeoutMs?: number;
  /** Parts replace those of the default: 6 attempts, 50 ms doubling to 2 s. `{ attempts: 1 }` never repeats. */
  retry?: Partial<RetryPolicy>;
}

export interface SyncOptions extends CallOptions {
  /** `simple` waits for synchronous projectors, `cascade` for everything that follows from the command. */
  mode: SyncModeName;
  /** How long to wait for them after the commit. Default: 10 s. After it the answer is `settled: false`, not an error. */
  waitTimeoutMs?: number;
}

/**
 * Nothing is connected until the first call, and a lost connection is made again.
 *
 * Every call rejects with a `DaybookError`, or with the reason of your AbortSignal.
 */
export function connect(options: ConnectOptions = {}): Client {
  const settings: CallSettings = {
    timeoutMs: options.timeoutMs ?? 30_000,
    retry: { ...DEFAULT_RETRY, ...options.retry },
  };
  return new Client(new Calls(new Transport(options), settings));
}

export class Client {
  /** The rows that projectors made. */
  readonly projections: Projections;
  /** How far the log, and those who follow it, have come. */
  readonly positions: Positions;
  /** What could not be delivered. */
  readonly deadLetters: DeadLetters;
  /** For operators. */
  readonly control: Control;
  readonly #calls: Calls;
  readonly #within: Surroundings;

  constructor(calls: Calls, within: Surroundings = {}) {
    this.#calls = calls;
    this.#within = within;
    this.projections = new Projections(calls, within.tenant);
    this.positions = new Positions(calls);
    this.deadLetters = new DeadLetters(calls, within.tenant);
    this.control = new Control(calls);
  }

  /** Resolves when the outcome is durable; rejects with `Rejected` when the domain said no. */
  execute(command: Command, options: CallOptions = {}): Promise<CommandResponse> {
    const book = commandBook(command, this.#within);
    return keyed(book, this.#calls.repeated(EXECUTE, book, options));
  }

  /** The same, and then waits for reactions. */
  executeSync(command: Command, options: SyncOptions): Promise<CommandResponse> {
    const book = commandBook(command, this.#within);
    const request = {
      command: book,
      syncMode: SYNC_MODES[options.mode],
      waitTimeout: durationOf(options.waitTimeoutMs),
    };
    return keyed(book, this.#calls.repeated(EXECUTE_SYNC, request, options));
  }

  /**
   * The command's own book first (without pages when nothing happened), then every later book with its correlation id, until
   * you leave the loop. The command is sent when the loop begins. Repeated only as long as no book has come.
   */
  executeStream(command: Command, options: CallOptions = {}): AsyncGenerator<EventBook, void, undefined> {
    const book = commandBook(command, this.#within);
    return this.#following(EXECUTE_STREAM, book, book, options);
  }

  /** The same; ends after `count` books, the command's own included. */
  executeStreamCount(
    command: Command,
    count: number,
    options: CallOptions = {},
  ): AsyncGenerator<EventBook, void, undefined> {
    const book = commandBook(command, this.#within);
    const request = { command: book, count };
    return this.#following(EXECUTE_COUNT, request, book, options);
  }

  /** The same; ends `forMs` after the command's own book. */
  executeStreamTime(
    command: Command,
    forMs: number,
    options: CallOptions = {},
  ): AsyncGenerator<EventBook, void, undefined> {
    const book = commandBook(command, this.#within);
    const request: ExecuteStreamTimeRequest = { command: book, timeoutMs: forMs };
    return this.#following(EXECUTE_TIME, request, book, options);
  }

  /** Many commands on one stream: the fastest way to send them. */
  pipeline(options: PipelineOptions = {}): Pipeline {
    return new Pipeline(this.#calls.transport.duplex(EXECUTE_PIPELINED), options, this.#within);
  }

  /** The selected history as one book. TOO_LARGE when it does not fit into one message: use `getEvents`. */
  getEventBook(query: HistoryQuery, options: CallOptions = {}): Promise<EventBook> {
    return this.#calls.repeated(GET_EVENT_BOOK, historyQuery(query), options);
  }

  /** The same in books of at most 1 MiB. With only a correlation id: all that has it, aggregate by aggregate. */
  getEvents(query: HistoryQuery, options: CallOptions = {}): AsyncGenerator<EventBook, void, undefined> {
    return this.#calls.stream(GET_EVENTS, historyQuery(query), options);
  }

  /** The log in commit order. To continue later, keep the last `token`. */
  readLog(query: LogQuery = {}, options: CallOptions = {}): AsyncGenerator<ReadLogResponse, void, undefined> {
    return this.#calls.stream(READ_LOG, logQuery(query), options);
  }

  /** A client on the same connection whose commands belong to the given work. `attach` uses it for `context.client`. */
  within(surroundings: Surroundings, signal?: AbortSignal): Client {
    return new Client(this.#calls.until(signal), { ...this.#within, ...surroundings });
  }

  close(): void {
    this.#calls.transport.close();
  }

  async *#following<Request>(
    method: MethodDefinition<Request, EventBook>,
    request: Request,
    book: CommandBook,
    options: CallOptions,
  ): AsyncGenerator<EventBook, void, undefined> {
    const limits = this.#calls.limits(options, Infinity);
    for (let failures = 0; ; ) {
      let begun = false;
      try {
        for await (const event of this.#calls.transport.serverStream(method, request, limits)) {
          begun = true;
          yield event;
        }
        return;
      } catch (error) {
        if (error instanceof DaybookError) error.idempotencyKey = book.idempotencyKey;
        if (begun) throw error;
        await this.#calls.pauseAfter(error, ++failures, limits);
      }
    }
  }
}

/** Errors of a command tell its key, with which it can be repeated safely. */
async function keyed<T>(book: CommandBook, outcome: Promise<T>): Promise<T> {
  try {
    return await outcome;
  } catch (error) {
    if (error instanceof DaybookError) error.idempotencyKey = book.idempotencyKey;
    throw error;
  }
}

const GATEWAY = CommandGatewayDefinition.methods;
const EXECUTE = methodOf(CommandGatewayDefinition, GATEWAY.execute);
const EXECUTE_SYNC = methodOf(CommandGatewayDefinition, GATEWAY.executeSync);
const EXECUTE_STREAM = methodOf(CommandGatewayDefinition, GATEWAY.executeStream);
const EXECUTE_COUNT = methodOf(CommandGatewayDefinition, GATEWAY.executeStreamResponseCount);
const EXECUTE_TIME = methodOf(CommandGatewayDefinition, GATEWAY.executeStreamResponseTime);
const EXECUTE_PIPELINED = methodOf(CommandGatewayDefinition, GATEWAY.executePipelined);
const QUERY = EventQueryDefinition.methods;
const GET_EVENT_BOOK = methodOf(EventQueryDefinition, QUERY.getEventBook);
const GET_EVENTS = methodOf(EventQueryDefinition, QUERY.getEvents);
const READ_LOG = methodOf(EventQueryDefinition, QUERY.readLog);
