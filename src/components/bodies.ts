import type { Bodies } from '../coordinators/bodies.ts';
import { encode } from '../encode.ts';
import { assert } from '../errors.ts';
import { ProcessEnded } from '../gen/daybook/v1/component.ts';
import { ForwardedWork } from '../gen/daybook/v1/peers.ts';
import { CommandBook, EventBook, RejectionNotification } from '../gen/daybook/v1/types.ts';
import { Any } from '../gen/google/protobuf/any.ts';
import { typeName } from '../model/book.ts';

const NOTIFICATION = 'daybook.v1.RejectionNotification';

/** Bodies as protobuf messages. */
export const bodies: Bodies = {
  encodeCommand: (book) => encode(CommandBook, book),
  decodeCommand: (bytes) => CommandBook.decode(bytes),
  encodeEvents: (book) => encode(EventBook, book),
  decodeEvents: (bytes) => EventBook.decode(bytes),
  encodeForwarded: (work) => encode(ForwardedWork, work),
  decodeForwarded: (bytes) => ForwardedWork.decode(bytes),
  encodeAny: (payload) => (payload === undefined ? new Uint8Array() : encode(Any, payload)),
  decodeAny: (bytes) => (bytes.length === 0 ? undefined : Any.decode(bytes)),
  packNotification: (notification) => ({
    typeUrl: `type.googleapis.com/${NOTIFICATION}`,
    value: encode(RejectionNotification, notification),
  }),
  unpackNotification({ typeUrl, value }) {
    assert(typeName(typeUrl) === NOTIFICATION, `expected a ${NOTIFICATION}, found ${typeUrl}`);
    return RejectionNotification.decode(value);
  },
  PROCESS_ENDED: Object.freeze({
    typeUrl: 'type.googleapis.com/daybook.v1.ProcessEnded',
    value: encode(ProcessEnded, {}),
  }),
};
