// A store that is not there yet is waited for; one that only somebody can mend ends the start with its sentence.

import { asDaybookError } from './errors.ts';
import { retryDelayMs } from './model/retry.ts';
import { type Runtime, sleep } from './runtime.ts';
import type { Store } from './store.ts';
import type { Logger } from './telemetry/log.ts';

const AWAY = { tries: Infinity, minMs: 100, maxMs: 2000 };
/** Between two lines about the same. */
const TOLD_MS = 30_000;

export interface OpenWhenThere {
  open: () => Promise<Store>;
  runtime: Runtime;
  log: Logger;
  signal: AbortSignal;
  /** Why it is waited for. */
  onWaiting: (why: string) => void;
}

/** Throws what the store says that waiting cannot mend; the signal's reason. */
export async function openWhenThere({ open, runtime, log, signal, onWaiting }: OpenWhenThere): Promise<Store> {
  let told = { why: '', atMs: 0 };
  for (let tries = 1; ; tries++) {
    signal.throwIfAborted();
    try {
      return await open();
    } catch (thrown) {
      const error = asDaybookError(thrown);
      if (error.reason !== 'STORE_UNAVAILABLE' || error.retryDelayMs === undefined) throw thrown;
      const why = error.message;
      onWaiting(why);
      const nowMs = runtime.monotonicMs();
      if (why !== told.why || nowMs - told.atMs >= TOLD_MS) {
        log.warn({ why }, 'waiting for the store');
        told = { why, atMs: nowMs };
      }
      await sleep(runtime, retryDelayMs(AWAY, tries, runtime.random())!, signal);
    }
  }
}
