import { DaybookError, invalid } from '../errors.ts';
import type { CommandBook, CommandResponse, Cover, EventBook, EventPage, Rejection } from '../model/book.ts';
import { type StreamKey, sameBytes, uuidText } from '../model/stream.ts';
import { encodeToken } from '../model/token.ts';
import type { Runtime } from '../runtime.ts';
import type { LogIdentity, OutcomeKey, StoredOutcome } from '../store.ts';
import { decodeOutcome } from './outcome.ts';
import type { UpcastingReads } from './upcasting.ts';

/** Fills in what a client's command may leave open. Changes the command, which the caller owns. */
export function completeCommand(command: CommandBook, runtime: Runtime): void {
  // What caused a command is ours to say.
  command.origin = undefined;
  if (command.cover !== undefined) completeCover(command.cover, runtime);
}

/** A missing correlation id is made. */
export function completeCover(cover: Cover, runtime: Runtime): void {
  if (cover.correlationId === '') cover.correlationId = uuidText(runtime.uuid());
}

/** `position`: of the last event, or of the log's end when there is none. */
export function answer(log: LogIdentity, events: EventBook, position: number, duplicate: boolean): CommandResponse {
  const consistencyToken = encodeToken({ logId: log.logId, incarnation: log.incarnation, position });
  return { events, projections: [], reactionErrors: [], position, duplicate, settled: true, consistencyToken };
}

/**
 * What was answered to a command the first time, or was to be: its events, or REJECTED. INVALID_ARGUMENT when the key was used for
 * another command.
 */
export async function firstAnswer(
  { reads, log }: { reads: Pick<UpcastingReads, 'readStream'>; log: LogIdentity },
  { stream, text, key, hash }: { stream: StreamKey; text: string; key: OutcomeKey; hash: Uint8Array },
  stored: StoredOutcome,
  duplicate: boolean,
): Promise<CommandResponse> {
  if (!sameBytes(stored.hash, hash)) {
    throw invalid(
      'idempotency_key',
      `idempotency_key: ${JSON.stringify(key.key)} was used before, for another command`,
    );
  }
  const body = decodeOutcome(stored.body);
  if (body.kind === 'rejection') throw rejected(text, body.rejection, duplicate);
  const to = body.firstSequence + body.count - 1;
  const { pages } =
    body.count === 0
      ? { pages: [] }
      : await reads.readStream(stream, { from: body.firstSequence, to, maxBytes: Infinity });
  const book = bookOf(stream, body.correlationId, pages, body.firstSequence + body.count);
  return answer(log, book, stored.position + Math.max(0, body.count - 1), duplicate);
}

export function bookOf(stream: StreamKey, correlationId: string, pages: EventPage[], nextSequence: number): EventBook {
  const cover = { root: { value: stream.root }, domain: stream.domain, correlationId, tenant: stream.tenant };
  return { cover, snapshot: undefined, pages, nextSequence, consistencyToken: '' };
}

export function rejected(text: string, rejection: Rejection, duplicate: boolean): DaybookError {
  const { code, page } = rejection;
  return new DaybookError('REJECTED', `${text}: ${rejection.message || code || 'the domain said no'}`, {
    metadata: { code, kind: REJECTION_KINDS[rejection.kind] ?? 'CONFLICT', page, duplicate: String(duplicate) },
    rejection,
  });
}

const REJECTION_KINDS: Record<number, string> = { 1: 'INVALID', 2: 'CONFLICT', 3: 'NOT_FOUND', 4: 'DENIED' };
