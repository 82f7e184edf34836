// Opening the file: how SQLite is set up, and the schema.

import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { DaybookError } from '../../errors.ts';
import { shipped } from '../../shipped.ts';
import { insertLog } from './queries.ts';

/** Marks a file as Daybook's: "Dybk". */
const APPLICATION_ID = 0x4479626b;
/** How long SQLite tries again when another program holds the file. */
const BUSY_MS = 5_000;

export function openWriter(path: string): DatabaseSync {
  const db = new DatabaseSync(path, { timeout: BUSY_MS, enableForeignKeyConstraints: false });
  try {
    refuseStrangers(db, path);
    // FULL: a commit returns when the log of changes is on the disk. On macOS only the "full" kind of fsync gets it there.
    db.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = FULL;
      PRAGMA fullfsync = ON;
      PRAGMA checkpoint_fullfsync = ON;
      PRAGMA wal_autocheckpoint = 16000;
      PRAGMA journal_size_limit = 67108864;
      PRAGMA cache_size = -32768;
    `);
    migrate(db, path);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** Like the writer, and writes nothing of its own. */
export function openFolder(path: string): DatabaseSync {
  const db = new DatabaseSync(path, { timeout: BUSY_MS, enableForeignKeyConstraints: false });
  db.exec('PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;');
  return db;
}

/**
 * Folds what is in the log of changes into the file. The writer does it by itself now and then, and makes everybody wait meanwhile; this
 * leaves it little to do. Passive: nobody waits for it, and what somebody still reads is left for the next time. Returns how many pages
 * were in the log.
 */
export function fold(db: DatabaseSync): number {
  try {
    return Number(db.prepare('PRAGMA wal_checkpoint(PASSIVE)').get()!.log);
  } catch {
    // The disk is full, or away: the writer meets the same, and says so to those who asked for something.
    return 0;
  }
}

export function openReader(path: string): DatabaseSync {
  const db = new DatabaseSync(path, { timeout: BUSY_MS, readOnly: true });
  try {
    refuseStrangers(db, path);
    db.exec('PRAGMA cache_size = -16384;');
    const known = migrations().length;
    const found = schemaVersion(db);
    if (found < known) throw unusable(path, `its schema is ${found}, older than ${known}: start the daemon once`);
    refuseNewer(found, known, path);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** Brings the schema up to date. Each migration and its version are one transaction. */
function migrate(db: DatabaseSync, path: string): void {
  const all = migrations();
  refuseNewer(schemaVersion(db), all.length, path);
  for (let version = schemaVersion(db) + 1; version <= all.length; version++) {
    db.exec('BEGIN IMMEDIATE');
    try {
      db.exec(readFileSync(new URL(all[version - 1]!, MIGRATIONS), 'utf8'));
      if (version === 1) insertLog(db, { logId: randomUUID(), incarnation: randomUUID() });
      db.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${version}; COMMIT`);
    } catch (error) {
      if (db.isTransaction) db.exec('ROLLBACK');
      throw error;
    }
  }
}

const MIGRATIONS = shipped('stores/sqlite/migrations/');

/** The files, in order: the n-th makes version n. */
function migrations(): string[] {
  return readdirSync(MIGRATIONS)
    .filter((name) => name.endsWith('.sql'))
    .sort();
}

function schemaVersion(db: DatabaseSync): number {
  return pragma(db, 'user_version');
}

/** One step ahead is fine: a newer daemon expands the schema before anything relies on it. */
function refuseNewer(found: number, known: number, path: string): void {
  if (found > known + 1) throw unusable(path, `its schema is ${found}, this Daybook knows ${known}: use a newer one`);
}

function refuseStrangers(db: DatabaseSync, path: string): void {
  if (pragma(db, 'application_id') === APPLICATION_ID) return;
  const tables = db.prepare('SELECT count(*) AS count FROM sqlite_schema').get()!.count;
  if (tables !== 0) throw unusable(path, 'it belongs to another program');
}

function pragma(db: DatabaseSync, name: string): number {
  return Number(db.prepare(`PRAGMA ${name}`).get()![name]);
}

function unusable(path: string, why: string): DaybookError {
  return new DaybookError('STORE_UNAVAILABLE', `cannot use ${path}: ${why}`);
}
