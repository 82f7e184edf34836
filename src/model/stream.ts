/** Names the events of one aggregate. */
export interface StreamKey {
  tenant: string;
  domain: string;
  /** 16 bytes. */
  root: Uint8Array;
}

/** Lower-case hexadecimal digits of bytes. In one piece: added up from its digits, a text takes ten times the memory. */
export function hex(bytes: Uint8Array): string {
  const { length } = bytes;
  if (length > SHORT) return Buffer.from(bytes.buffer, bytes.byteOffset, length).toString('hex');
  for (let i = 0; i < length; i++) {
    digits[2 * i] = DIGITS[bytes[i]! >> 4]!;
    digits[2 * i + 1] = DIGITS[bytes[i]! & 15]!;
  }
  return digits.toString('latin1', 0, 2 * length);
}

/** The key as text: `tenant/domain/root`. Unambiguous, because neither tenants nor domains contain a slash. */
export function streamText(key: StreamKey): string {
  return `${key.tenant}/${key.domain}/${hex(key.root)}`;
}

/** A root, or any UUID, in its usual form with hyphens. */
export function uuidText(bytes: Uint8Array): string {
  const h = hex(bytes);
  return `${h.slice(0, 8)}-${h.slice(8, 12)}-${h.slice(12, 16)}-${h.slice(16, 20)}-${h.slice(20)}`;
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** A view of its own costs more than such a text does. */
const SHORT = 32;
const digits = Buffer.alloc(2 * SHORT);
const DIGITS = Buffer.from('0123456789abcdef');
