// What every service needs of a call: the request or its refusal, who waits and until when, and writing at the reader's pace.

import type {
  handleServerStreamingCall,
  handleUnaryCall,
  ServerDuplexStream,
  ServerUnaryCall,
  ServerWritableStream,
} from '@grpc/grpc-js';
import type { Caller } from '../coordinators/caller.ts';
import type { Runtime } from '../runtime.ts';
import type { Logger } from '../telemetry/log.ts';
import { Refused } from './definition.ts';
import { statusOf } from './status.ts';

export interface CallParts {
  runtime: Runtime;
  log: Logger;
}

/** What all kinds of calls have, as far as we use it. */
interface AnyCall {
  on(event: 'cancelled', listener: () => void): unknown;
  getDeadline(): Date | number;
}

/** The reason of signals of calls that were cancelled or whose deadline passed: nobody reads the answer. */
const CANCELLED = new Error('the caller went away');

export function unary<Request, Response>(
  parts: CallParts,
  handle: (request: Request, caller: Caller, call: ServerUnaryCall<Request, Response>) => Promise<Response>,
): handleUnaryCall<Request, Response> {
  return (call, callback) => {
    const request = call.request as Request | Refused;
    if (request instanceof Refused) return callback(statusOf(request.error, parts.log));
    const fail = (error: unknown) => callback(statusOf(error, parts.log));
    try {
      handle(request, callerOf(call, parts.runtime), call).then((response) => callback(null, response), fail);
    } catch (error) {
      fail(error);
    }
  };
}

/** The handler yields messages; each is written when the reader has room for it. */
export function serverStream<Request, Response>(
  parts: CallParts,
  handle: (request: Request, caller: Caller, call: ServerWritableStream<Request, Response>) => AsyncIterable<Response>,
): handleServerStreamingCall<Request, Response> {
  return async (call) => {
    const request = call.request as Request | Refused;
    const caller = callerOf(call, parts.runtime);
    try {
      if (request instanceof Refused) throw request.error;
      for await (const message of handle(request, caller, call)) {
        if (caller.signal.aborted) return;
        if (!call.write(message)) await writable(call);
      }
      call.end();
    } catch (error) {
      if (!caller.signal.aborted) call.emit('error', statusOf(error, parts.log));
    }
  };
}

export function callerOf(call: AnyCall, runtime: Runtime): Caller {
  const controller = new AbortController();
  call.on('cancelled', () => controller.abort(CANCELLED));
  const deadline = call.getDeadline();
  const leftMs = deadline === Infinity ? Infinity : Number(deadline) - runtime.nowMicros() / 1000;
  return { deadlineMs: runtime.monotonicMs() + leftMs, signal: controller.signal };
}

/** Resolves when the stream takes more, or is gone. */
export function writable(
  call: ServerWritableStream<unknown, unknown> | ServerDuplexStream<unknown, unknown>,
): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      for (const event of ENDS) call.off(event, done);
      resolve();
    };
    for (const event of ENDS) call.on(event, done);
  });
}

const ENDS = ['drain', 'cancelled', 'close', 'error', 'finish'] as const;
