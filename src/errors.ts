// The closed set of reasons, and the one error class. The wire's meaning of each reason, its gRPC code and its metadata
// are told in proto/daybook/v1/errors.proto; src/grpc/status.ts holds the table.

import type { Rejection } from './model/book.ts';

export type Reason =
  | 'INVALID_ARGUMENT'
  | 'UNKNOWN_DOMAIN'
  | 'REJECTED'
  | 'SEQUENCE_CONFLICT'
  | 'REENTRANT'
  | 'CONTENTION'
  | 'COMPONENT_UNAVAILABLE'
  | 'COMPONENT_TIMEOUT'
  | 'COMPONENT_FAULT'
  | 'HISTORY_TOO_LARGE'
  | 'STORE_UNAVAILABLE'
  | 'SHUTTING_DOWN'
  | 'OUTCOME_UNKNOWN'
  | 'OVERLOADED'
  | 'TOO_LARGE'
  | 'WAIT_TIMEOUT'
  | 'UNAUTHENTICATED'
  | 'PERMISSION_DENIED'
  | 'INTERNAL'
  | 'UNIMPLEMENTED'
  | 'NOT_FOUND';

export interface ErrorDetails {
  /** What programs read: `field`, `expected`, `actual` …, as the reason's entry in errors.proto says. */
  metadata?: Record<string, string | number>;
  /** With REJECTED. */
  rejection?: Rejection;
  /** When trying again makes sense. */
  retryDelayMs?: number;
  cause?: unknown;
}

/** An error with a reason that callers can act on. The message is a sentence: what was expected, what was found, where. */
export class DaybookError extends Error {
  readonly reason: Reason;
  readonly metadata: Record<string, string | number>;
  readonly rejection: Rejection | undefined;
  readonly retryDelayMs: number | undefined;

  constructor(reason: Reason, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'DaybookError';
    this.reason = reason;
    this.metadata = details.metadata ?? {};
    this.rejection = details.rejection;
    this.retryDelayMs = details.retryDelayMs;
  }
}

/** An INVALID_ARGUMENT about one field. */
export function invalid(field: string, message: string): DaybookError {
  return new DaybookError('INVALID_ARGUMENT', message, { metadata: { field } });
}

/** Anything that was thrown, as a DaybookError: what is not one is a defect and becomes INTERNAL with its cause. */
export function asDaybookError(thrown: unknown): DaybookError {
  if (thrown instanceof DaybookError) return thrown;
  return new DaybookError('INTERNAL', 'a defect in Daybook: its log holds the cause', { cause: thrown });
}

/** For what cannot happen unless the programmer made a mistake: crashes with a sentence. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${message}`);
}
