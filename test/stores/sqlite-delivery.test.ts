// What delivery does in a file: how SQLite executes its statements, migration, restarts, a long outbox.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, type TestContext, test } from 'node:test';
import type { Store } from '../../src/store.ts';
import { SQL as OUTBOX } from '../../src/stores/sqlite/delivery/outbox.ts';
import { SQL as PARKED } from '../../src/stores/sqlite/delivery/parked.ts';
import { SQL as PROJECTIONS } from '../../src/stores/sqlite/delivery/projections.ts';
import { SQL as SUBSCRIPTIONS } from '../../src/stores/sqlite/delivery/subscriptions.ts';
import { SQL as TIMERS } from '../../src/stores/sqlite/delivery/timers.ts';
import { SQL as VERSIONS } from '../../src/stores/sqlite/delivery/versions.ts';
import { type OpenSqlite, openSqlite } from '../../src/stores/sqlite/index.ts';
import { REPEATS_KEPT } from '../../src/stores/work-rules.ts';
import { eventually } from '../support/eventually.ts';
import { ANY, freshStream, writing } from '../support/store-units.ts';
import {
  definition,
  freshName,
  outboxKey,
  outboxRow,
  parkedKey,
  projection,
  timerKey,
  timerRow,
  working,
} from '../support/work-units.ts';

const folder = mkdtempSync(join(tmpdir(), 'daybook-sqlite-delivery-'));
after(() => rmSync(folder, { recursive: true }));
let files = 0;
const freshPath = () => join(folder, `${++files}`, 'daybook.db');
const NOBODY = new Uint8Array(0);
const EVER = Number.MAX_SAFE_INTEGER;

/** Closed at the end of the test, also of one that fails. */
async function open(t: TestContext, options: OpenSqlite): Promise<Store> {
  const store = await openSqlite(options);
  t.after(() => store.close());
  return store;
}

test('trap 3: every hot statement of delivery uses the index that was made for it', async () => {
  const path = freshPath();
  await (await openSqlite({ path })).close();
  const db = new DatabaseSync(path, { readOnly: true });
  const plan = (sql: string) => {
    const steps = db.prepare(`EXPLAIN QUERY PLAN ${sql}`).all();
    return steps.map((row) => String(row.detail)).join('; ');
  };
  const partition = String.raw`subscription=\? AND generation=\? AND partition=\?`;
  const outboxKey = String.raw`\(subscription=\? AND generation=\? AND position=\? AND index=\? AND log_id=\? AND incarnation=\?\)`;
  const plans: [string, string][] = [
    [SUBSCRIPTIONS.findCursor, `SEARCH cursors USING PRIMARY KEY \\(${partition}\\)`],
    [SUBSCRIPTIONS.moveCursor, `SEARCH cursors USING PRIMARY KEY \\(${partition}\\)`],
    [SUBSCRIPTIONS.findInstance, String.raw`SEARCH instances USING PRIMARY KEY \(instance=\?\)`],
    [PARKED.findDone, `SEARCH done USING PRIMARY KEY \\(${partition} AND position=\\?\\)`],
    [PARKED.listDone, `SEARCH done USING PRIMARY KEY \\(${partition}\\)`],
    [PARKED.deleteDone, `SEARCH done USING PRIMARY KEY \\(${partition} AND position<\\?\\)`],
    [PARKED.findParkedVersion, `SEARCH parked USING PRIMARY KEY \\(${partition} AND key=\\?\\)`],
    [PARKED.deleteDrained, `SEARCH parked USING (COVERING )?INDEX parked_draining \\(${partition} AND through<\\?\\)`],
    [PARKED.listParked, String.raw`SEARCH parked USING PRIMARY KEY \(.*\)`],
    [OUTBOX.findOutboxVersion, `SEARCH outbox USING INDEX outbox_by_key ${outboxKey}`],
    [OUTBOX.updateOutbox, `SEARCH outbox USING INDEX outbox_by_key ${outboxKey}`],
    [OUTBOX.findFirstOfLane, `SEARCH outbox USING COVERING INDEX outbox_by_lane \\(${partition} AND lane=\\?\\)`],
    [OUTBOX.setHead, String.raw`SEARCH outbox USING INTEGER PRIMARY KEY \(rowid=\?\)`],
    [OUTBOX.deleteOutbox, String.raw`SEARCH outbox USING INTEGER PRIMARY KEY \(rowid=\?\)`],
    [OUTBOX.dueOutbox, `SEARCH outbox USING INDEX outbox_due \\(${partition} AND due_at<\\?\\)`],
    [OUTBOX.nextOutboxDue, `SEARCH outbox USING COVERING INDEX outbox_due \\(${partition}\\)`],
    [OUTBOX.dueForwarded, String.raw`SEARCH outbox USING INDEX outbox_forwarded \(domain=\? AND due_at<\?\)`],
    [OUTBOX.listOutbox, String.raw`SEARCH outbox USING INDEX outbox_by_key \(.*\)`],
    [OUTBOX.listDeadOutbox, String.raw`SEARCH outbox USING INDEX outbox_dead \(.*\)`],
    [TIMERS.findTimerVersion, String.raw`SEARCH timers USING INDEX timers_by_key \(.*name=\?\)`],
    [TIMERS.deleteTimersOfProcess, String.raw`SEARCH timers USING (COVERING )?INDEX timers_by_key \(.*process=\?\)`],
    [
      TIMERS.dueTimers,
      String.raw`SEARCH timers USING INDEX timers_due \(subscription=\? AND partition=\? AND due_at<\?\)`,
    ],
    [
      TIMERS.nextTimerDue,
      String.raw`SEARCH timers USING COVERING INDEX timers_due \(subscription=\? AND partition=\?\)`,
    ],
    [PROJECTIONS.findProjection, String.raw`SEARCH projections USING INDEX projections_by_key \(.*key=\?\)`],
    [
      PROJECTIONS.listProjections,
      String.raw`SEARCH projections USING INDEX projections_by_key \(.*key>\? AND key<\?\)`,
    ],
    [
      PROJECTIONS.projectionsOf,
      String.raw`SEARCH projections USING INDEX projections_by_stream \(.*stream_root=\? AND position>\?\)`,
    ],
    [VERSIONS.findWorkUnit, String.raw`SEARCH work_units USING INDEX work_units_by_unit \(unit_id=\?\)`],
    [VERSIONS.deleteWorkUnits, String.raw`SEARCH work_units USING INTEGER PRIMARY KEY \(rowid<\?\)`],
  ];
  for (const [sql, expected] of plans) assert.match(plan(sql), new RegExp(`^${expected}$`), sql);
  // Few rows are of one correlation: those are sorted.
  assert.match(plan(OUTBOX.listCorrelatedOutbox), /^SEARCH outbox USING INDEX outbox_by_correlation \(/);
  assert.match(plan(PROJECTIONS.deleteProjections), /SEARCH projections USING COVERING INDEX projections_by_key \(/);
  db.close();
});

test('an outbox of 100,000 rows in 20,000 lanes has one head for each, and half of the lanes may be blocked', async (t) => {
  const path = freshPath();
  const store = await open(t, { path });
  const lanes = 20_000;
  const partition = { subscription: 'shipping', generation: 1, partition: 0 };
  const target = freshStream();
  const row = (n: number) =>
    outboxRow(partition, { position: n }, { lane: `lane-${n % lanes}`, target, dueAtMicros: n % 7 });
  for (let n = 1; n <= 100_000; n += 10_000) {
    await store.commit([working({ outboxAdded: Array.from({ length: 10_000 }, (_, i) => row(n + i)) })]);
  }
  const heads = await store.dueOutbox(partition, EVER, lanes / 2);
  const blocked = new Set(heads.map(({ lane }) => lane));
  assert.equal(blocked.size, lanes / 2);
  await store.commit([
    working({
      outboxChanged: heads.map((head) => ({
        key: outboxKey(head),
        version: head.version,
        row: { ...head, state: 'dead' as const },
      })),
    }),
  ]);
  await store.close();
  const db = new DatabaseSync(path, { readOnly: true });
  const marked = db.prepare('SELECT count(*) AS heads FROM outbox WHERE head = 1').get()!;
  assert.equal(marked.heads, lanes, 'one head for each lane');
  const wrong = db.prepare(`SELECT count(*) AS wrong FROM outbox o WHERE head <> (o.id = (SELECT id FROM outbox i
    WHERE i.subscription = o.subscription AND i.generation = o.generation AND i.partition = o.partition
      AND i.lane = o.lane ORDER BY position, "index", id LIMIT 1))`);
  assert.equal(wrong.get()!.wrong, 0);
  db.close();
  const again = await open(t, { path });
  for (let i = 0; i < 200; i++) {
    const [due] = await again.dueOutbox(partition, EVER, 1);
    assert(!blocked.has(due!.lane));
    const removal = { key: outboxKey(due!), version: due!.version, row: undefined };
    const [result] = await again.commit([working({ outboxChanged: [removal] })]);
    assert.equal(result!.kind, 'committed');
    const next = await again.dueOutbox(partition, EVER, 1);
    assert.notDeepEqual(next, [due]);
  }
  await again.close();
});

test('a file from before delivery is brought up to date, with everything in it', async (t) => {
  const path = freshPath();
  await (await openSqlite({ path })).close();
  const db = new DatabaseSync(path);
  const tables = db.prepare(`SELECT name FROM sqlite_schema WHERE type = 'table'`).all();
  for (const { name } of tables) db.exec(`DROP TABLE "${name}"`);
  db.exec(readFileSync(new URL('../../src/stores/sqlite/migrations/0001_log.sql', import.meta.url), 'utf8'));
  db.exec(`INSERT INTO log (id, log_id, incarnation, last_position) VALUES (1, 'l', 'i', 1);
    INSERT INTO streams VALUES (1, '', 'order', zeroblob(16), 0, 1, 5);
    INSERT INTO events VALUES (1, 1, 0, zeroblob(16), 5, NULL, 'c', 0, 't', NULL, NULL, x'01');
    PRAGMA user_version = 1`);
  db.close();
  await assert.rejects(openSqlite({ path, readOnly: true }), /its schema is 1, older than 4/);
  const store = await open(t, { path });
  assert.deepEqual(await store.head(), { logId: 'l', incarnation: 'i', position: 1, unitId: new Uint8Array(16) });
  const { name } = await store.declare(definition());
  const taken = await store.acquire({ subscription: name, generation: 1, partition: 0 }, 'a', 1);
  assert.equal(taken?.epoch, 1);
  await store.close();
});

test('reopening keeps cursors, marks, rows and versions, and knows repeats', async (t) => {
  const path = freshPath();
  const first = await open(t, { path });
  const { name } = await first.declare(definition({ kind: 'projector' }));
  const partition = { subscription: name, generation: 1, partition: 0 };
  await first.heartbeat('a', NOBODY, 60_000);
  const { epoch } = (await first.acquire(partition, 'a', 1))!;
  const timer = timerRow(timerKey(name, 'p', 't'), 9);
  const unit = working({
    cursors: [{ partition, epoch, from: 0, to: 3 }],
    done: [{ partition, position: 7 }],
    parked: [{ partition, key: 'k', version: 0, row: parkedKey(partition, 'k') }],
    outboxAdded: [outboxRow(partition, { position: 7 })],
    timers: [{ key: timer, version: 0, row: timer }],
    projections: [projection(name, 'k')],
  });
  const [result] = await first.commit([unit]);
  assert.equal(result!.kind, 'committed');
  const everything = async (store: typeof first) => [
    await store.listSubscriptions(),
    await store.listCursors(),
    await store.listDone(partition),
    await store.listParked({ limit: 9 }),
    await store.dueOutbox(partition, EVER, 9),
    await store.dueTimers(name, 0, EVER, 9),
    await store.listProjections({ tenant: '', projector: name, generation: 1, prefix: '', limit: 9 }),
    await store.activeGeneration(name),
  ];
  const before = await everything(first);
  const { version } = (await first.readParked(partition, 'k'))!;
  await first.commit([working({ parked: [{ partition, key: 'k', version, row: undefined }] })]);
  await first.close();
  const second = await open(t, { path });
  assert.deepEqual((await second.commit([unit]))[0], result);
  await second.commit([working({ parked: [{ partition, key: 'k', version: 0, row: parkedKey(partition, 'k') }] })]);
  const parked = (await second.readParked(partition, 'k'))!;
  assert(parked.version > version, 'no version comes twice');
  const after = await everything(second);
  after[3] = before[3]!;
  assert.deepEqual(after, before);
  const taken = await second.acquire(partition, 'b', 1);
  assert.deepEqual([taken?.epoch, taken?.takenFrom], [epoch + 1, 'a'], 'no other process holds anything of this file');
  await second.close();
});

test('trap 15: by the system’s clock a lease is free when its owner’s heartbeat has expired', async (t) => {
  const store = await open(t, { path: freshPath() });
  const { name } = await store.declare(definition());
  const partition = { subscription: name, generation: 1, partition: 0 };
  await store.heartbeat('a', NOBODY, 300);
  const { epoch } = (await store.acquire(partition, 'a', 1))!;
  assert.equal(await store.acquire(partition, 'b', 1), undefined);
  const taken = await eventually('the lease is free', () => store.acquire(partition, 'b', 1));
  assert.deepEqual([taken.epoch, taken.takenFrom], [epoch + 1, 'a']);
  await store.close();
});

test('units that are known by their id alone are bounded', async (t) => {
  const path = freshPath();
  const store = await open(t, { path });
  const name = freshName();
  const first = working({ projections: [projection(name, 'k')] });
  const [result] = await store.commit([first]);
  await store.commit([writing(freshStream(), ANY)]);
  const row = projection(name, 'k');
  for (let n = 1; n < REPEATS_KEPT; n += 8192) {
    await store.commit(Array.from({ length: Math.min(8192, REPEATS_KEPT - n) }, () => working({ projections: [row] })));
  }
  assert.deepEqual((await store.commit([first]))[0], result);
  await store.commit([working({ projections: [row] })]);
  const [anew] = await store.commit([first]);
  assert(anew!.kind === 'committed' && anew!.position === 1, 'it was forgotten');
  await store.close();
  const db = new DatabaseSync(path, { readOnly: true });
  assert.equal(db.prepare('SELECT count(*) AS kept FROM work_units').get()!.kept, REPEATS_KEPT);
  db.close();
});

test('a plain command writes no table of delivery', async (t) => {
  const path = freshPath();
  const store = await open(t, { path });
  await store.commit([writing(freshStream(), ANY, 3)]);
  await store.close();
  const db = new DatabaseSync(path, { readOnly: true });
  const tables = ['subscriptions', 'cursors', 'done', 'parked', 'outbox', 'timers', 'projections', 'work_units'];
  for (const table of tables) assert.equal(db.prepare(`SELECT count(*) AS rows FROM ${table}`).get()!.rows, 0, table);
  assert.equal(db.prepare('SELECT last_version FROM log').get()!.last_version, 0);
  db.close();
});
