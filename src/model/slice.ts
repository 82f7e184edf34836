// Slices spread streams and correlations over 1,024 numbers that partitions are ranges of. They are stored with every
// event and must never change: CRC-32 (the one of zip and Ethernet) over the parts, each preceded by its length in bytes
// as four bytes, highest first; modulo 1,024. Test vectors are in test/model/slice.test.ts.

import type { StreamKey } from './stream.ts';

export const SLICES = 1024;

/** The slice of a stream: over tenant, domain and root. */
export function streamSlice(key: StreamKey): number {
  return finish(part(partText(partText(START, key.tenant), key.domain), key.root));
}

/** The slice of a correlation: over tenant and correlation id. */
export function correlationSlice(tenant: string, correlationId: string): number {
  return finish(partText(partText(START, tenant), correlationId));
}

const START = 0xffffffff;

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c >>> 0;
});

function step(crc: number, byte: number): number {
  return (TABLE[(crc ^ byte) & 0xff]! ^ (crc >>> 8)) >>> 0;
}

function length(crc: number, n: number): number {
  return step(step(step(step(crc, n >>> 24), (n >>> 16) & 0xff), (n >>> 8) & 0xff), n & 0xff);
}

function part(crc: number, bytes: Uint8Array): number {
  let c = length(crc, bytes.length);
  for (let i = 0; i < bytes.length; i++) c = step(c, bytes[i]!);
  return c;
}

/** Tenants, domains and correlation ids are ASCII, checked at the door: one byte a character. */
function partText(crc: number, text: string): number {
  let c = length(crc, text.length);
  for (let i = 0; i < text.length; i++) c = step(c, text.charCodeAt(i));
  return c;
}

function finish(crc: number): number {
  return ((crc ^ 0xffffffff) >>> 0) % SLICES;
}
