// A runtime whose time moves only when a test says so. Randomness and ids are seeded.

import type { Runtime, Timer } from '../../src/runtime.ts';

export interface ManualRuntime extends Runtime {
  /** Moves time and fires what becomes due, in order, letting promises settle between two timers. */
  advance(ms: number): Promise<void>;
}

export function manualRuntime(seed = 1): ManualRuntime {
  let nowMs = 1_000_000;
  let state = seed;
  let ids = 0;
  let timers: { atMs: number; call: () => void }[] = [];
  const random = () => {
    // Mulberry32.
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return {
    nowMicros: () => 1_700_000_000_000_000 + Math.round(nowMs * 1000),
    monotonicMs: () => nowMs,
    random,
    uuid() {
      const id = new Uint8Array(16);
      new DataView(id.buffer).setUint32(12, ++ids);
      id[6] = 0x70;
      id[8] = 0x80;
      return id;
    },
    after(delayMs, call): Timer {
      const timer = { atMs: nowMs + delayMs, call };
      timers.push(timer);
      return {
        cancel: () => {
          timers = timers.filter((other) => other !== timer);
        },
      };
    },
    async advance(ms) {
      const end = nowMs + ms;
      for (;;) {
        await settle();
        const due = timers.filter(({ atMs }) => atMs <= end).sort((a, b) => a.atMs - b.atMs)[0];
        if (due === undefined) break;
        timers = timers.filter((other) => other !== due);
        nowMs = Math.max(nowMs, due.atMs);
        due.call();
      }
      nowMs = end;
      await settle();
    },
  };
}

/** Lets everything that is ready have its turn. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}
