// The store: its place, its lock, its content.

import { accessSync, constants, existsSync, statfsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { StorageConfig } from '../../config.ts';
import { timeText, toMicros } from '../../model/time.ts';
import type { Store } from '../../store.ts';
import { openReadOnly } from '../stored-log.ts';
import { bytesText, type Finding, fault, ok, warn } from './finding.ts';

const FREE_BYTES_MIN = 1 << 30;
const FREE_SHARE_MIN = 0.05;
const CLOCK_SLACK_MICROS = 1e6;

export async function checkStorage(storage: StorageConfig): Promise<Finding[]> {
  if (storage.type === 'memory') return [warn('store', 'in memory: everything is gone when the daemon stops')];
  if (storage.type === 'postgres') return checkContent(storage);
  const { path } = storage;
  const place = checkPlace(path);
  if (place.some(({ level }) => level === 'fault') || !existsSync(path)) return place;
  return [...place, checkLock(path), ...(await checkContent(storage))];
}

/** Can the file be written, or made, and is there room? */
function checkPlace(path: string): Finding[] {
  let folder = dirname(path);
  while (!existsSync(folder) && dirname(folder) !== folder) folder = dirname(folder);
  const exists = existsSync(path);
  const target = exists ? path : folder;
  try {
    if (exists ? !statSync(path).isFile() : !statSync(folder).isDirectory()) {
      return [fault('store', `${target} is not a ${exists ? 'file' : 'folder'}: name another path under storage.path`)];
    }
    // SQLite keeps files beside its own.
    accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK);
    if (exists) accessSync(path, constants.R_OK | constants.W_OK);
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    return [fault('store', `${target} cannot be written by this user (${code}): change its rights or storage.path`)];
  }
  const { type, bsize, bavail, blocks } = statfsSync(folder);
  return [
    ok('store', exists ? `${path} is there and can be written` : `${path} will be made by the first start`),
    checkSpace(folder, bavail * bsize, blocks * bsize),
    ...(process.platform === 'linux' ? checkFileSystem(folder, type) : []),
  ];
}

export function checkSpace(folder: string, freeBytes: number, totalBytes: number): Finding {
  const free = `${bytesText(freeBytes)} of ${bytesText(totalBytes)} are free in ${folder}`;
  // Some file systems have no size.
  const low = totalBytes > 0 && (freeBytes < FREE_BYTES_MIN || freeBytes < totalBytes * FREE_SHARE_MIN);
  return low ? warn('disk', `${free}: make room, a full disk stops all writing`) : ok('disk', free);
}

// From statfs(2).
const NETWORK_FILE_SYSTEMS: { [type: number]: string } = {
  26985: 'NFS', // 0x6969
  20859: 'SMB', // 0x517b
  4283649346: 'CIFS', // 0xff534d42
  4266872130: 'SMB2', // 0xfe534d42
  12805120: 'Ceph', // 0xc36400
  16914839: '9p', // 0x01021997
  1397113167: 'AFS', // 0x5346414f
  198183888: 'Lustre', // 0x0bd00bd0
  1702057286: 'FUSE', // 0x65735546
};
const TMPFS = 16914836; // 0x01021994

export function checkFileSystem(folder: string, type: number): Finding[] {
  // A signed number in some versions of Node.
  const name = NETWORK_FILE_SYSTEMS[type >>> 0];
  if (name !== undefined) {
    const why = 'file locks and fsync often do not hold there, so the log may be damaged';
    return [warn('file system', `${folder} is on ${name}: ${why}; keep the database on a local disk`)];
  }
  if (type === TMPFS)
    return [warn('file system', `${folder} is in memory (tmpfs): the log does not survive a restart`)];
  return [];
}

/** The daemon holds an exclusive transaction on a file beside the database. */
function checkLock(path: string): Finding {
  const file = `${path}.lock`;
  if (!existsSync(file)) return ok('lock', 'no daemon has the store open');
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(file, { readOnly: true, timeout: 0 });
    db.prepare('SELECT count(*) FROM sqlite_schema').get();
    return ok('lock', 'no daemon has the store open');
  } catch (thrown) {
    const busy = ((thrown as { errcode?: number }).errcode ?? 0) % 256 === SQLITE_BUSY;
    if (busy) return ok('lock', 'a running daemon has the store open');
    return fault('lock', `${file} cannot be read (${(thrown as Error).message}): remove it while no daemon runs`);
  } finally {
    db?.close();
  }
}

const SQLITE_BUSY = 5;

async function checkContent(storage: Exclude<StorageConfig, { type: 'memory' }>): Promise<Finding[]> {
  let store: Store | undefined;
  try {
    store = await openReadOnly(storage);
    const { logId, incarnation, position } = await store.head();
    const log = ok('log', `${logId}, incarnation ${incarnation}, ends at position ${position}`);
    return [log, ...(position === 0 ? [] : await checkLastTime(store, position))];
  } catch (thrown) {
    return [fault('log', `${(thrown as Error).message}`)];
  } finally {
    await store?.close();
  }
}

async function checkLastTime(store: Store, position: number): Promise<Finding[]> {
  const { books } = await store.readLog({ after: position - 1, to: position, filter: {}, maxEvents: 1, maxBytes: 1 });
  const createdAt = books.at(-1)?.pages.at(-1)?.createdAt;
  if (createdAt === undefined) return [fault('log', `position ${position} cannot be read: run daybook verify`)];
  const last = toMicros(createdAt);
  const behind = last - Date.now() * 1000;
  if (behind <= CLOCK_SLACK_MICROS) return [ok('last event', timeText(last))];
  return [
    fault(
      'last event',
      `it was recorded at ${timeText(last)}, ${Math.round(behind / 1e6)} s after what the clock says now: set the clock`,
    ),
  ];
}
