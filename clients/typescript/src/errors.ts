// What can go wrong, by name. `reason` is for programs; the message is a sentence for people.

import { Metadata, type ServiceError, status } from '@grpc/grpc-js';
import type { Error as ErrorMessage, ErrorReason } from './gen/daybook/v1/errors.ts';
import type { Rejection as RejectionMessage } from './gen/daybook/v1/types.ts';
import { decodeStatusDetails, durationMs } from './rpc-status.ts';

/** What Daybook says: the reasons of `proto/daybook/v1/errors.proto`, where each is explained with its metadata. */
export type DaybookReason = Exclude<ReasonNames<keyof typeof ErrorReason>, 'UNSPECIFIED'>;

/** What happened on the way, where Daybook could not say anything. */
export type LocalReason =
  /** No connection, or it went away before the answer. The command may have taken effect: repeat it with its key. */
  | 'UNREACHABLE'
  /** The time that the caller allowed is over. The command may have taken effect: repeat it with its key. */
  | 'DEADLINE_EXCEEDED'
  /** The pipeline's stream ended before the answer. The command may have taken effect: repeat it with its key. */
  | 'PIPELINE_BROKEN'
  /** More commands wait in the pipeline than it may hold. Nothing was sent: await `ready()` before sending. */
  | 'PIPELINE_FULL'
  /** The client, or the pipeline, was closed. */
  | 'CLOSED'
  /** The transport failed in another way, such as an unknown method; `code` says which. */
  | 'TRANSPORT';

export type Reason = DaybookReason | LocalReason;

type ReasonNames<K> = K extends `ERROR_REASON_${infer Name}` ? Name : never;

export interface ErrorDetails {
  code?: number;
  metadata?: Record<string, string>;
  retryDelayMs?: number | undefined;
  rejection?: RejectionMessage | undefined;
  cause?: unknown;
}

export class DaybookError extends Error {
  override name = 'DaybookError';
  readonly reason: Reason;
  /** The gRPC status code. */
  readonly code: number;
  /** What the reason's entry in errors.proto promises, such as `expected` and `actual`. */
  readonly metadata: Readonly<Record<string, string>>;
  /** When Daybook suggests to try again. */
  readonly retryDelayMs: number | undefined;
  /** With REJECTED. */
  readonly rejection: RejectionMessage | undefined;
  /** Of the command that failed: repeat it with this key, and it takes effect at most once. */
  idempotencyKey: string | undefined;

  constructor(reason: Reason, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.reason = reason;
    this.code = details.code ?? status.UNKNOWN;
    this.metadata = details.metadata ?? {};
    this.retryDelayMs = details.retryDelayMs;
    this.rejection = details.rejection;
  }

  /** The same call may succeed later. Safe to repeat: a command with its key takes effect at most once. */
  get retryable(): boolean {
    return RETRYABLE.has(this.reason);
  }
}

/** The domain said no. A decision, not a failure: the same key will always get it again. */
export class Rejected extends DaybookError {
  override name = 'Rejected';
  declare readonly rejection: RejectionMessage;

  /** In the domain's own words, for example `OUT_OF_STOCK`. */
  get rejectionCode(): string {
    return this.rejection.code;
  }
}

/** The command named a sequence, and the history is not there. Read again, decide again. */
export class SequenceConflict extends DaybookError {
  override name = 'SequenceConflict';

  /** What the command said. */
  get expected(): number {
    return Number(this.metadata.expected);
  }

  /** The aggregate's next sequence. */
  get actual(): number {
    return Number(this.metadata.actual);
  }
}

/**
 * Throw it from a handler that is short of something, such as its database: the same work is tried again, and this time does not
 * count as an attempt. Anything else that is thrown counts, and after some attempts the work becomes a dead letter.
 */
export class Overloaded extends Error {
  override name = 'Overloaded';
}

/** Not the fault of the work: it may succeed soon. Also what Daybook says when a handler calls it at a bad time. */
export function isShortage(thrown: unknown): boolean {
  return thrown instanceof Overloaded || (thrown instanceof DaybookError && SHORTAGES.has(thrown.reason));
}

/** From the status of a call that failed. */
export function fromServiceError(thrown: unknown): DaybookError {
  if (thrown instanceof DaybookError) return thrown;
  if (!isServiceError(thrown)) return new DaybookError('TRANSPORT', messageOf(thrown), { cause: thrown });
  const [bytes] = thrown.metadata.get('grpc-status-details-bin');
  const details = bytes === undefined ? { metadata: {} } : decodeStatusDetails(Buffer.from(bytes));
  const reason = (details.reason as Reason | undefined) ?? localReason(thrown.code);
  return create(reason, thrown.details, { ...details, code: thrown.code, cause: thrown });
}

/** From a result of a pipeline. */
export function fromErrorMessage(error: ErrorMessage): DaybookError {
  return create(error.reason as Reason, error.message, {
    code: error.code,
    metadata: error.metadata,
    retryDelayMs: error.retryDelay && durationMs(error.retryDelay),
    rejection: error.rejection,
  });
}

export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

function create(reason: Reason, message: string, details: ErrorDetails): DaybookError {
  if (reason === 'REJECTED' && details.rejection !== undefined) return new Rejected(reason, message, details);
  if (reason === 'SEQUENCE_CONFLICT') return new SequenceConflict(reason, message, details);
  return new DaybookError(reason, message, details);
}

function localReason(code: number): LocalReason {
  // CANCELLED: callers who cancel themselves never get here, so it was the other side, by dying.
  if (code === status.UNAVAILABLE || code === status.CANCELLED) return 'UNREACHABLE';
  if (code === status.DEADLINE_EXCEEDED) return 'DEADLINE_EXCEEDED';
  return 'TRANSPORT';
}

function isServiceError(thrown: unknown): thrown is ServiceError {
  return thrown instanceof Error && 'code' in thrown && 'metadata' in thrown && thrown.metadata instanceof Metadata;
}

const RETRYABLE: ReadonlySet<Reason> = new Set<Reason>([
  'CONTENTION',
  'COMPONENT_UNAVAILABLE',
  'COMPONENT_TIMEOUT',
  'STORE_UNAVAILABLE',
  'SHUTTING_DOWN',
  'OUTCOME_UNKNOWN',
  'OVERLOADED',
  'UNREACHABLE',
  'PIPELINE_BROKEN',
]);

const SHORTAGES: ReadonlySet<Reason> = new Set<Reason>([
  'OVERLOADED',
  'CONTENTION',
  'STORE_UNAVAILABLE',
  'SHUTTING_DOWN',
  'COMPONENT_UNAVAILABLE',
  'UNREACHABLE',
]);
