// The daemon that is measured: as it is shipped, built to JavaScript, in a process of its own.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { type Client, connect } from '@daybook/client';
import type { Store } from '../../src/store.ts';
import { openPostgres } from '../../src/stores/postgres/index.ts';
import { openSqlite } from '../../src/stores/sqlite/index.ts';
import { verifyLog } from '../../src/verify.ts';
import { profiling } from './profile.ts';

export type Storage =
  | { type: 'memory' }
  | { type: 'sqlite'; path: string }
  | { type: 'postgres'; connectionString: string };

export interface Options {
  /** As in the configuration. */
  limits?: Record<string, number>;
  /** For Node. */
  nodeOptions?: readonly string[];
}

export interface Daemon extends AsyncDisposable {
  readonly address: string;
  readonly pid: number;
  /** For asking and checking, never for load. */
  readonly client: Client;
  /** From the start of the process until the daemon said that it serves. */
  readonly readyMs: number;
  head(): Promise<number>;
  /** Of the whole process, now and at its highest, in bytes. */
  memory(): { resident: number; peak: number };
  stop(): Promise<void>;
}

/** `npm run build` makes it. */
const CLI = fileURLToPath(new URL('../../dist/cli/daybook.js', import.meta.url));

export async function startDaemon(folder: string, storage: Storage, options: Options = {}): Promise<Daemon> {
  const config = join(folder, 'daybook.yaml');
  const { limits = {}, nodeOptions = [] } = options;
  writeFileSync(config, JSON.stringify({ storage: inConfig(storage), listen: LISTEN, limits, log: { level: 'warn' } }));
  const log = openSync(join(folder, 'daemon.log'), 'a');
  const begunMs = performance.now();
  const args = [...asRun(CLI), ...profiling('daemon'), ...nodeOptions, CLI, 'start', '--config', config];
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', log],
    detached: true,
  });
  closeSync(log);
  const kill = () => void child.kill('SIGKILL');
  process.once('exit', kill);
  const ended = once(child, 'exit').then(([code]) => {
    process.off('exit', kill);
    return code as number | null;
  });
  const said = () => readFileSync(join(folder, 'daemon.log'), 'utf8');
  const address = await Promise.race([
    readyAddress(child),
    ended.then((code) => Promise.reject(new Error(`the daemon ended with ${code} before it was ready:\n${said()}`))),
  ]);
  const readyMs = performance.now() - begunMs;
  const client = connect({ address });
  let stopped: Promise<void> | undefined;
  const stop = async () => {
    client.close();
    child.kill('SIGTERM');
    const code = await ended;
    if (code !== 0) throw new Error(`the daemon ended with ${code}:\n${said()}`);
  };
  return {
    address,
    pid: child.pid!,
    client,
    readyMs,
    head: async () => (await client.positions.head()).position,
    memory: () => memoryOf(child.pid!),
    stop: () => (stopped ??= stop()),
    [Symbol.asyncDispose]: () => (stopped ??= stop()),
  };
}

/** What its first line gives to Node. */
function asRun(program: string): string[] {
  const [, options] = /^#!.* node\b(.*)\n/.exec(readFileSync(program, 'utf8'))!;
  return options!.split(' ').filter((option) => option !== '');
}

const LISTEN = { address: '127.0.0.1:0', health: '127.0.0.1:0' };

function inConfig(storage: Storage): object {
  if (storage.type !== 'postgres') return storage;
  return { type: 'postgres', connection_string: storage.connectionString };
}

async function readyAddress(child: ChildProcess): Promise<string> {
  for await (const line of createInterface({ input: child.stdout! })) return (JSON.parse(line) as { api: string }).api;
  throw new Error('the daemon closed its standard output before it was ready');
}

export function memoryOf(pid: number): { resident: number; peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)![1]) * 1024;
  return { resident: field('VmRSS'), peak: field('VmHWM') };
}

export async function openStorage(storage: Exclude<Storage, { type: 'memory' }>): Promise<Store> {
  return storage.type === 'sqlite' ? openSqlite({ path: storage.path }) : openPostgres(storage);
}

/** Reads the whole log and compares it with what a log promises. Throws when it is not in order, or has another length. */
export async function audit(storage: Storage, events: number): Promise<void> {
  if (storage.type === 'memory') return;
  const store = await openStorage(storage);
  try {
    const { positions, fault } = await verifyLog(store);
    if (fault !== undefined) throw new Error(`the log is not in order: ${fault}`);
    if (positions !== events) throw new Error(`the log has ${positions} events, and ${events} were acknowledged`);
  } finally {
    await store.close();
  }
}
