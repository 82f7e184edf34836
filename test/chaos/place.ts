// Where the log of a chaos run lies, and what can be done to it there.

import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { migratePostgres } from '../../src/stores/postgres/index.ts';
import { type PostgresServer, startPostgres } from '../support/postgres.ts';
import { openTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';
import { postgresTables, sqliteTables, type Tables } from './tables.ts';

export interface Place {
  readonly description: string;
  /** For configurations; it goes at the end, unless somebody shall look. */
  readonly folder: string;
  /** The file that shifts the daemons' clock. */
  readonly clock: string;
  /** The key `storage` of the n-th daemon. */
  storage(n: number): string;
  readonly tables: Tables;
  /** A database server, and the network that each daemon has to it. */
  readonly server: PostgresServer | undefined;
  readonly networks: readonly TcpProxy[];
  /** Of a disk that can be full. */
  readonly disk: { fill(): void; free(): void } | undefined;
  close(keep: boolean): Promise<void>;
}

/** `smallDisk`: the file lies on a disk of its own, which can be filled; throws a sentence where none can be made. */
export function sqlitePlace(smallDisk: boolean): Place {
  const folder = mkdtempSync(join(tmpdir(), 'daybook-chaos-'));
  const data = join(folder, 'data');
  mkdirSync(data);
  if (smallDisk) mount(data);
  const path = join(data, 'daybook.db');
  return {
    ...common(folder),
    description: `SQLite in ${path}`,
    storage: () => `{ type: sqlite, path: ${JSON.stringify(path)} }`,
    tables: sqliteTables(path),
    server: undefined,
    networks: [],
    disk: smallDisk ? ballast(join(data, 'ballast')) : undefined,
    async close(keep) {
      if (keep) return;
      if (smallDisk) spawnSync('umount', [data]);
      rmSync(folder, { recursive: true });
    },
  };
}

/** A server of its own that syncs to the disk. */
export async function postgresPlace(daemons: number): Promise<Place> {
  const server = await startPostgres(['fsync=on']);
  if (typeof server === 'string') throw new Error(server);
  const networks = await Promise.all(
    Array.from({ length: daemons }, () => openTcpProxy({ host: '127.0.0.1', port: server.port })),
  );
  const folder = mkdtempSync(join(tmpdir(), 'daybook-chaos-'));
  const url = server.url('postgres');
  await migratePostgres({ connectionString: url });
  return {
    ...common(folder),
    description: `PostgreSQL ${server.version} at port ${server.port}`,
    storage: (n) =>
      `{ type: postgres, connection_string: ${JSON.stringify(url.replace(String(server.port), String(networks[n]!.port)))} }`,
    tables: postgresTables(url),
    server,
    networks,
    disk: undefined,
    async close(keep) {
      for (const network of networks) await network.close();
      // The server goes with this process.
      await server.stop('fast').catch(() => {});
      if (!keep) rmSync(folder, { recursive: true });
    },
  };
}

function common(folder: string) {
  const clock = join(folder, 'clock');
  writeFileSync(clock, '0');
  return { folder, clock };
}

const DISK_BYTES = 512 << 20;

function mount(folder: string): void {
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', folder]);
  if (status !== 0) throw new Error(`a disk that can be full needs the right to mount one: ${stderr}`);
  process.once('exit', () => spawnSync('umount', ['-l', folder]));
}

/** A file that takes all the room that is left. */
function ballast(path: string) {
  return {
    fill() {
      const file = openSync(path, 'a');
      try {
        // Down to the last page.
        for (const block of [Buffer.alloc(1 << 20), Buffer.alloc(4096)]) while (true) writeSync(file, block);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      } finally {
        closeSync(file);
      }
    },
    free: () => rmSync(path, { force: true }),
  };
}
