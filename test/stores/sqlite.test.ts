// The contract over SQLite, and what only a file can do.

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { text } from 'node:stream/consumers';
import { after, describe, test } from 'node:test';
import { openSqlite } from '../../src/stores/sqlite/index.ts';
import { SQL } from '../../src/stores/sqlite/queries.ts';
import { deliveryContract } from '../contract/delivery-contract.ts';
import { storeContract } from '../contract/store-contract.ts';
import {
  ANY,
  append,
  exactly,
  freshKey,
  freshStream,
  MANY,
  outcome,
  page,
  snapshot,
  unit,
  writing,
} from '../support/store-units.ts';

const folder = mkdtempSync(join(tmpdir(), 'daybook-sqlite-'));
after(() => rmSync(folder, { recursive: true }));
let files = 0;
const freshPath = () => join(folder, `${++files}`, 'daybook.db');

storeContract('sqlite', () => openSqlite({ path: freshPath() }));
deliveryContract('sqlite', (clock) => openSqlite({ path: freshPath(), clock }));

describe('sqlite: the file', () => {
  test('reopening keeps everything: events, heads, snapshots, outcomes, repeats and the log’s identity', async () => {
    const path = freshPath();
    const stream = freshStream();
    const key = freshKey();
    const written = unit({
      appends: [append(stream, ANY, [page({ metadata: { a: 'b' } }), page({ value: new Uint8Array(100_000) })])],
      snapshots: [{ stream, snapshot: snapshot(1) }],
      outcomes: [outcome(key, { correlationId: 'c' })],
    });
    const first = await openSqlite({ path });
    const results = await first.commit([written, unit({ outcomes: [outcome(freshKey())] })]);
    const everything = async (store: typeof first) => [
      await store.head(),
      await store.readStream(stream, { from: 0, maxBytes: 1 << 30 }),
      await store.openStream(stream, { from: 0, snapshotVersion: 1, outcomeKey: key, maxBytes: 1 << 30 }),
      await store.readLog({ after: 0, filter: {}, ...MANY }),
      await store.readOutcome(key),
      await store.listOutcomes({ tenant: key.tenant, correlationId: 'c', limit: 9 }),
      await store.positionBefore(1_700_000_000_000_000),
      await store.positionBefore(1_700_000_000_000_001),
    ];
    const before = await everything(first);
    await first.close();
    const second = await openSqlite({ path });
    assert.deepEqual(await everything(second), before);
    assert.deepEqual((await second.commit([written]))[0], results[0]);
    const again = await second.commit([unit({ outcomes: [outcome(key)] }), writing(stream, exactly(2))]);
    assert.deepEqual(
      again.map(({ kind }) => kind),
      ['duplicate', 'committed'],
    );
    await second.close();
  });

  test('two databases are two logs', async () => {
    const [a, b] = await Promise.all([openSqlite({ path: freshPath() }), openSqlite({ path: freshPath() })]);
    const [one, other] = [await a.head(), await b.head()];
    assert.notEqual(one.logId, other.logId);
    assert.notEqual(one.incarnation, other.incarnation);
    await Promise.all([a.close(), b.close()]);
  });

  test('trap 38: a position is never given twice, not even when the last rows were taken out by force', async () => {
    const path = freshPath();
    const store = await openSqlite({ path });
    await store.commit([writing(freshStream(), ANY, 3)]);
    await store.close();
    const db = new DatabaseSync(path);
    db.exec('DROP TRIGGER events_are_never_removed; DELETE FROM events WHERE position > 1');
    db.close();
    const again = await openSqlite({ path });
    const [result] = await again.commit([writing(freshStream(), ANY)]);
    assert.equal(result?.kind === 'committed' && result.position, 4);
    await again.close();
  });

  test('the log since a time survives reopening, a batch that was taken back, and a log of any length', async () => {
    const path = freshPath();
    const stream = freshStream();
    const pages = (from: number, count: number) =>
      Array.from({ length: count }, (_, i) => page({ createdAt: { seconds: from + i, nanos: 0 } }));
    let store = await openSqlite({ path });
    await store.commit([writing(stream, ANY, pages(1, 1000))]);
    await assert.rejects(
      store.commit([
        writing(stream, ANY, pages(5000, 100)),
        unit({ snapshots: [{ stream, snapshot: snapshot(5000) }] }),
      ]),
    );
    await store.close();
    store = await openSqlite({ path });
    // The second's clock is behind: what was latest before the reopening still is.
    await store.commit([writing(freshStream(), ANY, pages(500, 24))]);
    await store.commit([writing(stream, ANY, pages(1001, 2000))]);
    const since = (seconds: number) => store.positionBefore(seconds * 1e6);
    const asked = [0, 1, 2, 500, 1000, 1001, 1002, 2024, 3000, 3001];
    assert.deepEqual(await Promise.all(asked.map(since)), [0, 0, 1, 499, 999, 1024, 1025, 2047, 3023, 3024]);
    await store.close();
    const db = new DatabaseSync(path, { readOnly: true });
    const rows = db.prepare('SELECT position, latest / 1000000 AS second FROM times ORDER BY position').all();
    assert.deepEqual(
      rows.map((row) => [row.position, row.second]),
      [
        [1024, 1000],
        [2048, 2024],
      ],
    );
    db.close();
  });

  test('trap 13: events can be neither changed nor removed', async () => {
    const path = freshPath();
    const store = await openSqlite({ path });
    await store.commit([writing(freshStream(), ANY, 3)]);
    const db = new DatabaseSync(path);
    assert.throws(() => db.exec(`UPDATE events SET type_url = ''`), /events are never changed/);
    assert.throws(() => db.exec('DELETE FROM events WHERE position = 2'), /events are never removed/);
    assert.throws(() => db.exec('DELETE FROM events'), /events are never removed/);
    db.close();
    await store.close();
  });

  test('rows keep a counted unit, empty things as NULL, times in microseconds', async () => {
    const path = freshPath();
    const store = await openSqlite({ path });
    const stream = freshStream({ tenant: 'acme' });
    await store.commit([writing(stream, ANY, [page({ occurredAt: { seconds: 1, nanos: 5000 } }), page()])]);
    await store.close();
    const db = new DatabaseSync(path);
    const rows = db.prepare('SELECT * FROM events ORDER BY position').all();
    assert.equal(rows[0]!.created_at, 1_700_000_000_000_000);
    assert.deepEqual([rows[0]!.occurred_at, rows[1]!.occurred_at], [1_000_005, null]);
    assert.deepEqual([rows[0]!.metadata, rows[0]!.origin], [null, null]);
    assert(Number(rows[0]!.correlation_slice) < 1024);
    const head = db.prepare('SELECT tenant, slice, next_sequence FROM streams').get()!;
    assert.equal(head.tenant, 'acme');
    assert.equal(head.next_sequence, 2);
    assert(Number(head.slice) < 1024);
    db.close();
  });

  test('trap 7: errors are told by their code: a file that is no database, another program’s, from the future, or cannot be made: one sentence each', async () => {
    const refused = async (path: string, sentence: RegExp, readOnly = false) => {
      await assert.rejects(openSqlite({ path, readOnly }), (error: Error & { reason?: string }) => {
        assert.equal(error.reason, 'STORE_UNAVAILABLE');
        assert.match(error.message, sentence);
        return true;
      });
    };
    const text = join(folder, 'text.db');
    writeFileSync(text, 'This is a text and not a database, however long it may be. '.repeat(20));
    await refused(text, /not a database/);
    const strange = join(folder, 'strange.db');
    const other = new DatabaseSync(strange);
    other.exec('CREATE TABLE customers (id INTEGER)');
    other.close();
    await refused(strange, /belongs to another program/);
    const future = freshPath();
    await (await openSqlite({ path: future })).close();
    const newer = (version: number) => {
      const db = new DatabaseSync(future);
      db.exec(`PRAGMA user_version = ${version}`);
      db.close();
    };
    newer(5);
    await (await openSqlite({ path: future })).close(); // One step ahead is fine.
    newer(6);
    await refused(future, /its schema is 6/);
    await refused(future, /its schema is 6/, true);
    await refused(join(text, 'below', 'a-file.db'), /cannot open/);
    await refused(join(folder, 'missing.db'), /cannot be used/, true);
    await refused(':memory:', /path of a file/);
  });

  test('a full disk is told as such, and leaves whole commits', { skip: process.platform === 'win32' }, async () => {
    const script = new URL('./children/fill.ts', import.meta.url).pathname;
    const path = freshPath();
    const command = `ulimit -f 2000 && exec "$0" "$1" "$2"`;
    const child = spawn('sh', ['-c', command, process.execPath, script, path], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const said = JSON.parse(await text(child.stdout));
    assert.match(said.reason, /^(STORE_UNAVAILABLE|OUTCOME_UNKNOWN)$/);
    assert.equal(said.position, said.committed);
    const store = await openSqlite({ path });
    assert.equal((await store.head()).position, said.committed);
    const [result] = await store.commit([writing(freshStream(), ANY)]);
    assert.equal(result?.kind, 'committed');
    await store.close();
  });
});

describe('sqlite: one process', () => {
  const children: ChildProcess[] = [];
  after(() => {
    for (const child of children) child.kill('SIGKILL');
  });

  /** What a child says that tries to open the database, and the child. */
  async function hold(path: string): Promise<{ said: string; child: ChildProcess }> {
    const script = new URL('./children/hold.ts', import.meta.url).pathname;
    const child = spawn(process.execPath, [script, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    const [said] = await once(child.stdout, 'data');
    return { said: String(said).trim(), child };
  }

  test('trap 38: a second opener is refused with a sentence, in this process and in another', async () => {
    const path = freshPath();
    const store = await openSqlite({ path });
    await assert.rejects(openSqlite({ path }), { reason: 'STORE_UNAVAILABLE', message: /only one may have it/ });
    assert.match((await hold(path)).said, /only one may have it/);
    await store.commit([writing(freshStream(), ANY)]);
    await store.close();
    await (await openSqlite({ path })).close();
  });

  test('the lock is free after kill -9, and what was acknowledged is there', async () => {
    const path = freshPath();
    const { said, child } = await hold(path);
    assert.equal(said, 'open');
    await assert.rejects(openSqlite({ path }), { reason: 'STORE_UNAVAILABLE' });
    child.kill('SIGKILL');
    await once(child, 'exit');
    const store = await openSqlite({ path });
    assert.equal((await store.head()).position, 1);
    await store.close();
  });

  test('a failed opening leaves the lock free', async () => {
    const path = freshPath();
    await (await openSqlite({ path })).close();
    const set = (version: number) => {
      const db = new DatabaseSync(path);
      db.exec(`PRAGMA user_version = ${version}`);
      db.close();
    };
    set(9);
    await assert.rejects(openSqlite({ path }), /its schema is 9/);
    set(4);
    await (await openSqlite({ path })).close();
  });

  test('read-only beside a writer: sees what is committed, commits nothing', async () => {
    const path = freshPath();
    const store = await openSqlite({ path });
    await store.commit([writing(freshStream(), ANY)]);
    const beside = await openSqlite({ path, readOnly: true });
    assert.equal((await beside.head()).position, 1);
    await store.commit([writing(freshStream(), ANY)]);
    assert.equal((await beside.head()).position, 2);
    await assert.rejects(beside.commit([writing(freshStream(), ANY)]), /read-only/);
    await assert.rejects(beside.expireOutcomes(0, 1), /read-only/);
    await store.close();
    assert.equal((await beside.head()).position, 2);
    await beside.close();
  });

  test('read-only without a writer', async () => {
    const path = freshPath();
    const store = await openSqlite({ path });
    await store.commit([writing(freshStream(), ANY)]);
    await store.close();
    const alone = await openSqlite({ path, readOnly: true });
    assert.equal((await alone.head()).position, 1);
    await alone.close();
  });

  test('closing waits for what is under way, refuses what comes later, and may be called twice', async () => {
    const path = freshPath();
    const store = await openSqlite({ path });
    const commits = Array.from({ length: 20 }, () => store.commit([writing(freshStream(), ANY)]));
    const closing = Promise.all([store.close(), store.close()]);
    await assert.rejects(store.head(), { reason: 'STORE_UNAVAILABLE' });
    assert.equal((await Promise.all(commits)).length, 20);
    await closing;
    const again = await openSqlite({ path });
    assert.equal((await again.head()).position, 20);
    await again.close();
  });

  test('trap 9: another program that writes for a moment delays a commit and does not fail it', async () => {
    const path = freshPath();
    const store = await openSqlite({ path });
    const db = new DatabaseSync(path);
    db.exec('BEGIN IMMEDIATE');
    const commit = store.commit([writing(freshStream(), ANY)]);
    assert.equal((await store.head()).position, 0, 'reads do not wait behind a commit');
    db.exec('COMMIT');
    db.close();
    assert.equal((await commit)[0]!.kind, 'committed');
    await store.close();
  });
});

test('sqlite: trap 3: hot statements use the index that was made for them', async () => {
  const path = freshPath();
  await (await openSqlite({ path })).close();
  const db = new DatabaseSync(path, { readOnly: true });
  const plan = (sql: string) =>
    db
      .prepare(`EXPLAIN QUERY PLAN ${sql}`)
      .all()
      .map((row) => String(row.detail))
      .join('; ');
  const plans: [keyof typeof SQL, RegExp][] = [
    ['findHead', /^SEARCH l USING INTEGER PRIMARY KEY \(rowid=\?\); SEARCH e USING INTEGER PRIMARY KEY \(rowid=\?\)/],
    ['findStream', /^SEARCH streams USING INDEX streams_by_key \(tenant=\? AND domain=\? AND root=\?\)$/],
    ['updateStream', /^SEARCH streams USING INTEGER PRIMARY KEY \(rowid=\?\)$/],
    ['findUnitAt', /^SEARCH events USING INDEX events_by_stream \(stream=\? AND sequence=\?\)$/],
    ['findSequenceAt', /^SEARCH events USING INTEGER PRIMARY KEY \(rowid=\?\)$/],
    ['findUnit', /^SEARCH units USING PRIMARY KEY \(unit_id=\?\)$/],
    ['scanStream', /^SEARCH e USING INDEX events_by_stream \(stream=\? AND sequence>\? AND sequence<\?\)$/],
    [
      'scanLog',
      /^SEARCH e USING INTEGER PRIMARY KEY \(rowid>\? AND rowid<\?\); SEARCH s USING INTEGER PRIMARY KEY \(rowid=\?\)$/,
    ],
    [
      'scanCorrelation',
      /^SEARCH e USING INDEX events_by_correlation \(correlation_id=\? AND rowid>\? AND rowid<\?\); SEARCH s USING INTEGER PRIMARY KEY \(rowid=\?\)$/,
    ],
    [
      'findSnapshot',
      /^SEARCH snapshots USING INDEX snapshots_by_stream \(stream=\? AND schema_version=\? AND sequence<\?\)$/,
    ],
    [
      'findNewestSnapshot',
      /^SEARCH snapshots USING COVERING INDEX snapshots_by_stream \(stream=\? AND schema_version=\?\)$/,
    ],
    ['findOutcome', /^SEARCH outcomes USING INDEX outcomes_by_key \(tenant=\? AND kind=\? AND key=\?\)$/],
    [
      'listOutcomes',
      /^SEARCH outcomes USING INDEX outcomes_by_correlation \(tenant=\? AND correlation_id=\? AND \(position,kind,key\)>\(\?,\?,\?\)\)$/,
    ],
    ['findLastTime', /^SCAN times$/],
    ['findTimeSince', /^SEARCH times USING PRIMARY KEY \(latest>\?\)$/],
    ['findEventSince', /^SEARCH events USING INTEGER PRIMARY KEY \(rowid>\? AND rowid<\?\)$/],
    ['findLatestAfter', /^SEARCH events USING INTEGER PRIMARY KEY \(rowid>\?\)$/],
    ['deleteExpired', /SEARCH outcomes USING (COVERING )?INDEX outcomes_by_expiry \(expires_at<\?\)/],
    ['listStreams', /^SEARCH streams USING INDEX streams_by_key \(/],
    [
      'listSnapshots',
      /^SEARCH s USING (COVERING )?INDEX streams_by_key \(.*SEARCH p USING COVERING INDEX snapshots_by_stream/,
    ],
  ];
  for (const [name, expected] of plans) {
    assert.match(plan(SQL[name]), expected, name);
    // One row from the end of the table in its own order.
    if (name === 'findLastTime') continue;
    assert.doesNotMatch(plan(SQL[name]), name === 'listSnapshots' ? /^SCAN/ : /SCAN|TEMP B-TREE/, name);
  }
  db.close();
});
