// A store in real time that is slow at times, fails now and then before or after it did what it was asked, and can be cut off: then the
// daemon that uses it is as good as dead, and another one goes on with what was stored.

import { DaybookError } from '../errors.ts';
import { type Runtime, sleep } from '../runtime.ts';
import type { Store } from '../store.ts';
import type { Random } from './random.ts';
import { type StoreCall, storeThrough } from './store-through.ts';

export interface Troubles {
  /** Of calls, in [0, 1]. */
  slow: number;
  failBefore: number;
  failAfter: number;
}

export interface TroubledStore {
  store: Store;
  /** Failures so far. */
  readonly failures: number;
  /** Nothing goes wrong any more. */
  calm(): void;
  /** Nothing that is asked from now on reaches the store, and nothing that was asked is answered. */
  cut(): void;
}

const SLOW_MS = 30;

export function troubledStore(inner: Store, troubles: Troubles, random: Random, runtime: Runtime): TroubledStore {
  let failures = 0;
  let calm = false;
  let dead = false;
  const lives = () => {
    if (dead) throw new DaybookError('INTERNAL', 'this daemon is over');
  };
  const through = async (call: StoreCall, _: readonly unknown[], run: () => Promise<unknown>) => {
    lives();
    const fails = (chance: number) => !calm && random() < chance;
    if (fails(troubles.slow)) await sleep(runtime, random() * SLOW_MS);
    lives();
    if (fails(troubles.failBefore)) {
      failures++;
      throw new DaybookError('STORE_UNAVAILABLE', 'simulated: the store cannot be reached');
    }
    const result = await run();
    lives();
    if (fails(troubles.failAfter)) {
      failures++;
      const reason = call === 'commit' ? 'OUTCOME_UNKNOWN' : 'STORE_UNAVAILABLE';
      throw new DaybookError(reason, 'simulated: the store went away before it answered');
    }
    return result;
  };
  return {
    // The store outlives the daemons that use it.
    store: { ...storeThrough(inner, through), close: async () => {} },
    get failures() {
      return failures;
    },
    calm() {
      calm = true;
    },
    cut() {
      dead = true;
    },
  };
}
