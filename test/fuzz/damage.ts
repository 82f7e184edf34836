// Bytes that no client sends: random ones, valid ones that were damaged, and well-formed Protobuf that means nothing.

import { BinaryWriter } from '@bufbuild/protobuf/wire';
import type { Random } from '../support/random.ts';

export function pick<T>(random: Random, ...from: T[]): T {
  return from[Math.floor(random() * from.length)]!;
}

export function bytes(random: Random, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => Math.floor(random() * 256));
}

/** A copy with up to eight things done to it. */
export function damaged(random: Random, good: Uint8Array): Uint8Array {
  let out = Buffer.from(good);
  for (let n = 1 + Math.floor(random() * 8); n > 0; n--) {
    const at = Math.floor(random() * (out.length + 1));
    const to = at + Math.floor(random() * (out.length - at + 1));
    const kind = Math.floor(random() * 6);
    if (kind === 0) out = out.subarray(0, at);
    else if (kind === 1) out = Buffer.concat([out.subarray(0, at), bytes(random, 4), out.subarray(at)]);
    else if (kind === 2) out = Buffer.concat([out.subarray(0, at), out.subarray(to)]);
    else if (kind === 3) out = Buffer.concat([out, out.subarray(at, to)]);
    else if (at < out.length)
      out[at] = kind === 4 ? out[at]! ^ (1 << Math.floor(random() * 8)) : pick(random, 0, 127, 255);
  }
  return out.subarray(0, 100_000);
}

/** Well-formed Protobuf whose fields are whatever comes: right numbers with wrong types, repeated, nested, unknown. */
export function fields(random: Random, depth = 4): Uint8Array {
  const writer = new BinaryWriter();
  for (let n = Math.floor(random() * 6); n > 0; n--) {
    const field = pick(random, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 99, 20_000) * 8;
    const kind = Math.floor(random() * 5);
    if (kind === 0) writer.uint32(field).uint64(pick(random, 0, 1, 127, 2 ** 31, 2 ** 32 - 1, Number.MAX_SAFE_INTEGER));
    else if (kind === 1) writer.uint32(field + 1).fixed64(pick(random, 0, 1, Number.MAX_SAFE_INTEGER));
    else if (kind === 2) writer.uint32(field + 5).fixed32(Math.floor(random() * 2 ** 32));
    else if (kind === 3 && depth > 0) writer.uint32(field + 2).bytes(fields(random, depth - 1));
    else writer.uint32(field + 2).bytes(bytes(random, pick(random, 0, 1, 15, 16, 17, 200)));
  }
  return writer.finish();
}

/** Deeper than any recursion should follow, and larger than any frame may be. */
export const EXTREMES: Uint8Array[] = [
  new Uint8Array(0),
  Buffer.alloc(200_000, 0x0b),
  Buffer.alloc(200_000, 0x0a),
  Buffer.alloc(300_000),
  nested(20_000),
];

/** A message in a message in a message, each as its first field. */
export function nested(depth: number): Uint8Array {
  let inner: Uint8Array = new Uint8Array(0);
  for (let i = 0; i < depth; i++) {
    const head = new BinaryWriter().uint32(10).uint32(inner.length).finish();
    if (head.length + inner.length > 100_000) break;
    inner = Buffer.concat([head, inner]);
  }
  return inner;
}
