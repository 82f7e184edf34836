// Time, timers, ids and randomness: everything that is not decided by input reaches the daemon through this object, so
// that a simulation can own it.

import { randomBytes } from 'node:crypto';
import { onAbort } from './abort.ts';

export interface Timer {
  cancel(): void;
}

export interface Runtime {
  /** Wall clock: microseconds since 1970, UTC. May jump. */
  nowMicros(): number;
  /** Milliseconds that never go back; no fixed beginning. */
  monotonicMs(): number;
  /** Calls once after at least `delayMs`. Does not keep the process alive. */
  after(delayMs: number, call: () => void): Timer;
  /** In [0, 1). */
  random(): number;
  /** A new UUIDv7, 16 bytes; later ones of this process sort after earlier ones. */
  uuid(): Uint8Array;
}

/** Resolves after `delayMs`; rejects with the signal's reason if that comes first. */
export function sleep(runtime: Runtime, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const timer = runtime.after(delayMs, () => {
      ignore?.();
      resolve();
    });
    const ignore =
      signal &&
      onAbort(signal, () => {
        timer.cancel();
        reject(signal.reason);
      });
  });
}

/** Further apart, the system's clock was corrected. Date.now() alone is up to a millisecond behind. */
const CLOCK_DRIFT_MICROS = 2000;

/** The real one. */
export function systemRuntime(): Runtime {
  let offsetMicros = Date.now() * 1000 - performance.now() * 1000;
  let lastMs = 0;
  let counter = 0;
  let entropy = randomBytes(4096);
  let used = 0;
  return {
    nowMicros() {
      // The monotonic clock has the digits, the system's clock is right: the first is set anew when they differ.
      const micros = Math.floor(offsetMicros + performance.now() * 1000);
      const system = Date.now() * 1000;
      if (Math.abs(micros - system) <= CLOCK_DRIFT_MICROS) return micros;
      offsetMicros = system - performance.now() * 1000;
      return system;
    },
    monotonicMs: () => performance.now(),
    after(delayMs, call) {
      const timer = setTimeout(call, delayMs);
      timer.unref();
      return { cancel: () => clearTimeout(timer) };
    },
    random: Math.random,
    uuid() {
      // RFC 9562, version 7: 48 bits of milliseconds, 12 bits of counter within the millisecond, 62 random bits.
      const now = Date.now();
      if (now > lastMs) {
        lastMs = now;
        counter = 0;
      } else if (++counter > 0xfff) {
        lastMs++;
        counter = 0;
      }
      if (used + 8 > entropy.length) {
        entropy = randomBytes(4096);
        used = 0;
      }
      const id = new Uint8Array(16);
      const high = Math.floor(lastMs / 0x100000000);
      const low = lastMs >>> 0;
      id[0] = high >>> 8;
      id[1] = high;
      id[2] = low >>> 24;
      id[3] = low >>> 16;
      id[4] = low >>> 8;
      id[5] = low;
      id[6] = 0x70 | (counter >>> 8);
      id[7] = counter;
      id.set(entropy.subarray(used, used + 8), 8);
      id[8] = 0x80 | (id[8]! & 0x3f);
      used += 8;
      return id;
    },
  };
}
