// Commands as bytes that are made once and changed in place, and answers of which only the ends are looked at: a load generator takes
// from the machine what it measures, so it does as little as it can. Whether the answers are true is seen in the log afterwards.

import { randomBytes } from 'node:crypto';
import { PipelinedCommand, PipelinedResult } from '../../src/gen/daybook/v1/gateway.ts';
import { CommandBook, SyncMode } from '../../src/gen/daybook/v1/types.ts';

export const DOMAIN = 'counter';
export const TYPE_URL = 'type.googleapis.com/bench.v1.Counted';
export const PAYLOAD_BYTES = 200;

const ROOT_MARK = new Uint8Array(16).fill(0xa7);
const KEY_MARK = '~'.repeat(36);
const ID_BYTES = 5;

/** The root of an aggregate by its number: a UUIDv7, but for the time. */
export function rootBytes(n: number): Uint8Array {
  const root = new Uint8Array(16);
  new DataView(root.buffer).setUint32(12, n);
  root[6] = 0x70;
  root[8] = 0x80;
  return root;
}

export function payload(): Uint8Array {
  return new Uint8Array(PAYLOAD_BYTES).map((_, i) => 32 + ((i * 31) % 90));
}

function book(domain: string): CommandBook {
  return {
    cover: { root: { value: ROOT_MARK }, domain, correlationId: '', tenant: '' },
    pages: [{ sequence: undefined, command: { typeUrl: TYPE_URL, value: payload() } }],
    origin: undefined,
    idempotencyKey: KEY_MARK,
    metadata: {},
    workId: '',
  };
}

/** Keys that nobody had before: a random part for this process, and a number. */
const keyPrefix = `${randomBytes(12).toString('hex')}-`;
let keys = 0;

class Template {
  readonly bytes: Buffer;
  readonly #root: number;
  readonly #key: number;

  constructor(bytes: Uint8Array) {
    this.bytes = Buffer.from(bytes);
    this.#root = this.bytes.indexOf(ROOT_MARK);
    this.#key = this.bytes.indexOf(KEY_MARK);
  }

  /** For this aggregate, with a fresh key. */
  write(into: Buffer, at: number, aggregate: number): void {
    this.bytes.copy(into, at);
    const root = at + this.#root;
    into.fill(0, root, root + 12);
    into[root + 6] = 0x70;
    into[root + 8] = 0x80;
    into.writeUInt32BE(aggregate, root + 12);
    into.write(keyPrefix, at + this.#key, 'latin1');
    into.write((++keys).toString(16).padStart(11, '0'), at + this.#key + keyPrefix.length, 'latin1');
  }
}

/** Commands for Execute. */
export class UnaryCommands {
  readonly #template: Template;

  constructor(domain = DOMAIN) {
    this.#template = new Template(CommandBook.encode(book(domain)).finish());
  }

  make(aggregate: number): Buffer {
    const bytes = Buffer.allocUnsafe(this.#template.bytes.length);
    this.#template.write(bytes, 0, aggregate);
    return bytes;
  }
}

/** Frames of commands for ExecutePipelined. */
export class Frames {
  readonly #template: Template;
  readonly #head: Buffer;

  constructor(timeoutMs = 0) {
    // The largest number of five bytes: another one is written over it, padded to as many.
    const id = 2 ** 35 - 1;
    const syncMode = SyncMode.SYNC_MODE_NONE;
    const command = { id, command: book(DOMAIN), syncMode, waitTimeout: undefined, timeoutMs };
    const bytes = PipelinedCommand.encode(command).finish();
    this.#head = Buffer.from([0x0a, (bytes.length & 0x7f) | 0x80, bytes.length >>> 7]);
    this.#template = new Template(bytes);
  }

  /** The commands get ids from `firstId` on. */
  make(firstId: number, aggregates: readonly number[]): Buffer {
    const size = this.#head.length + this.#template.bytes.length;
    const frame = Buffer.allocUnsafe(size * aggregates.length);
    for (let i = 0; i < aggregates.length; i++) {
      const at = i * size;
      this.#head.copy(frame, at);
      this.#template.write(frame, at + this.#head.length, aggregates[i]!);
      writeId(frame, at + this.#head.length + 1, firstId + i);
    }
    return frame;
  }
}

function writeId(into: Buffer, at: number, id: number): void {
  for (let i = 0; i < ID_BYTES - 1; i++) {
    into[at + i] = (id & 0x7f) | 0x80;
    id = Math.floor(id / 128);
  }
  into[at + ID_BYTES - 1] = id & 0x7f;
}

const RESULT = 0x0a;
const ID = 0x08;
const RESPONSE = 0x12;

/** Calls for each result of a frame: with its id, and the reason when it is an error. */
export function eachResult(frame: Buffer, call: (id: number, error: string | undefined) => void): void {
  let at = 0;
  const number = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = frame[at++]!;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  };
  while (at < frame.length) {
    if (frame[at++] !== RESULT) throw new Error('a frame of results holds something else');
    const size = number();
    const end = at + size;
    if (frame[at++] !== ID) throw new Error('a result does not begin with its id');
    const id = number();
    if (frame[at] === RESPONSE) call(id, undefined);
    else call(id, reasonOf(frame.subarray(end - size, end)));
    at = end;
  }
}

function reasonOf(bytes: Uint8Array): string {
  const { result } = PipelinedResult.decode(bytes);
  return result?.$case === 'error' ? result.value.reason : 'empty';
}
