// Daemons of one log that host different domains: commands, facts and outputs reach whoever decides.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PeerLost, PeerUnreachable } from '../../src/coordinators/peers.ts';
import { emptyWork } from '../../src/coordinators/reaction.ts';
import { DaybookError } from '../../src/errors.ts';
import type { CommandResponse } from '../../src/model/book.ts';
import type { SagaResponse } from '../../src/model/reaction.ts';
import type { OutboxRow, Store } from '../../src/store.ts';
import { InProcessAccount } from '../support/account.ts';
import { any, command, eventBook, newRoot, textOf } from '../support/books.ts';
import { memory, outboxOf } from '../support/delivery.ts';
import { eventually } from '../support/eventually.ts';
import { Hints, Neighbourhood } from '../support/neighbours.ts';
import { TestReactor, World, type WorldOptions } from '../support/world.ts';

const deposit = (root: Uint8Array, amount: number, options = {}) =>
  command(root, any('Deposit', String(amount)), options);
const withdraw = (root: Uint8Array, amount: number, options = {}) =>
  command(root, any('Withdraw', String(amount)), options);

/** What two answers must have in common, whoever gave them. */
function essence({ events, duplicate, position, settled }: CommandResponse) {
  return {
    pages: events!.pages.map(({ sequence, event, position }) => ({ sequence, text: textOf(event), position })),
    nextSequence: events!.nextSequence,
    duplicate,
    position,
    settled,
  };
}

/** Two daemons: the first hosts nothing, the second the account. */
async function pair(ways: 'called' | 'outbox', options: Partial<WorldOptions> = {}) {
  const store = memory();
  const hints = new Hints();
  const town = new Neighbourhood();
  const account = new InProcessAccount();
  const open = async (name: string, accounts: InProcessAccount[], more: Partial<WorldOptions> = {}) => {
    const peers = town.peersOf(ways === 'called' ? name : '');
    const world = await World.open({
      store: hints.viewOf(store),
      instance: name,
      accounts,
      peers,
      ...options,
      ...more,
    });
    town.worlds.set(name, world);
    return world;
  };
  const first = await open('first', []);
  const second = await open('second', [account]);
  return {
    store,
    hints,
    town,
    account,
    first,
    second,
    open,
    async [Symbol.asyncDispose]() {
      await Promise.all([...town.worlds.values()].map((world) => world.stop()));
    },
  };
}

const failure = (promise: Promise<unknown>): Promise<DaybookError> =>
  promise.then(
    () => assert.fail('expected an error'),
    (error) => {
      assert(error instanceof DaybookError, String(error));
      return error;
    },
  );

const handedOver = async (store: Store): Promise<OutboxRow[]> =>
  (await outboxOf(store)).filter(({ subscription }) => subscription.startsWith('>'));

for (const ways of ['called', 'outbox'] as const) {
  describe(`commands for another daemon's domain, ${ways === 'called' ? 'which is called' : 'through the outbox'}`, () => {
    test('the answer is the one that the other daemon would have given', async () => {
      await using p = await pair(ways);
      const [here, there] = [newRoot(), newRoot()];
      for (const key of ['', 'k']) {
        for (const amount of [5, 3]) {
          const answers = [
            await p.first.execute(deposit(here, amount, { key: key && `${key}1${amount}` })),
            await p.second.execute(deposit(there, amount, { key: key && `${key}2${amount}` })),
          ].map(essence);
          assert.equal(answers[0]!.position + 1, answers[1]!.position);
          const same = answers.map(({ pages, position: _, ...rest }) => ({
            ...rest,
            pages: pages.map(({ position: _, ...page }) => page),
          }));
          assert.deepEqual(same[0], same[1]);
        }
      }
      const nothing = await p.first.execute(command(here, any('Touch')));
      assert.deepEqual(essence(nothing).pages, []);
      assert.equal(p.town.calls > 0, ways === 'called');
      assert.deepEqual(await handedOver(p.store), []);
    });

    test('trap 8: the same key takes effect once, whichever daemon it comes to', async () => {
      await using p = await pair(ways);
      const root = newRoot();
      const one = await p.first.execute(deposit(root, 5, { key: 'once' }));
      const again = await p.first.execute(deposit(root, 5, { key: 'once' }));
      const there = await p.second.execute(deposit(root, 5, { key: 'once' }));
      assert.deepEqual([one.duplicate, again.duplicate, there.duplicate], [false, true, true]);
      assert.deepEqual(
        again.events!.pages.map(({ unitId }) => unitId),
        one.events!.pages.map(({ unitId }) => unitId),
      );
      const other = await failure(p.first.execute(deposit(root, 6, { key: 'once' })));
      assert.equal(other.reason, 'INVALID_ARGUMENT');
      assert.equal(other.metadata.field, 'idempotency_key');
      assert.deepEqual(await handedOver(p.store), []);
    });

    test('a rejection is the same, and is remembered', async () => {
      await using p = await pair(ways);
      const root = newRoot();
      const [here, there] = [
        await failure(p.first.execute(withdraw(root, 7, { key: 'no' }))),
        await failure(p.second.execute(withdraw(root, 7, { key: 'other' }))),
      ];
      const text = ({ reason, message, rejection }: DaybookError) =>
        [reason, message, JSON.stringify(rejection)].join();
      assert.equal(text(here).replaceAll(/[0-9a-f]{32}/g, ''), text(there).replaceAll(/[0-9a-f]{32}/g, ''));
      assert.deepEqual(here.metadata, there.metadata);
      await p.second.execute(deposit(root, 10));
      const again = await failure(p.first.execute(withdraw(root, 7, { key: 'no' })));
      assert.deepEqual(
        [again.message, again.rejection!.code, again.metadata.duplicate],
        [here.message, 'INSUFFICIENT_FUNDS', 'true'],
      );
      assert.deepEqual(await handedOver(p.store), []);
    });

    test('errors are the same', async () => {
      await using p = await pair(ways);
      const root = newRoot();
      await p.first.execute(deposit(root, 5));
      p.account.before = async ({ command: { pages } }) => {
        const { typeUrl } = pages[0]!.command!;
        if (typeUrl.endsWith('Explode')) throw new DaybookError('COMPONENT_FAULT', 'boom', { metadata: { n: 7 } });
        if (typeUrl.endsWith('Overload')) throw new DaybookError('OVERLOADED', 'too much', { retryDelayMs: 70 });
        return undefined;
      };
      const cases = [
        () => deposit(root, 1, { sequence: 7 }),
        () => command(root, any('Explode')),
        () => command(root, any('Overload')),
        () => command(root, []),
        () => deposit(root.slice(1), 5),
      ];
      for (const ask of cases) {
        const here = await failure(p.first.execute(ask()));
        const there = await failure(p.second.execute(ask()));
        const text = (error: DaybookError) => JSON.stringify([error.reason, error.message, error.retryDelayMs]);
        assert.equal(text(here), text(there));
        const texts = Object.entries(there.metadata).map(([name, value]) => [name, String(value)]);
        assert.deepEqual(
          Object.entries(here.metadata).map(([name, value]) => [name, String(value)]),
          texts,
        );
      }
      assert.deepEqual(await handedOver(p.store), []);
    });

    test('commands for one aggregate are executed in the order in which they came', async () => {
      await using p = await pair(ways);
      const roots = [newRoot(), newRoot(), newRoot()];
      const answers = await Promise.all(
        Array.from({ length: 60 }, (_, n) => p.first.execute(deposit(roots[n % 3]!, n + 1))),
      );
      const sequences = answers.map(({ events }) => events!.pages[0]!.sequence);
      assert.deepEqual(
        sequences,
        Array.from({ length: 60 }, (_, n) => Math.floor(n / 3)),
      );
    });

    test('facts are recorded by the daemon that hosts their domain', async () => {
      await using p = await pair(ways);
      const root = newRoot();
      const caller = { deadlineMs: Infinity, signal: new AbortController().signal };
      const facts = () => {
        const book = eventBook([any('Deposited', '5')]);
        const origin = { component: '', source: undefined, sourceSequence: 0, sourcePosition: 0, logId: '', index: 0 };
        const rest = { depth: 0, externalSource: 'bank', externalId: '1', commands: [] };
        return {
          ...book,
          cover: { root: { value: root }, domain: 'account', correlationId: 'c', tenant: '' },
          pages: book.pages.map((page) => ({ ...page, origin: { ...origin, ...rest } })),
        };
      };
      await p.second.execute(deposit(root, 1));
      const recorded = await p.first.engine.facts.record(facts(), false, caller);
      assert.deepEqual([recorded.duplicate, recorded.events!.pages[0]!.sequence], [false, 1]);
      const again = await p.second.engine.facts.record(facts(), false, caller);
      assert.deepEqual([again.duplicate, again.events!.pages[0]!.sequence], [true, 1]);
      const balance = await failure(p.first.execute(withdraw(root, 7)));
      assert.match(balance.message, /a balance of 6 does not cover 7/);
      assert.deepEqual(await handedOver(p.store), []);
    });

    test('nobody hosts the domain now: the caller is told at once, and nothing is left behind', async () => {
      await using p = await pair(ways);
      const root = newRoot();
      await p.first.execute(deposit(root, 5));
      await p.second.stop();
      p.town.worlds.delete('second');
      const gone = await failure(p.first.execute(deposit(root, 5)));
      assert.equal(gone.reason, 'COMPONENT_UNAVAILABLE');
      const unknown = await failure(p.first.execute(deposit(root, 5, { domain: 'never' })));
      assert.equal(unknown.reason, 'UNKNOWN_DOMAIN');
      assert.deepEqual(await outboxOf(p.store), []);
    });

    test('a daemon that has just come is found', async () => {
      await using p = await pair(ways);
      const fresh = new InProcessAccount('fresh');
      await p.first.execute(deposit(newRoot(), 1));
      await p.open('third', [fresh]);
      await p.first.execute(deposit(newRoot(), 1, { domain: 'fresh' }));
      assert.equal(fresh.asked, 1);
    });

    test('trap 57: a call from inside work that comes back to its own aggregate by another daemon fails at once', async () => {
      await using p = await pair(ways);
      const outer = new InProcessAccount('outer');
      const third = await p.open('third', [outer]);
      const root = newRoot();
      const errors: DaybookError[] = [];
      // Outer asks account, and account asks outer: the same aggregate, then another one.
      let other: CommandResponse | undefined;
      outer.before = async ({ command: { pages }, workId }) => {
        if (textOf(pages[0]!.command) !== '1') return undefined;
        await third.execute(deposit(root, 1, { workId }));
        return undefined;
      };
      p.account.before = async ({ workId, ancestors }) => {
        errors.push(await failure(p.second.execute(deposit(root, 2, { domain: 'outer', workId }))));
        other = await p.second.execute(deposit(newRoot(), 2, { domain: 'outer', workId }));
        assert.equal(ancestors.length, 1, 'the work of the other daemon is known');
        return undefined;
      };
      await third.execute(deposit(root, 1, { domain: 'outer' }));
      assert.deepEqual(
        errors.map(({ reason }) => reason),
        ['REENTRANT'],
      );
      assert.equal(other!.events!.pages.length, 1);
      assert.deepEqual(outer.lastRequest!.ancestors.length, 2, 'credits are lent along the whole chain');
    });

    test('a fifth of what may be executing is kept for what other daemons pass on', async () => {
      await using p = await pair(ways, { limits: { executingCommands: 10 } });
      const held = Promise.withResolvers<undefined>();
      p.account.before = () => held.promise;
      const own = Array.from({ length: 8 }, () => p.second.execute(deposit(newRoot(), 1)));
      await eventually('they are in hand', () => p.account.asked === 8);
      assert.equal((await failure(p.second.execute(deposit(newRoot(), 1)))).reason, 'OVERLOADED');
      const passed = [p.first.execute(deposit(newRoot(), 1)), p.first.execute(deposit(newRoot(), 1))];
      await eventually('they are in hand', () => p.account.asked === 10);
      const over = await failure(p.first.execute(deposit(newRoot(), 1)));
      assert.deepEqual([over.reason, over.metadata.limit], ['OVERLOADED', 'executing_commands']);
      held.resolve(undefined);
      await Promise.all([...own, ...passed]);
    });
  });
}

describe('commands in the outbox', () => {
  test('trap 53: when its caller gives up, a command is withdrawn, and what a daemon is doing with it comes to nothing', async () => {
    await using p = await pair('outbox');
    const root = newRoot();
    await p.first.execute(deposit(root, 1));
    const held = Promise.withResolvers<undefined>();
    p.account.before = () => held.promise;
    const late = await failure(p.first.execute(deposit(root, 5, { key: 'late' }), { timeoutMs: 300 }));
    assert.equal(late.reason, 'COMPONENT_TIMEOUT');
    assert.deepEqual(await outboxOf(p.store), []);
    held.resolve(undefined);
    p.account.before = undefined;
    // The same key is free: nothing was stored under it.
    const again = await p.first.execute(deposit(root, 7, { key: 'late' }));
    assert.deepEqual([again.duplicate, again.events!.pages[0]!.sequence], [false, 1]);
  });

  test('trap 53: a caller that goes away takes its command along', async () => {
    await using p = await pair('outbox');
    const root = newRoot();
    await p.first.execute(deposit(root, 1));
    const held = Promise.withResolvers<undefined>();
    p.account.before = () => held.promise;
    const away = new AbortController();
    const call = p.first.execute(deposit(root, 5), { signal: away.signal });
    await eventually('it is in hand', () => p.account.asked === 2);
    away.abort(new Error('gone'));
    await assert.rejects(call, /gone/);
    await eventually('the row has gone', async () => (await outboxOf(p.store)).length === 0);
    held.resolve(undefined);
    p.account.before = undefined;
    const { events } = await p.second.execute(deposit(root, 1));
    assert.equal(events!.pages[0]!.sequence, 1);
  });

  test('trap 53: a command whose daemon died is not executed after its time', async () => {
    await using p = await pair('outbox');
    const held = Promise.withResolvers<undefined>();
    const root = newRoot();
    p.account.before = () => held.promise;
    const call = p.first.execute(deposit(root, 5), { timeoutMs: 60_000 });
    const [row] = await eventually('the row is there', async () => {
      const rows = await handedOver(p.store);
      return rows.length > 0 && rows;
    });
    // As it would lie there after the death of both daemons, an hour later.
    const dead = { ...row!, index: 1, lane: 'x', expiresAtMicros: row!.createdAtMicros - 1, subscription: '>dead' };
    const unit = { appends: [], expectations: [], snapshots: [], outcomes: [], unitId: newRoot() };
    await p.store.commit([{ ...unit, work: { ...emptyWork(), outboxAdded: [dead] } }]);
    held.resolve(undefined);
    await call;
    await p.first.engine.delivery.announce('outbox');
    await eventually('it has gone', async () => (await outboxOf(p.store)).length === 0);
    assert.equal(p.account.asked, 1);
  });

  test('trap 16: without hints a command is found all the same', async () => {
    const store = memory();
    const account = new InProcessAccount();
    await using second = await World.open({ store, instance: 'second', accounts: [account] });
    await using first = await World.open({ store, instance: 'first', accounts: [] });
    const root = newRoot();
    const { events } = await first.execute(deposit(root, 1));
    assert.equal(events!.pages[0]!.sequence, 0);
    assert.equal(second.engine.delivery.instances.length, 2);
  });

  test('two hosts of a domain share its commands, and one that dies leaves none of them', async () => {
    await using p = await pair('outbox', { limits: { leaseMs: 1000 } });
    const third = new InProcessAccount();
    let dead = false;
    await p.open('third', [third], { store: p.hints.viewOf(p.store, () => dead) });
    p.town.worlds.delete('third');
    const all = Array.from({ length: 40 }, newRoot);
    await Promise.all(all.map((root) => p.first.execute(deposit(root, 1))));
    assert(p.account.asked > 5 && third.asked > 5, `${p.account.asked} and ${third.asked}`);
    assert.equal(p.account.asked + third.asked, 40);
    // It dies with its share in hand.
    const held = Promise.withResolvers<undefined>();
    third.before = () => held.promise;
    const calls = Promise.all(all.map((root) => p.first.execute(deposit(root, 1))));
    await eventually('it has some in hand', () => p.account.asked + third.asked === 80);
    dead = true;
    const answers = await calls;
    assert.deepEqual(
      answers.map(({ events }) => events!.pages[0]!.sequence),
      Array(40).fill(1),
    );
    held.resolve(undefined);
  });

  test('a command that cannot be passed on by a call goes through the outbox; one whose daemon died takes effect once', async () => {
    await using p = await pair('called');
    const root = newRoot();
    await p.first.execute(deposit(root, 1));
    p.town.broken = (address) => new PeerUnreachable(address, 'cut');
    const { events } = await p.first.execute(deposit(root, 1));
    assert.equal(events!.pages[0]!.sequence, 1);
    p.town.broken = (address) => new PeerLost(address, 'cut');
    const lost = await p.first.execute(deposit(root, 1));
    assert.deepEqual([lost.duplicate, lost.events!.pages[0]!.sequence], [false, 2]);
    assert.deepEqual(await handedOver(p.store), []);
  });

  test('a call that was done and never answered is not done again', async () => {
    await using p = await pair('called');
    const root = newRoot();
    await p.first.execute(deposit(root, 1));
    const peers = p.town.peersOf('first');
    const deaf = {
      ...peers,
      execute: async (...args: Parameters<typeof peers.execute>) => {
        await peers.execute(...args);
        throw new PeerLost(args[0], 'cut');
      },
    };
    const third = await p.open('third', [], { peers: deaf });
    const answer = await third.execute(deposit(root, 1));
    assert.deepEqual([answer.duplicate, answer.events!.pages[0]!.sequence], [false, 1]);
    const next = await p.second.execute(deposit(root, 1));
    assert.equal(next.events!.pages[0]!.sequence, 2);
  });
});

describe('outputs for another daemon', () => {
  const saga = (handler: (text: string, root: Uint8Array) => SagaResponse['commands']) =>
    new TestReactor(
      'saga',
      'pays',
      ({ source }) => {
        const [page] = source!.pages;
        return { commands: handler(textOf(page!.event), source!.cover!.root!.value), events: [] };
      },
      { domains: ['account'], types: ['account.Deposited'] },
    );

  test("a saga's commands reach whoever hosts their target, in order, each once", async () => {
    await using p = await pair('outbox');
    const ledger = new InProcessAccount('ledger');
    const root = newRoot();
    await p.open('third', [ledger]);
    await p.open('fourth', [], { reactors: [saga((text) => [deposit(root, Number(text), { domain: 'ledger' })])] });
    const source = newRoot();
    for (let n = 1; n <= 20; n++) await p.first.execute(deposit(source, n));
    await eventually('all have arrived', () => ledger.asked >= 20);
    await eventually('the outbox is empty', async () => (await outboxOf(p.store)).length === 0);
    const stream = { tenant: '', domain: 'ledger', root };
    const { pages } = await p.store.readStream(stream, { from: 0, maxBytes: Infinity });
    assert.deepEqual(
      pages.map(({ event }) => Number(textOf(event))),
      Array.from({ length: 20 }, (_, n) => n + 1),
    );
  });

  test('the caller of a command learns what followed on other daemons', async () => {
    await using p = await pair('outbox');
    const ledger = new InProcessAccount('ledger');
    const root = newRoot();
    await p.open('third', [ledger]);
    await p.open('fourth', [], {
      reactors: [
        saga((text) => [command(root, any(text === '9' ? 'Withdraw' : 'Deposit', '5'), { domain: 'ledger' })]),
      ],
    });
    await eventually('the saga is known', async () => (await p.store.listSubscriptions()).length > 0);
    const caller = { deadlineMs: performance.now() + 20_000, signal: new AbortController().signal };
    const ask = (amount: number) => {
      const book = deposit(newRoot(), amount, { correlationId: `c${amount}` });
      return p.first.engine.sync.execute(book, 'cascade', 15_000, caller);
    };
    const rejected = await ask(9);
    assert.equal(rejected.settled, true);
    // The ledger says no, and the account does not understand what it is told then.
    assert.deepEqual(rejected.reactionErrors.map(({ reason }) => reason).includes('REJECTED'), true);
    const done = await ask(1);
    assert.deepEqual([done.settled, done.reactionErrors.length], [true, 0]);
    assert.equal(ledger.asked, 2);
  });

  test('a rejected command of a saga is told to the aggregate that caused it, on the daemon that hosts that', async () => {
    await using p = await pair('outbox');
    const ledger = new InProcessAccount('ledger');
    await p.open('third', [ledger]);
    await p.open('fourth', [], { reactors: [saga(() => [withdraw(newRoot(), 5, { domain: 'ledger' })])] });
    const told: string[] = [];
    p.account.before = async ({ command: { pages } }) => {
      const { typeUrl } = pages[0]!.command!;
      if (!typeUrl.endsWith('RejectionNotification')) return undefined;
      told.push(typeUrl);
      return { kind: 'events', book: eventBook([any('Told')]) };
    };
    const root = newRoot();
    await p.first.execute(deposit(root, 1));
    await eventually('it was told', async () => {
      const { nextSequence } = await p.store.readStream(
        { tenant: '', domain: 'account', root },
        { from: 0, maxBytes: 1 },
      );
      return nextSequence === 2;
    });
    await eventually('the outbox is empty', async () => (await outboxOf(p.store)).length === 0);
    assert.equal(told.length, 1);
  });

  test('a process manager on one daemon, its target on another: the rejection comes back to the process', async () => {
    await using p = await pair('outbox');
    const ledger = new InProcessAccount('ledger');
    await p.open('third', [ledger]);
    const triggers: string[] = [];
    const manager = new TestReactor(
      'process_manager',
      'process',
      ({ trigger }) => {
        triggers.push(trigger!.$case);
        const commands = trigger!.$case === 'events' ? [withdraw(newRoot(), 5, { domain: 'ledger' })] : [];
        const nothing = { facts: [], timers: [], cancelledTimers: [], ended: false };
        return { processEvents: eventBook([any('Seen')]), commands, ...nothing };
      },
      { domains: ['account'], domain: 'flow' },
    );
    await p.open('fourth', [], { reactors: [manager] });
    await p.first.execute(deposit(newRoot(), 1, { correlationId: 'p1' }));
    await eventually('both came', () => triggers.length === 2);
    assert.deepEqual(triggers, ['events', 'rejection']);
    await eventually('the outbox is empty', async () => (await outboxOf(p.store)).length === 0);
  });

  test('a target whose only host goes away has its outputs when one comes back', async () => {
    await using p = await pair('outbox');
    const root = newRoot();
    const third = await p.open('third', [new InProcessAccount('ledger')]);
    await p.open('fourth', [], { reactors: [saga(() => [deposit(root, 5, { domain: 'ledger' })])] });
    await p.first.execute(deposit(newRoot(), 1));
    const length = async () =>
      (await p.store.readStream({ tenant: '', domain: 'ledger', root }, { from: 0, maxBytes: 1 })).nextSequence;
    await eventually('it arrived', async () => (await length()) === 1);
    await third.stop();
    p.town.worlds.delete('third');
    await p.first.execute(deposit(newRoot(), 1));
    await eventually('it waits', async () => (await outboxOf(p.store, 'pays')).length === 1);
    await p.open('fifth', [new InProcessAccount('ledger')]);
    await eventually('it arrived', async () => (await length()) === 2);
  });
});
