// Where much of the log is to be read, PostgreSQL copies it out in binary. Nobody may see a difference.

import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import pg from 'pg';
import type { EventBook, EventPage } from '../../src/model/book.ts';
import { NO_ORIGIN } from '../../src/model/book.ts';
import type { LogFilter } from '../../src/model/filter.ts';
import { toTimestamp } from '../../src/model/time.ts';
import type { ReadLog, Store } from '../../src/store.ts';
import { Connection } from '../../src/stores/postgres/connect.ts';
import { Lost } from '../../src/stores/postgres/errors.ts';
import { type OpenPostgres, openPostgres } from '../../src/stores/postgres/index.ts';
import { StreamNames } from '../../src/stores/postgres/stream-names.ts';
import { testPostgres } from '../support/postgres.ts';
import { ANY, append, freshStream, page, unit } from '../support/store-units.ts';

const postgres = await testPostgres();
const skip = postgres.missing;
/** More than are copied at least, and fewer: such reads are answered by rows. */
const [MANY, FEW] = [500, 100];

async function open(t: TestContext, connectionString: string, options: Partial<OpenPostgres> = {}): Promise<Store> {
  const store = await openPostgres({ connectionString, ...options });
  t.after(() => store.close());
  return store;
}

/** Everything that a column can hold: in 700 events of 90 aggregates of two tenants and three domains, some in units of several pages. */
async function fill(store: Store): Promise<void> {
  const source = { root: { value: freshStream().root }, domain: 'order', correlationId: 'c', tenant: 'a' };
  const texts = ['', 'é', '\u{1f600} "quoted" \\ \n\t', 'x'.repeat(5000)];
  const streams = Array.from({ length: 90 }, (_, i) =>
    freshStream({ tenant: i % 2 === 0 ? '' : 'a', domain: ['order', 'stock', 'x-1'][i % 3]! }),
  );
  const pageOf = (n: number): EventPage =>
    page({
      type: `test.v${n % 3}.Happened`,
      // From none to more than a piece of the memory that rows are copied to.
      value: new Uint8Array([0, 1, 200, 4000, 5000, 70_000][n % 6]!).fill(n),
      createdAt: toTimestamp(1_700_000_000_000_000 + n * 1_000_003),
      occurredAt: n % 2 === 0 ? undefined : toTimestamp(n * 7),
      metadata: n % 4 === 0 ? {} : { [texts[n % 3]!]: texts[n % 4]! },
      origin:
        n % 5 === 0 ? undefined : { ...NO_ORIGIN, component: texts[n % 3]!, commands: ['C'], ...(n % 2 && { source }) },
    });
  for (let n = 0; n < 700; ) {
    const appends = [0, 1].map((k) =>
      append(
        streams[(n + k) % streams.length]!,
        ANY,
        Array.from({ length: 1 + (n % 3) }, (_, i) => pageOf(n + i)),
      ),
    );
    for (const { pages } of appends) n += pages.length;
    await store.commit([unit({ appends })]);
  }
}

/** The log, or part of it, in reads of so many events. */
async function all(store: Store, maxEvents: number, read: Partial<ReadLog> = {}): Promise<EventBook[]> {
  const { filter = {}, maxBytes = 1 << 30, to } = read;
  const books: EventBook[] = [];
  for (let after = read.after ?? 0; ; ) {
    const found = await store.readLog({ after, filter, maxEvents, maxBytes, ...(to !== undefined && { to }) });
    if (found.through === after) return books;
    books.push(...found.books);
    after = found.through;
  }
}

describe('a log that is copied', { skip }, () => {
  test('is what rows say of it, by any filter and limit', async (t) => {
    const url = await postgres.database();
    const writer = await open(t, url);
    await fill(writer);
    const copies = t.mock.method(Connection.prototype, 'copy').mock;
    const store = await open(t, url);
    const rows = await all(store, FEW);
    assert.equal(copies.callCount(), 0);
    assert.equal(rows.flatMap(({ pages }) => pages).length, (await store.head()).position);
    const copied = await all(store, MANY);
    assert.ok(copies.callCount() >= 2);
    assert.deepEqual(copied, rows);

    const filters: LogFilter[] = [
      { tenant: 'a' },
      { domains: ['stock', 'x-1'] },
      { tenant: '', domains: ['order'], types: ['test.v1.Happened'] },
      { domains: ['nothing'] },
    ];
    for (const filter of filters)
      assert.deepEqual(await all(store, MANY, { filter }), await all(store, FEW, { filter }));
    for (const maxBytes of [1, 5000, 100_000, 2_000_000]) {
      const before = copies.callCount();
      assert.deepEqual(await all(store, MANY, { maxBytes }), rows);
      assert.ok(copies.callCount() > before);
    }
  });

  test('ends where rows end: at the log’s end, at a position that was named, within a book', async (t) => {
    const url = await postgres.database();
    const store = await open(t, url);
    await fill(store);
    const { position: end } = await store.head();
    const rows = await all(store, FEW);
    const wide = rows.find(({ pages }) => pages.length === 3 && pages[0]!.position > 300)!;
    const within = wide.pages[1]!.position;
    for (const to of [within, within - 1, within + 1, end - 1, end, end + 1, end + 5000]) {
      const few = await all(store, FEW, { to });
      for (const maxEvents of [256, within - 1, within, MANY, end - 1, end, end + 1, Infinity]) {
        assert.deepEqual(await all(store, maxEvents, { to }), few, `to ${to}, at most ${maxEvents}`);
      }
    }
    for (const after of [within - 1, within, end - 256, end - 255]) {
      assert.deepEqual(await all(store, MANY, { after }), await all(store, FEW, { after }), `after ${after}`);
    }
    for (const after of [end, end + 1000]) {
      const beyond = await store.readLog({ after, filter: {}, maxEvents: MANY, maxBytes: 1 << 20 });
      assert.deepEqual(beyond, { books: [], through: after });
    }
  });

  const elsewhere: [string, Partial<OpenPostgres>][] = [
    ['behind a pooler', { pooler: true }],
    ['in tables of 100 events', { partitionEvents: 100 }],
  ];
  for (const [where, options] of elsewhere) {
    test(`${where}, too`, async (t) => {
      const store = await open(t, await postgres.emptyDatabase(), options);
      await fill(store);
      const copies = t.mock.method(Connection.prototype, 'copy').mock;
      const copied = await all(store, MANY);
      assert.ok(copies.callCount() >= 2);
      assert.deepEqual(copied, await all(store, FEW));
      assert.equal(copied.flatMap(({ pages }) => pages).length, (await store.head()).position);
    });
  }

  test('begins with rows, and is copied when it turns out to be long, or was written here', async (t) => {
    const url = await postgres.database();
    const writer = await open(t, url);
    await fill(writer);
    const copies = t.mock.method(Connection.prototype, 'copy').mock;
    const read = (store: Store, after: number) =>
      store.readLog({ after, filter: {}, maxEvents: 300, maxBytes: 1 << 30 });
    const reader = await open(t, url);
    const { through } = await read(reader, 0);
    assert.equal(copies.callCount(), 0);
    await read(reader, through);
    assert.equal(copies.callCount(), 1);
    await read(writer, 0);
    assert.equal(copies.callCount(), 2);
    // At the end there are few.
    await read(reader, (await reader.head()).position - 5);
    assert.equal(copies.callCount(), 2);
  });

  test('what was handed out is the reader’s own: it does not change with the next read', async (t) => {
    const store = await open(t, await postgres.database());
    await fill(store);
    const first = await all(store, MANY);
    const kept = structuredClone(first);
    await all(store, MANY);
    assert.deepEqual(first, kept);
  });
});

describe('copying out of a connection', { skip }, () => {
  const connect = async (t: TestContext) => {
    const connection = await Connection.open({ connectionString: await postgres.emptyDatabase() });
    t.after(() => connection.close());
    return connection;
  };
  const numbers = (connection: Connection, query: string, ...values: number[]) =>
    connection.copy(query, values, (row) => row.number());

  test('nothing, and numbers of every size', async (t) => {
    const connection = await connect(t);
    assert.deepEqual(await numbers(connection, 'SELECT 1::bigint WHERE false'), []);
    const max = Number.MAX_SAFE_INTEGER;
    const values = [0, 1, -1, 2 ** 31, 2 ** 32, -(2 ** 40), max, -max];
    const query = `SELECT n FROM (VALUES ${values.map((_, i) => `($${i + 1}::bigint)`)}) v(n)`;
    assert.deepEqual(await numbers(connection, query, ...values), values);
    assert.deepEqual(await numbers(connection, 'SELECT $1::bigint UNION ALL SELECT NULL', Infinity), [max, null]);
  });

  test('what the database refuses is told, and the connection goes on', async (t) => {
    const connection = await connect(t);
    await assert.rejects(numbers(connection, 'SELECT 1::bigint / 0'), pg.DatabaseError);
    assert.deepEqual(await numbers(connection, 'SELECT 7::bigint'), [7]);
  });

  test('what cannot be read ends the connection: after half an answer nothing can be told apart', async (t) => {
    const connection = await connect(t);
    await assert.rejects(numbers(connection, 'SELECT 9007199254740993::bigint'), (error) => {
      return error instanceof Lost && /9007199254740992 is not a safe integer/.test(error.message);
    });
    assert.ok(connection.lost);
  });

  test('a connection that breaks in the middle is lost', async (t) => {
    const connection = await connect(t);
    const [[pid]] = (await connection.query<[number]>({ text: 'SELECT pg_backend_pid()' })) as [[number]];
    const other = await connect(t);
    let rows = 0;
    let ended: Promise<unknown> | undefined;
    const copying = connection.copy('SELECT generate_series(1::bigint, 100000000)', [], () => {
      if (++rows === 1000) ended = other.query({ text: `SELECT pg_terminate_backend(${pid})` });
    });
    await assert.rejects(copying, (error) => error instanceof Lost || error instanceof pg.DatabaseError);
    await ended;
    assert.ok(rows >= 1000);
    assert.ok(connection.lost);
  });
});

test('names of streams are forgotten in time, and never while they are needed', () => {
  const names = new StreamNames();
  const key = (stream: number) => freshStream({ domain: `d-${stream}` });
  for (let first = 1; first < 100_000; first += 5_000) {
    // Half of them were there before.
    const events = Array.from({ length: 10_000 }, (_, i) => ({ stream: first + i }));
    const unknown = names.unknown(events);
    assert.ok(first === 1 || unknown.length <= 5_000);
    names.tell(unknown.map((stream) => [stream, key(stream)]));
    for (const { stream } of events) assert.equal(names.of(stream).domain, `d-${stream}`);
  }
  assert.equal(names.unknown([{ stream: 1 }]).length, 1);
});
