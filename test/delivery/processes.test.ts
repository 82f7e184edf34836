import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { processRoot } from '../../src/coordinators/process-manager.ts';
import type { ProcessManagerRequest, ProcessManagerResponse, Timer } from '../../src/model/reaction.ts';
import type { Store } from '../../src/store.ts';
import { InProcessAccount } from '../support/account.ts';
import { any, command, eventBook, newRoot, textOf, typeOf } from '../support/books.ts';
import { outboxOf, parked, replay, roots, STORES } from '../support/delivery.ts';
import { eventually } from '../support/eventually.ts';
import { mortal } from '../support/mortal-store.ts';
import { seeded } from '../support/random.ts';
import { TestReactor, World } from '../support/world.ts';

const seed = Number(process.env.DAYBOOK_TEST_SEED ?? Math.floor(Math.random() * 1e9));

const NOTHING: ProcessManagerResponse = {
  processEvents: undefined,
  commands: [],
  facts: [],
  timers: [],
  cancelledTimers: [],
  ended: false,
};

/** What happened to a process, in words. */
function words({ trigger }: ProcessManagerRequest): string {
  switch (trigger!.$case) {
    case 'events': {
      const { cover, pages } = trigger!.value;
      return `${cover!.domain} ${typeOf(pages[0]!.event)} ${textOf(pages[0]!.event)}`;
    }
    case 'timer':
      return `timer ${trigger!.value.name} ${trigger!.value.payload ? textOf(trigger!.value.payload) : ''}`.trim();
    case 'rejection':
      return `rejection ${trigger!.value.rejection!.code}`;
  }
}

const noted = (text: string) => eventBook([any('Noted', text)]);

const after = (name: string, ms: number, payload?: string): Timer => ({
  name,
  when: { $case: 'after', value: { seconds: Math.floor(ms / 1000), nanos: (ms % 1000) * 1e6 } },
  payload: payload === undefined ? undefined : any('Payload', payload),
});

async function history(store: Store, name: string, correlationId: string, domain = name): Promise<string[]> {
  const stream = { tenant: '', domain, root: processRoot(name, correlationId) };
  const { pages } = await store.readStream(stream, { from: 0, maxBytes: 1 << 24 });
  return pages.map(({ event }) => (event!.typeUrl.includes('Noted') ? textOf(event) : 'ended'));
}

const domains = ['account', 'vault'];

/** Notes every trigger in its own stream, and does besides what the test says. */
function manager(
  name: string,
  also: (said: string, request: ProcessManagerRequest) => Partial<ProcessManagerResponse>,
) {
  return new TestReactor<'process_manager'>(
    'process_manager',
    name,
    (request) => {
      const said = words(request);
      return { ...NOTHING, processEvents: noted(said), ...also(said, request) };
    },
    { domains },
  );
}

const accounts = () => [new InProcessAccount(), new InProcessAccount('vault')];

const deposit = (world: World, domain: string, amount: number, correlationId: string, root = newRoot()) =>
  world.execute(command(root, any('Deposit', String(amount)), { domain, correlationId }));

for (const [kind, open] of Object.entries(STORES))
  describe(`a process manager on ${kind} (DAYBOOK_TEST_SEED=${seed})`, () => {
    test('trap 42: has a stream of its own, and sees events of several domains in the order of the log', async () => {
      await using opened = await open();
      const seen: (readonly string[])[] = [];
      const reactor = manager('pm', (_, { processState }) => {
        seen.push(processState!.pages.map(({ event }) => textOf(event)));
        return {};
      });
      await using world = await World.open({ store: opened.store, accounts: accounts(), reactors: [reactor] });
      const expected: string[] = [];
      for (let i = 1; i <= 20; i++) {
        const domain = i % 3 === 0 ? 'vault' : 'account';
        await deposit(world, domain, i, 'c1');
        expected.push(`${domain} Deposited ${i}`);
      }
      await eventually('all is seen', async () => (await history(world.store, 'pm', 'c1')).length === 20);
      assert.deepEqual(await history(world.store, 'pm', 'c1'), expected);
      assert.deepEqual(
        seen,
        expected.map((_, i) => expected.slice(0, i)),
      );
    });

    test('that has the name of a domain misses nothing of that domain while its host is not there yet', async () => {
      await using opened = await open();
      const reactor = () =>
        new TestReactor<'process_manager'>(
          'process_manager',
          'vault',
          (request) => ({ ...NOTHING, processEvents: noted(words(request)) }),
          { domains: ['account', 'vault'], domain: 'vault-process' },
        );
      const first = await World.open({ store: opened.store, accounts: accounts(), reactors: [reactor()] });
      await deposit(first, 'account', 1, 'c1');
      await eventually(
        'it is noted',
        async () => (await history(opened.store, 'vault', 'c1', 'vault-process')).length === 1,
      );
      await first.stop();
      await using world = await World.open({ store: opened.store, accounts: accounts(), reactors: [] });
      await deposit(world, 'vault', 2, 'c1');
      await eventually(
        'it was looked at, or waits',
        () => world.engine.delivery.subscription('vault', 1) !== undefined,
      );
      world.add(reactor());
      await deposit(world, 'account', 3, 'c1');
      await eventually(
        'all is noted',
        async () => (await history(opened.store, 'vault', 'c1', 'vault-process')).length >= 3,
      );
      assert.deepEqual(await history(opened.store, 'vault', 'c1', 'vault-process'), [
        'account Deposited 1',
        'vault Deposited 2',
        'account Deposited 3',
      ]);
    });

    test('that wants everything is not handed what it says itself', async () => {
      await using opened = await open();
      const reactor = new TestReactor<'process_manager'>('process_manager', 'pm', (request) => {
        return { ...NOTHING, processEvents: noted(words(request)) };
      });
      await using world = await World.open({ store: opened.store, accounts: accounts(), reactors: [reactor] });
      await deposit(world, 'account', 1, 'c1');
      await eventually('it is noted', async () => (await history(world.store, 'pm', 'c1')).length === 1);
      await deposit(world, 'account', 2, 'c1');
      await eventually('the next one, too', async () => (await history(world.store, 'pm', 'c1')).length === 2);
      await eventually('the cursors are at the end', async () =>
        (await world.store.listCursors('pm')).every(({ position }) => position === 4),
      );
      assert.equal((await world.store.head()).position, 4);
    });

    test('that names its own domain in its filter is not handed what it says itself either', async () => {
      await using opened = await open();
      let answers = 0;
      const reactor = new TestReactor<'process_manager'>(
        'process_manager',
        'pm',
        // Would answer itself without end.
        (request) => (++answers < 20 ? { ...NOTHING, processEvents: noted(words(request)) } : NOTHING),
        { domains: ['account', 'pm'] },
      );
      await using world = await World.open({ store: opened.store, accounts: accounts(), reactors: [reactor] });
      await deposit(world, 'account', 1, 'c1');
      await eventually('the cursors are at the end', async () => {
        const { position } = await world.store.head();
        return position > 1 && (await world.store.listCursors('pm')).every((cursor) => cursor.position === position);
      });
      assert.deepEqual([answers, await history(world.store, 'pm', 'c1')], [1, ['account Deposited 1']]);
    });

    test('timers: set, set again, cancelled, fired once, and fired late after a daemon slept through them', async () => {
      await using opened = await open();
      const { store } = opened;
      const reactor = () =>
        manager('pm', (said) => {
          if (said === 'account Deposited 1')
            return { timers: [after('a', 400, 'first'), after('b', 400), after('c', 400)] };
          if (said === 'account Deposited 2')
            return { timers: [after('a', 800, 'second')], cancelledTimers: ['b', 'x'] };
          if (said === 'timer a second') return { timers: [after('late', 150)] };
          return {};
        });
      const first = await World.open({ store, accounts: accounts(), reactors: [reactor()] });
      await deposit(first, 'account', 1, 'c1');
      await deposit(first, 'account', 2, 'c1');
      await eventually('the timers fired', async () => (await history(store, 'pm', 'c1')).length === 4);
      assert.deepEqual(await history(store, 'pm', 'c1'), [
        'account Deposited 1',
        'account Deposited 2',
        'timer c',
        'timer a second',
      ]);
      await first.stop();
      const began = performance.now();
      await eventually('the timer is due', () => performance.now() - began > 200);
      await using second = await World.open({ store, accounts: accounts(), reactors: [reactor()] });
      await eventually('it fires late', async () => (await history(store, 'pm', 'c1')).at(-1) === 'timer late');
      await deposit(second, 'account', 9, 'c1');
      await eventually('and once', async () => (await history(store, 'pm', 'c1')).length === 6);
      for (let partition = 0; partition < 16; partition++) {
        assert.equal(await store.nextTimerDue('pm', partition), undefined);
      }
    });

    test('a rejected command is a trigger of the process, and an ended process passes triggers over', async () => {
      await using opened = await open();
      const reactor = manager('pm', (said) => {
        if (said.startsWith('account'))
          return { commands: [command(newRoot(), any('Withdraw', '5'), { domain: 'vault' })] };
        if (said.startsWith('rejection')) return { ended: true, timers: [after('never', 1)] };
        return {};
      });
      await using world = await World.open({ store: opened.store, accounts: accounts(), reactors: [reactor] });
      await deposit(world, 'account', 1, 'c1');
      const all = ['account Deposited 1', 'rejection INSUFFICIENT_FUNDS', 'ended'];
      await eventually('it ended', async () => (await history(world.store, 'pm', 'c1')).length === 3);
      assert.deepEqual(await history(world.store, 'pm', 'c1'), all);
      await deposit(world, 'account', 2, 'c1');
      await eventually('later triggers are passed over', () => world.engine.delivery.processManagers.passedOver >= 1);
      await eventually('the outbox is empty', async () => (await outboxOf(world.store)).length === 0);
      assert.deepEqual(await history(world.store, 'pm', 'c1'), all);
    });

    test('a timer of a parked process waits until it has caught up; one that fails too often is a dead letter', async () => {
      await using opened = await open();
      let broken = true;
      const reactor = manager('pm', (said) => {
        if (said === 'account Deposited 1') return { timers: [after('t', 1000), after('bad', 10)] };
        if (said === 'account Deposited 2' && broken) throw new Error('not yet');
        if (said === 'timer bad') throw new Error('never');
        return {};
      });
      const limits = { reactionAttempts: 3, reactionRetryMinMs: 1, reactionRetryMaxMs: 5 };
      await using world = await World.open({ store: opened.store, accounts: accounts(), reactors: [reactor], limits });
      await deposit(world, 'account', 1, 'c1');
      const row = await eventually('the bad timer is a dead letter', async () => {
        const [found] = await outboxOf(world.store, 'pm');
        return found?.state === 'dead' && found;
      });
      assert.deepEqual([row.kind, row.attempts, row.message], ['timer', 3, 'never']);
      await deposit(world, 'account', 2, 'c1');
      const [dead] = await eventually('the process is a dead letter', async () => {
        const rows = await parked(world, 'pm');
        return rows[0]?.state === 'dead' && rows;
      });
      await eventually('the other timer is due', async () => {
        const due = await Promise.all(
          Array.from({ length: 16 }, (_, partition) => opened.store.nextTimerDue('pm', partition)),
        );
        return Math.min(...due.map((micros) => micros ?? Infinity)) < (await opened.store.now());
      });
      assert.deepEqual(await history(world.store, 'pm', 'c1'), ['account Deposited 1']);
      broken = false;
      await replay(world, [dead!]);
      await eventually('all is told in order', async () => (await history(world.store, 'pm', 'c1')).length === 3);
      assert.deepEqual((await history(world.store, 'pm', 'c1')).slice(1), ['account Deposited 2', 'timer t']);
    });

    test('a timer that is a dead letter does not fire any more when its process cancels it or sets it again', async () => {
      await using opened = await open();
      let broken = true;
      const reactor = manager('pm', (said) => {
        if (said === 'account Deposited 1') return { timers: [after('a', 10), after('b', 10), after('c', 10)] };
        if (said === 'account Deposited 2') return { cancelledTimers: ['a'], timers: [after('b', 10)] };
        if (broken) throw new Error('never');
        return {};
      });
      const limits = { reactionAttempts: 1 };
      await using world = await World.open({ store: opened.store, accounts: accounts(), reactors: [reactor], limits });
      await deposit(world, 'account', 1, 'c1');
      await eventually('all three are dead letters', async () => {
        const rows = await outboxOf(world.store, 'pm');
        return rows.length === 3 && rows.every(({ state }) => state === 'dead');
      });
      broken = false;
      await deposit(world, 'account', 2, 'c1');
      const told = ['account Deposited 1', 'account Deposited 2', 'timer b'];
      await eventually(
        'the one that was set again fires',
        async () => (await history(world.store, 'pm', 'c1')).length === 3,
      );
      assert.deepEqual(await history(world.store, 'pm', 'c1'), told);
      assert.equal((await outboxOf(world.store, 'pm')).length, 1);
      await world.engine.deadLetters.replayAll('pm', { deadlineMs: Infinity, signal: new AbortController().signal });
      await eventually('the third is replayed', async () => (await outboxOf(world.store, 'pm')).length === 0);
      assert.deepEqual(await history(world.store, 'pm', 'c1'), [...told, 'timer c']);
    });

    test('traps 14, 40: daemons that die at any instant have every trigger noted exactly once, in order', async () => {
      const random = seeded(seed);
      await using opened = await open();
      const { store } = opened;
      const processes = Array.from({ length: 10 }, (_, i) => `c${i}`);
      const targets = roots(4);
      let calls = 0;
      const reactor = () =>
        new TestReactor<'process_manager'>(
          'process_manager',
          'pm',
          async (request) => {
            const said = words(request);
            for (let n = Math.floor(random() * 3); n > 0; n--) await new Promise((resolve) => setImmediate(resolve));
            const call = ++calls;
            if (said.startsWith('timer')) return { ...NOTHING, processEvents: noted(`${said} ${call}`) };
            const target = targets[Math.floor(random() * 4)]!;
            return {
              ...NOTHING,
              processEvents: noted(`${said} ${call}`),
              commands: random() < 0.5 ? [] : [command(target, any('Deposit', String(call)), { domain: 'ledger' })],
              timers: [after(`t${said.split(' ')[2]}`, Math.floor(random() * 20))],
            };
          },
          { domains },
        );
      const start = (on: Store, signal?: AbortSignal) =>
        World.open({
          store: on,
          accounts: [...accounts(), new InProcessAccount('ledger')],
          reactors: [reactor()],
          instance: 'one',
          limits: { reactionAttempts: 1000 },
          ...(signal && { signal }),
        });
      let next = 0;
      for (let round = 0; round < 15; round++) {
        const mind = mortal(store, 60 + Math.floor(random() * 300), random() < 0.5);
        const world = await start(mind.store, mind.signal).catch(() => undefined);
        if (world === undefined) continue;
        const load = (async () => {
          for (let i = 0; i < 10 && !mind.dead; i++) {
            const domain = random() < 0.5 ? 'account' : 'vault';
            await deposit(world, domain, ++next, processes[Math.floor(random() * 10)]!).catch(() => {});
          }
        })();
        const began = performance.now();
        await eventually('it dies', () => mind.dead || performance.now() - began > 100);
        mind.die();
        await world.engine.drain(0);
        world.engine.close();
        await Promise.race([load, new Promise((resolve) => setTimeout(resolve, 20))]);
      }
      await using world = await start(store);
      await eventually('everything is done', async () => {
        const { position } = await store.head();
        const cursors = await store.listCursors('pm');
        if (cursors.some((cursor) => cursor.position < position)) return false;
        for (const { partition } of cursors)
          if ((await store.nextTimerDue('pm', partition)) !== undefined) return false;
        return (await outboxOf(store)).length === 0 && (await parked(world, 'pm')).length === 0;
      });
      const happened = new Map<string, string[]>();
      const read = await store.readLog({ after: 0, filter: { domains }, maxEvents: 1e6, maxBytes: 1e9 });
      for (const { cover, pages } of read.books) {
        const words = pages.map(({ event }) => `${cover!.domain} ${typeOf(event)} ${textOf(event)}`);
        happened.set(cover!.correlationId, [...(happened.get(cover!.correlationId) ?? []), ...words]);
      }
      let events = 0;
      for (const [id, expected] of happened) {
        const told = await history(store, 'pm', id);
        const triggers = told.map((text) => text.slice(0, text.lastIndexOf(' ')));
        const fired = triggers.filter((text) => text.startsWith('timer'));
        assert.deepEqual(
          triggers.filter((text) => !text.startsWith('timer')),
          expected,
          id,
        );
        assert.deepEqual(fired.sort(), expected.map((text) => `timer t${text.split(' ')[2]}`).sort(), id);
        events += expected.length;
      }
      assert(events > 30, `${events} events`);
    });
  });
