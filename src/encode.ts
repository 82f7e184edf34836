// Messages to bytes.

import { BinaryWriter } from '@bufbuild/protobuf/wire';

/** As ts-proto generates them. */
export interface Encoder<T> {
  encode(message: T, writer: BinaryWriter): BinaryWriter;
}

/** After a longer message the writer's memory is given back. */
const KEPT_BYTES = 1024 * 1024;
/** The library's writer has a short way for shorter ones. */
const SHORT_TEXT = 32;
const LONG_TEXT = 127;

/** Where texts become bytes, and its beginnings by their length. */
const scratch = new Uint8Array(LONG_TEXT);
const beginnings = Array.from({ length: LONG_TEXT + 1 }, (_, length) => scratch.subarray(0, length));

/** Writes what the library's writer does. Names of types, and numbers of at most 32 bits, take no objects on the way. */
class Writer extends BinaryWriter {
  override string(value: string): this {
    const { length } = value;
    if (length <= SHORT_TEXT || length > LONG_TEXT) return super.string(value);
    for (let i = 0; i < length; i++) {
      const code = value.charCodeAt(i);
      if (code > 0x7f) return super.string(value);
      scratch[i] = code;
    }
    return this.bytes(beginnings[length]!);
  }

  override int64(value: string | number | bigint): this {
    return isSmall(value) ? this.uint32(value) : super.int64(value);
  }

  override uint64(value: string | number | bigint): this {
    return isSmall(value) ? this.uint32(value) : super.uint64(value);
  }
}

function isSmall(value: string | number | bigint): value is number {
  return typeof value === 'number' && value >= 0 && value <= 0xffffffff;
}

/**
 * One serves all: encoding begins and ends in one go. A new one for each message would grow its buffer by doubling, and so many buffers
 * outside of the heap held the daemon up for 100 ms every few seconds, when they were collected.
 */
let writer = new Writer();

/** The bytes are the caller's own. */
export function encode<T>(type: Encoder<T>, message: T): Uint8Array<ArrayBuffer> {
  try {
    const bytes = type.encode(message, writer).finish();
    if (bytes.length > KEPT_BYTES) writer = new Writer();
    return bytes;
  } catch (error) {
    // Half a message is in it.
    writer = new Writer();
    throw error;
  }
}
