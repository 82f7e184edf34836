// The calls. Commands carry an idempotency key, so whatever may succeed later is repeated without asking you.

import { type Command, commandBook, type Surroundings } from './command.ts';
import { DaybookError } from './errors.ts';
import { CommandGatewayDefinition, type ExecuteStreamTimeRequest } from './gen/daybook/v1/gateway.ts';
import { EventQueryDefinition, type ReadLogResponse } from './gen/daybook/v1/query.ts';
import type { CommandBook, CommandResponse, EventBook } from './gen/daybook/v1/types.ts';
import { Pipeline, type PipelineOptions } from './pipeline.ts';
import { type HistoryQuery, historyQuery, type LogQuery, logQuery } from './query.ts';
import { beforeRetry, DEFAULT_RETRY, type RetryPolicy } from './retry.ts';
import { durationOf, SYNC_MODES, type SyncModeName } from './sync-mode.ts';
import { type CallLimits, methodOf, Transport, type TransportOptions } from './transport.ts';

export interface ConnectOptions extends TransportOptions {
  /** For each call that answers once, repeats included. Default: 30 s. */
  timeoutMs?: number;
  /** Parts replace those of the default: 6 attempts, 50 ms doubling to 2 s. `{ attempts: 1 }` never repeats. */
  retry?: Partial<RetryPolicy>;
}

export interface CallOptions {
  /** Of the whole call, repeats included. Streams have no limit unless you set one. */
  timeoutMs?: number;
  /** The call then rejects with the signal's reason. A command may have taken effect all the same. */
  signal?: AbortSignal;
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
  return new Client(new Transport(options), {
    timeoutMs: options.timeoutMs ?? 30_000,
    retry: { ...DEFAULT_RETRY, ...options.retry },
  });
}

interface Settings {
  timeoutMs: number;
  retry: RetryPolicy;
  /** Ends every call: of the work within which this client is used. */
  signal?: AbortSignal;
}

export class Client {
  readonly #transport: Transport;
  readonly #settings: Settings;
  readonly #within: Surroundings;

  constructor(transport: Transport, settings: Settings, within: Surroundings = {}) {
    this.#transport = transport;
    this.#settings = settings;
    this.#within = within;
  }

  /** Resolves when the outcome is durable; rejects with `Rejected` when the domain said no. */
  execute(command: Command, options: CallOptions = {}): Promise<CommandResponse> {
    const book = commandBook(command, this.#within);
    return keyed(
      book,
      this.#repeating(options, (limits) => this.#transport.unary(EXECUTE, book, limits)),
    );
  }

  /** The same, and then waits for reactions. */
  executeSync(command: Command, options: SyncOptions): Promise<CommandResponse> {
    const book = commandBook(command, this.#within);
    const request = {
      command: book,
      syncMode: SYNC_MODES[options.mode],
      waitTimeout: durationOf(options.waitTimeoutMs),
    };
    return keyed(
      book,
      this.#repeating(options, (limits) => this.#transport.unary(EXECUTE_SYNC, request, limits)),
    );
  }

  /**
   * The command's own book first (without pages when nothing happened), then every later book with its correlation id, until
   * you leave the loop. The command is sent when the loop begins. Repeated only as long as no book has come.
   */
  executeStream(command: Command, options: CallOptions = {}): AsyncGenerator<EventBook, void, undefined> {
    const book = commandBook(command, this.#within);
    return this.#following(book, options, (limits) => this.#transport.serverStream(EXECUTE_STREAM, book, limits));
  }

  /** The same; ends after `count` books, the command's own included. */
  executeStreamCount(
    command: Command,
    count: number,
    options: CallOptions = {},
  ): AsyncGenerator<EventBook, void, undefined> {
    const book = commandBook(command, this.#within);
    const request = { command: book, count };
    return this.#following(book, options, (limits) => this.#transport.serverStream(EXECUTE_COUNT, request, limits));
  }

  /** The same; ends `forMs` after the command's own book. */
  executeStreamTime(
    command: Command,
    forMs: number,
    options: CallOptions = {},
  ): AsyncGenerator<EventBook, void, undefined> {
    const book = commandBook(command, this.#within);
    const request: ExecuteStreamTimeRequest = { command: book, timeoutMs: forMs };
    return this.#following(book, options, (limits) => this.#transport.serverStream(EXECUTE_TIME, request, limits));
  }

  /** Many commands on one stream: the fastest way to send them. */
  pipeline(options: PipelineOptions = {}): Pipeline {
    return new Pipeline(this.#transport.duplex(EXECUTE_PIPELINED), options, this.#within);
  }

  /** The selected history as one book. TOO_LARGE when it does not fit into one message: use `getEvents`. */
  getEventBook(query: HistoryQuery, options: CallOptions = {}): Promise<EventBook> {
    const request = historyQuery(query);
    return this.#repeating(options, (limits) => this.#transport.unary(GET_EVENT_BOOK, request, limits));
  }

  /** The same in books of at most 1 MiB. With only a correlation id: all that has it, aggregate by aggregate. */
  getEvents(query: HistoryQuery, options: CallOptions = {}): AsyncGenerator<EventBook, void, undefined> {
    return this.#transport.serverStream(GET_EVENTS, historyQuery(query), this.#limits(options, Infinity));
  }

  /** The log in commit order. To continue later, keep the last `token`. */
  readLog(query: LogQuery = {}, options: CallOptions = {}): AsyncGenerator<ReadLogResponse, void, undefined> {
    return this.#transport.serverStream(READ_LOG, logQuery(query), this.#limits(options, Infinity));
  }

  /** A client on the same connection whose commands belong to the given work. `attach` uses it for `context.client`. */
  within(surroundings: Surroundings, signal?: AbortSignal): Client {
    const settings = signal === undefined ? this.#settings : { ...this.#settings, signal };
    return new Client(this.#transport, settings, { ...this.#within, ...surroundings });
  }

  close(): void {
    this.#transport.close();
  }

  #limits(options: CallOptions, defaultTimeoutMs: number): CallLimits {
    const signals = [options.signal, this.#settings.signal].filter((signal) => signal !== undefined);
    return {
      deadlineMs: Date.now() + (options.timeoutMs ?? defaultTimeoutMs),
      signal: signals.length > 1 ? AbortSignal.any(signals) : signals[0],
    };
  }

  async #repeating<T>(options: CallOptions, call: (limits: CallLimits) => Promise<T>): Promise<T> {
    const limits = this.#limits(options, this.#settings.timeoutMs);
    for (let failures = 0; ; ) {
      try {
        return await call(limits);
      } catch (error) {
        await beforeRetry(error, ++failures, { policy: this.#settings.retry, ...limits });
      }
    }
  }

  async *#following(
    book: CommandBook,
    options: CallOptions,
    call: (limits: CallLimits) => AsyncIterable<EventBook>,
  ): AsyncGenerator<EventBook, void, undefined> {
    const limits = this.#limits(options, Infinity);
    for (let failures = 0; ; ) {
      let begun = false;
      try {
        for await (const event of call(limits)) {
          begun = true;
          yield event;
        }
        return;
      } catch (error) {
        if (error instanceof DaybookError) error.idempotencyKey = book.idempotencyKey;
        if (begun) throw error;
        await beforeRetry(error, ++failures, { policy: this.#settings.retry, ...limits });
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
