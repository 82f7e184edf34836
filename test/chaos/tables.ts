// What auditors read: the tables themselves, with SQL of their own, beside running daemons. Shares no code with the daemon.

import { DatabaseSync } from 'node:sqlite';
import pg from 'pg';

export interface EventRow {
  position: number;
  stream: string;
  domain: string;
  root: Uint8Array;
  sequence: number;
  unit_id: Uint8Array;
  created_at: number;
  type_url: string;
  origin: string | null;
  payload: Uint8Array;
}

export interface LogState {
  /** Behind the position that was asked for, in order. */
  events: EventRow[];
  /** Where the log ends: as its head says, where it has one. */
  last: number;
  /** Next sequences by stream, where streams have heads. */
  nexts: ReadonlyMap<string, number> | undefined;
}

export interface Tables {
  /** As of one instant. */
  read(after: number): Promise<LogState>;
  /** Rows of the table; of cursors: those that stand before the position. */
  count(table: 'outcomes' | 'outbox' | 'parked' | 'timers' | 'done'): Promise<number>;
  cursorsBehind(position: number): Promise<number>;
  projections(): Promise<{ projector: string; payload: Uint8Array }[]>;
}

const EVENTS = `SELECT position, stream, domain, root, sequence, unit_id, created_at, type_url, origin, payload
  FROM events JOIN streams ON streams.id = events.stream`;
const PROJECTIONS = 'SELECT projector, payload FROM projections WHERE payload IS NOT NULL';

/** Of a database file. */
export function sqliteTables(path: string): Tables {
  const look = <T>(body: (db: DatabaseSync) => T): T => {
    const db = new DatabaseSync(path, { readOnly: true, timeout: 5000 });
    try {
      return body(db);
    } finally {
      db.close();
    }
  };
  const number = (sql: string, ...values: number[]) =>
    look((db) => Object.values(db.prepare(sql).get(...values) as Record<string, number>)[0]!);
  return {
    read: async (after) =>
      look((db) => {
        db.exec('BEGIN');
        const rows = db.prepare(`${EVENTS} WHERE position > ? ORDER BY position`).all(after);
        const { last } = db.prepare('SELECT last_position AS last FROM log').get() as { last: number };
        const heads = db.prepare('SELECT id, next_sequence FROM streams').all();
        const nexts = new Map(heads.map((row) => [String(row.id), row.next_sequence as number]));
        const events = rows.map((row) => ({ ...row, stream: String(row.stream) }) as unknown as EventRow);
        return { events, last, nexts };
      }),
    count: async (table) => number(`SELECT count(*) FROM ${table}`),
    cursorsBehind: async (position) => number('SELECT count(*) FROM cursors WHERE position < ?', position),
    projections: async () =>
      look((db) => db.prepare(PROJECTIONS).all() as { projector: string; payload: Uint8Array }[]),
  };
}

/** Of the schema `daybook` in a database, on a new connection each time: servers are restarted. */
export function postgresTables(url: string): Tables {
  const look = async <T>(body: (query: (sql: string, ...values: number[]) => Promise<Row[]>) => Promise<T>) => {
    const client = new pg.Client({ connectionString: url, options: '-c search_path=daybook' });
    client.on('error', () => {});
    await client.connect();
    try {
      return await body(async (sql, ...values) => (await client.query(sql, values)).rows);
    } finally {
      await client.end();
    }
  };
  const number = (sql: string, ...values: number[]) =>
    look(async (query) => Number(Object.values((await query(sql, ...values))[0]!)[0]));
  return {
    read: (after) =>
      look(async (query) => {
        await query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
        const rows = await query(`${EVENTS} WHERE position > $1 ORDER BY position`, after);
        const [{ last }] = (await query('SELECT coalesce(max(position), 0) AS last FROM events')) as [Row];
        return { events: rows.map(eventOf), last: Number(last), nexts: undefined };
      }),
    count: (table) => number(`SELECT count(*) FROM ${table}`),
    cursorsBehind: (position) => number('SELECT count(*) FROM cursors WHERE position < $1', position),
    projections: () =>
      look(async (query) => (await query(PROJECTIONS)) as { projector: string; payload: Uint8Array }[]),
  };
}

type Row = Record<string, unknown>;

/** Numbers of 64 bits and UUIDs come as texts. */
function eventOf(row: Row): EventRow {
  return {
    ...(row as unknown as EventRow),
    position: Number(row.position),
    stream: String(row.stream),
    sequence: Number(row.sequence),
    created_at: Number(row.created_at),
    unit_id: Buffer.from(String(row.unit_id).replaceAll('-', ''), 'hex'),
  };
}
