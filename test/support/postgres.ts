// A PostgreSQL for tests: the one of DAYBOOK_TEST_POSTGRES_URL (a role that may make databases), else one that is started from
// installed binaries in a temporary folder, else none, and the tests are skipped aloud. Each test file has its own server and each
// store that it asks for a database of its own, cloned from one that was migrated.
//
// Servers that are started here do not fsync, unless asked to: what they keep need not survive the machine.

import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chownSync, existsSync, mkdtempSync, readdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after } from 'node:test';
import { promisify } from 'node:util';
import pg from 'pg';
import { migratePostgres } from '../../src/stores/postgres/index.ts';

const run = promisify(execFile);
const MAJOR_MIN = 15;

export interface TestPostgres {
  /** Why there is none, for the tests' `skip`; `false` when there is one. */
  missing: string | false;
  /** The major version, or where it comes from. */
  version: string;
  /** Of a database without anything in it. */
  emptyDatabase(): Promise<string>;
  /** Of a database with a migrated schema `daybook`. */
  database(): Promise<string>;
  /** As the tests' superuser. */
  query(url: string, text: string, values?: unknown[]): Promise<Record<string, unknown>[]>;
  /** Only of one that was started here. */
  server: PostgresServer | undefined;
}

/** Stopped and removed at the end of the test file, however that ends. */
export async function testPostgres(settings: string[] = []): Promise<TestPostgres> {
  const given = process.env.DAYBOOK_TEST_POSTGRES_URL;
  if (given) return new Databases(given, undefined, given.replace(/\/\/[^@]*@/, '//'));
  const server = await startPostgres(settings);
  if (typeof server !== 'string') return new Databases(server.url('postgres'), server, server.version);
  const missing = async () => Promise.reject(new Error(server));
  const none = { emptyDatabase: missing, database: missing, query: missing };
  return { missing: server, version: '', server: undefined, ...none };
}

class Databases implements TestPostgres {
  readonly missing = false;
  readonly version: string;
  readonly server: PostgresServer | undefined;
  readonly #admin: string;
  readonly #made: string[] = [];
  #template: Promise<string> | undefined;

  constructor(admin: string, server: PostgresServer | undefined, version: string) {
    this.#admin = admin;
    this.server = server;
    this.version = version;
    // A server of our own goes with everything in it.
    if (server === undefined) after(() => this.#drop());
  }

  async emptyDatabase(): Promise<string> {
    return this.#create('template0');
  }

  async database(): Promise<string> {
    this.#template ??= (async () => {
      const url = await this.emptyDatabase();
      await migratePostgres({ connectionString: url });
      return new URL(url).pathname.slice(1);
    })();
    return this.#create(await this.#template);
  }

  async query(url: string, text: string, values?: unknown[]) {
    const client = new pg.Client(url);
    await client.connect();
    try {
      return (await client.query(text, values)).rows ?? [];
    } finally {
      await client.end();
    }
  }

  async #create(template: string): Promise<string> {
    const name = `daybook_test_${randomBytes(6).toString('hex')}`;
    await this.query(this.#admin, `CREATE DATABASE ${name} TEMPLATE ${template} ENCODING 'UTF8'`);
    this.#made.push(name);
    const url = new URL(this.#admin);
    url.pathname = `/${name}`;
    return url.href;
  }

  async #drop(): Promise<void> {
    for (const name of this.#made) await this.query(this.#admin, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
  }
}

export interface PostgresServer {
  readonly version: string;
  /** For libpq's programs, such as pg_dump. */
  readonly bin: string;
  readonly port: number;
  /** Its files. */
  readonly data: string;
  url(database: string): string;
  start(): Promise<void>;
  /** fast: rolls back what is under way; immediate: as if it had crashed. */
  stop(mode: 'fast' | 'immediate'): Promise<void>;
}

/** Or a sentence why none can be started. */
export async function startPostgres(settings: string[] = []): Promise<PostgresServer | string> {
  const bin = await newestBinaries();
  if (bin === undefined) {
    return `no PostgreSQL ${MAJOR_MIN} or newer is installed, and DAYBOOK_TEST_POSTGRES_URL names none`;
  }
  const user = serverUser();
  if (user === undefined) return 'PostgreSQL does not run as root, and there is no other user to start it as';
  const folder = mkdtempSync(join(tmpdir(), 'daybook-postgres-'));
  if (user.prefix.length > 0) chownSync(folder, user.uid, user.gid);
  const data = join(folder, 'data');
  const port = await freePort();
  const as = (program: string, ...args: string[]) => [...user.prefix, join(bin.path, program), ...args];
  guard(folder, as('pg_ctl', '-D', data, '-m', 'immediate', 'stop'));
  const call = async ([command, ...args]: string[]) => {
    // Their output goes to nobody: what pg_ctl starts would keep a pipe open.
    const child = spawn(command!, args, { stdio: 'ignore', cwd: folder });
    const [code] = await once(child, 'exit');
    if (code !== 0) throw new Error(`${[command, ...args].join(' ')} ended with ${code}`);
  };
  await call(as('initdb', '-D', data, '-U', 'daybook', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'));
  const options = [
    `-p ${port} -k ${folder} -c listen_addresses=127.0.0.1 -c max_connections=200`,
    '-c fsync=off -c shared_buffers=128MB -c max_wal_size=2GB',
    ...settings.map((setting) => `-c ${setting}`),
  ].join(' ');
  const server: PostgresServer = {
    version: bin.version,
    bin: bin.path,
    port,
    data,
    url: (database) => `postgres://daybook@127.0.0.1:${port}/${database}`,
    start: () => call(as('pg_ctl', '-D', data, '-w', '-t', '60', '-l', join(folder, 'log'), '-o', options, 'start')),
    stop: (mode) => call(as('pg_ctl', '-D', data, '-w', '-m', mode, 'stop')),
  };
  await server.start();
  return server;
}

/** Waits until this process is gone, in whatever way, and stops and removes the server then. */
function guard(folder: string, stop: string[]): void {
  const script = 'cat >/dev/null; folder="$1"; shift; cd /; "$@" >/dev/null 2>&1; rm -rf "$folder"';
  const child = spawn('sh', ['-c', script, 'guard', folder, ...stop], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  child.unref();
  (child.stdin as unknown as { unref(): void }).unref();
}

/** Who runs the server, and what starts a program as that user. */
function serverUser(): { uid: number; gid: number; prefix: string[] } | undefined {
  const own = process.getuid?.() ?? 1;
  if (own !== 0) return { uid: own, gid: process.getgid?.() ?? own, prefix: [] };
  const setpriv = onPath('setpriv');
  // nobody, on every system that knows setpriv.
  const id = 65534;
  if (setpriv === undefined) return undefined;
  return { uid: id, gid: id, prefix: [setpriv, `--reuid=${id}`, `--regid=${id}`, '--clear-groups'] };
}

async function newestBinaries(): Promise<{ path: string; version: string } | undefined> {
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian) ? readdirSync(debian).map((version) => join(debian, version, 'bin')) : [];
  const found: { path: string; version: string; major: number }[] = [];
  for (const path of [...versions, ...(process.env.PATH ?? '').split(delimiter)]) {
    if (!existsSync(join(path, 'postgres')) || !existsSync(join(path, 'initdb'))) continue;
    const { stdout } = await run(join(path, 'postgres'), ['--version']);
    const version = /(\d+)(\.\d+)?/.exec(stdout)?.[0] ?? '0';
    found.push({ path, version, major: Number.parseInt(version, 10) });
  }
  return found.filter(({ major }) => major >= MAJOR_MIN).sort((a, b) => b.major - a.major)[0];
}

function onPath(program: string): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter);
  return folders.map((folder) => join(folder, program)).find((path) => existsSync(path));
}

export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as { port: number };
  probe.close();
  await once(probe, 'close');
  return port;
}
