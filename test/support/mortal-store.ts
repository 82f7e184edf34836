// A store as a daemon sees it that is killed at some instant: from then on nothing that it wants reaches the store.

import { DaybookError } from '../../src/errors.ts';
import type { Store } from '../../src/store.ts';

export interface Mortal {
  store: Store;
  /** Calls so far. */
  readonly calls: number;
  readonly dead: boolean;
  die(): void;
}

/**
 * Dies at the call of this number: before it takes effect, or after it has and before the answer arrives. Calls take a turn of the
 * event loop, so that much is under way at once.
 */
export function mortal(inner: Store, diesAt = Infinity, afterEffect = false): Mortal {
  let calls = 0;
  let dead = false;
  const away = () => new DaybookError('STORE_UNAVAILABLE', 'the daemon is dead');
  const store = new Proxy(inner, {
    get(target, name) {
      const value = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      return async (...args: unknown[]) => {
        if (dead) throw away();
        calls++;
        if (calls >= diesAt && !afterEffect) dead = true;
        if (dead) throw away();
        const result = value.apply(target, args);
        await new Promise((resolve) => setImmediate(resolve));
        if (calls >= diesAt) dead = true;
        if (dead) throw away();
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
      return dead;
    },
    die() {
      dead = true;
    },
  };
}
