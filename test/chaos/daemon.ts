// The daemon that a kill run kills: each time at the same place, so that everybody finds it again.

import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Running, startCli } from '../support/cli.ts';

/** With SQLite in the folder; `lines` are added to its configuration, `daybook.yaml` there. */
export function startIn(folder: string, address: string, lines: readonly string[]): Running {
  const config = join(folder, 'daybook.yaml');
  const all = [
    `storage: { type: sqlite, path: ${JSON.stringify(join(folder, 'daybook.db'))} }`,
    `listen: { address: ${JSON.stringify(address)}, health: "127.0.0.1:0" }`,
    'log: { level: warn }',
    ...lines,
  ];
  writeFileSync(config, `${all.join('\n')}\n`);
  return startCli(['start', '--config', config]);
}

/** The address of its API. */
export async function ready(running: Running): Promise<string> {
  while (!running.stdout.includes('\n')) {
    const ended = await Promise.race([once(running.child.stdout!, 'data').then(() => undefined), running.ended]);
    if (ended !== undefined) throw new Error(`the daemon ended with ${ended} before it was ready: ${running.stderr}`);
  }
  return (JSON.parse(running.stdout) as { api: string }).api;
}
