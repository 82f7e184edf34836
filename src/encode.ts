// Messages to bytes.

import { BinaryWriter } from '@bufbuild/protobuf/wire';

/** As ts-proto generates them. */
export interface Encoder<T> {
  encode(message: T, writer: BinaryWriter): BinaryWriter;
}

/** After a longer message the writer's memory is given back. */
const KEPT_BYTES = 1024 * 1024;

/**
 * One serves all: encoding begins and ends in one go. A new one for each message would grow its buffer by doubling, and so many buffers
 * outside of the heap held the daemon up for 100 ms every few seconds, when they were collected.
 */
let writer = new BinaryWriter();

/** The bytes are the caller's own. */
export function encode<T>(type: Encoder<T>, message: T): Uint8Array<ArrayBuffer> {
  try {
    const bytes = type.encode(message, writer).finish();
    if (bytes.length > KEPT_BYTES) writer = new BinaryWriter();
    return bytes;
  } catch (error) {
    // Half a message is in it.
    writer = new BinaryWriter();
    throw error;
  }
}
