// Several daemons on one log in this process: hints between them, and calls from one to another without a wire.

import type { Peers } from '../../src/coordinators/peers.ts';
import { PeerUnreachable } from '../../src/coordinators/peers.ts';
import type { NewsTopic, Store } from '../../src/store.ts';
import type { World } from './world.ts';

/** The store as each of several daemons sees it: what one announces reaches the others. */
export class Hints {
  readonly #listeners = new Map<object, (topic: NewsTopic) => void>();
  announced = 0;

  /** Once it is dead, a daemon hears nothing more, and nothing that it asks is answered. */
  viewOf(store: Store, dead: () => boolean = () => false): Store {
    const self = {};
    const news = {
      announce: async (topic: NewsTopic) => {
        this.announced++;
        for (const [listener, call] of this.#listeners) if (listener !== self) setImmediate(call, topic);
      },
      listen: (listener: (topic: NewsTopic) => void) => {
        this.#listeners.set(self, listener);
      },
    };
    return new Proxy(store, {
      get(target, name) {
        if (name === 'news') return news;
        const value = Reflect.get(target, name);
        if (typeof value !== 'function') return value;
        return (...args: unknown[]) => (dead() ? new Promise(() => {}) : value.apply(target, args));
      },
    });
  }
}

/** Daemons by their addresses. */
export class Neighbourhood {
  readonly worlds = new Map<string, World>();
  calls = 0;
  /** Thrown instead of a call, when it says so. */
  broken: (address: string) => Error | undefined = () => undefined;

  peersOf(address: string): Peers {
    const called = (to: string) => {
      const fault = this.broken(to);
      if (fault !== undefined) throw fault;
      const world = this.worlds.get(to);
      if (world === undefined) throw new PeerUnreachable(to, 'nobody is there');
      this.calls++;
      return world.engine.here;
    };
    return {
      address,
      async execute(to, { work, ancestors }, caller) {
        const here = called(to);
        const forwarded = { ...caller, ancestors };
        if (work!.$case === 'command') return here.business.execute(structuredClone(work!.value), forwarded);
        return here.facts.record(work!.value.facts, work!.value.askAggregate, forwarded);
      },
      dryRun: async (to, command, asOf, caller) =>
        called(to).dryRunner.run(command, asOf, { ...caller, ancestors: [] }),
    };
  }
}
