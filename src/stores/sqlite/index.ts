// The store in one file of SQLite, for one process. Three workers hold a connection each: a writer, which waits for the disk at
// every commit, a reader, which does not wait with it, and one that folds the log of changes into the file. The last two are started when
// there is something for them to do.

import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { assert, DaybookError } from '../../errors.ts';
import type { Snapshot } from '../../model/book.ts';
import type { StreamKey } from '../../model/stream.ts';
import { systemRuntime } from '../../runtime.ts';
import { CODE, shipped } from '../../shipped.ts';
import type {
  ListedOutcome,
  LogBooks,
  LogHead,
  OpenStream,
  OutcomeKey,
  ReadLog,
  SnapshotHead,
  Store,
  StoredOutcome,
  StreamHead,
  StreamOpening,
  StreamPages,
  StreamRange,
  Unit,
  UnitResult,
} from '../../store.ts';
import { checkUnit } from '../unit-rules.ts';
import * as codec from './codec.ts';
import type { DeliveryRead } from './delivery/reads.ts';
import { SqliteDelivery } from './delivery/store.ts';
import type { DeliveryWrite } from './delivery/writes.ts';
import { Faulted, Lane, Lost } from './lane.ts';
import { acquireLock, type Lock } from './lock.ts';
import { readValue, writeValue } from './plain-value.ts';
import type { Operation, WorkerSetup } from './protocol.ts';
import type { TapeReader, TapeWriter } from './tape.ts';

export interface OpenSqlite {
  /** The database file; made with its folder when missing. Beside it lie `-wal`, `-shm` and `.lock`. */
  path: string;
  /** Only looks, also while a daemon has the file open: takes no lock, changes nothing, refuses to commit. */
  readOnly?: boolean;
  /** The store's own clock: microseconds since 1970. */
  clock?: () => number;
}

/** Rejects with STORE_UNAVAILABLE and a sentence when the file cannot be used or belongs to another running process. */
export async function openSqlite(options: OpenSqlite): Promise<Store> {
  const { path, readOnly = false, clock = systemRuntime().nowMicros } = options;
  if (path === '' || path.startsWith(':')) {
    throw new DaybookError('STORE_UNAVAILABLE', `SQLite needs the path of a file, not '${path}'`);
  }
  let lock: Lock | undefined;
  if (!readOnly) {
    try {
      mkdirSync(dirname(path), { recursive: true });
      lock = acquireLock(path);
    } catch (error) {
      if (error instanceof DaybookError) throw error;
      throw new DaybookError('STORE_UNAVAILABLE', `cannot open ${path}: ${(error as Error).message}`, { cause: error });
    }
  }
  const store = new SqliteStore(path, lock, clock);
  try {
    await store.open();
  } catch (error) {
    await store.close();
    throw error;
  }
  return store;
}

class SqliteStore extends SqliteDelivery implements Store {
  readonly description: string;
  readonly #path: string;
  readonly #lock: Lock | undefined;
  readonly #clock: () => number;
  readonly #writer: Lane | undefined;
  readonly #reader: Lane;
  readonly #folder: Lane | undefined;
  #closing: Promise<void> | undefined;

  constructor(path: string, lock: Lock | undefined, clock: () => number) {
    super();
    this.description = `sqlite ${path}`;
    this.#path = path;
    this.#lock = lock;
    this.#clock = clock;
    this.#writer = lock && new Lane(() => startWorker({ path, role: 'writer' }));
    this.#reader = new Lane(() => startWorker({ path, role: 'reader' }));
    this.#folder = lock && new Lane(() => startWorker({ path, role: 'folder' }));
  }

  /**
   * The writer makes the file and its schema. Whoever held leases in it was another process, which is gone: nobody waits until its
   * heartbeat expires.
   */
  async open(): Promise<void> {
    try {
      await this.#writer?.call('forgetInstances');
      if (this.#writer === undefined) await this.#reader.open();
    } catch (error) {
      throw this.#translate(error, false);
    }
  }

  async commit(units: readonly Unit[]): Promise<UnitResult[]> {
    for (const unit of units) checkUnit(unit);
    this.#foldSoon();
    const answer = await this.#write('commit', (tape) => {
      tape.number(units.length);
      for (const unit of units) codec.writeUnit(tape, unit);
    });
    return units.map((unit) => codec.readResult(answer, unit));
  }

  async head(): Promise<LogHead> {
    const answer = await this.#read('head');
    return { logId: answer.text(), incarnation: answer.text(), position: answer.number(), unitId: answer.bytes() };
  }

  async openStream(stream: StreamKey, open: OpenStream): Promise<StreamOpening> {
    const answer = await this.#read('openStream', (tape) => {
      codec.writeStream(tape, stream);
      codec.writeOpenStream(tape, open);
    });
    return {
      pages: codec.readEvents(answer),
      nextSequence: answer.number(),
      snapshot: codec.readOptional(answer, codec.readSnapshot),
      snapshotNext: answer.number(),
      from: answer.number(),
      lastCreatedAtMicros: answer.number(),
      outcome: codec.readOptional(answer, codec.readStoredOutcome),
    };
  }

  async readStream(stream: StreamKey, range: StreamRange): Promise<StreamPages> {
    const answer = await this.#read('readStream', (tape) => {
      codec.writeStream(tape, stream);
      codec.writeStreamRange(tape, range);
    });
    return { pages: codec.readEvents(answer), nextSequence: answer.number() };
  }

  async readSnapshot(stream: StreamKey, schemaVersion: number, atOrBefore: number): Promise<Snapshot | undefined> {
    const answer = await this.#read('readSnapshot', (tape) => {
      codec.writeStream(tape, stream);
      tape.number(schemaVersion);
      tape.number(atOrBefore);
    });
    return codec.readOptional(answer, codec.readSnapshot);
  }

  async readLog(read: ReadLog): Promise<LogBooks> {
    const answer = await this.#read('readLog', (tape) => codec.writeReadLog(tape, read));
    const books = codec.times(answer.number(), () => codec.readBook(answer));
    return { books, through: answer.number() };
  }

  async positionBefore(timeMicros: number): Promise<number> {
    const answer = await this.#read('positionBefore', (tape) => tape.number(timeMicros));
    return answer.number();
  }

  async listStreams(list: {
    tenant?: string;
    domain?: string;
    after?: StreamKey;
    limit: number;
  }): Promise<StreamHead[]> {
    const { tenant, domain, after, limit } = list;
    const answer = await this.#read('listStreams', (tape) =>
      codec.writeListStreams(tape, { tenant, domain, after, limit }),
    );
    return codec.times(answer.number(), () => ({ stream: codec.readStream(answer), nextSequence: answer.number() }));
  }

  async listSnapshots(list: { after?: SnapshotHead; limit: number }): Promise<SnapshotHead[]> {
    const answer = await this.#read('listSnapshots', (tape) => {
      codec.writeOptional(tape, list.after, codec.writeSnapshotHead);
      tape.number(list.limit);
    });
    return codec.times(answer.number(), () => codec.readSnapshotHead(answer));
  }

  async readOutcome(key: OutcomeKey): Promise<StoredOutcome | undefined> {
    const answer = await this.#read('readOutcome', (tape) => codec.writeOutcomeKey(tape, key));
    return codec.readOptional(answer, codec.readStoredOutcome);
  }

  async listOutcomes(list: {
    tenant: string;
    correlationId: string;
    after?: ListedOutcome;
    limit: number;
  }): Promise<ListedOutcome[]> {
    const { tenant, correlationId, after, limit } = list;
    const answer = await this.#read('listOutcomes', (tape) =>
      codec.writeListOutcomes(tape, { tenant, correlationId, after, limit }),
    );
    return codec.times(answer.number(), () => codec.readListedOutcome(answer));
  }

  async expireOutcomes(nowMicros: number, limit: number): Promise<number> {
    const answer = await this.#write('expireOutcomes', (tape) => {
      tape.number(nowMicros);
      tape.number(limit);
    });
    return answer.number();
  }

  async now(): Promise<number> {
    return this.#clock();
  }

  protected async read(name: DeliveryRead, ...ask: unknown[]): Promise<never> {
    return readValue(await this.#read(name, (tape) => writeValue(tape, ask))) as never;
  }

  protected async write(name: DeliveryWrite, ...ask: unknown[]): Promise<never> {
    return readValue(await this.#write(name, (tape) => writeValue(tape, [this.#clock(), ...ask]))) as never;
  }

  /** While much is written; a daemon that has nothing to do is spared the thread. Without it the writer folds by itself. */
  #foldSoon(): void {
    this.#folder?.open().catch(() => {});
  }

  /**
   * A read does not wait behind a commit. As long as none would, the writer reads, too: a daemon that has nothing to do is spared the other
   * thread and its memory.
   */
  #laneOfReads(): Lane {
    const writer = this.#writer;
    return writer === undefined || writer.underWay > 0 || this.#reader.isStarted ? this.#reader : writer;
  }

  /** The writer goes last, so that it folds the write-ahead log into the file. */
  close(): Promise<void> {
    this.#closing ??= (async () => {
      await Promise.all([this.#folder?.close(), this.#reader.close()]);
      await this.#writer?.close();
      this.#lock?.release();
    })();
    return this.#closing;
  }

  async #read(operation: Operation, write?: (tape: TapeWriter) => void): Promise<TapeReader> {
    return this.#call(this.#laneOfReads(), operation, write, false);
  }

  async #write(operation: Operation, write: (tape: TapeWriter) => void): Promise<TapeReader> {
    assert(this.#writer !== undefined, 'a store that was opened read-only is not written');
    return this.#call(this.#writer, operation, write, true);
  }

  async #call(
    lane: Lane,
    operation: Operation,
    write: ((tape: TapeWriter) => void) | undefined,
    writing: boolean,
  ): Promise<TapeReader> {
    if (this.#closing !== undefined) throw this.#unavailable('it is closed');
    try {
      return await lane.call(operation, write);
    } catch (error) {
      throw this.#translate(error, writing);
    }
  }

  /** The one place where errors of SQLite get their meaning: by code, never by text. */
  #translate(error: unknown, writing: boolean): DaybookError {
    if (error instanceof Lost) {
      if (!writing || !error.begun) return this.#unavailable('a worker of it ended', error);
      return new DaybookError('OUTCOME_UNKNOWN', `the writer of ${this.#path} ended in the middle of its work`, {
        cause: error,
      });
    }
    if (!(error instanceof Faulted)) return new DaybookError('INTERNAL', 'a defect in the store', { cause: error });
    const { sqliteCode, reason, message, committing } = error.fault;
    if (reason !== undefined) return new DaybookError(reason, message, { cause: error });
    switch (sqliteCode === undefined ? undefined : sqliteCode & 0xff) {
      case SQLITE_BUSY:
      case SQLITE_LOCKED:
        return this.#unavailable('another program holds it', error);
      case SQLITE_FULL:
        return this.#unavailable('the disk is full', error);
      case SQLITE_IOERR:
        if (!committing) return this.#unavailable(message, error);
        return new DaybookError('OUTCOME_UNKNOWN', `${this.#path}: ${message} while committing`, { cause: error });
      case SQLITE_PERM:
      case SQLITE_NOMEM:
      case SQLITE_READONLY:
      case SQLITE_CORRUPT:
      case SQLITE_CANTOPEN:
      case SQLITE_NOTADB:
        return this.#unavailable(message, error);
      default:
        return new DaybookError('INTERNAL', `the store failed: ${message}`, { cause: error });
    }
  }

  #unavailable(why: string, cause?: unknown): DaybookError {
    return new DaybookError('STORE_UNAVAILABLE', `${this.#path} cannot be used: ${why}`, { cause });
  }
}

// Primary result codes of SQLite; extended ones carry them in their last byte.
const SQLITE_PERM = 3;
const SQLITE_BUSY = 5;
const SQLITE_LOCKED = 6;
const SQLITE_NOMEM = 7;
const SQLITE_READONLY = 8;
const SQLITE_IOERR = 10;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_CANTOPEN = 14;
const SQLITE_NOTADB = 26;

function startWorker(setup: WorkerSetup): Worker {
  return new Worker(shipped(`stores/sqlite/worker${CODE}`), { workerData: setup });
}
