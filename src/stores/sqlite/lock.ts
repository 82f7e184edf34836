import { DatabaseSync } from 'node:sqlite';
import { DaybookError } from '../../errors.ts';

export interface Lock {
  release(): void;
}

/**
 * Makes the database at `path` this process's own. The lock is an exclusive transaction on a small database beside it: SQLite takes
 * the operating system's file locks for that, and those end with the process, however it ends. The database itself is
 * not locked, so that others may look.
 */
export function acquireLock(path: string): Lock {
  const file = `${path}.lock`;
  const db = new DatabaseSync(file, { timeout: 0 });
  try {
    db.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    db.close();
    if (((error as { errcode?: number }).errcode ?? 0) % 256 !== SQLITE_BUSY) throw error;
    throw new DaybookError(
      'STORE_UNAVAILABLE',
      `${path} is open in another process, and only one may have it: ${file} is held`,
    );
  }
  return { release: () => db.close() };
}

const SQLITE_BUSY = 5;
