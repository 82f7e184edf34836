// What Daybook is compared with on the same PostgreSQL: a table with the log's columns and indexes, pgbench on it, and message-db.

import { execFile } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { migratePostgres } from '../../src/stores/postgres/index.ts';
import { PAYLOAD_BYTES, TYPE_URL } from '../load/messages.ts';
import { type Bench, query } from './bench.ts';

const run = promisify(execFile);

const ORIGIN = JSON.stringify({ commands: ['bench.v1.Counted'] });
const COLUMNS = `position, stream, sequence, created_at, unit_id, correlation_slice, correlation_id, type_url, origin, payload`;

/** A row as the log has it, with its position from a sequence. */
export function insertText(values: { stream: string; sequence: string; unit: string; payload: string }): string {
  const { stream, sequence, unit, payload } = values;
  return `INSERT INTO yardstick (${COLUMNS}) VALUES (nextval('yardstick_positions'), ${stream}, ${sequence},
    (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, ${unit}, 7, gen_random_uuid()::text, '${TYPE_URL}', '${ORIGIN}',
    ${payload})`.replaceAll(/\s+/g, ' ');
}

/** The URL of a database with the table. */
export async function yardstickDatabase(bench: Bench): Promise<string> {
  const url = await bench.database();
  await migratePostgres({ connectionString: url });
  await query(url, 'CREATE TABLE yardstick (LIKE daybook.events INCLUDING ALL); CREATE SEQUENCE yardstick_positions');
  return url;
}

/** Transactions per second: one INSERT each, prepared. Checks that as many rows are there. */
export async function pgbench(bench: Bench, url: string, clients: number): Promise<number> {
  const server = await bench.postgres();
  const script = join(bench.folder(), 'insert.sql');
  const payload = `'\\x${'61'.repeat(PAYLOAD_BYTES)}'`;
  const insert = insertText({ stream: ':stream', sequence: ':sequence', unit: 'gen_random_uuid()', payload });
  writeFileSync(script, `\\set stream random(1, 10000)\n\\set sequence random(1, 1000000)\n${insert};\n`);
  const before = await count(url);
  const seconds = Math.ceil(bench.seconds);
  const options = ['-n', '-M', 'prepared', '-c', String(clients), '-j', '2', '-T', String(seconds), '-f', script, url];
  const { stdout } = await run(join(server.bin, 'pgbench'), options);
  const done = Number(/number of transactions actually processed: (\d+)/.exec(stdout)?.[1]);
  const perSecond = Number(/^tps = ([\d.]+)/m.exec(stdout)?.[1]);
  const written = (await count(url)) - before;
  if (!(perSecond > 0) || written !== done) throw new Error(`pgbench wrote ${written} rows:\n${stdout}`);
  return perSecond;
}

async function count(url: string): Promise<number> {
  const [row] = await query(url, 'SELECT count(*) AS rows FROM yardstick');
  return Number(row!.rows);
}

/** The URL of a database with message-db, installed by its own script. */
export async function messageDbDatabase(bench: Bench): Promise<string> {
  const server = await bench.postgres();
  const script = createRequire(import.meta.url).resolve('@eventide/message-db/database/install.sh');
  if (!existsSync(script)) throw new Error(`message-db has no ${script}`);
  const name = 'message_store';
  await run('bash', [script], {
    cwd: dirname(script),
    env: {
      ...process.env,
      PATH: `${server.bin}:${process.env.PATH}`,
      PGHOST: '127.0.0.1',
      PGPORT: String(server.port),
      PGUSER: 'daybook',
      DATABASE_NAME: name,
    },
  });
  return server.url(name);
}
