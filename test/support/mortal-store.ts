// A store as a daemon sees it that is killed at some instant: from then on nothing that it wants reaches the store.

import { DaybookError } from '../../src/errors.ts';
import type { Store } from '../../src/store.ts';

export interface Mortal {
  store: Store;
  /** Calls so far. */
  readonly calls: number;
  readonly dead: boolean;
  /** Aborts when it dies: a start that would wait for the store is over, too. */
  readonly signal: AbortSignal;
  die(): void;
}

/**
 * Dies at the call of this number: before it takes effect, or after it has and before the answer arrives. Calls take a turn of the
 * event loop, so that much is under way at once.
 */
export function mortal(inner: Store, diesAt = Infinity, afterEffect = false): Mortal {
  let calls = 0;
  const death = new AbortController();
  const away = () => new DaybookError('STORE_UNAVAILABLE', 'the daemon is dead');
  const store = new Proxy(inner, {
    get(target, name) {
      const value = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      return async (...args: unknown[]) => {
        if (death.signal.aborted) throw away();
        calls++;
        if (calls >= diesAt && !afterEffect) death.abort(away());
        if (death.signal.aborted) throw away();
        const result = value.apply(target, args);
        await new Promise((resolve) => setImmediate(resolve));
        if (calls >= diesAt) death.abort(away());
        if (death.signal.aborted) throw away();
        return result;
      };
    },
  });
  return {
    store,
    get calls() {
      return calls;
    },
    get dead() {
      return death.signal.aborted;
    },
    signal: death.signal,
    die() {
      death.abort(away());
    },
  };
}
