// Daemons that share a server with each other and with whoever else uses it.

import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import pg from 'pg';
import type { Store } from '../../src/store.ts';
import { openPostgres } from '../../src/stores/postgres/index.ts';
import { eventually } from '../support/eventually.ts';
import { testPostgres } from '../support/postgres.ts';
import {
  ANY,
  exactly,
  freshKey,
  freshStream,
  MANY,
  NO_STREAM,
  outcome,
  unit,
  writing,
} from '../support/store-units.ts';
import { definition, outboxRow, parkedKey, timerKey, timerRow, working } from '../support/work-units.ts';
import { TestReactor, World } from '../support/world.ts';

const postgres = await testPostgres();
const NOBODY = new Uint8Array(0);

async function open(t: TestContext, connectionString: string): Promise<Store> {
  const store = await openPostgres({ connectionString });
  t.after(() => store.close());
  return store;
}

async function session(t: TestContext, url: string): Promise<pg.Client> {
  const client = new pg.Client(url);
  client.on('error', () => {});
  await client.connect();
  t.after(() => client.end().catch(() => {}));
  return client;
}

const kindsOf = (results: { kind: string }[]) => results.map(({ kind }) => kind);

describe('postgres: beside others', { skip: postgres.missing }, () => {
  test('trap 2: a transaction that somebody else writes in and leaves open holds up no reader', async (t) => {
    const url = await postgres.database();
    const store = await open(t, url);
    const other = await session(t, url);
    await other.query('CREATE TABLE public.others (a int); BEGIN; INSERT INTO public.others VALUES (1)');
    for (let n = 1; n <= 20; n++) {
      await store.commit([writing(freshStream(), NO_STREAM)]);
      const { books, through } = await store.readLog({ after: n - 1, filter: {}, ...MANY });
      assert.deepEqual([books.length, through], [1, n]);
    }
    await other.query('ROLLBACK');
  });

  test('trap 6: daemons that lock the same rows in all orders never wait for each other in a circle', async (t) => {
    const url = await postgres.database();
    const stores = await Promise.all([1, 2, 3].map(() => open(t, url)));
    const [first] = stores as [Store, Store, Store];
    const { name } = await first.declare(definition({ kind: 'process_manager', partitions: 3 }));
    await first.heartbeat('a', NOBODY, 600_000);
    const partitions = await Promise.all(
      [0, 1, 2].map(async (partition) => {
        const key = { subscription: name, generation: 1, partition };
        return { key, epoch: (await first.acquire(key, 'a', 1))!.epoch };
      }),
    );
    const streams = Array.from({ length: 5 }, () => freshStream());
    await first.commit(streams.map((stream) => writing(stream, NO_STREAM)));
    const shuffled = <T>(all: readonly T[]) => all.toSorted(() => Math.random() - 0.5);
    let position = 10;
    const writer = async (store: Store) => {
      for (let n = 0; n < 40; n++) {
        const units = shuffled(partitions).map(({ key, epoch }, i) => {
          position++;
          const timer = timerRow(timerKey(name, `p${i}`, 't'), 9);
          return working({
            fences: [{ partition: key, epoch }],
            done: [{ partition: key, position }],
            parked: [{ partition: key, key: `k${position}`, version: 0, row: parkedKey(key, `k${position}`) }],
            outboxAdded: [outboxRow(key, { position })],
            timers: [{ key: timer, version: undefined, row: timer }],
          });
        });
        const appends = shuffled(streams).map((stream) => ({
          ...writing(stream, ANY),
          outcomes: [outcome(freshKey())],
        }));
        const [some, others] = await Promise.all([
          store.commit(shuffled([...units, ...appends])),
          store.commit(units.slice(1)),
        ]);
        assert(
          kindsOf(some).every((kind) => kind === 'committed'),
          JSON.stringify(some),
        );
        // The same units again, or before: they answer as themselves.
        assert(
          kindsOf(others).every((kind) => kind === 'committed'),
          JSON.stringify(others),
        );
      }
    };
    await Promise.all([...stores, ...stores].map(writer));
    // Connections tell their statistics when they end.
    await Promise.all(stores.map((store) => store.close()));
    const text = 'SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()';
    assert.equal((await postgres.query(url, text))[0]!.deadlocks, '0');
  });

  test('trap 7: a unique index of somebody else is no conflict and no duplicate', async (t) => {
    const url = await postgres.database();
    const store = await open(t, url);
    const stream = freshStream();
    await store.commit([writing(stream, NO_STREAM)]);
    await postgres.query(url, 'CREATE UNIQUE INDEX mine ON daybook.events (type_url)');
    await assert.rejects(store.commit([writing(stream, exactly(1))]), {
      reason: 'INTERNAL',
      message: /"mine" \(23505\)/,
    });
    await postgres.query(url, 'DROP INDEX daybook.mine; CREATE UNIQUE INDEX mine ON daybook.outcomes (kind)');
    const keyed = () => unit({ outcomes: [outcome(freshKey())] });
    assert.deepEqual(kindsOf(await store.commit([keyed()])), ['committed']);
    await assert.rejects(store.commit([keyed()]), { reason: 'INTERNAL', message: /"mine" \(23505\)/ });
  });

  test('trap 33: twenty subscriptions of ten tenants need no connection more than one of one', async (t) => {
    const counts: unknown[] = [];
    for (const subscriptions of [1, 20]) {
      const url = await postgres.database();
      const store = await open(t, url);
      const seen = new Set<string>();
      const reactors = Array.from(
        { length: subscriptions },
        (_, i) =>
          new TestReactor('saga', `saga-${i}`, ({ source }) => {
            seen.add(`${i} ${source!.cover!.tenant}`);
            return { commands: [], events: [] };
          }),
      );
      await using world = await World.open({ store, reactors });
      const tenants = subscriptions === 1 ? 1 : 10;
      for (let n = 0; n < tenants; n++) {
        await store.commit([writing({ ...freshStream(), tenant: `t${n}` }, NO_STREAM)]);
      }
      await eventually('all of them have seen all of it', () => seen.size === subscriptions * tenants);
      const text = `SELECT count(*)::int AS open FROM pg_stat_activity
        WHERE application_name = 'daybook' AND datname = current_database()`;
      counts.push((await postgres.query(url, text))[0]!.open);
      await world.stop();
    }
    assert.equal(counts[0], counts[1]);
  });
});
