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

test('a sound log has no fault, in every store, also an empty one', async () => {
  const memory = openMemory(IDENTITY);
  assert.deepEqual(await verifyLog(memory), { positions: 0, streams: 0, snapshots: 0 });
  await fill(memory);
  assert.deepEqual(await verifyLog(memory), { positions: 8, streams: 2, snapshots: 1 });
  const sqlite = await openSqlite({ path: join(folder, 'sound.db') });
  await fill(sqlite);
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
  for (const method of ['head', 'readLog', 'positionBefore', 'listStreams', 'listSnapshots'] as const) {
    busy[method] = async (...args: unknown[]) => {
      await store.commit([unit({ appends: [append(stream, ANY, 2), append(freshStream(), ANY)] })]);
      const answer = await (store[method] as (...args: unknown[]) => Promise<never>)(...args);
      await store.commit([writing(stream, ANY, 2)]);
      return answer;
    };
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
];

for (const [what, sql, sentence] of faults) {
  test(`a planted fault is found: ${what}`, async () => {
    const path = join(folder, `${++files}.db`);
    const store = await openSqlite({ path });
    await fill(store);
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
