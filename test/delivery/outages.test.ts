// What is nobody's fault: components that are away, crash, or cannot reach what they need.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DaybookError } from '../../src/errors.ts';
import { hex } from '../../src/model/stream.ts';
import { systemRuntime } from '../../src/runtime.ts';
import type { ParkedKey } from '../../src/store.ts';
import { openMemory } from '../../src/stores/memory.ts';
import {
  deposits,
  depositsFor,
  Handled,
  inOnePartition,
  isSettled,
  memory,
  NOTHING,
  parked,
  rootOf,
  roots,
  STORES,
} from '../support/delivery.ts';
import { eventually } from '../support/eventually.ts';
import { mortal } from '../support/mortal-store.ts';
import { seeded } from '../support/random.ts';
import { TestReactor, World } from '../support/world.ts';

/** Longer ones take their time: see docs/reliability.md. */
const OUTAGE_MS = Number(process.env.DAYBOOK_TEST_OUTAGE_MS ?? 2000);
const AWAY_MS = Number(process.env.DAYBOOK_TEST_AWAY_MS ?? 500);

const said = (world: World, words: string) => world.logLines.some((line) => line.includes(words));

/** A projector with the limits that a daemon has by default; what failed is not tried again for now. */
async function failing() {
  const bad = new Set<string>();
  const handled = new Set<string>();
  const reactor = new TestReactor('projector', 'p', (request) => {
    const root = rootOf(request.events);
    if (bad.has(root)) throw new Error('no');
    handled.add(root);
    return NOTHING;
  });
  const limits = { reactionRetryMinMs: 600_000, reactionRetryMaxMs: 600_000 };
  const world = await World.open({ store: memory(), reactors: [reactor], limits });
  const fail = async (count: number) => {
    const all = roots(count);
    for (const root of all) bad.add(hex(root));
    await Promise.all(all.map((root) => world.deposit(root)));
    await eventually('they are parked', async () => (await parked(world, 'p')).length === bad.size);
  };
  const succeed = async () => {
    const [root] = roots(1) as [Uint8Array];
    await world.deposit(root);
    await eventually('it is handled', () => handled.has(hex(root)));
  };
  const state = () => world.engine.delivery.subscription('p', 1)!.state;
  return { world, fail, succeed, state };
}

describe('a common outage', () => {
  for (const [kind, open] of Object.entries(STORES))
    test(`trap 48: a projector whose database is away for two seconds is suspended, and no event becomes a dead letter (${kind})`, async () => {
      await using opened = await open();
      const handled = new Handled();
      let away = true;
      let calls = 0;
      const reactor = new TestReactor('projector', 'search', async (request) => {
        calls++;
        await new Promise((resolve) => setImmediate(resolve));
        if (away) throw new Error('the database is away');
        handled.note(request.events);
        return NOTHING;
      });
      await using world = await World.open({
        store: opened.store,
        reactors: [reactor],
        // The third try would come three seconds after the first: on a slow machine, too, it is suspended by then.
        limits: { reactionRetryMinMs: 1000, reactionRetryMaxMs: 2000 },
      });
      const all = roots(300);
      const load = depositsFor(world, all, OUTAGE_MS);
      await eventually('it is suspended', () => said(world, 'subscription suspended'));
      const subscription = world.engine.delivery.subscription('search', 1)!;
      assert.equal(subscription.state, 'suspended');
      const rows = await parked(world, 'search');
      assert(rows.length >= 100 && rows.length < 200, `${rows.length} keys are parked`);
      const before = calls;
      const count = await load;
      assert(calls - before < 20, `${calls - before} calls while it is suspended`);
      assert((await parked(world, 'search')).every(({ state, attempts }) => state === 'retrying' && attempts <= 2));
      away = false;
      await eventually('everything is handled', () => isSettled(world, 'search'), 10_000 + OUTAGE_MS);
      assert(said(world, 'subscription resumed'));
      assert(!said(world, 'dead letter'));
      assert.deepEqual(handled.faults, []);
      assert.equal(handled.events, count);
    });

  test('a subscription with many parked keys in all is suspended although others succeed', async () => {
    const handled = new Handled();
    const all = roots(120);
    const bad = new Set(all.slice(0, 60).map(hex));
    let away = true;
    const reactor = new TestReactor('projector', 'half', (request) => {
      if (away && bad.has(rootOf(request.events))) throw new Error('half of it is away');
      handled.note(request.events);
      return NOTHING;
    });
    await using world = await World.open({
      store: memory(),
      reactors: [reactor],
      limits: { reactionRetryMinMs: 1000, reactionRetryMaxMs: 1000, suspendAfterKeysInAll: 50 },
    });
    await deposits(world, all, 3, seeded(2));
    await eventually('it is suspended', () => said(world, 'subscription suspended'));
    away = false;
    await eventually('everything is handled', () => isSettled(world, 'half'));
    assert.deepEqual([handled.faults, handled.events], [[], 360]);
  });

  test('trap 48: a hundred keys that fail in a row are an outage, and ninety-nine between successes are not', async () => {
    const { world, fail, succeed, state } = await failing();
    await using _ = world;
    await fail(99);
    await succeed();
    await fail(99);
    assert.equal(state(), 'running');
    await fail(1);
    await eventually('it is suspended', () => state() === 'suspended');
  });

  test('trap 48: a thousand keys that are parked in all are an outage, however many succeed between', async () => {
    const { world, fail, succeed, state } = await failing();
    await using _ = world;
    for (let i = 0; i < 11; i++) {
      await fail(90);
      await succeed();
    }
    await fail(9);
    assert.equal(state(), 'running');
    await fail(1);
    await eventually('it is suspended', () => state() === 'suspended');
  });

  test('a subscription resumes although the first parked key fails for a reason of its own', async () => {
    const all = roots(40);
    const poison = hex(all[0]!);
    let away = true;
    const handled = new Handled();
    const reactor = new TestReactor('projector', 'mixed', (request) => {
      if (away || rootOf(request.events) === poison) throw new Error('no');
      handled.note(request.events);
      return NOTHING;
    });
    await using world = await World.open({
      store: memory(),
      reactors: [reactor],
      limits: { reactionRetryMinMs: 1000, reactionRetryMaxMs: 1000, suspendAfterKeys: 20 },
    });
    await deposits(world, all.slice(0, 1), 1, seeded(3));
    await eventually('the poison is parked first', async () => (await parked(world, 'mixed')).length === 1);
    await deposits(world, all.slice(1), 2, seeded(3));
    await eventually('it is suspended', () => said(world, 'subscription suspended'));
    away = false;
    await eventually('the others are handled', () => handled.events === 39 * 2);
    assert.equal(world.engine.delivery.subscription('mixed', 1)!.suspended, false);
  });
});

describe('a component that goes away', () => {
  test('for a while: nothing is lost or parked, and it goes on promptly when it is back', async () => {
    const handled = new Handled();
    const reactor = new TestReactor('projector', 'p', (request) => {
      handled.note(request.events);
      return NOTHING;
    });
    await using world = await World.open({ store: memory(), reactors: [reactor] });
    const all = roots(50);
    await deposits(world, all, 2, seeded(4));
    await eventually('the first are handled', () => handled.events === 100);
    reactor.available = false;
    assert.equal(world.engine.delivery.subscription('p', 1)!.state, 'waiting for a host');
    const meanwhile = await depositsFor(world, all, AWAY_MS);
    assert.equal(handled.events, 100);
    assert.deepEqual(await parked(world, 'p'), []);
    reactor.available = true;
    await eventually('it goes on', () => handled.events > 100, 1000);
    await eventually('the rest is handled', () => handled.events === 100 + meanwhile, 10_000 + AWAY_MS);
    assert.deepEqual(handled.faults, []);
    assert(!said(world, 'failed'));
  });

  for (const [kind, open] of Object.entries(STORES))
    test(`trap 47: one event that kills its host is found, and its neighbours are not blamed (${kind})`, async () => {
      await using opened = await open();
      const all = roots(100);
      const killer = hex(all[37]!);
      const handled = new Handled();
      const attempts: number[] = [];
      const reactor: TestReactor<'projector'> = new TestReactor('projector', 'p', async (request) => {
        await new Promise((resolve) => setTimeout(resolve, 1));
        if (rootOf(request.events) === killer) {
          attempts.push(request.delivery!.attempt);
          reactor.crash();
          await new Promise(() => {});
        }
        handled.note(request.events);
        return NOTHING;
      });
      await using world = await World.open({
        store: opened.store,
        reactors: [reactor],
        limits: { reactionAttempts: 4 },
      });
      await deposits(world, all, 3, seeded(6), { atOnce: 100 });
      const [dead] = await eventually('the killer is a dead letter', async () => {
        const rows = await parked(world, 'p');
        return rows.length === 1 && rows[0]!.state === 'dead' && rows;
      });
      assert(dead!.key.endsWith(killer));
      assert.equal(dead!.attempts, 4);
      assert.deepEqual(attempts.slice(-4), [1, 2, 3, 4]);
      await eventually('the others are handled', () => handled.events === 99 * 3);
      assert.deepEqual(handled.faults, []);
      const blamed = world.logLines.filter((line) => line.includes('an event failed') && !line.includes(killer));
      assert.deepEqual(blamed, []);
    });

  test('trap 47: what was in hand when the host went away is tried alone, before everything else', async () => {
    const barrier = Promise.withResolvers<void>();
    const suspects = roots(20);
    const left = new Set(suspects.map(hex));
    let crashed = false;
    let most = 0;
    const handled = new Handled();
    const reactor: TestReactor<'projector'> = new TestReactor('projector', 'p', async (request) => {
      if (crashed && left.size > 0) most = Math.max(most, reactor.inHand);
      await (crashed ? new Promise((resolve) => setImmediate(resolve)) : barrier.promise);
      handled.note(request.events);
      left.delete(rootOf(request.events));
      return NOTHING;
    });
    await using world = await World.open({ store: memory(), reactors: [reactor] });
    await deposits(world, suspects, 1, seeded(11));
    await eventually('all are in hand', () => reactor.inHand === 20);
    crashed = true;
    reactor.crash(false);
    await deposits(world, roots(20), 1, seeded(11));
    reactor.available = true;
    await eventually('all are handled', () => isSettled(world, 'p'));
    assert.deepEqual([most, handled.events], [1, 40]);
  });

  test('trap 47: an event that takes its daemon down as well becomes a dead letter', async () => {
    let laterMicros = 0;
    const identity = { logId: '0'.repeat(36), incarnation: '1'.repeat(36) };
    const store = openMemory(identity, () => systemRuntime().nowMicros() + laterMicros);
    const all = roots(10);
    const killer = hex(all[3]!);
    const handled = new Handled();
    const attempts: number[] = [];
    let row: ParkedKey | undefined;
    for (let daemons = 0; row?.state !== 'dead'; daemons++) {
      assert(daemons < 8, `it was tried ${attempts}`);
      const mind = mortal(store);
      const reactor = new TestReactor('projector', 'p', async (request) => {
        if (rootOf(request.events) !== killer) {
          handled.note(request.events);
          return NOTHING;
        }
        attempts.push(request.delivery!.attempt);
        mind.die();
        return new Promise<never>(() => {});
      });
      const world = await World.open({ store: mind.store, reactors: [reactor], limits: { reactionAttempts: 3 } });
      if (daemons === 0) await deposits(world, all, 1, seeded(12), { atOnce: 10 }).catch(() => {});
      await eventually('it dies, or has nothing to do', async () => {
        [row] = await store.listParked({ subscription: 'p', limit: 10 });
        return mind.dead || row?.state === 'dead';
      });
      await world.engine.drain(0);
      world.engine.close();
      // Its leases have expired.
      laterMicros += 60e6;
    }
    assert(row!.key.endsWith(killer));
    // The first two judged nothing: others were in hand, too.
    assert.deepEqual(attempts, [1, 1, 1, 2, 3]);
  });

  test('trap 41: what comes while the doubts of a take-over are settled is handled, too', async () => {
    let laterMicros = 0;
    const identity = { logId: '0'.repeat(36), incarnation: '1'.repeat(36) };
    const store = openMemory(identity, () => systemRuntime().nowMicros() + laterMicros);
    const [one, other, third] = inOnePartition();
    const mind = mortal(store);
    const stuck = new TestReactor('projector', 'p', () => new Promise<never>(() => {}), { partitions: 2 });
    const first = await World.open({ store: mind.store, reactors: [stuck] });
    await Promise.all([one, other].map((root) => first.deposit(root)));
    await eventually('both are in hand', () => stuck.inHand === 2);
    mind.die();
    await first.engine.drain(0);
    first.engine.close();
    laterMicros = 60e6;
    // The next daemon learns late what became of the other one.
    const late = Promise.withResolvers<void>();
    const slow = new Proxy(store, {
      get(target, name) {
        const value = Reflect.get(target, name);
        if (name !== 'readParked') return typeof value === 'function' ? value.bind(target) : value;
        return async (...asked: Parameters<typeof store.readParked>) => {
          if (asked[1].endsWith(hex(other))) await late.promise;
          return store.readParked(...asked);
        };
      },
    });
    const names = new Map([one, other, third].map((root, i) => [hex(root), ['one', 'other', 'third'][i]]));
    const handled: string[] = [];
    const barrier = Promise.withResolvers<void>();
    const reactor = new TestReactor(
      'projector',
      'p',
      async ({ events }) => {
        const root = rootOf(events);
        if (root === hex(one) && events!.pages[0]!.sequence === 2) await barrier.promise;
        for (const { sequence } of events!.pages) handled.push(`${names.get(root)} ${sequence}`);
        return NOTHING;
      },
      { partitions: 2 },
    );
    await using world = await World.open({ store: slow, reactors: [reactor] });
    await eventually('they are parked', async () => (await parked(world, 'p')).length === 2);
    for (let i = 0; i < 3; i++) {
      for (let turns = 0; turns < 50; turns++) await new Promise((resolve) => setImmediate(resolve));
      await world.deposit(one);
      await world.deposit(third);
    }
    late.resolve();
    await eventually('the other one is handled', () => handled.includes('other 0'));
    barrier.resolve();
    await eventually('everything is handled', () => isSettled(world, 'p'));
    const ofOne = handled.filter((text) => text.startsWith('one'));
    assert.deepEqual(ofOne, ['one 0', 'one 1', 'one 2', 'one 3']);
  });

  test('trap 47: suspects stay suspects when their partitions are given back before they are tried', async () => {
    const store = memory();
    const all = roots(30);
    const killer = hex(all[3]!);
    const kills = new Set<string>();
    const host = (name: string, dies: boolean): TestReactor<'projector'> => {
      const reactor: TestReactor<'projector'> = new TestReactor('projector', 'p', async (request) => {
        await new Promise((resolve) => setTimeout(resolve, 1));
        if (rootOf(request.events) !== killer) return NOTHING;
        kills.add(name);
        // The first host never comes back.
        reactor.crash(!dies);
        return new Promise(() => {});
      });
      return reactor;
    };
    const first = await World.open({ store, reactors: [host('first', true)] });
    await deposits(first, all, 1, seeded(7), { atOnce: 30 });
    await eventually('it has killed its host', () => kills.has('first'));
    await first.stop();
    const rows = await parked(first, 'p');
    const suspect = rows.find(({ key }) => key.endsWith(killer));
    assert.equal(suspect?.reason, 'COMPONENT_UNAVAILABLE');
    const second = host('second', false);
    await using world = await World.open({ store, reactors: [second], limits: { reactionAttempts: 2 } });
    await eventually('it is a dead letter', async () => {
      const found = await parked(world, 'p');
      return found.length === 1 && found[0]!.state === 'dead' && found[0]!.key.endsWith(killer);
    });
  });

  test('errors that judge nothing never count: OVERLOADED, CONTENTION, STORE_UNAVAILABLE', async () => {
    const random = seeded(8);
    const reasons = ['OVERLOADED', 'CONTENTION', 'SHUTTING_DOWN', 'STORE_UNAVAILABLE'] as const;
    const handled = new Handled();
    let refused = 0;
    const reactor = new TestReactor('projector', 'p', (request) => {
      if (random() < 0.3) {
        refused++;
        throw new DaybookError(reasons[refused % 4]!, 'not now');
      }
      handled.note(request.events);
      return NOTHING;
    });
    await using world = await World.open({ store: memory(), reactors: [reactor], limits: { reactionAttempts: 1 } });
    await deposits(world, roots(20), 5, random);
    await eventually('everything is handled', () => isSettled(world, 'p'));
    assert(refused > 10);
    assert.deepEqual([handled.faults, handled.events], [[], 100]);
    assert(!said(world, 'dead letter'));
  });
});

describe('a daemon that is told to stop', () => {
  for (const [kind, openStore] of Object.entries(STORES))
    test(`in the middle of load ends soon and loses nothing; the next one goes on (${kind})`, async () => {
      await using opened = await openStore();
      const { store } = opened;
      const random = seeded(9);
      const all = roots(60);
      const handled = new Handled();
      const calls = new Map<string, number>();
      const open = () =>
        World.open({
          store,
          reactors: [
            new TestReactor('projector', 'p', async (request) => {
              await new Promise((resolve) => setTimeout(resolve, random() * 3));
              for (const { sequence } of request.events!.pages) {
                const event = `${rootOf(request.events)} ${sequence}`;
                calls.set(event, (calls.get(event) ?? 0) + 1);
              }
              handled.note(request.events);
              return NOTHING;
            }),
          ],
        });
      let world = await open();
      for (let round = 0; round < 5; round++) {
        await deposits(world, all, 10, random);
        const began = performance.now();
        await world.stop();
        assert(performance.now() - began < 5000, 'stopping took long');
        world = await open();
      }
      await eventually('everything is handled', () => isSettled(world, 'p'));
      await world.stop();
      assert.deepEqual([handled.faults, handled.events], [[], 60 * 50]);
      const twice = [...calls].filter(([, count]) => count > 1);
      assert.deepEqual(twice, [], 'a clean stop repeats nothing');
    });

  test('while its store is away and its host hangs ends within its time', async () => {
    const store = memory();
    let away = false;
    const flaky = new Proxy(store, {
      get(target, name) {
        const value = Reflect.get(target, name);
        if (typeof value !== 'function') return value;
        return async (...args: unknown[]) => {
          if (away) throw new DaybookError('STORE_UNAVAILABLE', 'away');
          return value.apply(target, args);
        };
      },
    });
    const reactor = new TestReactor('projector', 'p', async (request) => {
      if (request.events!.pages[0]!.sequence === 1) await new Promise(() => {});
      return NOTHING;
    });
    const world = await World.open({ store: flaky, reactors: [reactor] });
    const all = roots(5);
    await deposits(world, all, 2, seeded(10));
    await eventually('the host hangs', () => reactor.inHand === 5);
    away = true;
    const began = performance.now();
    await world.engine.drain(300);
    world.engine.close();
    assert(performance.now() - began < 2000);
  });
});
