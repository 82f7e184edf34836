import type { Bodies } from '../coordinators/bodies.ts';
import { assert } from '../errors.ts';
import { ProcessEnded } from '../gen/daybook/v1/component.ts';
import { CommandBook, EventBook, RejectionNotification } from '../gen/daybook/v1/types.ts';
import { Any } from '../gen/google/protobuf/any.ts';
import { typeName } from '../model/book.ts';

const NOTIFICATION = 'daybook.v1.RejectionNotification';

/** Bodies as protobuf messages. */
export const bodies: Bodies = {
  encodeCommand: (book) => CommandBook.encode(book).finish(),
  decodeCommand: (bytes) => CommandBook.decode(bytes),
  encodeEvents: (book) => EventBook.encode(book).finish(),
  decodeEvents: (bytes) => EventBook.decode(bytes),
  encodeAny: (payload) => (payload === undefined ? new Uint8Array() : Any.encode(payload).finish()),
  decodeAny: (bytes) => (bytes.length === 0 ? undefined : Any.decode(bytes)),
  packNotification: (notification) => ({
    typeUrl: `type.googleapis.com/${NOTIFICATION}`,
    value: RejectionNotification.encode(notification).finish(),
  }),
  unpackNotification({ typeUrl, value }) {
    assert(typeName(typeUrl) === NOTIFICATION, `expected a ${NOTIFICATION}, found ${typeUrl}`);
    return RejectionNotification.decode(value);
  },
  PROCESS_ENDED: Object.freeze({
    typeUrl: 'type.googleapis.com/daybook.v1.ProcessEnded',
    value: ProcessEnded.encode({}).finish(),
  }),
};
