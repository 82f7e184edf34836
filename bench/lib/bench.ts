// What every row uses: servers and programs that are started when they are first needed and end with the row, and how long to measure.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type PostgresServer, startPostgres } from '../../test/support/postgres.ts';
import { type Daemon, type Options, type Storage, startDaemon } from './daemon.ts';
import { start } from './processes.ts';

export interface BenchOptions {
  readonly quick: boolean;
  /** Events of the long logs: P5 and P7. */
  readonly events: number | undefined;
}

export class Bench implements AsyncDisposable {
  readonly quick: boolean;
  readonly rounds: number;
  /** Of one side of a round. */
  readonly seconds: number;
  readonly events: number | undefined;
  readonly #stack = new AsyncDisposableStack();
  #postgres: Promise<PostgresServer> | undefined;
  #databases = 0;

  constructor({ quick, events }: BenchOptions) {
    this.quick = quick;
    this.events = events;
    this.rounds = quick ? 2 : 5;
    this.seconds = quick ? 1.5 : 5;
  }

  use<T extends AsyncDisposable>(resource: T): T {
    return this.#stack.use(resource);
  }

  /** Gone at the end. */
  folder(): string {
    const folder = mkdtempSync(join(tmpdir(), 'daybook-bench-'));
    this.#stack.defer(() => rmSync(folder, { recursive: true, force: true }));
    return folder;
  }

  /** A server of our own that syncs to the disk, with what a server of this size is given. */
  postgres(): Promise<PostgresServer> {
    this.#postgres ??= (async () => {
      const server = await startPostgres(POSTGRES_SETTINGS);
      if (typeof server === 'string') throw new Error(server);
      this.#stack.defer(() => server.stop('fast'));
      return server;
    })();
    return this.#postgres;
  }

  /** Its first process, the parent of all others. */
  async postmaster(): Promise<number> {
    const { data } = await this.postgres();
    return Number(readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n')[0]);
  }

  /** The URL of an empty database. */
  async database(): Promise<string> {
    const server = await this.postgres();
    const name = `bench_${++this.#databases}`;
    await query(server.url('postgres'), `CREATE DATABASE ${name}`);
    return server.url(name);
  }

  async storage(type: Storage['type']): Promise<Storage> {
    switch (type) {
      case 'memory':
        return { type };
      case 'sqlite':
        return { type, path: join(this.folder(), 'daybook.db') };
      case 'postgres':
        return { type, connectionString: await this.database() };
    }
  }

  async daemon(storage: Storage, options: Options = {}): Promise<Daemon> {
    return this.use(await startDaemon(this.folder(), storage, options));
  }

  program<Job extends object, Result>(program: string, args: string[] = []) {
    return this.use(start<Job, Result>(program, args));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

export const POSTGRES_SETTINGS = ['fsync=on', 'autovacuum=on', 'shared_buffers=1GB', 'max_wal_size=8GB'];

export async function query(url: string, text: string): Promise<Record<string, unknown>[]> {
  const { default: pg } = await import('pg');
  const client = new pg.Client(url);
  await client.connect();
  try {
    const results = await client.query(text);
    return (Array.isArray(results) ? results.at(-1) : results).rows;
  } finally {
    await client.end();
  }
}

/** What is going on, for whoever watches; the table goes to standard output. */
export function progress(text: string): void {
  process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${text}` : `${text}\n`);
}
