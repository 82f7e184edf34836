// Messages to one RPC: a quarter each of random bytes, well-formed nonsense, damaged messages and messages that mostly make sense. Each is
// answered with success or with a typed error that is not a defect of ours.

import assert from 'node:assert/strict';
import { Client, credentials, status } from '@grpc/grpc-js';
import { seeded } from '../support/random.ts';
import { call, complaint } from './calls.ts';
import { bytes, damaged, EXTREMES, fields } from './damage.ts';
import type { SUBJECTS } from './requests.ts';

const AT_ONCE = 64;
/** Messages over one connection: HTTP/2 servers close connections on which many streams are reset. */
const PER_CONNECTION = 500;

export interface Fuzzing {
  messages: number;
  seed: number;
  onProgress?: (sent: number) => void;
}

/** How many messages ended how. Throws an AssertionError that holds seed and bytes. */
export async function fuzz(
  address: string,
  [service, method, make]: (typeof SUBJECTS)[number],
  { messages, seed, onProgress = () => {} }: Fuzzing,
): Promise<Record<string, number>> {
  const random = seeded(seed);
  const counts: Record<string, number> = {};
  const framesOf = (left: number): Uint8Array[] => {
    const good = make(random);
    if (left < EXTREMES.length) return [EXTREMES[left]!];
    if (left % 4 === 0) return [bytes(random, Math.floor(random() * 300))];
    if (left % 4 === 1) return [fields(random)];
    return left % 4 === 2 ? good.map((frame) => (random() < 0.7 ? damaged(random, frame) : frame)) : good;
  };
  let left = messages;
  const work = async () => {
    while (left > 0) {
      const client = new Client(address, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
      for (let sent = 0; sent < PER_CONNECTION && left-- > 0; sent++) {
        const frames = framesOf(left);
        const outcome = await call(client, service, method, frames);
        const found = complaint(method, outcome);
        const shown = () => frames.map((frame) => Buffer.from(frame).subarray(0, 400).toString('hex')).join(' ');
        assert(found === undefined, `${service}/${method.name}, seed ${seed}: ${found}: ${shown()}`);
        const kind = outcome.left ? 'left open' : status[outcome.status.code]!;
        counts[kind] = (counts[kind] ?? 0) + 1;
        onProgress(messages - left);
      }
      client.close();
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, messages) }, work));
  return counts;
}
