// Yardsticks on PostgreSQL through pg: one INSERT at a time, message-db's write_message, and the log as it lies there.

import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { insertText } from '../lib/yardsticks.ts';
import { payload } from './messages.ts';
import { counted, type LoadResult } from './pipelined.ts';
import { closedLoop } from './unary.ts';

export interface InsertJob {
  kind: 'insert';
  url: string;
  seconds: number;
}

const INSERT = insertText({ stream: '$1', sequence: '$2', unit: '$3', payload: '$4' });
let written = 0;

/** One connection, one row for each transaction, into the table of `yardstickDatabase`. */
export async function inserts({ url, seconds }: InsertJob): Promise<LoadResult> {
  const client = new pg.Client(url);
  await client.connect();
  const result = await closedLoop(seconds, 1, insertRow(client));
  await client.end();
  return result;
}

export function insertRow(client: pg.Client): () => Promise<void> {
  const event = Buffer.from(payload());
  return async () => {
    await client.query({ name: 'insert', text: INSERT, values: [++written % 10_000, written, randomUUID(), event] });
  };
}

export interface MessageDbJob {
  kind: 'message-db';
  url: string;
  seconds: number;
  inFlight: number;
  connections: number;
  streams: number;
}

/** The version of each stream that we wrote last: what the next message expects. Kept between jobs, as an application would. */
const versions = new Map<string, number>();

export async function messageDb(job: MessageDbJob): Promise<LoadResult> {
  const { url, seconds, inFlight, connections, streams } = job;
  const pool = new pg.Pool({ connectionString: url, max: connections, options: '-c search_path=message_store' });
  const data = JSON.stringify({ text: 'x'.repeat(190) });
  const busy = new Set<string>();
  let turn = 0;
  const free = () => {
    for (;;) {
      const name = `counter-${(turn++ % streams).toString().padStart(12, '0')}`;
      if (!busy.has(name)) return name;
    }
  };
  const result = await closedLoop(seconds, inFlight, async () => {
    const name = free();
    busy.add(name);
    const expected = versions.get(url + name) ?? -1;
    await pool.query({
      name: 'write',
      text: 'SELECT write_message($1, $2, $3, $4, $5, $6)',
      values: [randomUUID(), name, 'Counted', data, null, expected],
    });
    versions.set(url + name, expected + 1);
    busy.delete(name);
  });
  await pool.end();
  return result;
}

export interface SelectJob {
  kind: 'select-log';
  url: string;
  events: number;
  batch: number;
}

/** All rows of the log in batches, by position. */
export async function selectLog({ url, events, batch }: SelectJob): Promise<LoadResult> {
  const client = new pg.Client(url);
  await client.connect();
  const begunMs = performance.now();
  let answered = 0;
  for (let after = 0; after < events; ) {
    const { rows } = await client.query({
      name: 'select',
      text: 'SELECT * FROM daybook.events WHERE position > $1 ORDER BY position LIMIT $2',
      values: [after, batch],
    });
    after = Number(rows.at(-1).position);
    answered += rows.length;
  }
  const seconds = (performance.now() - begunMs) / 1000;
  await client.end();
  return counted(answered, seconds);
}
