// Databases that go back, or elsewhere: the log's incarnation says so. And a whole server of its own for what stops and starts.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import pg from 'pg';
import { openPostgres } from '../../src/stores/postgres/index.ts';
import { eventually } from '../support/eventually.ts';
import { startPostgres } from '../support/postgres.ts';
import { ANY, exactly, freshKey, freshStream, outcome, unit, writing } from '../support/store-units.ts';

const server = await startPostgres();

describe('postgres: restored', { skip: typeof server === 'string' && server }, () => {
  assert(typeof server !== 'string');
  const query = async (database: string, text: string) => {
    const client = new pg.Client(server.url(database));
    await client.connect();
    return (await client.query(text).finally(() => client.end())).rows;
  };

  test('a dump that is loaded elsewhere: the same log in another incarnation, which goes on', async (t) => {
    await query('postgres', 'CREATE DATABASE origin TEMPLATE template0');
    await query('postgres', 'CREATE DATABASE restored TEMPLATE template0');
    const first = await openPostgres({ connectionString: server.url('origin'), partitionEvents: 100_000 });
    t.after(() => first.close());
    const stream = freshStream();
    const remembered = unit({ outcomes: [outcome(freshKey())] });
    const written = writing(stream, ANY, 3);
    const results = await first.commit([written, remembered]);
    const [head, pages] = [await first.head(), await first.readStream(stream, { from: 0, maxBytes: 1 << 20 })];
    const dump = execFileSync(join(server.bin, 'pg_dump'), ['--schema=daybook', '-d', server.url('origin')]);
    const psql = ['-q', '-v', 'ON_ERROR_STOP=1', '-d', server.url('restored')];
    execFileSync(join(server.bin, 'psql'), psql, { input: dump, stdio: ['pipe', 'ignore', 'inherit'] });
    const second = await openPostgres({ connectionString: server.url('restored') });
    t.after(() => second.close());
    const restored = await second.head();
    assert.notEqual(restored.incarnation, head.incarnation);
    assert.deepEqual({ ...restored, incarnation: '' }, { ...head, incarnation: '' });
    assert.deepEqual(await second.readStream(stream, { from: 0, maxBytes: 1 << 20 }), pages);
    assert.deepEqual(await second.commit([written, remembered]), results, 'repeats are known');
    const next = await second.commit([writing(stream, exactly(3)), writing(freshStream(), ANY)]);
    assert.deepEqual(
      next.map((result) => (result.kind === 'committed' ? result.position : result.kind)),
      [4, 5],
    );
    await assert.rejects(query('restored', 'DELETE FROM daybook.events'), /events are never removed/);
  });

  test('a standby refuses to write; once it is promoted, the log has another incarnation for all who come back', async (t) => {
    await query('postgres', 'CREATE DATABASE promoted TEMPLATE template0');
    const store = await openPostgres({ connectionString: server.url('promoted') });
    t.after(() => store.close());
    await store.commit([writing(freshStream(), ANY)]);
    const head = await store.head();
    await server.stop('fast');
    await server.start();
    const again = await eventually('it is back', () => store.head().catch(() => undefined));
    assert.deepEqual(again, head, 'a restart changes nothing');
    await server.stop('fast');
    // The server takes itself for a standby whose primary is silent.
    writeFileSync(join(server.data, 'standby.signal'), '', { mode: 0o644 });
    await server.start();
    await eventually('the standby refuses', async () => {
      const error = await store.commit([writing(freshStream(), ANY)]).then(
        () => undefined,
        (thrown) => thrown,
      );
      assert(error?.reason === 'STORE_UNAVAILABLE' || error?.reason === 'OUTCOME_UNKNOWN', String(error));
      return /recovery|read-only/.test(error.message);
    });
    await query('promoted', 'SELECT pg_promote()');
    const after = await eventually('it is back', () => store.head().catch(() => undefined));
    assert.notEqual(after.incarnation, head.incarnation);
    assert.deepEqual({ ...after, incarnation: '' }, { ...head, incarnation: '' });
    assert.equal((await store.commit([writing(freshStream(), ANY)]))[0]!.kind, 'committed');
    assert.equal((await store.head()).incarnation, after.incarnation);
  });
});
