// Bringing a schema up to date: all its migrations in one transaction, one daemon at a time.

import { readdirSync, readFileSync } from 'node:fs';
import pg from 'pg';
import { DaybookError } from '../../errors.ts';
import { shipped } from '../../shipped.ts';
import type { Connection } from './connect.ts';

const MIGRATIONS = shipped('stores/postgres/migrations/');
const SERVER_MIN = 15;
/** A large table may take long. */
const MIGRATION_MS = 86_400_000;

export interface Migration {
  /** The n-th file makes version n. */
  version: number;
  name: string;
}

export interface MigrateOptions {
  schema: string;
  /** Only says what would be done. */
  dryRun?: boolean;
  /** So many positions in one partition of the log; only the first migration asks. 0: one table. */
  partitionEvents?: number;
}

export function migrations(): Migration[] {
  return readdirSync(MIGRATIONS)
    .filter((name) => name.endsWith('.sql'))
    .sort()
    .map((name, i) => ({ version: i + 1, name }));
}

/** The schema's name where a statement needs it. */
export function quoted(schema: string): string {
  return `"${schema.replaceAll('"', '""')}"`;
}

/** What is missing, and was done unless this is a dry run. Whoever comes second finds nothing to do. */
export async function migrate(connection: Connection, options: MigrateOptions): Promise<Migration[]> {
  const { schema, dryRun = false, partitionEvents = 0 } = options;
  await checkServer(connection);
  const missing = await missingMigrations(connection, schema);
  if (dryRun || missing.length === 0) return missing;
  return connection.transaction(async () => {
    // Migrating takes as long as it takes, and waits for the one who does.
    await connection.query({ text: 'SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0' });
    await connection.query({
      text: `SELECT pg_advisory_xact_lock(hashtextextended('daybook migrations ' || $1, 0))`,
      values: [schema],
      answerMs: MIGRATION_MS,
    });
    const left = await missingMigrations(connection, schema);
    if (left.length === 0) return left;
    try {
      // Whoever made the schema for us need not let us make others.
      const there = await connection.query({
        text: 'SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1',
        values: [schema],
      });
      if (there.length === 0) await connection.query({ text: `CREATE SCHEMA ${quoted(schema)}` });
      await connection.query({
        text: `SET LOCAL search_path = ${quoted(schema)}, pg_temp;
          SET LOCAL daybook.partition_events = ${partitionEvents};
          CREATE TABLE IF NOT EXISTS migrations (
            version bigint PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())`,
      });
      for (const { version, name } of left) {
        await connection.query({ text: readFileSync(new URL(name, MIGRATIONS), 'utf8'), answerMs: MIGRATION_MS });
        await connection.query({
          text: 'INSERT INTO migrations (version, name) VALUES ($1, $2)',
          values: [version, name],
        });
      }
    } catch (error) {
      if (!(error instanceof pg.DatabaseError)) throw error;
      if (error.code === INSUFFICIENT_PRIVILEGE) {
        throw unusable(schema, 'it must be migrated, and this role may not: run daybook migrate as another one', error);
      }
      if (error.code === DUPLICATE_TABLE)
        throw unusable(schema, `it belongs to another program: ${error.message}`, error);
      throw error;
    }
    return left;
  });
}

/** Rejects with a sentence when the schema is not what this Daybook can work with. One step ahead is fine. */
export async function checkSchema(connection: Connection, schema: string): Promise<void> {
  await checkServer(connection);
  const known = migrations().length;
  const found = await schemaVersion(connection, schema);
  if (found < known) {
    throw unusable(schema, `its version is ${found}, this Daybook needs ${known}: run daybook migrate`);
  }
  refuseNewer(schema, found);
}

const INSUFFICIENT_PRIVILEGE = '42501';
const DUPLICATE_TABLE = '42P07';
const UNDEFINED_TABLE = '42P01';

async function checkServer(connection: Connection): Promise<void> {
  const [row] = await connection.query<[string, string]>({
    text: `SELECT current_setting('server_version_num'), current_setting('server_encoding')`,
  });
  const [version, encoding] = row!;
  const major = Math.floor(Number(version) / 10_000);
  if (major < SERVER_MIN) throw unable(`PostgreSQL ${major} is too old: Daybook needs ${SERVER_MIN} or newer`);
  if (encoding !== 'UTF8') throw unable(`the database's encoding is ${encoding}: Daybook needs one in UTF8`);
}

async function missingMigrations(connection: Connection, schema: string): Promise<Migration[]> {
  const found = await schemaVersion(connection, schema);
  refuseNewer(schema, found);
  return migrations().filter(({ version }) => version > found);
}

/** 0 when nobody has migrated it. */
async function schemaVersion(connection: Connection, schema: string): Promise<number> {
  // Looked up in the tables: what a session remembers of names may be from before it waited for another one's migration.
  const there = await connection.query({
    text: `SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname = $1 AND c.relname = 'migrations'`,
    values: [schema],
  });
  if (there.length === 0) return 0;
  try {
    const rows = await connection.query<[number | null]>({
      text: `SELECT max(version) FROM ${quoted(schema)}.migrations`,
    });
    return rows[0]![0] ?? 0;
  } catch (error) {
    if (error instanceof pg.DatabaseError && error.code === UNDEFINED_TABLE) return 0;
    throw error;
  }
}

function refuseNewer(schema: string, found: number): void {
  const known = migrations().length;
  if (found > known + 1)
    throw unusable(schema, `its version is ${found}, this Daybook knows ${known}: use a newer one`);
}

function unusable(schema: string, why: string, cause?: unknown): DaybookError {
  return new DaybookError('STORE_UNAVAILABLE', `schema ${schema} cannot be used: ${why}`, { cause });
}

function unable(why: string): DaybookError {
  return new DaybookError('STORE_UNAVAILABLE', why);
}
