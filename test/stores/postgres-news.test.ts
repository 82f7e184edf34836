// Hints between daemons by LISTEN and NOTIFY, and what a daemon costs its database.

import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import type { NewsTopic, Store } from '../../src/store.ts';
import { type OpenPostgres, openPostgres } from '../../src/stores/postgres/index.ts';
import { InProcessAccount } from '../support/account.ts';
import { any, command, newRoot } from '../support/books.ts';
import { deposits, roots } from '../support/delivery.ts';
import { eventually } from '../support/eventually.ts';
import { testPostgres } from '../support/postgres.ts';
import { seeded } from '../support/random.ts';
import { TestReactor, World } from '../support/world.ts';

const postgres = await testPostgres();

async function open(t: TestContext, options: OpenPostgres): Promise<Store> {
  const store = await openPostgres(options);
  t.after(() => store.close());
  return store;
}

describe('postgres: news', { skip: postgres.missing }, () => {
  const heardBy = (store: Store): NewsTopic[] => {
    const heard: NewsTopic[] = [];
    store.news!.listen((topic) => heard.push(topic));
    return heard;
  };

  test('what one tells, all others of the log hear, and nobody else', async (t) => {
    const url = await postgres.database();
    const other = await open(t, { connectionString: url, schema: 'other' });
    const [a, b] = [await open(t, { connectionString: url }), await open(t, { connectionString: url })];
    const heard = [a, b, other].map(heardBy);
    for (const topic of ['events', 'outbox', 'daemons'] as const) await a.news!.announce(topic);
    await eventually('they are heard', () => heard[1]!.length === 3);
    assert.deepEqual(heard, [[], ['events', 'outbox', 'daemons'], []]);
  });

  test('trap 16: after a lost connection everybody looks once, and hears again', async (t) => {
    const url = await postgres.database();
    const [a, b] = [await open(t, { connectionString: url }), await open(t, { connectionString: url })];
    const heard = heardBy(b);
    await postgres.query(
      url,
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`,
    );
    await eventually('the store is there again', () => b.now().catch(() => false));
    await eventually('what may have been missed is told', () => heard.length > 0);
    assert.deepEqual(heard, ['events', 'outbox', 'daemons']);
    await eventually('it is told', () =>
      a.news!.announce('outbox').then(
        () => true,
        () => false,
      ),
    );
    await eventually('it is heard', () => heard.length === 4);
  });

  test('behind a pooler nobody is told, and everything works', async (t) => {
    const url = await postgres.database();
    const store = await open(t, { connectionString: url, pooler: true });
    assert.equal(store.news, undefined);
  });

  test('traps 16 and 33: two daemons with 20 subscriptions hear of each other at once, on four connections each', async (t) => {
    const url = await postgres.database();
    const reactors = () =>
      Array.from({ length: 20 }, (_, i) => new TestReactor('saga', `s${i}`, () => ({ commands: [], events: [] })));
    const limits = { leaseMs: 600_000 };
    const [a, b] = [await open(t, { connectionString: url }), await open(t, { connectionString: url })];
    await using first = await World.open({ store: a, accounts: [], reactors: reactors(), instance: 'first', limits });
    const account = new InProcessAccount();
    await using second = await World.open({
      store: b,
      accounts: [account],
      reactors: reactors(),
      instance: 'second',
      limits,
    });
    // Heartbeats are minutes apart: whatever they know of each other they were told.
    await eventually('they share', async () => {
      const cursors = await a.listCursors();
      return cursors.filter(({ owner }) => owner === 'first').length === 160 && cursors.every(({ owner }) => owner);
    });
    await deposits(first, roots(10), 5, seeded(1), { atOnce: 10 });
    const answer = await first.execute(command(newRoot(), any('Deposit', '1')));
    assert.equal(answer.position, 51);
    await eventually('both have handled everything', async () =>
      (await b.listCursors()).every(({ position }) => position === 51),
    );
    const [row] = await postgres.query(
      url,
      `SELECT count(*)::int AS connections FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'daybook'`,
    );
    assert.deepEqual(row, { connections: 8 });
    assert.equal(second.engine.delivery.instances.length, 2);
  });
});
