// One table from reasons to gRPC codes, and the details that travel with an error. `google.rpc.Status`, `ErrorInfo` and `RetryInfo`
// are written by hand, field by field: five fields that never change, and no second copy of Google's definitions in proto/.

import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { Metadata, type StatusObject, status } from '@grpc/grpc-js';
import { encode } from '../encode.ts';
import { asDaybookError, DaybookError, type Reason } from '../errors.ts';
import type { Error as WireError } from '../gen/daybook/v1/errors.ts';
import { Rejection } from '../gen/daybook/v1/types.ts';
import { toDuration } from '../model/time.ts';
import type { Logger } from '../telemetry/log.ts';

const CODES: Record<Reason, status> = {
  INVALID_ARGUMENT: status.INVALID_ARGUMENT,
  UNKNOWN_DOMAIN: status.NOT_FOUND,
  // Of a rejection without a kind; see REJECTION_CODES.
  REJECTED: status.FAILED_PRECONDITION,
  SEQUENCE_CONFLICT: status.FAILED_PRECONDITION,
  REENTRANT: status.FAILED_PRECONDITION,
  CONTENTION: status.ABORTED,
  COMPONENT_UNAVAILABLE: status.UNAVAILABLE,
  COMPONENT_TIMEOUT: status.DEADLINE_EXCEEDED,
  COMPONENT_FAULT: status.INTERNAL,
  HISTORY_TOO_LARGE: status.FAILED_PRECONDITION,
  STORE_UNAVAILABLE: status.UNAVAILABLE,
  SHUTTING_DOWN: status.UNAVAILABLE,
  OUTCOME_UNKNOWN: status.UNKNOWN,
  OVERLOADED: status.RESOURCE_EXHAUSTED,
  TOO_LARGE: status.INVALID_ARGUMENT,
  WAIT_TIMEOUT: status.DEADLINE_EXCEEDED,
  UNAUTHENTICATED: status.UNAUTHENTICATED,
  PERMISSION_DENIED: status.PERMISSION_DENIED,
  INTERNAL: status.INTERNAL,
  UNIMPLEMENTED: status.UNIMPLEMENTED,
  NOT_FOUND: status.NOT_FOUND,
};

const REJECTION_CODES: Record<number, status> = {
  1: status.INVALID_ARGUMENT,
  2: status.FAILED_PRECONDITION,
  3: status.NOT_FOUND,
  4: status.PERMISSION_DENIED,
};

/** Headers longer than this are refused by common clients: 8 KiB for all, base64 included. */
const DETAILS_BYTES = 4096;
const MESSAGE_LENGTH = 1024;

/** Whatever was thrown, as the status of a call. A defect is logged here, with its cause, and nowhere else. */
export function statusOf(thrown: unknown, log: Logger): StatusObject {
  const error = asDaybookError(thrown);
  if (error.reason === 'INTERNAL') log.error({ err: error.cause ?? error }, 'internal error');
  const message = cut(error.message);
  const metadata = new Metadata();
  metadata.set('grpc-status-details-bin', statusDetails(error, codeOf(error), message));
  return { code: codeOf(error), details: message, metadata };
}

/** The same where a stream carries many calls. */
export function wireErrorOf(thrown: unknown, log: Logger): WireError {
  const error = asDaybookError(thrown);
  if (error.reason === 'INTERNAL') log.error({ err: error.cause ?? error }, 'internal error');
  return {
    code: codeOf(error),
    reason: error.reason,
    message: error.message,
    metadata: textsOf(error),
    retryDelay: error.retryDelayMs === undefined ? undefined : toDuration(error.retryDelayMs),
    rejection: error.rejection,
  };
}

/** What another daemon said no with, here. */
export function errorOfWire({ reason, message, metadata, retryDelay, rejection }: WireError): DaybookError {
  const known = Object.hasOwn(CODES, reason) ? (reason as Reason) : 'INTERNAL';
  return new DaybookError(known, message, {
    metadata,
    ...(rejection !== undefined && { rejection }),
    ...(retryDelay !== undefined && { retryDelayMs: retryDelay.seconds * 1000 + retryDelay.nanos / 1e6 }),
  });
}

function codeOf(error: DaybookError): status {
  return (error.rejection && REJECTION_CODES[error.rejection.kind]) ?? CODES[error.reason];
}

function textsOf(error: DaybookError): { [key: string]: string } {
  const texts: { [key: string]: string } = {};
  for (const [key, value] of Object.entries(error.metadata)) texts[key] = cut(String(value));
  return texts;
}

/** google.rpc.Status { int32 code = 1; string message = 2; repeated google.protobuf.Any details = 3; } */
function statusDetails(error: DaybookError, code: status, message: string): Buffer {
  const details = [any('google.rpc.ErrorInfo', errorInfo(error))];
  if (error.retryDelayMs !== undefined) details.push(any('google.rpc.RetryInfo', retryInfo(error.retryDelayMs)));
  if (error.rejection !== undefined) {
    const rejection = encode(Rejection, { ...error.rejection, message: cut(error.rejection.message) });
    if (rejection.length <= DETAILS_BYTES) details.push(any('daybook.v1.Rejection', rejection));
  }
  const writer = new BinaryWriter().uint32(8).int32(code).uint32(18).string(message);
  for (const detail of details) writer.uint32(26).bytes(detail);
  return Buffer.from(writer.finish());
}

/** google.protobuf.Any { string type_url = 1; bytes value = 2; } */
function any(type: string, value: Uint8Array): Uint8Array {
  return new BinaryWriter().uint32(10).string(`type.googleapis.com/${type}`).uint32(18).bytes(value).finish();
}

/** google.rpc.ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; } */
function errorInfo(error: DaybookError): Uint8Array {
  const writer = new BinaryWriter().uint32(10).string(error.reason).uint32(18).string('daybook');
  for (const [key, value] of Object.entries(textsOf(error))) {
    writer.uint32(26).fork().uint32(10).string(key).uint32(18).string(value).join();
  }
  return writer.finish();
}

/** google.rpc.RetryInfo { google.protobuf.Duration retry_delay = 1; } */
function retryInfo(delayMs: number): Uint8Array {
  const { seconds, nanos } = toDuration(delayMs);
  return new BinaryWriter().uint32(10).fork().uint32(8).int64(seconds).uint32(16).int32(nanos).join().finish();
}

function cut(text: string): string {
  return text.length <= MESSAGE_LENGTH ? text : `${text.slice(0, MESSAGE_LENGTH - 1)}…`;
}
