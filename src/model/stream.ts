/** Names the events of one aggregate. */
export interface StreamKey {
  tenant: string;
  domain: string;
  /** 16 bytes. */
  root: Uint8Array;
}

/** Lower-case hexadecimal digits of bytes. */
export function hex(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i++) text += HEX[bytes[i]!];
  return text;
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

const HEX = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, '0'));
