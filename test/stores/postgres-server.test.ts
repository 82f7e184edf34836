// What only a server with many clients can do: plans, locks, roles, migrations, restarts.

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { after, describe, type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { LogTail } from '../../src/delivery/log-tail.ts';
import { READING } from '../../src/delivery/reading.ts';
import { DaybookError } from '../../src/errors.ts';
import { streamText } from '../../src/model/stream.ts';
import { systemRuntime } from '../../src/runtime.ts';
import type { Store, Unit, UnitResult } from '../../src/store.ts';
import { commitValues, plainValues } from '../../src/stores/postgres/commit.ts';
import { SESSION, toNumber } from '../../src/stores/postgres/connect.ts';
import { deliverySql } from '../../src/stores/postgres/delivery/statements.ts';
import { migratePostgres, type OpenPostgres, openPostgres } from '../../src/stores/postgres/index.ts';
import { migrations } from '../../src/stores/postgres/migrate.ts';
import { logSql } from '../../src/stores/postgres/queries.ts';
import { eventually } from '../support/eventually.ts';
import { startPostgres, testPostgres } from '../support/postgres.ts';
import {
  ANY,
  append,
  exactly,
  freshKey,
  freshStream,
  MANY,
  NO_STREAM,
  outcome,
  unit,
  writing,
} from '../support/store-units.ts';
import {
  definition,
  outboxRow,
  parkedKey,
  projection,
  timerKey,
  timerRow,
  work,
  working,
} from '../support/work-units.ts';

const postgres = await testPostgres();
const NOBODY = new Uint8Array(0);
/** For longer runs than those of every day. */
const APPEND_SECONDS = Number(process.env.DAYBOOK_TEST_APPEND_SECONDS ?? 3);

/** Closed at the end of the test, also of one that fails. */
async function open(t: TestContext, options: OpenPostgres): Promise<Store> {
  const store = await openPostgres(options);
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

/** Every append waits now and then in the middle of its transaction; some are rolled back, and some tried again, too. */
async function disturbAppends(url: string, rollbacks: boolean): Promise<void> {
  const failing = `IF random() < 0.1 THEN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END IF;
        IF random() < 0.1 THEN RAISE EXCEPTION 'rolled back'; END IF;`;
  await postgres.query(
    url,
    `CREATE FUNCTION daybook.disturb() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        IF random() < 0.3 THEN PERFORM pg_sleep(random() * 0.02); END IF;
        ${rollbacks ? failing : ''}
        RETURN NULL;
      END $$;
      CREATE TRIGGER disturb_before BEFORE INSERT ON daybook.events FOR EACH STATEMENT EXECUTE FUNCTION daybook.disturb();
      CREATE TRIGGER disturb_after AFTER INSERT ON daybook.outcomes FOR EACH STATEMENT EXECUTE FUNCTION daybook.disturb()`,
  );
}

/** 20 aggregates of 500 events each, and the database knows it. */
async function fewLongStreams(store: Store, url: string): Promise<void> {
  const streams = Array.from({ length: 20 }, () => freshStream());
  for (let i = 0; i < 5; i++) await store.commit(streams.map((stream) => writing(stream, ANY, 100)));
  await postgres.query(url, 'ANALYZE');
}

const reasonOf = (thrown: unknown) => (thrown instanceof DaybookError ? thrown.reason : String(thrown));

test('trap 12: numbers from the database are safe integers or a defect', () => {
  assert.equal(toNumber('9007199254740991'), Number.MAX_SAFE_INTEGER);
  assert.equal(toNumber('-5'), -5);
  assert.throws(() => toNumber('9007199254740992'), /not a safe integer/);
});

describe('postgres: plans', { skip: postgres.missing }, () => {
  /** A unit of every shape, so that every statement of the commit is executed. */
  const everything = async (store: Store): Promise<Unit[]> => {
    const { name } = await store.declare(definition({ kind: 'projector' }));
    const partition = { subscription: name, generation: 1, partition: 0 };
    await store.heartbeat('a', NOBODY, 60_000);
    const { epoch } = (await store.acquire(partition, 'a', 1))!;
    const stream = freshStream();
    const timer = timerRow(timerKey(name, 'p', 't'), 9);
    const [key, other] = [freshKey(), freshKey()];
    await store.commit([writing(stream, ANY), unit({ outcomes: [outcome(other)] })]);
    return [
      unit({ appends: [append(stream, ANY, 2), append(freshStream(), NO_STREAM)], outcomes: [outcome(key)] }),
      writing(stream, exactly(0)),
      working({
        fences: [{ partition, epoch }],
        cursors: [{ partition: { ...partition }, epoch, from: 0, to: 3 }].slice(0, 1),
        done: [{ partition, position: 7 }],
        parked: [{ partition, key: 'k', version: 0, row: parkedKey(partition, 'k') }],
        outboxAdded: [outboxRow(partition, { position: 7 })],
        timers: [{ key: timer, version: 0, row: timer }],
        timersEnded: [{ tenant: '', subscription: name, process: 'q' }],
        projections: [projection(name, 'k')],
      }),
    ];
  };

  /** How the statements inside of a commit were executed, without costs. */
  const plansOf = async (client: pg.Client, units: Unit[], partitionEvents = 0): Promise<string[]> => {
    const plans: string[] = [];
    const note = ({ message }: { message?: string }) => plans.push(String(message));
    client.on('notice', note);
    await client.query(`LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_level = notice;
      SET auto_explain.log_nested_statements = on`);
    await client.query(logSql('daybook').commit, commitValues(units));
    // To a stream of which all events are there by now.
    const { stream, pages } = units[0]!.appends[0]!;
    const plain = { ...writing(stream, exactly(1 + pages.length)), outcomes: [outcome(freshKey())] };
    const { rows } = await client.query(logSql('daybook').commitPlain, plainValues([plain], partitionEvents));
    assert.notEqual(rows[0].commit_plain_unit, null);
    client.off('notice', note);
    const ofEvent = plans.find((text) => text.includes('w.next, h.id'))!;
    assert.equal(
      ofEvent.match(/Backward using events(_0)?_pkey/g)?.length,
      1,
      `the last position is looked up once\n${ofEvent}`,
    );
    return plans.map((plan) =>
      plan
        .replace(/^.*duration: .*$/m, '')
        .replaceAll(/ +\(cost=.*?\)/g, '')
        .trim(),
    );
  };

  for (const partitionEvents of [0, 100_000]) {
    const title = partitionEvents === 0 ? '' : ' (in partitions)';
    test(`trap 51: a commit's plans are those of a full log from the first day on${title}`, async (t) => {
      const url = await postgres.emptyDatabase();
      const store = await open(t, { connectionString: url, partitionEvents });
      const first = await plansOf(await session(t, url), await everything(store), partitionEvents);
      assert(first.length > 25, `${first.length} statements were seen`);
      for (const plan of first) {
        for (const [, table] of plan.matchAll(/Seq Scan on (\w+)/g)) assert.equal(table, 'log', plan);
        assert.doesNotMatch(plan, /Hash Join|Merge Join|Bitmap/, plan);
      }
      const text = first.join('\n');
      assert.match(text, /Index Only Scan Backward using events(_0)?_pkey/, 'the last position');
      assert.match(
        text,
        /Index Scan using streams_by_key on streams h[\s\S]*Index Scan Backward using events(_by_stream|_0_stream_sequence_idx)/,
      );
      assert.match(text, /Index Scan using outcomes_by_key on outcomes/);
      assert.match(text, /Index Scan using cursors_pkey on cursors/);
      for (let i = 0; i < 20; i++) {
        await store.commit(Array.from({ length: 500 }, () => writing(freshStream(), NO_STREAM)));
      }
      await postgres.query(url, 'ANALYZE');
      const later = await plansOf(await session(t, url), await everything(store), partitionEvents);
      const shape = (plans: string[]) =>
        new Set(plans.flatMap((plan) => plan.match(/(Index|Seq|Function)[\w ]* Scan.*/g) ?? []));
      if (partitionEvents === 0) assert.deepEqual(shape(later), shape(first));
    });
  }

  test('trap 51: appending does not slow down when the database learns that few aggregates have most of the events', async (t) => {
    const url = await postgres.database();
    const store = await open(t, { connectionString: url });
    await fewLongStreams(store, url);
    const text = (await plansOf(await session(t, url), await everything(store))).join('\n');
    assert.match(text, /Index Scan using streams_by_key on streams h[\s\S]*Index Scan Backward using events_by_stream/);
    assert.doesNotMatch(text, /Sort Key: x\.sequence/);
  });

  for (const filled of [false, true]) {
    test(`trap 3: every hot read uses the index that was made for it${filled ? ', also when few aggregates have most of the events' : ''}`, async (t) => {
      const url = await postgres.database();
      if (filled) await fewLongStreams(await open(t, { connectionString: url }), url);
      const client = await session(t, url);
      await client.query(`SET plan_cache_mode = force_generic_plan; ${SESSION}`);
      let statements = 0;
      const plan = async (text: string) => {
        const name = `s${++statements}`;
        await client.query(`PREPARE ${name} AS ${text}`);
        const parameters = Math.max(0, ...[...text.matchAll(/\$(\d+)/g)].map(([, n]) => Number(n)));
        const nulls = parameters === 0 ? '' : `(${Array(parameters).fill('NULL')})`;
        const { rows } = await client.query(`EXPLAIN (COSTS OFF) EXECUTE ${name}${nulls}`);
        return rows.map((row) => row['QUERY PLAN']).join('\n');
      };
      const log = logSql('daybook');
      const delivery = deliverySql('daybook');
      const plans: [string, RegExp][] = [
        [log.head, /Index Scan Backward using events_pkey/],
        [
          log.openStreams,
          /streams_by_key[\s\S]*events_by_stream[\s\S]*snapshots_pkey[\s\S]*outcomes_by_key[\s\S]*events_by_stream/,
        ],
        [log.scanStream, /streams_by_key[\s\S]*Index Scan using events_by_stream/],
        [log.findSnapshot, /streams_by_key[\s\S]*Index Scan Backward using snapshots_pkey/],
        [log.scanLog, /Index Scan using events_pkey[\s\S]*Index Scan using events_pkey/],
        [log.scanCorrelation, /Index Scan using events_by_correlation/],
        [log.findStreams, /Index Scan using streams_pkey/],
        [log.findTimes, /using times_pkey[\s\S]*Backward using times_pkey[\s\S]*Backward using events_pkey/],
        [log.findEventSince, /Index Scan using events_pkey/],
        [log.listStreams, /Index Scan using streams_by_key/],
        [log.findOutcome, /Index Scan using outcomes_by_key/],
        [log.listOutcomes, /Index Scan using outcomes_by_correlation/],
        [log.expireOutcomes, /Index Scan using outcomes_by_expiry/],
        [delivery.listDone, /Index Only Scan using done_by_position/],
        [delivery.findParked, /Index Scan using parked_by_key/],
        [delivery.listParked, /Index Scan using parked_by_key/],
        [delivery.dueOutbox, /Index Scan using outbox_due/],
        [delivery.nextOutboxDue, /Index Only Scan using outbox_due/],
        [delivery.dueForwarded, /Index Scan using outbox_forwarded/],
        [delivery.nextDue, /Index Only Scan using outbox_due[\s\S]*Index Only Scan using timers_due/],
        [delivery.findOutbox, /Index Scan using outbox_by_key/],
        [delivery.listOutbox, /Index Scan using outbox_by_key/],
        [delivery.listDeadOutbox, /Index Scan using outbox_dead/],
        [delivery.listCorrelatedOutbox, /Index Scan using outbox_by_correlation/],
        [delivery.dueTimers, /Index Scan using timers_due/],
        [delivery.nextTimerDue, /Index Only Scan using timers_due/],
        [delivery.findTimer, /Index Scan using timers_by_key/],
        [delivery.findProjections, /Index Scan using projections_by_key/],
        [delivery.findAnyProjection, /Scan using projections_by_key/],
        [delivery.listProjectionsFromTo, /Index Scan using projections_by_key/],
        [delivery.projectionsOf, /Index Scan using projections_by_stream/],
      ];
      const sorted: string[] = [log.expireOutcomes, delivery.listCorrelatedOutbox, delivery.dueForwarded];
      const looked = filled ? plans.filter(([text]) => (Object.values(log) as string[]).includes(text)) : plans;
      for (const [text, expected] of looked) {
        const found = await plan(text);
        assert.match(found, expected, text);
        assert.doesNotMatch(found.replaceAll('Seq Scan on log', ''), /Seq Scan/, `${text}\n${found}`);
        if (!sorted.includes(text)) assert.doesNotMatch(found, /Sort/, `${text}\n${found}`);
      }
    });
  }

  test('a read of a long correlation looks at no more events than it may answer', async (t) => {
    const url = await postgres.database();
    const store = await open(t, { connectionString: url });
    const stream = freshStream();
    for (let i = 0; i < 4; i++) {
      await store.commit([unit({ appends: [{ ...append(stream, ANY, 500), correlationId: 'c' }] })]);
    }
    const client = await session(t, url);
    await client.query(
      `SET plan_cache_mode = force_generic_plan; ${SESSION}; PREPARE s AS ${logSql('daybook').scanCorrelation}`,
    );
    const { rows } = await client.query(`EXPLAIN (ANALYZE, TIMING OFF) EXECUTE s (0, 1000000, 1000000000, 'c', 10)`);
    const [scan, ...more] = rows
      .map((row) => /using events_by_correlation.*actual rows=(\d+)/.exec(row['QUERY PLAN'])?.[1])
      .filter((found) => found !== undefined);
    assert.equal(more.length, 0);
    assert.ok(Number(scan) >= 10 && Number(scan) <= 11, `${scan} events were looked at`);
  });

  test('traps 10 and 51: an event updates no row, and a cursor moves within its page, also beside a snapshot held open', async (t) => {
    const url = await postgres.database();
    const store = await open(t, { connectionString: url });
    const holder = await session(t, url);
    await holder.query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM daybook.streams');
    const { name } = await store.declare(definition());
    const partition = { subscription: name, generation: 1, partition: 0 };
    await store.heartbeat('a', NOBODY, 60_000);
    const { epoch } = (await store.acquire(partition, 'a', 1))!;
    const streams = Array.from({ length: 20 }, () => freshStream());
    for (let n = 0; n < 50; n++) {
      const cursors = [{ partition, epoch, from: n, to: n + 1 }];
      const units = streams.map((stream) => writing(stream, exactly(n)));
      const kinds = (await store.commit([...units, working({ cursors })])).map(({ kind }) => kind);
      assert(kinds.every((kind) => kind === 'committed'));
    }
    await store.close();
    await eventually('the statistics are there', async () => {
      const rows = await postgres.query(
        url,
        'SELECT relname, n_tup_ins, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables',
      );
      const of = (table: string) => rows.find((row) => row.relname === table)!;
      if (Number(of('events').n_tup_ins) < 1000 || Number(of('cursors').n_tup_upd) < 51) return undefined;
      assert.deepEqual([of('events').n_tup_upd, of('streams').n_tup_upd, of('log').n_tup_upd], ['0', '0', '1']);
      assert.equal(of('cursors').n_tup_upd, '51');
      // A page holds so many versions; nothing can be cleaned up while the snapshot is open.
      assert(Number(of('cursors').n_tup_hot_upd) >= 45, `${of('cursors').n_tup_hot_upd} of 51 stayed within the page`);
      return true;
    });
  });
});

describe('postgres: the log', { skip: postgres.missing }, () => {
  test('trap 13: events can be neither changed nor removed, nor all of them at once', async (t) => {
    for (const partitionEvents of [0, 100_000]) {
      const url = await postgres.emptyDatabase();
      const store = await open(t, { connectionString: url, partitionEvents });
      await store.commit([writing(freshStream(), ANY, 3)]);
      for (const table of partitionEvents === 0 ? ['events'] : ['events', 'events_0']) {
        const refused = (text: string, why: RegExp) => assert.rejects(postgres.query(url, text), why);
        await refused(`UPDATE daybook.${table} SET type_url = ''`, /events are never changed/);
        await refused(`DELETE FROM daybook.${table} WHERE position = 2`, /events are never removed/);
        await refused(`TRUNCATE daybook.${table}`, /events are never removed/);
        await refused(`TRUNCATE daybook.${table} CASCADE`, /events are never removed/);
      }
      assert.equal((await store.head()).position, 3);
    }
  });

  for (const rollbacks of [false, true]) {
    const inside = rollbacks ? 'delays and rollbacks' : 'delays';
    test(`trap 1: 8 appenders over 3 daemons with ${inside} inside: who follows sees every position once, in order`, async (t) => {
      const url = await postgres.database();
      await disturbAppends(url, rollbacks);
      const stores = await Promise.all([1, 2, 3].map(() => open(t, { connectionString: url })));
      const until = performance.now() + APPEND_SECONDS * 1000;
      const results: UnitResult[] = [];
      let rolledBack = 0;
      const appender = async (store: Store) => {
        while (performance.now() < until) {
          const units = Array.from({ length: 1 + Math.floor(Math.random() * 5) }, (_, i) => ({
            ...writing(freshStream(), NO_STREAM, 1 + i),
            outcomes: Math.random() < 0.5 ? [outcome(freshKey())] : [],
          }));
          await store.commit(units).then(
            (all) => results.push(...all),
            (error) => {
              assert.equal(reasonOf(error), 'INTERNAL');
              rolledBack++;
            },
          );
        }
      };
      const read: number[] = [];
      let done = false;
      const reader = async (store: Store) => {
        for (let at = 0; !done || at < (await store.head()).position; ) {
          const { books, through } = await store.readLog({ after: at, filter: {}, maxEvents: 50, maxBytes: 1 << 20 });
          for (const book of books) read.push(...book.pages.map(({ position }) => position));
          at = through;
        }
      };
      const followed: number[] = [];
      const stop = new AbortController();
      t.after(() => stop.abort());
      const tail = new LogTail(stores[1]!, systemRuntime(), { deliveryBytes: 1 << 20 }, READING, 0);
      const follower = async () => {
        for await (const book of tail.follow({}, 0, stop.signal)) {
          followed.push(...book.pages.map(({ position }) => position));
        }
      };
      const reading = reader(stores[0]!);
      const following = follower();
      await Promise.all(Array.from({ length: 8 }, (_, i) => appender(stores[i % 3]!)));
      done = true;
      await reading;
      const { position } = await stores[1]!.head();
      await eventually('the follower is there, too', () => followed.length >= position);
      stop.abort();
      await following;
      tail.close();
      t.diagnostic(`${position} positions, ${rolledBack} batches rolled back`);
      assert(position > 100 && (!rollbacks || rolledBack > 5), `${position} positions, ${rolledBack} rolled back`);
      const all = Array.from({ length: position }, (_, i) => i + 1);
      assert.deepEqual(read, all);
      assert.deepEqual(followed, all);
      const starts = results.map((result) => (result.kind === 'committed' ? result.position : 0));
      assert.equal(new Set(starts).size, starts.length, 'no position was given twice');
    });
  }

  /** Of the functions that commit, when the store is closed. */
  const callsOf = async (store: Store, url: string): Promise<Record<string, number>> => {
    await store.close();
    const calls = async () => {
      const rows = await postgres.query(
        url,
        `SELECT funcname, calls FROM pg_stat_user_functions WHERE funcname LIKE 'commit%' AND calls > 0`,
      );
      return Object.fromEntries(rows.map(({ funcname, calls }) => [funcname, Number(calls)]));
    };
    // The statistics of a session are there when it has ended.
    return eventually('the calls are counted', async () => {
      const sessions = await postgres.query(
        url,
        `SELECT 1 FROM pg_stat_activity WHERE application_name = 'daybook' AND datname = current_database()`,
      );
      return sessions.length === 0 ? calls() : undefined;
    });
  };

  test('units that come one at a time leave behind what they leave in batches', async (t) => {
    const partitionEvents = 500;
    const streams = [freshStream(), freshStream(), freshStream()];
    const units = Array.from({ length: 2100 }, (_, n) => ({
      ...writing(streams[n % 3]!, exactly(Math.floor(n / 3))),
      outcomes: n % 2 === 0 ? [outcome(freshKey())] : [],
    }));
    assert(units.slice(3).every((unit) => plainValues([unit], partitionEvents) !== undefined));
    const tables = async (together: number) => {
      const url = await postgres.emptyDatabase();
      const store = await open(t, { connectionString: `${url}?options=-c%20track_functions%3Dpl`, partitionEvents });
      const results: UnitResult[] = [];
      for (let n = 0; n < units.length; n += together) {
        results.push(...(await store.commit(units.slice(n, n + together))));
      }
      const rows = (table: string, order: string) =>
        postgres.query(url, `SELECT * FROM daybook.${table} ORDER BY ${order}`);
      return {
        results,
        events: await rows('events', 'position'),
        streams: await rows('streams', 'id'),
        times: await rows('times', 'position'),
        outcomes: await rows('outcomes', 'position'),
        calls: await callsOf(store, url),
      };
    };
    const { calls, ...one } = await tables(1);
    // The first event of each stream, the two that have a row of times with them, and the first of each stream in four more partitions.
    assert.deepEqual(calls, { commit_plain_unit: 2097, commit_units: 3 + 2 + 4 * 3 });
    assert.deepEqual(
      one.results,
      units.map((_, n) => ({ kind: 'committed', position: n + 1, sequences: [Math.floor(n / 3)] })),
    );
    assert.equal(one.events.length, units.length);
    const { calls: batches, ...others } = await tables(7);
    assert.deepEqual(others, one);
    assert.deepEqual(batches, { commit_units: 300 });
  });

  test('what is committed has left before the call returns: the daemon goes on while the store works', async (t) => {
    const store = await open(t, { connectionString: await postgres.database() });
    const stream = freshStream();
    await store.commit([writing(stream, NO_STREAM)]);
    const sent = t.mock.method(pg.Client.prototype, 'query').mock;
    for (const [next, count] of [
      [1, 1],
      [2, 2],
    ] as const) {
      const units = Array.from({ length: count }, (_, i) => writing(stream, exactly(next + i)));
      const before = sent.callCount();
      const result = store.commit(units);
      assert.equal(sent.callCount(), before + 1, `${count} units`);
      assert.equal((await result).at(-1)!.kind, 'committed');
    }
  });

  test('an acknowledged commit is on the disk, whatever the default of the role, alone and in a batch', async (t) => {
    const url = await postgres.database();
    await postgres.query(
      url,
      `CREATE TABLE daybook.seen (setting text);
      CREATE FUNCTION daybook.see() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO daybook.seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;
      CREATE TRIGGER see AFTER INSERT ON daybook.events FOR EACH STATEMENT EXECUTE FUNCTION daybook.see()`,
    );
    const store = await open(t, { connectionString: `${url}?options=-c%20synchronous_commit%3Doff` });
    const stream = freshStream();
    await store.commit([writing(stream, NO_STREAM)]);
    await store.commit([writing(stream, exactly(1))]);
    assert.deepEqual(await postgres.query(url, 'SELECT setting FROM daybook.seen'), [
      { setting: 'on' },
      { setting: 'on' },
    ]);
  });

  test('units without events do not wait for the log, nor do reads', async (t) => {
    const url = await postgres.database();
    const store = await open(t, { connectionString: url });
    const holder = await session(t, url);
    await holder.query(
      `BEGIN; SELECT pg_advisory_xact_lock(hashtext('daybook log'), 'daybook.log'::regclass::oid::integer)`,
    );
    const waiting = store.commit([writing(freshStream(), ANY)]);
    const [result] = await store.commit([unit({ outcomes: [outcome(freshKey())], work: work() })]);
    assert.deepEqual(result, { kind: 'committed', position: 0, sequences: [] });
    assert.equal((await store.head()).position, 0);
    await holder.query('COMMIT');
    assert.equal((await waiting)[0]!.kind, 'committed');
  });

  test('one key at the same moment with and without events, by two daemons: one takes effect', async (t) => {
    const url = await postgres.database();
    const stores = [await open(t, { connectionString: url }), await open(t, { connectionString: url })];
    for (let round = 0; round < 20; round++) {
      const keys = [freshKey(), freshKey()];
      const units = [
        unit({ appends: [append(freshStream(), ANY)], outcomes: keys.map((key) => outcome(key)) }),
        unit({ outcomes: keys.toReversed().map((key) => outcome(key)) }),
        unit({ outcomes: keys.map((key) => outcome(key)) }),
      ];
      const results = await Promise.all(units.map((one, i) => stores[i % 2]!.commit([one])));
      assert.deepEqual(
        results
          .flat()
          .map(({ kind }) => kind)
          .sort(),
        ['committed', 'duplicate', 'duplicate'],
      );
    }
  });

  test('a key that comes with an event alone, and at the same moment without any: one takes effect', async (t) => {
    const url = await postgres.database();
    const stores = [await open(t, { connectionString: url }), await open(t, { connectionString: url })];
    const stream = freshStream();
    await stores[0]!.commit([writing(stream, NO_STREAM)]);
    for (let round = 0, next = 1; round < 40; round++) {
      const key = freshKey();
      const plain = { ...writing(stream, exactly(next)), outcomes: [outcome(key)] };
      const [[withEvent], [without]] = (await Promise.all([
        stores[0]!.commit([plain]),
        stores[1]!.commit([unit({ outcomes: [outcome(key)] })]),
      ])) as [UnitResult[], UnitResult[]];
      assert.deepEqual([withEvent!.kind, without!.kind].sort(), ['committed', 'duplicate']);
      if (withEvent!.kind === 'committed') next++;
      assert.equal((await stores[0]!.readStream(stream, { from: 0, maxBytes: Infinity })).nextSequence, next);
    }
  });

  test('a lane of the outbox keeps its head when it grows and shrinks at the same moment', async (t) => {
    const url = await postgres.database();
    const store = await open(t, { connectionString: url });
    const { name } = await store.declare(definition());
    const partition = { subscription: name, generation: 1, partition: 0 };
    let next = 1;
    await store.commit([working({ outboxAdded: [outboxRow(partition, { position: next })] })]);
    for (let round = 0; round < 60; round++) {
      const [head] = await store.dueOutbox(partition, Number.MAX_SAFE_INTEGER, 2);
      const removal = { key: head!, version: head!.version, row: undefined };
      const added = [outboxRow(partition, { position: ++next })];
      const events = round % 2 === 0 ? [append(freshStream(), ANY)] : [];
      const results = await Promise.all([
        store.commit([working({ outboxChanged: [removal] })]),
        store.commit([unit({ appends: events, work: work({ outboxAdded: added }) })]),
      ]);
      assert.deepEqual(
        results.flat().map(({ kind }) => kind),
        ['committed', 'committed'],
      );
      const due = await store.dueOutbox(partition, Number.MAX_SAFE_INTEGER, 2);
      assert.deepEqual(
        due.map(({ position }) => position),
        [next],
      );
    }
  });

  test('what has no limit is read with Infinity', async (t) => {
    const store = await open(t, { connectionString: await postgres.database() });
    const stream = freshStream();
    await store.commit([writing(stream, ANY, 600)]);
    const everything = { maxBytes: Infinity };
    assert.equal((await store.readStream(stream, { from: 0, to: Infinity, ...everything })).pages.length, 600);
    const opened = await store.openStream(stream, {
      from: 0,
      snapshotVersion: 1,
      outcomeKey: undefined,
      ...everything,
    });
    assert.equal(opened.pages.length, 600);
    for (const filter of [{}, { correlationId: 'c' }]) {
      const read = await store.readLog({ after: 0, to: Infinity, filter, maxEvents: Infinity, ...everything });
      assert.equal(read.through, 600);
    }
    assert.equal((await store.listStreams({ limit: Infinity })).length, 1);
    assert.equal(await store.positionBefore(Infinity), 600);
    const partition = { subscription: 's', generation: 1, partition: 0 };
    assert.deepEqual(await store.dueOutbox(partition, Infinity, Infinity), []);
  });

  test('trap 34: any number of calls at once on few connections', async (t) => {
    const url = await postgres.database();
    const store = await open(t, { connectionString: url });
    const stream = freshStream();
    await Promise.all(
      Array.from({ length: 300 }, (_, i) => [
        store.commit([writing(stream, ANY)]),
        store.commit([unit({ outcomes: [outcome(freshKey())] })]),
        store.readStream(stream, { from: 0, maxBytes: 1000 * i }),
      ]).flat(),
    );
    assert.equal((await store.head()).position, 300);
    const text = `SELECT count(*)::int AS open FROM pg_stat_activity WHERE application_name = 'daybook' AND datname = current_database()`;
    assert.equal((await postgres.query(url, text))[0]!.open, 4);
  });
});

describe('postgres: who may what', { skip: postgres.missing }, () => {
  test('a role with the documented grants and no more runs a daemon, and cannot change the log', async (t) => {
    const url = await postgres.emptyDatabase();
    await migratePostgres({ connectionString: url, partitionEvents: 400 });
    const docs = readFileSync(new URL('../../docs/postgresql.md', import.meta.url), 'utf8');
    const grants = /```sql\n-- What a daemon needs\.\n([\s\S]*?)```/.exec(docs)![1]!;
    const role = `daybook_app_${process.pid}`;
    await postgres.query(url, `DROP ROLE IF EXISTS ${role}; CREATE ROLE ${role} LOGIN PASSWORD 'app'`);
    await postgres.query(url, grants.replaceAll('daybook_app', role));
    const own = new URL(url);
    own.username = role;
    own.password = 'app';
    const store = await open(t, { connectionString: own.href });
    const { name } = await store.declare(definition({ kind: 'projector' }));
    const partition = { subscription: name, generation: 1, partition: 0 };
    await store.heartbeat('a', NOBODY, 60_000);
    const { epoch } = (await store.acquire(partition, 'a', 1))!;
    const timer = timerRow(timerKey(name, 'p', 't'), 9);
    for (let i = 0; i < 3; i++) await store.commit([writing(freshStream(), ANY, 600)]);
    const [result] = await store.commit([
      unit({
        appends: [append(freshStream(), ANY)],
        outcomes: [outcome(freshKey(), { expiresAtMicros: 1 })],
        work: work({
          cursors: [{ partition, epoch, from: 0, to: 3 }],
          done: [{ partition, position: 7 }],
          parked: [{ partition, key: 'k', version: 0, row: parkedKey(partition, 'k') }],
          outboxAdded: [outboxRow(partition, { position: 7 })],
          timers: [{ key: timer, version: 0, row: timer }],
          projections: [projection(name, 'k')],
        }),
      }),
    ]);
    assert.equal(result!.kind, 'committed');
    assert.equal(await store.expireOutcomes(2, 10), 1);
    await store.release(partition, epoch);
    await store.setPaused(name, true);
    await store.leave('a');
    assert.equal(await store.switchGeneration(name, 1, 2), false);
    assert.equal(await store.removeGeneration(name, 1, 10), true);
    for (const text of [
      `UPDATE daybook.events SET type_url = ''`,
      'DELETE FROM daybook.events',
      'TRUNCATE daybook.events',
      'DROP TABLE daybook.events',
      'UPDATE daybook.log SET log_id = gen_random_uuid()',
      'CREATE TABLE daybook.mine (a int)',
    ]) {
      await assert.rejects(postgres.query(own.href, text), { code: '42501' }, text);
    }
    await store.close();
    const other = { connectionString: own.href, schema: 'another' };
    await assert.rejects(openPostgres(other), { reason: 'STORE_UNAVAILABLE', message: /run daybook migrate/ });
    await postgres.query(url, `DROP OWNED BY ${role}; DROP ROLE ${role}`);
  });

  test('ten daemons that start at once migrate once', async (t) => {
    const url = await postgres.emptyDatabase();
    const stores = await Promise.all(Array.from({ length: 10 }, () => open(t, { connectionString: url })));
    const heads = await Promise.all(stores.map((store) => store.head()));
    assert.equal(new Set(heads.map(({ logId, incarnation }) => logId + incarnation)).size, 1);
    const rows = await postgres.query(url, 'SELECT version FROM daybook.migrations');
    assert.equal(rows.length, migrations().length);
  });

  test('whoever migrates needs a schema of its own and no rights on the database', async () => {
    const url = await postgres.emptyDatabase();
    const role = `daybook_migrator_${process.pid}`;
    await postgres.query(url, `CREATE ROLE ${role} LOGIN PASSWORD 'own'; CREATE SCHEMA orders AUTHORIZATION ${role}`);
    const own = new URL(url);
    own.username = role;
    own.password = 'own';
    const refused = { reason: 'STORE_UNAVAILABLE', message: /this role may not/ };
    await assert.rejects(migratePostgres({ connectionString: own.href }), refused);
    assert.equal((await migratePostgres({ connectionString: own.href, schema: 'orders' })).length, migrations().length);
    const store = await openPostgres({ connectionString: own.href, schema: 'orders' });
    assert.equal((await store.commit([writing(freshStream(), ANY)]))[0]!.kind, 'committed');
    await store.close();
    await postgres.query(url, `DROP OWNED BY ${role}; DROP ROLE ${role}`);
  });

  test('a dry run says what is missing and changes nothing', async () => {
    const url = await postgres.emptyDatabase();
    const names = migrations().map(({ name }) => name);
    const dry = await migratePostgres({ connectionString: url, dryRun: true });
    assert.deepEqual(
      dry.map(({ name }) => name),
      names,
    );
    assert.equal((await postgres.query(url, `SELECT 1 FROM pg_namespace WHERE nspname = 'daybook'`)).length, 0);
    const done = await migratePostgres({ connectionString: url });
    assert.deepEqual(
      done.map(({ name }) => name),
      names,
    );
    assert.deepEqual(await migratePostgres({ connectionString: url, dryRun: true }), []);
  });

  test('a schema from the next version is fine, further ones and older ones are told in a sentence, strangers too', async (t) => {
    const url = await postgres.database();
    const refused = (sentence: RegExp, options: Partial<OpenPostgres> = {}) =>
      assert.rejects(openPostgres({ connectionString: url, ...options }), {
        reason: 'STORE_UNAVAILABLE',
        message: sentence,
      });
    const known = migrations().length;
    await postgres.query(url, `INSERT INTO daybook.migrations VALUES (${known + 1}, 'next')`);
    const store = await open(t, { connectionString: url });
    assert.equal((await store.commit([writing(freshStream(), ANY)]))[0]!.kind, 'committed');
    await postgres.query(url, `INSERT INTO daybook.migrations VALUES (${known + 2}, 'further')`);
    await refused(new RegExp(`its version is ${known + 2}, this Daybook knows ${known}`));
    await postgres.query(url, `DELETE FROM daybook.migrations WHERE version >= ${known}`);
    await refused(/run daybook migrate/, { migrate: false });
    await refused(/run daybook migrate/, { readOnly: true });
    await refused(/run daybook migrate/, { schema: 'nothing', migrate: false });
    await postgres.query(url, 'CREATE SCHEMA shop; CREATE TABLE shop.log (a int)');
    await refused(/belongs to another program/, { schema: 'shop' });
    await refused(/cannot be used: .*ECONNREFUSED/, { connectionString: 'postgres://nobody@127.0.0.1:1/x' });
    await refused(/does not exist/, { connectionString: url.replace(/[^/]*$/, 'missing') });
  });

  test('another schema is another log, and a copy of a database another incarnation of the same', async (t) => {
    const url = await postgres.database();
    const first = await open(t, { connectionString: url });
    const second = await open(t, { connectionString: url, schema: 'second' });
    await first.commit([writing(freshStream(), ANY)]);
    const head = await first.head();
    assert.equal((await second.head()).position, 0);
    assert.notEqual((await second.head()).logId, head.logId);
    await Promise.all([first.close(), second.close()]);
    const again = await open(t, { connectionString: url });
    assert.deepEqual(await again.head(), head, 'the same place, the same incarnation');
    await again.close();
    const copy = new URL(url);
    copy.pathname = `${copy.pathname}_copy`;
    await postgres.query(
      url.replace(/[^/]*$/, 'postgres'),
      `CREATE DATABASE ${copy.pathname.slice(1)} TEMPLATE ${new URL(url).pathname.slice(1)}`,
    );
    const stores = await Promise.all([1, 2].map(() => open(t, { connectionString: copy.href })));
    const heads = await Promise.all(stores.map((store) => store.head()));
    assert.deepEqual(heads[0], heads[1]);
    assert.equal(heads[0]!.logId, head.logId);
    assert.notEqual(heads[0]!.incarnation, head.incarnation);
    assert.deepEqual({ ...heads[0], incarnation: '' }, { ...head, incarnation: '' });
    for (const store of stores) await store.close();
    await postgres.query(url, `DROP DATABASE ${copy.pathname.slice(1)}`);
  });

  test('trap 6: a database that isolates transactions otherwise is told so when nothing can be set on the connection', async (t) => {
    const url = await postgres.database();
    await postgres.query(
      url,
      `ALTER DATABASE ${new URL(url).pathname.slice(1)} SET default_transaction_isolation = 'serializable'`,
    );
    const direct = await open(t, { connectionString: url });
    assert.equal((await direct.commit([writing(freshStream(), ANY)]))[0]!.kind, 'committed');
    const pooled = await open(t, { connectionString: url, pooler: true });
    await assert.rejects(pooled.commit([writing(freshStream(), ANY)]), {
      reason: 'STORE_UNAVAILABLE',
      message: /serializable, not read committed/,
    });
  });

  test('read-only beside daemons: sees what is committed, commits nothing', async (t) => {
    const url = await postgres.database();
    const store = await open(t, { connectionString: url });
    await store.commit([writing(freshStream(), ANY)]);
    const beside = await open(t, { connectionString: url, readOnly: true });
    assert.equal((await beside.head()).position, 1);
    await assert.rejects(beside.commit([writing(freshStream(), ANY)]), /read-only/);
  });

  test('closing waits for what is under way and refuses what comes later', async (t) => {
    const store = await open(t, { connectionString: await postgres.database() });
    const commits = Array.from({ length: 20 }, () => store.commit([writing(freshStream(), ANY)]));
    const closing = Promise.all([store.close(), store.close()]);
    await assert.rejects(store.head(), { reason: 'STORE_UNAVAILABLE', message: /it is closed/ });
    assert.equal((await Promise.all(commits)).length, 20);
    await closing;
  });
});

describe('postgres: when something stops', { skip: postgres.missing }, () => {
  const children: ChildProcess[] = [];
  after(() => {
    for (const child of children) child.kill('SIGKILL');
  });

  test('trap 51: a client that stands still in the middle of its commits stops nobody else', async (t) => {
    const url = await postgres.database();
    const store = await open(t, { connectionString: url });
    const script = new URL('./children/commit-to-postgres.ts', import.meta.url).pathname;
    const child = spawn(process.execPath, [script, url], { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    await once(child.stdout!, 'data');
    child.stdout!.resume();
    for (let i = 0; i < 15; i++) {
      await delay(Math.random() * 30);
      child.kill('SIGSTOP');
      const before = performance.now();
      assert.equal((await store.commit([writing(freshStream(), ANY)]))[0]!.kind, 'committed');
      // A held lock would end with a lock timeout after ten seconds.
      assert(performance.now() - before < 5_000, 'the log was locked');
      child.kill('SIGCONT');
    }
    child.kill('SIGKILL');
  });

  test('trap 8: a connection that is lost in the middle of a commit: the same unit again tells what happened', async (t) => {
    const url = await postgres.database();
    await postgres.query(
      url,
      `CREATE FUNCTION daybook.dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END $$;
      CREATE TRIGGER dawdle BEFORE INSERT ON daybook.events FOR EACH STATEMENT EXECUTE FUNCTION daybook.dawdle()`,
    );
    const store = await open(t, { connectionString: url });
    const one = unit({ appends: [append(freshStream(), NO_STREAM)], outcomes: [outcome(freshKey())] });
    const commit = store.commit([one]);
    const kill = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE datname = current_database() AND wait_event = 'PgSleep'`;
    const failed = assert.rejects(commit, (error) => reasonOf(error) === 'OUTCOME_UNKNOWN');
    await eventually('it was ended', async () => (await postgres.query(url, kill)).length > 0);
    await failed;
    const [first] = await store.commit([one]);
    assert.deepEqual(first, { kind: 'committed', position: 1, sequences: [0] });
    assert.deepEqual((await store.commit([one]))[0], first);
    assert.equal((await store.head()).position, 1);
  });

  test('trap 9: idle connections that the server ends are made anew unnoticed', async (t) => {
    const url = await postgres.database();
    const store = await open(t, { connectionString: url });
    await store.commit([writing(freshStream(), ANY), unit({ outcomes: [outcome(freshKey())] })]);
    for (let i = 0; i < 3; i++) {
      await postgres.query(
        url,
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'daybook'`,
      );
      await delay(50);
      assert.equal((await store.head()).position, i + 1);
      assert.equal((await store.commit([writing(freshStream(), ANY)]))[0]!.kind, 'committed');
    }
  });

  test('trap 9: a server that is restarted under load: nothing acknowledged is lost or doubled, and nobody is told a lie', async (t) => {
    const server = await startPostgres(['fsync=on']);
    assert(typeof server !== 'string', String(server));
    const url = server.url('postgres');
    const stores = await Promise.all([1, 2].map(() => open(t, { connectionString: url })));
    const told = { OUTCOME_UNKNOWN: 0, STORE_UNAVAILABLE: 0 };
    const acknowledged: Unit[] = [];
    const refused: Unit[] = [];
    let stop = false;
    t.after(() => {
      stop = true;
    });
    const hex = (one: Unit) => Buffer.from(one.unitId).toString('hex');
    const writer = async (store: Store) => {
      const stream = freshStream();
      let next = 0;
      let one = writing(stream, exactly(next));
      let unknown = false;
      while (!stop || unknown) {
        try {
          const [result] = await store.commit([one]);
          assert.equal(result!.kind, 'committed', `${streamText(stream)}: ${JSON.stringify(result)}`);
          acknowledged.push(one);
          next++;
        } catch (error) {
          const reason = reasonOf(error);
          assert(reason === 'OUTCOME_UNKNOWN' || reason === 'STORE_UNAVAILABLE', String(error));
          told[reason]++;
          unknown ||= reason === 'OUTCOME_UNKNOWN';
          await delay(5);
          // Nothing of it was stored: another unit takes its place. What is not known is sent again.
          if (unknown) continue;
          refused.push(one);
        }
        unknown = false;
        one = writing(stream, exactly(next));
      }
    };
    const writers = Promise.all(Array.from({ length: 6 }, (_, i) => writer(stores[i % 2]!)));
    for (const mode of ['immediate', 'fast', 'immediate'] as const) {
      const before = acknowledged.length;
      await eventually('it writes', () => (acknowledged.length > before + 200 ? true : undefined));
      await server.stop(mode);
      await delay(100);
      await server.start();
      const back = performance.now();
      const count = acknowledged.length;
      await eventually('it writes again', () => (acknowledged.length > count + 20 ? true : undefined));
      assert(performance.now() - back < 5_000, 'it takes long to come back');
    }
    stop = true;
    await writers;
    assert(told.OUTCOME_UNKNOWN > 0 && told.STORE_UNAVAILABLE > 0, JSON.stringify(told));
    const { books, through } = await stores[0]!.readLog({ after: 0, filter: {}, ...MANY });
    assert.equal(through, (await stores[0]!.head()).position);
    const stored = books.map((book) => Buffer.from(book.pages[0]!.unitId).toString('hex'));
    assert.deepEqual(stored.toSorted(), acknowledged.map(hex).sort());
    const ids = new Set(stored);
    assert(!refused.some((one) => ids.has(hex(one))), 'what was refused is not there');
    await Promise.all(stores.map((store) => store.close()));
    await server.stop('immediate');
  });
});
