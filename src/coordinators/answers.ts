import { DaybookError } from '../errors.ts';
import type { CommandBook, CommandResponse, Cover, EventBook, EventPage, Rejection } from '../model/book.ts';
import { type StreamKey, uuidText } from '../model/stream.ts';
import { encodeToken } from '../model/token.ts';
import type { Runtime } from '../runtime.ts';
import type { LogIdentity } from '../store.ts';

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
