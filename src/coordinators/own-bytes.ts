// What is kept in memory for long must not keep a whole frame of the network, or chunk of the store, alive for the sake of a few bytes.

import type { Any, Origin } from '../model/book.ts';

export function pins(bytes: Uint8Array): boolean {
  return bytes.buffer.byteLength > bytes.length * 2 + 1024;
}

/** The same bytes, in memory of their own if need be. Not Buffer.from, whose copies are views into a large pool. */
export function own(bytes: Uint8Array): Uint8Array {
  return pins(bytes) ? new Uint8Array(bytes) : bytes;
}

/** The same payload, in memory of its own if need be. */
export function ownPayload(payload: Any): Any {
  return pins(payload.value) ? { typeUrl: payload.typeUrl, value: own(payload.value) } : payload;
}

export function ownOrigin(origin: Origin): Origin {
  const { source } = origin;
  const root = source?.root?.value;
  if (root === undefined || !pins(root)) return origin;
  return { ...origin, source: { ...source!, root: { value: own(root) } } };
}
