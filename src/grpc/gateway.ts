import type { Metadata, ServerDuplexStream, UntypedServiceImplementation } from '@grpc/grpc-js';
import { onAbort } from '../abort.ts';
import type { Admission } from '../coordinators/admission.ts';
import { completeCommand } from '../coordinators/answers.ts';
import type { BusinessCoordinator } from '../coordinators/business.ts';
import type { Caller } from '../coordinators/caller.ts';
import type { WaitingMode } from '../coordinators/following.ts';
import type { QueryCoordinator } from '../coordinators/query.ts';
import { DEFAULT_WAIT_MS, type SyncModes } from '../coordinators/sync-modes.ts';
import type { Deadlines } from '../deadlines.ts';
import { DaybookError, invalid } from '../errors.ts';
import type {
  ExecuteStreamCountRequest,
  ExecuteStreamTimeRequest,
  PipelinedCommand,
  PipelinedCommands,
  PipelinedResult,
  PipelinedResults,
  SyncCommandBook,
} from '../gen/daybook/v1/gateway.ts';
import { type CommandBook, type CommandResponse, type EventBook, SyncMode } from '../gen/daybook/v1/types.ts';
import { type Duration, pageBytes } from '../model/book.ts';
import { encodeToken } from '../model/token.ts';
import type { LogIdentity } from '../store.ts';
import { type CallParts, callerOf, serverStream, unary, writable } from './calls.ts';
import { Refused } from './definition.ts';
import { wireErrorOf } from './status.ts';

export interface GatewayParts extends CallParts {
  admission: Pick<Admission, 'refusal'>;
  business: Pick<BusinessCoordinator, 'execute'>;
  sync: SyncModes;
  query: QueryCoordinator;
  deadlines: Deadlines;
  logIdentity: LogIdentity;
  /** This process has had no time left, lately. */
  busy: () => boolean;
}

/** Commands of one pipelined stream in hand; then the daemon stops reading from it. */
const PIPELINE_WINDOW = 2048;
/** Of a stream from which something was refused, while the process is busy. */
const REST_MS = 5;
/** A message takes no further result beyond this. */
const FRAME_BYTES = 512 * 1024;
const STREAM_TIME_MAX_MS = 86_400_000;
/** Of a pipelined stream, however it comes. */
const ENDS = ['finish', 'cancelled', 'error'] as const;

/** `closing` is aborted when no command is in hand any more, and none is taken. */
export function gatewayService(parts: GatewayParts, closing: AbortSignal): UntypedServiceImplementation {
  const pipelines = new Set<Pipeline>();
  closing.addEventListener('abort', () => {
    for (const pipeline of pipelines) pipeline.close();
  });
  return {
    execute: unary(parts, (command: CommandBook, caller, call) => execute(parts, withTrace(command, call), caller)),
    executeSync: unary(parts, (request: SyncCommandBook, caller, call) =>
      executeSync(parts, { ...request, command: withTrace(request.command, call) }, caller),
    ),
    executeStream: serverStream(parts, (command: CommandBook, caller, call) =>
      follow(parts, withTrace(command, call), caller),
    ),
    executeStreamResponseCount: serverStream(parts, (request: ExecuteStreamCountRequest, caller, call) => {
      if (request.count < 1) throw invalid('count', `count: expected at least 1, found ${request.count}`);
      return limitCount(follow(parts, withTrace(request.command, call), caller), request.count);
    }),
    executeStreamResponseTime: serverStream(parts, (request: ExecuteStreamTimeRequest, caller, call) => {
      const timeoutMs = request.timeoutMs;
      if (timeoutMs < 1 || timeoutMs > STREAM_TIME_MAX_MS) {
        throw invalid('timeout_ms', `timeout_ms: expected 1 to ${STREAM_TIME_MAX_MS}, found ${timeoutMs}`);
      }
      return follow(parts, withTrace(request.command, call), caller, timeoutMs);
    }),
    executePipelined: (call: ServerDuplexStream<PipelinedCommands | Refused, PipelinedResults>) => {
      const pipeline = new Pipeline(parts, call);
      pipelines.add(pipeline);
      for (const end of ENDS) call.on(end, () => pipelines.delete(pipeline));
    },
  };
}

function execute(parts: GatewayParts, command: CommandBook, caller: Caller): Promise<CommandResponse> {
  completeCommand(command, parts.runtime);
  return parts.business.execute(command, caller);
}

/** The one place that knows what the sync modes are. */
export function executeSync(
  parts: GatewayParts,
  request: { command: CommandBook | undefined; syncMode: SyncMode; waitTimeout: Duration | undefined },
  caller: Caller,
): Promise<CommandResponse> {
  const { command, syncMode, waitTimeout } = request;
  if (command === undefined) throw invalid('command', 'command: expected a command book, found none');
  if (syncMode === SyncMode.SYNC_MODE_NONE) return execute(parts, command, caller);
  const mode = WAITING_MODES[syncMode];
  if (mode === undefined) {
    throw invalid('sync_mode', `sync_mode: expected NONE, SIMPLE or CASCADE, found ${syncMode}`);
  }
  completeCommand(command, parts.runtime);
  return parts.sync.execute(command, mode, waitMsOf(waitTimeout, 'wait_timeout'), caller);
}

const WAITING_MODES: { [mode: number]: WaitingMode } = {
  [SyncMode.SYNC_MODE_SIMPLE]: 'simple',
  [SyncMode.SYNC_MODE_CASCADE]: 'cascade',
};
const WAIT_MAX_MS = 86_400_000;

/** Absent: the default. */
export function waitMsOf(timeout: Duration | undefined, field: string): number {
  if (timeout === undefined) return DEFAULT_WAIT_MS;
  const ms = timeout.seconds * 1000 + timeout.nanos / 1e6;
  if (ms >= 0 && ms <= WAIT_MAX_MS) return ms;
  throw invalid(field, `${field}: expected 0 to ${WAIT_MAX_MS / 1000} s, found ${ms / 1000} s`);
}

/** The command, which must be there; the trace context of the call is its own, unless it brought one. */
export function withTrace(command: CommandBook | undefined, call: { metadata: Metadata }): CommandBook {
  if (command === undefined) throw invalid('command', 'command: expected a command book, found none');
  const [traceparent] = call.metadata.get('traceparent');
  if (typeof traceparent === 'string' && command.metadata.traceparent === undefined) {
    command.metadata.traceparent = traceparent;
    const [tracestate] = call.metadata.get('tracestate');
    if (typeof tracestate === 'string') command.metadata.tracestate = tracestate;
  }
  return command;
}

/** The command's own book, then every later book with its correlation id; for so long after the first, if a time is given. */
async function* follow(
  parts: GatewayParts,
  command: CommandBook,
  caller: Caller,
  timeoutMs?: number,
): AsyncGenerator<EventBook, void, void> {
  const response = await execute(parts, command, caller);
  const own = response.events!;
  yield withToken(own, response.position, parts.logIdentity);
  const ended = new AbortController();
  const timer = timeoutMs === undefined ? undefined : parts.runtime.after(timeoutMs, () => ended.abort());
  try {
    const { tenant, correlationId } = own.cover!;
    const signal = AbortSignal.any([caller.signal, ended.signal]);
    for await (const book of parts.query.follow({ tenant, correlationId }, response.position, signal)) {
      yield withToken(book, book.pages.at(-1)!.position, parts.logIdentity);
    }
    if (!signal.aborted)
      throw new DaybookError('SHUTTING_DOWN', 'the daemon is stopping; follow again from the last token');
  } finally {
    timer?.cancel();
  }
}

async function* limitCount(
  books: AsyncGenerator<EventBook, void, void>,
  count: number,
): AsyncGenerator<EventBook, void, void> {
  let sent = 0;
  for await (const book of books) {
    yield book;
    if (++sent === count) return;
  }
}

export function withToken(book: EventBook, position: number, log: LogIdentity): EventBook {
  // The same book may go to many: the token is the same for all.
  if (book.consistencyToken === '') book.consistencyToken = encodeToken({ ...log, position });
  return book;
}

function resultBytes({ result }: PipelinedResult): number {
  let bytes = 128;
  if (result?.$case === 'response') for (const page of result.value.events!.pages) bytes += pageBytes(page);
  return bytes;
}

function expired({ command, timeoutMs }: PipelinedCommand): DaybookError {
  return new DaybookError('COMPONENT_TIMEOUT', `the command's time of ${timeoutMs} ms ran out before it was decided`, {
    metadata: { component: command?.cover?.domain ?? '', timeout_ms: timeoutMs },
  });
}

/** One ExecutePipelined stream. */
class Pipeline {
  readonly #parts: GatewayParts;
  readonly #call: ServerDuplexStream<PipelinedCommands | Refused, PipelinedResults>;
  readonly #caller: Caller;
  readonly #inHand = new Set<number>();
  #results: PipelinedResult[] = [];
  #resultsBytes = 0;
  #ended = false;
  #full = false;
  #resting = false;

  constructor(parts: GatewayParts, call: ServerDuplexStream<PipelinedCommands | Refused, PipelinedResults>) {
    this.#parts = parts;
    this.#call = call;
    this.#caller = callerOf(call, parts.runtime);
    call.on('data', (frame: PipelinedCommands | Refused) => this.#receive(frame));
    call.on('end', () => {
      this.#ended = true;
      this.#endWhenDone();
    });
    // The transport has told the client; what is in hand goes on and its results are dropped.
    call.on('error', (error) => parts.log.debug({ err: error }, 'a pipelined stream broke'));
  }

  /** Ends the stream as soon as nothing is in hand. A client repeats what was not answered, elsewhere. */
  close(): void {
    this.#ended = true;
    this.#endWhenDone();
  }

  #receive(frame: PipelinedCommands | Refused): void {
    if (this.#call.writableEnded) return;
    if (frame instanceof Refused) {
      const { message } = frame as { message: PipelinedCommands | undefined };
      const ids = message === undefined || message.commands.length === 0 ? [0] : message.commands.map(({ id }) => id);
      for (const id of ids) this.#fail(id, frame.error);
      return;
    }
    for (const item of frame.commands) this.#execute(item);
    if (this.#inHand.size >= PIPELINE_WINDOW) this.#call.pause();
  }

  /**
   * While this process has no time left, refusing takes it from those who were let in: the stream is read again a little later. Much later, and
   * what waits in it would be too old.
   */
  #rest(): void {
    if (this.#resting || !this.#parts.busy()) return;
    this.#resting = true;
    this.#call.pause();
    this.#parts.runtime.after(REST_MS, () => {
      this.#resting = false;
      this.#readOn();
    });
  }

  #readOn(): void {
    if (this.#resting || this.#full || this.#inHand.size >= PIPELINE_WINDOW / 2 || !this.#call.isPaused()) return;
    this.#call.resume();
  }

  #execute(item: PipelinedCommand): void {
    if (item.id === 0 || this.#inHand.has(item.id)) {
      const found = item.id === 0 ? 'none' : `${item.id}, which is in use`;
      return this.#fail(
        item.id,
        invalid('id', `id: expected a number above 0 that is not in use on this stream, found ${found}`),
      );
    }
    const deadlineMs = this.#deadlineOf(item);
    const refusal = this.#refusal(item, deadlineMs);
    if (refusal !== undefined) {
      this.#fail(item.id, refusal);
      return this.#rest();
    }
    this.#inHand.add(item.id);
    this.#run(item, deadlineMs).then(
      (response) => this.#finish(item.id, { $case: 'response', value: response }),
      (error) => this.#finish(item.id, { $case: 'error', value: wireErrorOf(error, this.#parts.log) }),
    );
  }

  #deadlineOf({ timeoutMs }: PipelinedCommand): number {
    const { deadlineMs } = this.#caller;
    return timeoutMs === 0 ? deadlineMs : Math.min(deadlineMs, this.#parts.runtime.monotonicMs() + timeoutMs);
  }

  /** Before anything is done for it: when there is too much to do, most of it is refused, and has to cost little. */
  #refusal({ command }: PipelinedCommand, deadlineMs: number): DaybookError | undefined {
    // What belongs to work under way is let in to the last.
    if (command?.cover === undefined || command.workId !== '') return undefined;
    return this.#parts.admission.refusal(command.cover.domain, deadlineMs);
  }

  async #run(item: PipelinedCommand, deadlineMs: number): Promise<CommandResponse> {
    if (item.timeoutMs === 0) return executeSync(this.#parts, item, this.#caller);
    const over = new AbortController();
    const ignoreAbort = onAbort(this.#caller.signal, () => over.abort(this.#caller.signal.reason));
    const deadline = this.#parts.deadlines.add(deadlineMs, () => over.abort(expired(item)));
    try {
      return await executeSync(this.#parts, item, { deadlineMs, signal: over.signal });
    } finally {
      deadline.cancel();
      ignoreAbort();
    }
  }

  #finish(id: number, result: PipelinedResult['result']): void {
    this.#inHand.delete(id);
    this.#answer({ id, result });
    if (result?.$case === 'error' && result.value.reason === 'OVERLOADED') this.#rest();
    this.#readOn();
  }

  #fail(id: number, error: DaybookError): void {
    this.#answer({ id, result: { $case: 'error', value: wireErrorOf(error, this.#parts.log) } });
  }

  /** Results that are there together travel in one message. */
  #answer(result: PipelinedResult): void {
    this.#results.push(result);
    this.#resultsBytes += resultBytes(result);
    if (this.#full) return;
    if (this.#resultsBytes > FRAME_BYTES) this.#flush();
    else if (this.#results.length === 1) queueMicrotask(() => this.#flush());
  }

  #flush(): void {
    while (this.#results.length > 0 && !this.#full) {
      const results = this.#takeFrame();
      if (!this.#caller.signal.aborted && !this.#call.write({ results })) this.#waitForReader();
    }
    this.#endWhenDone();
  }

  #takeFrame(): PipelinedResult[] {
    let count = 0;
    let bytes = 0;
    while (count < this.#results.length && (count === 0 || bytes < FRAME_BYTES))
      bytes += resultBytes(this.#results[count++]!);
    this.#resultsBytes -= bytes;
    if (count < this.#results.length) return this.#results.splice(0, count);
    const all = this.#results;
    this.#results = [];
    return all;
  }

  /** A client that does not read its results gets no further command read. */
  #waitForReader(): void {
    this.#full = true;
    this.#call.pause();
    void writable(this.#call).then(() => {
      this.#full = false;
      this.#flush();
      this.#readOn();
    });
  }

  #endWhenDone(): void {
    if (this.#ended && this.#inHand.size === 0 && this.#results.length === 0 && !this.#full) this.#call.end();
  }
}
