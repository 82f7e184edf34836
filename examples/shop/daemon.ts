// A daemon for an example: a child process with a folder of its own, on whichever port is free; with SQLite there unless told otherwise.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** The command line. */
export const DAYBOOK = fileURLToPath(new URL('../../src/cli/daybook.ts', import.meta.url));

export interface Daemon {
  /** host:port */
  address: string;
  pid: number;
  /** SIGTERM: it finishes what is in hand. Throws when it did not end as it should. */
  stop(): Promise<void>;
  /** SIGKILL: it finishes nothing. */
  kill(): Promise<void>;
}

/** Resolves when it answers. Its log goes to `daemon.log` in the folder. `settings` are blocks of its configuration. */
export async function startDaemon(folder: string, address = '127.0.0.1:0', settings: object = {}): Promise<Daemon> {
  const config = join(folder, 'daybook.yaml');
  const defaults = {
    storage: { type: 'sqlite', path: join(folder, 'daybook.db') },
    listen: { address, health: '127.0.0.1:0' },
  };
  // JSON is YAML, too.
  writeFileSync(config, `${JSON.stringify({ ...defaults, ...settings }, null, 2)}\n`);
  const log = openSync(join(folder, 'daemon.log'), 'a');
  // Detached: Ctrl-C reaches this program only, which then stops its daemon in order.
  const child = spawn(process.execPath, [DAYBOOK, 'start', '--config', config], {
    stdio: ['ignore', 'pipe', log],
    detached: true,
  });
  closeSync(log);
  const killWithUs = (): void => void child.kill('SIGKILL');
  process.once('exit', killWithUs);
  const ended = once(child, 'exit').then(([code, signal]) => {
    process.off('exit', killWithUs);
    return { code: code as number | null, signal: signal as NodeJS.Signals | null };
  });
  const api = await Promise.race([
    readyAddress(child),
    ended.then(({ code }) => {
      throw new Error(`the daemon ended with code ${code} before it was ready: see daemon.log in ${folder}`);
    }),
  ]);
  return {
    address: api,
    pid: child.pid!,
    async stop() {
      child.kill('SIGTERM');
      const { code, signal } = await ended;
      if (code !== 0) throw new Error(`the daemon ended with ${signal ?? `code ${code}`}: see daemon.log in ${folder}`);
    },
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** The daemon prints one line of JSON on its standard output when it answers. */
async function readyAddress(child: ChildProcess): Promise<string> {
  for await (const line of createInterface({ input: child.stdout! })) {
    const { ready, api } = JSON.parse(line) as { ready?: boolean; api?: string };
    if (ready && api !== undefined) return api;
  }
  throw new Error('the daemon closed its standard output before it was ready');
}
