// `verifyLog` against sound logs, and against logs into which a fault was planted behind the store's back.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, test } from 'node:test';
import type { Store } from '../src/store.ts';
import { openMemory } from '../src/stores/memory.ts';
import { openSqlite } from '../src/stores/sqlite/index.ts';
import { verifyLog } from '../src/verify.ts';
import { ANY, append, exactly, freshStream, page, snapshot, unit, writing } from './support/store-units.ts';
import { definition, outboxRow, parkedKey, projection, working } from './support/work-units.ts';

const folder = mkdtempSync(join(tmpdir(), 'daybook-verify-'));
after(() => rmSync(folder, { recursive: true }));
let files = 0;

const IDENTITY = { logId: '0', incarnation: '0' };

/** Two streams, of 5 and 3 events, at positions 1 to 8; a snapshot of the first. */
async function fill(store: Store): Promise<void> {
  const a = freshStream({ root: new Uint8Array(16).fill(1) });
  const b = freshStream({ root: new Uint8Array(16).fill(2) });
  await store.commit([
    writing(a, ANY, 2),
    unit({ appends: [append(b, ANY, 3), append(a, exactly(2), [page(), page(), page()])] }),
    unit({ snapshots: [{ stream: a, snapshot: snapshot(3) }] }),
  ]);
}

/** A projector whose first partition is at position 5 of the log of `fill`, with something of everything. */
async function deliver(store: Store): Promise<void> {
  await store.declare(definition({ name: 'totals', kind: 'projector' }));
  const partition = { subscription: 'totals', generation: 1, partition: 0 };
  const { epoch } = (await store.acquire(partition, 'me', 1))!;
  const parked = [
    // The generation that is built beside it has gone on with the key.
    parkedKey(partition, 'a', { position: 4, firstPosition: 3, through: 6 }),
    parkedKey(partition, 'b', { state: 'draining', through: 8 }),
  ];
  const stream = freshStream({ root: new Uint8Array(16).fill(1) });
  const [result] = await store.commit([
    working({
      cursors: [{ partition, epoch, from: 0, to: 5 }],
      done: [7, 8].map((position) => ({ partition, position })),
      parked: parked.map((row) => ({ partition, key: row.key, version: 0, row })),
      outboxAdded: [outboxRow(partition, { position: 7 })],
      projections: [projection('totals', 'k', { stream, sequence: 4, position: 8 })],
    }),
  ]);
  assert.equal(result?.kind, 'committed');
}

test('a sound log has no fault, in every store, also an empty one', async () => {
  const memory = openMemory(IDENTITY);
  assert.deepEqual(await verifyLog(memory), { positions: 0, streams: 0, snapshots: 0 });
  await fill(memory);
  assert.deepEqual(await verifyLog(memory), { positions: 8, streams: 2, snapshots: 1 });
  await deliver(memory);
  assert.deepEqual(await verifyLog(memory), { positions: 8, streams: 2, snapshots: 1 });
  const sqlite = await openSqlite({ path: join(folder, 'sound.db') });
  await fill(sqlite);
  await deliver(sqlite);
  assert.deepEqual(await verifyLog(sqlite), { positions: 8, streams: 2, snapshots: 1 });
  await sqlite.close();
});

test('a long log is read in parts, with progress', async () => {
  const store = openMemory(IDENTITY);
  for (let i = 0; i < 50; i++) await store.commit(Array.from({ length: 30 }, () => writing(freshStream(), ANY, 3)));
  const progress: number[] = [];
  const found = await verifyLog(store, { onProgress: (positions) => progress.push(positions) });
  assert.deepEqual(found, { positions: 4500, streams: 1500, snapshots: 0 });
  assert(progress.length > 1);
  assert.equal(progress.at(-1), 4500);
});

test('what a daemon writes during the audit is no fault', async () => {
  const store = openMemory(IDENTITY);
  await fill(store);
  const stream = freshStream();
  const busy: Store = Object.create(store);
  await deliver(store);
  const partition = { subscription: 'totals', generation: 1, partition: 0 };
  const lists = [
    'listStreams',
    'listSnapshots',
    'listSubscriptions',
    'listCursors',
    'listDone',
    'listParked',
    'listOutbox',
  ] as const;
  for (const method of ['head', 'readLog', 'positionBefore', 'listProjections', ...lists] as const) {
    busy[method] = async (...args: unknown[]) => {
      await store.commit([unit({ appends: [append(stream, ANY, 2), append(freshStream(), ANY)] })]);
      await deliverAll();
      const answer = await (store[method] as (...args: unknown[]) => Promise<never>)(...args);
      await store.commit([writing(stream, ANY, 2)]);
      await deliverAll();
      return answer;
    };
  }
  /** Everything but the last event, which is finished out of order. */
  async function deliverAll(): Promise<void> {
    const { position: head } = await store.head();
    const cursor = (await store.listCursors())[0]!;
    const { epoch, position: from } = cursor;
    const last = await store.readStream(stream, { from: 0, maxBytes: 1 << 30 });
    const [result] = await store.commit([
      working({
        cursors: [{ partition, epoch, from, to: head - 1 }],
        done: [{ partition, position: head }],
        outboxAdded: [outboxRow(partition, { position: head })],
        projections: [projection('totals', 'k', { stream, sequence: last.nextSequence - 1, position: head })],
      }),
    ]);
    assert.equal(result?.kind, 'committed');
  }
  const found = await verifyLog(busy);
  assert.equal(found.fault, undefined);
  assert(found.positions > 8);
});

test('a signal ends it', async () => {
  const store = openMemory(IDENTITY);
  await fill(store);
  await assert.rejects(verifyLog(store, { signal: AbortSignal.abort(new Error('enough')) }), /enough/);
});

const faults: [string, string, RegExp][] = [
  ['an event taken out', 'DELETE FROM events WHERE position = 4', /^position 4 is missing: next comes 5$/],
  ['the first event taken out', 'DELETE FROM events WHERE position = 1', /^position 1 is missing/],
  ['the last event taken out', 'DELETE FROM events WHERE position = 8', /^position 8 is missing$/],
  [
    'an event of a stream that is not there',
    'UPDATE events SET stream = 99 WHERE position = 3',
    /^position 3 is missing/,
  ],
  [
    'a sequence left out',
    'UPDATE events SET sequence = sequence + 1 WHERE stream = 2 AND sequence = 2',
    /^stream \/order\/0202.*: sequence 2 was expected at position 5, found 3$/,
  ],
  [
    'a time that goes back',
    'UPDATE events SET created_at = created_at - 1 WHERE position = 7',
    /^stream \/order\/0101.*: sequence 3 was created at 2023-11-14T22:13:19.999999Z, before the one it follows$/,
  ],
  [
    'a head that is ahead',
    'UPDATE streams SET next_sequence = 6 WHERE id = 1',
    /its head says 6 events, the log has 5$/,
  ],
  [
    'a head that is behind',
    'UPDATE streams SET next_sequence = 2 WHERE id = 2',
    /its head says 2 events, the log has 3$/,
  ],
  ['a log head that is ahead', 'UPDATE log SET last_position = 9', /^position 9 is missing$/],
  [
    'a snapshot beyond the end',
    'UPDATE snapshots SET sequence = 5',
    /^stream \/order\/0101.*: a snapshot is of sequence 5, the log has 5 events$/,
  ],
  [
    'a table of times that leads past events',
    'INSERT INTO times VALUES (1800000000000000, 2048)',
    /^the log since 2023-.* begins behind position 8, and the first event of that time is at 1$/,
  ],
  [
    'a stream without events',
    `INSERT INTO streams VALUES (3, '', 'order', zeroblob(16), 0, 1, 0)`,
    /its head says 1 events, the log has 0$/,
  ],
  [
    'a cursor beyond the end',
    'UPDATE cursors SET position = 9 WHERE partition = 1',
    /^the cursor of partition 1 of totals, generation 1 is at position 9, the log ends at 8$/,
  ],
  [
    'a done mark at the cursor',
    'UPDATE cursors SET position = 7 WHERE partition = 0',
    /^partition 0 of totals, generation 1: position 7 has a done mark at or below the cursor, 7$/,
  ],
  [
    'a done mark beyond the end',
    'UPDATE done SET position = 9 WHERE position = 8',
    /^a done mark of partition 0 of totals, generation 1 is at position 9, the log ends at 8$/,
  ],
  [
    'a key parked at no event',
    `UPDATE parked SET position = 10 WHERE key = 'a'`,
    /^the parked key a of partition 0 of totals, generation 1 is at position 10, the log ends at 8$/,
  ],
  [
    'a key parked before it began',
    `UPDATE parked SET position = 2 WHERE key = 'a'`,
    /^the parked key a .* is at position 2 and began at 3$/,
  ],
  [
    'a key that was gone on with beyond the end',
    `UPDATE parked SET through = 9 WHERE key = 'a'`,
    /^the parked key a .* is at position 9, the log ends at 8$/,
  ],
  [
    'a key that drains beyond the end',
    `UPDATE parked SET through = 9 WHERE key = 'b'`,
    /^the parked key b .* is at position 9, the log ends at 8$/,
  ],
  [
    'an output of no event',
    'UPDATE outbox SET position = 9',
    /^the outbox of partition 0 of totals, generation 1 is at position 9, the log ends at 8$/,
  ],
  ['an output of position 0', 'UPDATE outbox SET position = 0', /^the outbox of .* has an output of position 0$/],
  [
    'a projection from beyond the end',
    'UPDATE projections SET position = 9',
    /^projection k of totals, generation 1, is at position 9, the log ends at 8$/,
  ],
  [
    'a projection of an event that its stream does not have',
    'UPDATE projections SET sequence = 5',
    /^projection k of totals, generation 1, is of sequence 5 of stream \/order\/0101.*, the log has 5 events of it$/,
  ],
];

for (const [what, sql, sentence] of faults) {
  test(`a planted fault is found: ${what}`, async () => {
    const path = join(folder, `${++files}.db`);
    const store = await openSqlite({ path });
    await fill(store);
    await deliver(store);
    await store.close();
    const db = new DatabaseSync(path);
    db.exec('DROP TRIGGER events_are_never_changed; DROP TRIGGER events_are_never_removed');
    db.exec(sql);
    db.close();
    const damaged = await openSqlite({ path, readOnly: true });
    assert.match((await verifyLog(damaged)).fault ?? 'none', sentence);
    await damaged.close();
  });
}
