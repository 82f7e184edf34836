import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DaybookError } from '../../src/errors.ts';
import { InProcessAccount } from '../support/account.ts';
import { any, command, newRoot, typeOf } from '../support/books.ts';
import { deposits, Handled, isSettled, memory, NOTHING, parked, replay, rootOf, roots } from '../support/delivery.ts';
import { eventually } from '../support/eventually.ts';
import { seeded } from '../support/random.ts';
import { DEFAULT_LIMITS, TestReactor, World } from '../support/world.ts';

const seed = Number(process.env.DAYBOOK_TEST_SEED ?? Math.floor(Math.random() * 1e9));

/** Notes positions, and complains when an aggregate's come out of order or twice. */
class Positions {
  readonly seen: number[] = [];
  readonly faults: string[] = [];
  readonly #last = new Map<string, number>();
  readonly handler = ({ events }: { events: Parameters<typeof rootOf>[0] }) => {
    for (const { position } of events!.pages) {
      const root = rootOf(events);
      if (position <= (this.#last.get(root) ?? 0))
        this.faults.push(`${root}: ${position} after ${this.#last.get(root)}`);
      this.#last.set(root, position);
      this.seen.push(position);
    }
    return NOTHING;
  };
  get sorted(): number[] {
    return [...this.seen].sort((a, b) => a - b);
  }
}

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

describe(`a subscription (DAYBOOK_TEST_SEED=${seed})`, () => {
  test('that comes later sees every event from its start once, in order, while new ones arrive', async () => {
    const random = seeded(seed);
    await using world = await World.open({ store: memory() });
    const all = roots(50);
    await deposits(world, all, 20, random);
    const middle = await world.store.now();
    await deposits(world, all, 20, random);
    const load = deposits(world, all, 20, random, { atOnce: 4 });
    const starts = {
      beginning: { kind: 'beginning' },
      after: { kind: 'after', position: 777 },
      time: { kind: 'time', timeMicros: middle },
      now: { kind: 'now' },
    } as const;
    const found = Object.entries(starts).map(([name, start]) => {
      const positions = new Positions();
      world.add(new TestReactor('projector', name, positions.handler, { start }));
      return { name, positions };
    });
    await load;
    for (const { name, positions } of found) {
      await eventually(`${name} is through`, () => isSettled(world, name));
      const { startAfter } = (await world.store.listSubscriptions()).find((row) => row.name === name)!;
      assert.deepEqual(positions.faults, []);
      assert.deepEqual(positions.sorted, range(startAfter + 1, 3000), name);
      if (name === 'beginning') assert.equal(startAfter, 0);
      if (name === 'after') assert.equal(startAfter, 777);
      // The clocks of a store and a daemon may differ a little.
      if (name === 'time') assert(startAfter > 800 && startAfter < 1200, `${startAfter}`);
      if (name === 'now') assert(startAfter >= 2000);
    }
  });

  test('trap 26: gets events of its domains and full type names alone', async () => {
    const accounts = [new InProcessAccount(), new InProcessAccount('vault')];
    const seen: string[] = [];
    const reactor = new TestReactor(
      'projector',
      'p',
      ({ events }) => {
        for (const page of events!.pages) seen.push(`${events!.cover!.domain} ${typeOf(page.event)}`);
        return NOTHING;
      },
      { domains: ['vault'], types: ['account.Withdrawn', 'Deposited'] },
    );
    await using world = await World.open({ store: memory(), accounts, reactors: [reactor] });
    for (const domain of ['account', 'vault']) {
      const payloads = [any('Deposit', '5'), any('Withdraw', '2')];
      await world.execute(command(newRoot(), payloads, { domain }));
    }
    await eventually('cursors are at the end', () => isSettled(world, 'p'));
    assert.deepEqual(seen, ['vault Withdrawn']);
  });

  test('trap 18: events that it does not want move its cursors within about a second', async () => {
    const reactor = new TestReactor('projector', 'p', () => NOTHING, { domains: ['vault'] });
    await using world = await World.open({ store: memory(), reactors: [reactor] });
    await deposits(world, roots(10), 10, seeded(seed));
    const began = performance.now();
    await eventually('cursors are at the end', () => isSettled(world, 'p'));
    assert(performance.now() - began < 1500);
  });

  test('trap 52: a newer declaration takes over, and an older or contradicting one is refused with a sentence', async () => {
    const old = new Positions();
    const first = new TestReactor('projector', 'p', old.handler, { types: ['account.Deposited'] });
    await using world = await World.open({ store: memory(), reactors: [first] });
    const root = newRoot();
    const both = [any('Deposit', '2'), any('Withdraw', '1')];
    await world.execute(command(root, both));
    await eventually('handled', () => isSettled(world, 'p'));
    assert.deepEqual(old.seen, [1]);
    const types = ['account.Deposited', 'account.Withdrawn'];
    const wide = new Positions();
    const same = new TestReactor('projector', 'p', wide.handler, { types });
    world.add(same);
    await eventually('it is refused', () => same.refused !== undefined);
    assert.match(same.refused!, /filter is not the one that version 1 was declared with: raise version/);
    const second = new TestReactor('projector', 'p', wide.handler, { types, version: 2 });
    world.add(second);
    await eventually('the older one is refused', () => first.refused !== undefined);
    assert.match(first.refused!, /version 2 of its filter was declared, so version 1 gets no more work/);
    await world.execute(command(root, both));
    await eventually('handled', () => isSettled(world, 'p'));
    assert.deepEqual([old.seen, wide.seen], [[1], [3, 4]]);
    const saga = new TestReactor('saga', 'p', () => ({ commands: [], events: [] }));
    world.add(saga);
    await eventually('another kind is refused', () => saga.refused !== undefined);
    assert.match(saga.refused!, /is a projector of this log, and cannot be a saga too/);
  });

  test('a wider filter holds from its declaration on, also in the middle of load', async () => {
    const random = seeded(seed);
    const narrow = new Positions();
    const slow = async (request: Parameters<typeof narrow.handler>[0]) => {
      await new Promise((resolve) => setTimeout(resolve, random() * 2));
      return narrow.handler(request);
    };
    const first = new TestReactor('projector', 'p', slow, { types: ['account.Deposited'] });
    await using world = await World.open({ store: memory(), reactors: [first] });
    const all = roots(20);
    const load = (async () => {
      for (let i = 0; i < 40; i++) {
        await Promise.all(all.map((root) => world.execute(command(root, [any('Deposit', '2'), any('Withdraw', '1')]))));
      }
    })();
    await eventually('some are handled', () => narrow.seen.length > 50);
    const types = ['account.Deposited', 'account.Withdrawn'];
    const second = new TestReactor('projector', 'p', slow, { types, version: 2 });
    world.add(second);
    await load;
    await eventually('everything is handled', () => isSettled(world, 'p'));
    assert.deepEqual(narrow.faults, []);
    const deposited = range(1, 1600).filter((position) => position % 2 === 1);
    assert.deepEqual(
      narrow.sorted.filter((position) => position % 2 === 1),
      deposited,
    );
  });

  test('is paused and resumed by an operator', async () => {
    const handled = new Handled();
    const reactor = new TestReactor('projector', 'p', ({ events }) => {
      handled.note(events);
      return NOTHING;
    });
    await using world = await World.open({ store: memory(), reactors: [reactor] });
    const all = roots(5);
    await deposits(world, all, 2, seeded(seed));
    await eventually('handled', () => handled.events === 10);
    await world.store.setPaused('p', true);
    await world.engine.delivery.changed();
    await deposits(world, all, 2, seeded(seed));
    await eventually('it is paused', () => world.engine.delivery.subscription('p', 1)!.state === 'paused');
    assert.equal(handled.events, 10);
    await world.store.setPaused('p', false);
    await world.engine.delivery.changed();
    await eventually('handled', () => handled.events === 20);
  });

  test('that is ordered sees the whole log in order, one event at a time', async () => {
    const seen: number[] = [];
    const reactor = new TestReactor(
      'projector',
      'p',
      async ({ events }) => {
        await new Promise((resolve) => setImmediate(resolve));
        if (Math.random() < 0.02) throw new Error('bad luck');
        seen.push(...events!.pages.map(({ position }) => position));
        return NOTHING;
      },
      { ordered: true, partitions: 1 },
    );
    await using world = await World.open({ store: memory(), reactors: [reactor] });
    await deposits(world, roots(20), 20, seeded(seed));
    await eventually('everything is handled', () => isSettled(world, 'p'));
    assert.deepEqual(seen, range(1, 400));
  });
});

describe('old events', () => {
  test('an event whose upcaster fails is parked like any other; while the upcaster is away everything waits', async () => {
    const bad = newRoot();
    let state: 'away' | 'failing' | 'good' = 'away';
    const handled = new Handled();
    const types: string[] = [];
    const reactor = new TestReactor(
      'projector',
      'p',
      ({ events }) => {
        handled.note(events);
        for (const page of events!.pages) types.push(typeOf(page.event));
        return NOTHING;
      },
      { types: ['account.DepositedV2'] },
    );
    const upcaster = {
      domain: 'account',
      types: new Set(['account.Deposited']),
      async upcast(book: Parameters<typeof rootOf>[0]) {
        if (state === 'away') throw new DaybookError('COMPONENT_UNAVAILABLE', 'away');
        if (state === 'failing' && rootOf(book) === Buffer.from(bad).toString('hex')) {
          throw new DaybookError('COMPONENT_FAULT', 'cannot read it');
        }
        return book!.pages.map((page) => ({
          ...page,
          event: { typeUrl: 'type.test/account.DepositedV2', value: page.event!.value },
        }));
      },
    };
    const accounts = [new InProcessAccount()];
    accounts[0]!.before = async () => ({
      kind: 'events',
      book: { cover: undefined, snapshot: undefined, pages: [], nextSequence: 0, consistencyToken: '' },
    });
    const store = memory();
    {
      await using plain = await World.open({ store });
      await plain.deposit(bad);
      await plain.deposit(bad);
      await plain.deposit();
    }
    const limits = { reactionAttempts: 2 };
    await using world = await World.open({ store, accounts, reactors: [reactor], upcasters: [upcaster], limits });
    const began = performance.now();
    await eventually('a while', () => performance.now() - began > 200);
    assert.deepEqual([handled.events, await parked(world, 'p')], [0, []]);
    state = 'failing';
    const [row] = await eventually('a dead letter', async () => {
      const rows = await parked(world, 'p');
      return rows[0]?.state === 'dead' && rows;
    });
    assert.deepEqual([row!.attempts, row!.message], [2, 'cannot read it']);
    await eventually('the other is handled', () => handled.events === 1);
    state = 'good';
    await replay(world, [row!]);
    await eventually('all is handled', () => isSettled(world, 'p'));
    assert.deepEqual([handled.faults, types], [[], ['DepositedV2', 'DepositedV2', 'DepositedV2']]);
  });

  test('that is far behind stores its cursors now and then, although somebody waits for it', async () => {
    const random = seeded(seed);
    const store = memory();
    let moves: { to: number }[] = [];
    const commit = store.commit.bind(store);
    store.commit = (units) => {
      moves.push(...units.flatMap(({ work }) => work?.cursors ?? []));
      return commit(units);
    };
    await using world = await World.open({ store });
    const all = roots(200);
    await deposits(world, all, 100, random, { pages: 10 });
    moves = [];
    const { delivery } = world.engine;
    // As whoever waits does, whenever something has moved.
    delivery.onProgress(() => delivery.hurry());
    const handler = async () => {
      await new Promise((resolve) => setImmediate(resolve));
      delivery.hurry();
      return NOTHING;
    };
    const begunMs = performance.now();
    world.add(new TestReactor('projector', 'late', handler, { partitions: 2 }));
    await eventually('it is through', () => isSettled(world, 'late'));
    const tenths = Math.ceil((performance.now() - begunMs) / 100);
    // A partition stores every 100 ms, and when a quarter of its window is handled; 1,000 events from the end it hurries.
    const most = 14_000 / (DEFAULT_LIMITS.partitionWindowEvents / 4) + 2 * (2 + tenths);
    const far = moves.filter(({ to }) => to < 14_000).length;
    assert.ok(far <= most, `${far} moves, and at most ${most} would do`);
  });

  test('can be waited for as soon as its host has attached; one that nobody knows cannot', async () => {
    await using world = await World.open({ store: memory() });
    const handled = new Handled();
    const [root] = roots(1) as [Uint8Array];
    const { position } = await world.deposit(root);
    const wait = (name: string) =>
      world.engine.waiting.passed({
        subscriptions: [name],
        position,
        deadlineMs: performance.now() + 10_000,
        signal: new AbortController().signal,
      });
    world.add(
      new TestReactor('projector', 'new', ({ events }) => {
        handled.note(events);
        return NOTHING;
      }),
    );
    assert.deepEqual(await world.store.listSubscriptions(), []);
    assert.equal(await wait('new'), position);
    assert.equal(handled.of(root), 1);
    await assert.rejects(wait('other'), (error: DaybookError) => {
      assert.equal(error.reason, 'INVALID_ARGUMENT');
      assert.match(error.message, /this log has no subscription other/);
      return true;
    });
  });
});
