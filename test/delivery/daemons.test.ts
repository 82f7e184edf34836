// Several daemons on one log.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { emptyWork } from '../../src/coordinators/reaction.ts';
import { rebuiltDefinition } from '../../src/delivery/declarations.ts';
import { partitionOf } from '../../src/model/ordering.ts';
import { type Runtime, systemRuntime } from '../../src/runtime.ts';
import { any, command, textOf } from '../support/books.ts';
import {
  countSwitches,
  deposits,
  Handled,
  isSettled,
  memory,
  NOTHING,
  rootOf,
  roots,
  summing,
} from '../support/delivery.ts';
import { eventually } from '../support/eventually.ts';
import { mortal } from '../support/mortal-store.ts';
import { seeded } from '../support/random.ts';
import { TestReactor, World } from '../support/world.ts';

const seed = Number(process.env.DAYBOOK_TEST_SEED ?? Math.floor(Math.random() * 1e9));
const limits = { leaseMs: 500 };
const owners = async (world: World, name = 'p') =>
  (await world.store.listCursors(name)).map(({ owner }) => owner ?? 'nobody');
const share = (found: string[], owner: string) => found.filter((other) => other === owner).length;

describe(`daemons that share a log (DAYBOOK_TEST_SEED=${seed})`, () => {
  test('trap 15: partitions are shared out, given back at once on a stop, and taken over after a crash', async () => {
    const store = memory();
    const handled = new Handled();
    const busy = new Map<string, string>();
    const faults: string[] = [];
    const reactor = (name: string) =>
      new TestReactor('projector', 'p', async (request) => {
        const root = rootOf(request.events);
        if (busy.has(root)) faults.push(`${root} is in hand at ${busy.get(root)} and ${name}`);
        busy.set(root, name);
        await new Promise((resolve) => setImmediate(resolve));
        busy.delete(root);
        handled.note(request.events);
        return NOTHING;
      });
    const open = (name: string, on = store) =>
      // One that runs out on a busy machine would be a take-over, too.
      World.open({ store: on, reactors: [reactor(name)], instance: name, limits: { leaseMs: 2000 } });
    const all = roots(100);
    const random = seeded(seed);

    const a = await open('a');
    assert.equal(share(await owners(a), 'a'), 16);
    const mind = mortal(store);
    const b = await open('b', mind.store);
    await eventually('they share', async () => {
      const found = await owners(a);
      return share(found, 'a') === 8 && share(found, 'b') === 8;
    });
    await deposits(a, all, 10, random);
    await eventually('both are through', () => isSettled(a, 'p'));

    const c = await open('c');
    await eventually('three share', async () => {
      const found = await owners(a);
      return ['a', 'b', 'c'].every((name) => share(found, name) >= 5);
    });
    const load = deposits(a, all, 20, random, { atOnce: 8 });
    await c.stop();
    assert.equal(share(await owners(a), 'c'), 0, 'the stopped one has given everything back');
    await eventually('its partitions are taken', async () => share(await owners(a), 'nobody') === 0);

    mind.die();
    await b.engine.drain(0);
    b.engine.close();
    await load;
    await eventually('the survivor has everything', async () => share(await owners(a), 'a') === 16);
    await deposits(a, all, 5, random);
    await eventually('everything is handled', () => isSettled(a, 'p'));
    await a.stop();
    assert.deepEqual(handled.faults, []);
    assert.equal(handled.events, 100 * 35);
    assert.deepEqual(faults, []);
  });

  test('trap 14: a daemon that slept past its lease stores nothing more, and begins anew when it wakes', async () => {
    const store = memory();
    const handled = new Handled();
    let asleep = false;
    const waiting: (() => void)[] = [];
    // A stopped process: its calls reach nothing until it goes on.
    const sleepy = new Proxy(store, {
      get(target, name) {
        const value = Reflect.get(target, name);
        if (typeof value !== 'function') return value;
        return async (...args: unknown[]) => {
          if (asleep) await new Promise<void>((resolve) => waiting.push(resolve));
          return value.apply(target, args);
        };
      },
    });
    const reactor = () =>
      new TestReactor('projector', 'p', (request) => {
        handled.note(request.events);
        return summing(request);
      });
    const all = roots(40);
    const random = seeded(seed);
    const a = await World.open({ store: sleepy, reactors: [reactor()], instance: 'a', limits });
    await deposits(a, all, 5, random);
    const stale = (await store.listCursors('p')).find(({ partition }) => partition === 0)!;
    asleep = true;
    const b = await World.open({ store, reactors: [reactor()], instance: 'b', limits });
    await eventually('the other one has everything', async () => share(await owners(b), 'b') === 16);
    await deposits(b, all, 5, random);
    await eventually('everything is handled', () => isSettled(b, 'p'));
    asleep = false;
    for (const resolve of waiting.splice(0)) resolve();
    await eventually('they share again', async () => share(await owners(b), 'a') === 8);
    await deposits(a, all, 5, random);
    await eventually('everything is handled', () => isSettled(b, 'p'));
    for (const root of all) {
      const key = { tenant: '', projector: 'p', generation: 1, key: Buffer.from(root).toString('hex') };
      assert.equal(textOf((await store.readProjection(key))!.payload), '15 15');
    }
    const work = { ...emptyWork(), fences: [{ partition: stale, epoch: stale.epoch }] };
    const unitId = new Uint8Array(16).fill(9);
    const [result] = await store.commit([{ unitId, appends: [], expectations: [], snapshots: [], outcomes: [], work }]);
    assert.equal(result!.kind, 'fenced');
    await Promise.all([a.stop(), b.stop()]);
    assert.deepEqual(handled.faults, []);
  });

  test('trap 16: what another daemon commits is found by a daemon that nobody tells', async () => {
    const store = memory();
    const handled = new Handled();
    const reactor = new TestReactor('projector', 'p', ({ events }) => {
      handled.note(events);
      return NOTHING;
    });
    await using a = await World.open({ store, instance: 'a', limits });
    await using _b = await World.open({ store, instance: 'b', limits, reactors: [reactor] });
    const all = roots(3);
    for (let n = 1; n <= 3; n++) {
      await deposits(a, all, 1, seeded(seed));
      await eventually('they are handled', () => handled.events === 3 * n);
    }
    assert.deepEqual(handled.faults, []);
  });

  test('trap 52: while an old and a new version run side by side, partitions go to the new one alone', async () => {
    const store = memory();
    const seen = { old: [] as number[], new: [] as number[] };
    const reactor = (version: number, types: string[], of: number[]) =>
      new TestReactor(
        'projector',
        'p',
        ({ events }) => {
          of.push(...events!.pages.map(({ position }) => position));
          return NOTHING;
        },
        { version, types },
      );
    const types = ['account.Deposited', 'account.Withdrawn'];
    const old = reactor(1, types.slice(0, 1), seen.old);
    await using a = await World.open({ store, instance: 'a', limits, reactors: [old] });
    await deposits(a, roots(5), 1, seeded(seed));
    await eventually('all is handled', () => isSettled(a, 'p'));
    await using b = await World.open({ store, instance: 'b', limits, reactors: [reactor(2, types, seen.new)] });
    await eventually('the new one has everything', async () => share(await owners(b), 'b') === 16);
    for (const root of roots(5)) await a.execute(command(root, [any('Deposit', '1'), any('Withdraw', '1')]));
    await eventually('all is handled', () => isSettled(b, 'p'));
    assert.deepEqual([seen.old.length, seen.new.length], [5, 10]);
    assert.equal(share(await owners(b), 'a'), 0);
    assert.match(old.refused ?? '', /version 2 of its filter was declared/);
  });

  test('rows that another daemon wrote meanwhile are not taken from memory', async () => {
    const store = memory();
    const all = roots(20);
    const random = seeded(seed);
    const open = (instance: string) =>
      World.open({ store, reactors: [new TestReactor('projector', 'p', summing)], instance, limits });
    const a = await open('a');
    for (let round = 0; round < 4; round++) {
      await deposits(a, all, 2, random);
      await eventually('handled', () => isSettled(a, 'p'));
      const b = await open('b');
      await eventually('they share', async () => share(await owners(a), 'b') === 8);
      await deposits(a, all, 2, random);
      await eventually('handled', () => isSettled(a, 'p'));
      await b.stop();
      await eventually('all is back', async () => share(await owners(a), 'a') === 16);
    }
    await a.stop();
    for (const root of all) {
      const key = { tenant: '', projector: 'p', generation: 1, key: Buffer.from(root).toString('hex') };
      assert.equal(textOf((await store.readProjection(key))!.payload), '16 16');
    }
  });

  test('a projector is built anew while two daemons share it', async () => {
    const store = memory();
    const effects = new Map<string, number>();
    const reactor = () =>
      new TestReactor('projector', 'p', (request) => {
        for (const { sequence } of request.events!.pages) {
          const event = `${rootOf(request.events)} ${sequence}`;
          if (!request.delivery!.replaying) effects.set(event, (effects.get(event) ?? 0) + 1);
        }
        return summing(request);
      });
    // Long enough that none runs out on a busy machine: whoever takes over then may hand events out again.
    const open = (instance: string) =>
      World.open({ store, reactors: [reactor()], instance, limits: { leaseMs: 4000 } });
    const a = await open('a');
    const b = await open('b');
    await eventually('they share', async () => share(await owners(a), 'b') === 8);
    const all = roots(30);
    const random = seeded(seed);
    await deposits(a, all, 10, random);
    await store.declare(rebuiltDefinition((await store.listSubscriptions())[0]!, 0));
    await a.engine.delivery.changed();
    const load = deposits(b, all, 10, random, { atOnce: 1 });
    await eventually('readers get the new one', async () => (await store.activeGeneration('p')) === 2);
    await load;
    await eventually('everything is handled', () => isSettled(a, 'p', 2));
    await eventually('every event has its effect', () => effects.size === 600);
    assert.deepEqual(
      [...effects].filter(([, count]) => count !== 1),
      [],
    );
    await Promise.all([a.stop(), b.stop()]);
  });

  test('the old generation goes on at once when the new one fails on another daemon while it is held for the switch', async () => {
    const store = memory();
    const switches = countSwitches(store);
    // A hold ends after some seconds in any case: not by this clock.
    const slow: Runtime = { ...systemRuntime(), monotonicMs: () => performance.now() / 20 };
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    const open = (instance: string) =>
      World.open({
        store,
        runtime: slow,
        instance,
        reactors: [new TestReactor('projector', 'p', summing)],
        limits: { leaseMs: 4000 },
      });
    await using a = await open('a');
    await using b = await open('b');
    await eventually('they share', async () => share(await owners(a), 'b') === 8);
    const [first, ...others] = await owners(a);
    // Partition 0's daemon is the one that switches.
    const ofOther = (root: Uint8Array) => {
      const cover = { tenant: '', domain: 'account', root: { value: root }, correlationId: '' };
      return [first, ...others][partitionOf('stream', cover as never, 16)] !== first;
    };
    const [failing, good] = roots(50).sort((one, other) => Number(ofOther(other)) - Number(ofOther(one)));
    const shows = (text: string) => async () => {
      const key = { tenant: '', projector: 'p', generation: 1, key: Buffer.from(good!).toString('hex') };
      return textOf((await store.readProjection(key))?.payload) === text;
    };
    const bad = Buffer.from(failing!).toString('hex');
    for (const root of [failing!, good!]) await a.deposit(root);
    await eventually('the first generation is complete', () => isSettled(a, 'p'));
    const second = () =>
      new TestReactor(
        'projector',
        'p',
        async (request) => {
          if (rootOf(request.events) !== bad) return summing(request);
          await released;
          throw new Error('poison');
        },
        { generation: 2 },
      );
    for (const world of [a, b]) world.add(second());
    await eventually('a switch is tried', () => switches.tried > 0);
    await a.deposit(good!);
    release();
    await eventually('the first generation has what came meanwhile', shows('2 2'));
    assert.equal(await store.activeGeneration('p'), 1);
  });

  test('a component that only one of them hosts is worked for there alone', async () => {
    const store = memory();
    const handled = new Handled();
    const a = await World.open({ store, instance: 'a', limits });
    const b = await World.open({
      store,
      instance: 'b',
      limits,
      reactors: [
        new TestReactor('projector', 'p', (request) => {
          handled.note(request.events);
          return NOTHING;
        }),
      ],
    });
    await deposits(a, roots(20), 5, seeded(seed));
    await eventually('everything is handled', () => isSettled(a, 'p'));
    assert.equal(share(await owners(a), 'b'), 16);
    assert.deepEqual([handled.faults, handled.events], [[], 100]);
    await Promise.all([a.stop(), b.stop()]);
  });
});
