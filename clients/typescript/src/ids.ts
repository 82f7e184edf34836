// UUIDs, as the 16 bytes that travel and as the text that people read.

import { createHash, randomBytes } from 'node:crypto';

// The UUIDv5 of `daybook.dev` in the DNS namespace of RFC 9562. Part of the contract between the clients of all languages:
// the same text must give the same root everywhere.
const NAMESPACE = nameBased(uuidBytes('6ba7b810-9dad-11d1-80b4-00c04fd430c8'), 'daybook.dev');

/** The root of the aggregate that your own world calls `name`, such as an order number. Always the same for the same name. */
export function rootOf(name: string, namespace: Uint8Array = NAMESPACE): Uint8Array {
  return nameBased(namespace, name);
}

/** A fresh UUIDv7: later ones sort after earlier ones of this process. */
export function uuidv7(): Uint8Array {
  const now = Date.now();
  if (now > last.ms) {
    last.ms = now;
    last.counter = 0;
  } else if (++last.counter > 0xfff) {
    last.ms++;
    last.counter = 0;
  }
  const id = randomBytes(16);
  id.writeUIntBE(last.ms, 0, 6);
  id.writeUInt16BE(0x7000 | last.counter, 6);
  id[8] = 0x80 | (id[8]! & 0x3f);
  return new Uint8Array(id.buffer, id.byteOffset, 16);
}

const last = { ms: 0, counter: 0 };

/** The usual form, with hyphens. */
export function uuidText(uuid: Uint8Array): string {
  const hex = Buffer.from(uuid.buffer, uuid.byteOffset, uuid.byteLength).toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** The bytes of a UUID in text form, with or without hyphens. */
export function uuidBytes(text: string): Uint8Array {
  const hex = text.replaceAll('-', '');
  if (!/^[0-9a-fA-F]{32}$/.test(hex)) throw new TypeError(`expected a UUID of 32 hexadecimal digits, found '${text}'`);
  return new Uint8Array(Buffer.from(hex, 'hex'));
}

function nameBased(namespace: Uint8Array, name: string): Uint8Array {
  const id = createHash('sha1').update(namespace).update(name).digest().subarray(0, 16);
  id[6] = 0x50 | (id[6]! & 0x0f);
  id[8] = 0x80 | (id[8]! & 0x3f);
  return new Uint8Array(id);
}
