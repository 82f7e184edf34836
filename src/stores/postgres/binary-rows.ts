// Rows as `COPY … TO STDOUT (FORMAT binary)` sends them: a message each, every field behind its length. Of a usual answer the driver makes a text
// of each field, and most of what it took to read a log was to make texts, and numbers and bytes of them again.

import { Slab } from './slab.ts';

/** Before the first row, in the same message; eight bytes follow, the last four of them a length. */
const SIGNATURE = Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1');
const HEADER_BYTES = SIGNATURE.length + 8;
/** In the place of a field's length. */
const NULL = -1;
/** In the place of a row's number of fields, behind the last row. */
const END = -1;

/** Reads one row after the other, and of each one field after the other. Bytes that it returns are written by nobody again. */
export class BinaryRows {
  readonly #slab = new Slab();
  /** Where the row lies, and how far it was read. */
  #row = this.#slab.memory;
  #at = 0;
  /** By place. */
  readonly #repeated: ({ bytes: Buffer; text: string } | undefined)[] = [];

  /** A row is in the message, which may be written again afterwards. False: there is none in it. `first`: it begins the answer. */
  next(message: Buffer, first: boolean): boolean {
    const begin = first ? headerBytes(message) : 0;
    if (begin === message.length || message.readInt16BE(begin) === END) return false;
    this.#copy(message, begin);
    this.#at += 2;
    return true;
  }

  /** A bigint. */
  number(): number | null {
    if (this.#length() === NULL) return null;
    const high = this.#row.readInt32BE(this.#at);
    const low = this.#row.readUInt32BE(this.#at + 4);
    this.#at += 8;
    return safeInteger(high * 0x1_0000_0000 + low);
  }

  /** A bytea, or the 16 bytes of a uuid. */
  bytes(): Uint8Array | null {
    const length = this.#length();
    if (length === NULL) return null;
    this.#at += length;
    return new Uint8Array(this.#row.buffer, this.#at - length, length);
  }

  text(): string | null {
    const length = this.#length();
    if (length === NULL) return null;
    this.#at += length;
    return this.#row.toString('utf8', this.#at - length, this.#at);
  }

  /** One that is most times what it was in the row before, and is not made again then. `place`: which of those of a row. */
  repeatedText(place: number): string | null {
    const begin = this.#at + 4;
    const before = this.#repeated[place];
    if (before !== undefined && this.#isNext(before.bytes)) {
      this.#at = begin + before.bytes.length;
      return before.text;
    }
    const text = this.text();
    if (text !== null) this.#repeated[place] = { bytes: Buffer.from(this.#row.subarray(begin, this.#at)), text };
    return text;
  }

  #length(): number {
    this.#at += 4;
    return this.#row.readInt32BE(this.#at - 4);
  }

  /** The next field is this. */
  #isNext(bytes: Buffer): boolean {
    if (this.#row.readInt32BE(this.#at) !== bytes.length) return false;
    const begin = this.#at + 4;
    for (let i = 0; i < bytes.length; i++) if (bytes[i] !== this.#row[begin + i]) return false;
    return true;
  }

  /** The driver writes to the message's memory again. */
  #copy(message: Buffer, begin: number): void {
    const length = message.length - begin;
    if (Slab.isFor(length)) {
      this.#at = this.#slab.take(length);
      this.#row = this.#slab.memory;
    } else {
      this.#at = 0;
      this.#row = Buffer.allocUnsafeSlow(length);
    }
    message.copy(this.#row, this.#at, begin);
  }
}

function headerBytes(message: Buffer): number {
  if (!SIGNATURE.equals(message.subarray(0, SIGNATURE.length)))
    throw new Error('what is copied does not begin as it should');
  return HEADER_BYTES + message.readInt32BE(HEADER_BYTES - 4);
}

/** Numbers are positions, times and counts: safe integers, or a defect (trap 12). */
export function safeInteger(number: number, found: unknown = number): number {
  if (!Number.isSafeInteger(number)) throw new RangeError(`${found} is not a safe integer`);
  return number;
}
