// How messages become the opaque bodies of outbox rows and timers, and notifications become commands. Coordinators do not know the
// wire; src/components/bodies.ts does.

import type { Any, CommandBook, EventBook } from '../model/book.ts';
import type { RejectionNotification } from '../model/reaction.ts';
import type { ForwardedWork } from './peers.ts';

/** Bytes are those of the protobuf messages. What cannot be decoded throws: a defect, or a damaged store. */
export interface Bodies {
  encodeCommand(book: CommandBook): Uint8Array;
  decodeCommand(bytes: Uint8Array): CommandBook;
  encodeEvents(book: EventBook): Uint8Array;
  decodeEvents(bytes: Uint8Array): EventBook;
  encodeForwarded(work: ForwardedWork): Uint8Array;
  decodeForwarded(bytes: Uint8Array): ForwardedWork;
  /** No bytes for `undefined`. */
  encodeAny(payload: Any | undefined): Uint8Array;
  decodeAny(bytes: Uint8Array): Any | undefined;
  /** As the payload of the command that tells an aggregate of it. */
  packNotification(notification: RejectionNotification): Any;
  /** Throws when it is of another type. */
  unpackNotification(payload: Any): RejectionNotification;
  /** The event that ends a process's stream. */
  readonly PROCESS_ENDED: Any;
}
