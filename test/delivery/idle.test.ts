// A daemon that has nothing to do asks its store next to nothing, however many subscriptions it has.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Store } from '../../src/store.ts';
import { openMemory } from '../../src/stores/memory.ts';
import { manualRuntime } from '../support/clock.ts';
import { TestReactor, World } from '../support/world.ts';

function counting(store: Store, calls: Map<string, number>): Store {
  return new Proxy(store, {
    get(target, name: string) {
      const value = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        calls.set(name, (calls.get(name) ?? 0) + 1);
        return value.apply(target, args);
      };
    },
  });
}

const NOTHING = { commands: [], facts: [], timers: [], cancelledTimers: [], ended: false, processEvents: undefined };

function reactors() {
  const named = (count: number, make: (name: string) => TestReactor) =>
    Array.from({ length: count }, (_, i) => make(`r${i}`)) as unknown[];
  return [
    ...named(8, (name) => new TestReactor('projector', `p${name}`, () => ({ projections: [] })) as never),
    ...named(7, (name) => new TestReactor('saga', `s${name}`, () => ({ commands: [], events: [] })) as never),
    ...named(5, (name) => new TestReactor('process_manager', `m${name}`, () => NOTHING) as never),
  ];
}

describe('20 subscriptions of 16 partitions', () => {
  for (const daemons of [1, 3]) {
    test(`an idle daemon, ${daemons === 1 ? 'alone' : 'one of three'}, asks its store less than twice a second`, async () => {
      const runtime = manualRuntime();
      const clock = runtime.nowMicros;
      const store = openMemory({ logId: '0'.repeat(36), incarnation: '1'.repeat(36) }, clock);
      const calls = new Map<string, number>();
      const worlds: World[] = [];
      for (let n = 0; n < daemons; n++) {
        const options = { reactors: reactors(), instance: `d${n}`, runtime };
        worlds.push(await World.open({ store: counting(store, calls), ...options }));
      }
      for (let n = 0; n < 10; n++) await worlds[0]!.deposit();
      await runtime.advance(60_000);
      const { position } = await store.head();
      assert((await store.listCursors()).every((cursor) => cursor.position === position && cursor.owner !== undefined));
      calls.clear();
      await runtime.advance(60_000);
      const total = [...calls.values()].reduce((sum, count) => sum + count, 0);
      assert(total / daemons < 120, `${total / daemons} calls in a minute: ${JSON.stringify([...calls])}`);
      // It does look: for heartbeats, for what is due, for what others forwarded, and for events.
      for (const name of ['heartbeat', 'nextDue', 'dueForwarded', 'readLog'])
        assert((calls.get(name) ?? 0) >= 10, name);
      for (const world of worlds) {
        const stopped = world.stop();
        await runtime.advance(100);
        await stopped;
      }
    });
  }
});
