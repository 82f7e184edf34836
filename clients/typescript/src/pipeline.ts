// ExecutePipelined: many commands in hand on one stream, several to a frame, answered by id in any order.

import { type ClientDuplexStream, status } from '@grpc/grpc-js';
import { type Command, commandBook, type Surroundings } from './command.ts';
import { DaybookError, fromErrorMessage, fromServiceError, messageOf } from './errors.ts';
import type {
  PipelinedCommand,
  PipelinedCommands,
  PipelinedResult,
  PipelinedResults,
} from './gen/daybook/v1/gateway.ts';
import type { CommandBook, CommandResponse } from './gen/daybook/v1/types.ts';
import { durationOf, SYNC_MODES, type SyncModeName } from './sync-mode.ts';

export interface PipelineOptions {
  /** Commands sent and not answered yet. Default: 1,000. */
  maxInFlight?: number;
  /** Commands that wait here for a place among those; one more rejects with PIPELINE_FULL. Default: 10,000. */
  maxWaiting?: number;
}

export interface SendOptions {
  /** Default: `none`. */
  mode?: SyncModeName;
  waitTimeoutMs?: number;
  /** The command's own deadline, counted from its arrival at the daemon. Default: the daemon's limit. */
  timeoutMs?: number;
  /** Stops the waiting. The command may take effect all the same. */
  signal?: AbortSignal;
}

interface Pending {
  command: PipelinedCommand;
  bytes: number;
  resolve(response: CommandResponse): void;
  reject(error: unknown): void;
}

/**
 * Commands for one aggregate are decided in the order in which you send them. To keep that promise a pipeline repeats nothing:
 * an error that is `retryable` names its `idempotencyKey`, and whether a later command should wait for the repeat is
 * yours to know.
 *
 * When the stream ends early, all that is pending rejects with PIPELINE_BROKEN, and so does every later send: make a new pipeline
 * and send again what was not answered, with the same keys.
 */
export class Pipeline {
  readonly #stream: ClientDuplexStream<PipelinedCommands, PipelinedResults>;
  readonly #within: Surroundings;
  readonly #maxInFlight: number;
  readonly #maxWaiting: number;
  readonly #waiting: Pending[] = [];
  readonly #inFlight = new Map<number, Pending>();
  #awaitingRoom: (() => void)[] = [];
  readonly #ended = Promise.withResolvers<void>();
  #lastId = 0;
  #flushing = false;
  /** False while the transport has more than it can send: what is sent meanwhile goes into one frame later. */
  #writable = true;
  #closing = false;
  #broken: DaybookError | undefined;

  constructor(
    stream: ClientDuplexStream<PipelinedCommands, PipelinedResults>,
    options: PipelineOptions = {},
    within: Surroundings = {},
  ) {
    this.#stream = stream;
    this.#within = within;
    this.#maxInFlight = options.maxInFlight ?? 1_000;
    this.#maxWaiting = options.maxWaiting ?? 10_000;
    stream.on('data', (frame: PipelinedResults) => this.#take(frame));
    stream.on('error', (error) => this.#end(fromServiceError(error)));
    stream.on('end', () => this.#end(undefined));
    stream.on('drain', () => {
      this.#writable = true;
      this.#flush();
    });
  }

  /** Resolves as `Client.execute` does. Commands sent in one go share a frame. */
  send(command: Command, options: SendOptions = {}): Promise<CommandResponse> {
    const book = commandBook(command, this.#within);
    return new Promise((resolve, reject) => {
      options.signal?.throwIfAborted();
      this.#assertSendable();
      const pending: Pending = {
        command: {
          id: ++this.#lastId,
          command: book,
          syncMode: SYNC_MODES[options.mode ?? 'none'],
          waitTimeout: durationOf(options.waitTimeoutMs),
          timeoutMs: options.timeoutMs ?? 0,
        },
        bytes: roughBytes(book),
        resolve,
        reject,
      };
      if (options.signal !== undefined) forgetOnAbort(pending, options.signal);
      this.#waiting.push(pending);
      this.#flushSoon();
    });
  }

  /** Resolves when a command sent now would go out at once. Await it in a loop that sends a lot. Rejects when broken. */
  async ready(): Promise<void> {
    while (this.#broken === undefined && this.#full) {
      await new Promise<void>((resolve) => this.#awaitingRoom.push(resolve));
    }
    this.#assertSendable();
  }

  /** Sends what waits, and resolves when everything is answered. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#endWhenIdle();
    await this.#ended.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  get #full(): boolean {
    return this.#inFlight.size + this.#waiting.length >= this.#maxInFlight;
  }

  #assertSendable(): void {
    if (this.#closing) throw new DaybookError('CLOSED', 'the pipeline was closed');
    if (this.#broken !== undefined) throw this.#broken;
    if (this.#waiting.length >= this.#maxWaiting) {
      throw new DaybookError(
        'PIPELINE_FULL',
        `${this.#maxWaiting} commands wait in this pipeline: await ready() first`,
      );
    }
  }

  /** Once the event loop has gone round, so that everything that is at hand travels together. */
  #flushSoon(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(() => {
      this.#flushing = false;
      this.#flush();
    });
  }

  #flush(): void {
    while (this.#broken === undefined && this.#writable && this.#waiting.length > 0) {
      const room = this.#maxInFlight - this.#inFlight.size;
      if (room <= 0) return;
      const frame = this.#waiting.splice(0, framed(this.#waiting, room));
      for (const pending of frame) this.#inFlight.set(pending.command.id, pending);
      this.#writable = this.#stream.write({ commands: frame.map((pending) => pending.command) });
    }
  }

  #take(frame: PipelinedResults): void {
    for (const result of frame.results) {
      const pending = this.#inFlight.get(result.id);
      if (pending === undefined) continue;
      this.#inFlight.delete(result.id);
      settle(pending, result);
    }
    if (!this.#full) this.#announceRoom();
    if (this.#waiting.length > 0) this.#flushSoon();
    this.#endWhenIdle();
  }

  #announceRoom(): void {
    for (const resolve of this.#awaitingRoom.splice(0)) resolve();
  }

  #endWhenIdle(): void {
    if (this.#closing && this.#inFlight.size === 0 && this.#waiting.length === 0) this.#stream.end();
  }

  /** The stream is over: regularly when it was closed and nothing is pending. */
  #end(error: DaybookError | undefined): void {
    if (this.#broken !== undefined) return;
    const unanswered = [...this.#inFlight.values(), ...this.#waiting];
    this.#broken = brokenBy(error);
    this.#inFlight.clear();
    this.#waiting.length = 0;
    for (const pending of unanswered) {
      const own = brokenBy(error);
      own.idempotencyKey = pending.command.command!.idempotencyKey;
      pending.reject(own);
    }
    this.#announceRoom();
    this.#ended.resolve();
  }
}

function settle(pending: Pending, { result }: PipelinedResult): void {
  if (result?.$case === 'response') {
    pending.resolve(result.value);
    return;
  }
  const error =
    result === undefined
      ? new DaybookError('TRANSPORT', 'the daemon answered with an empty result')
      : fromErrorMessage(result.value);
  error.idempotencyKey = pending.command.command!.idempotencyKey;
  pending.reject(error);
}

function brokenBy(cause: DaybookError | undefined): DaybookError {
  const why = cause === undefined ? 'the daemon ended it' : messageOf(cause);
  return new DaybookError('PIPELINE_BROKEN', `the pipeline's stream is over: ${why}`, {
    code: cause?.code ?? status.UNAVAILABLE,
    cause,
  });
}

function forgetOnAbort(pending: Pending, signal: AbortSignal): void {
  const { resolve, reject } = pending;
  const abort = (): void => reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  pending.resolve = (response) => {
    signal.removeEventListener('abort', abort);
    resolve(response);
  };
  pending.reject = (error) => {
    signal.removeEventListener('abort', abort);
    reject(error);
  };
}

/** How many of those that wait fit into one frame; at least one. */
function framed(waiting: readonly Pending[], room: number): number {
  let bytes = 0;
  let count = 0;
  while (count < waiting.length && count < room) {
    bytes += waiting[count]!.bytes;
    if (count > 0 && bytes > FRAME_BYTES) break;
    count++;
  }
  return count;
}

function roughBytes(book: CommandBook): number {
  let bytes = 200;
  for (const page of book.pages) bytes += 16 + page.command!.typeUrl.length + page.command!.value.length;
  for (const [key, value] of Object.entries(book.metadata)) bytes += 8 + 3 * (key.length + value.length);
  return bytes;
}

/** Well below the smallest limit that a daemon can have. */
const FRAME_BYTES = 512 * 1024;
