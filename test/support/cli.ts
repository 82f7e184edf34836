// The command line as people run it: a process of its own.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

const BIN = join(import.meta.dirname, '../../src/cli/daybook.ts');

export interface Running {
  child: ChildProcess;
  stdout: string;
  stderr: string;
  /** The exit code, or the signal that ended it. */
  ended: Promise<number | NodeJS.Signals>;
}

export interface RunOptions {
  cwd?: string;
  env?: Record<string, string>;
  /** Default: the sources. */
  bin?: string;
}

/** Without the variables of whoever runs the tests, so that nobody's configuration counts. */
export function startCli(args: string[], options: RunOptions = {}): Running {
  const child = spawn(process.execPath, [options.bin ?? BIN, ...args], {
    cwd: options.cwd,
    env: { PATH: process.env.PATH, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const running: Running = {
    child,
    stdout: '',
    stderr: '',
    ended: once(child, 'close').then(([code, signal]) => code ?? signal),
  };
  child.stdout!.setEncoding('utf8').on('data', (text) => (running.stdout += text));
  child.stderr!.setEncoding('utf8').on('data', (text) => (running.stderr += text));
  return running;
}

export async function runCli(
  args: string[],
  options: RunOptions = {},
): Promise<{ code: number | NodeJS.Signals; stdout: string; stderr: string }> {
  const running = startCli(args, options);
  const code = await running.ended;
  return { code, stdout: running.stdout, stderr: running.stderr };
}

/** Starts a daemon and resolves with its ready line. */
export async function startDaemonProcess(args: string[], options: RunOptions = {}) {
  const running = startCli(['start', ...args], options);
  await Promise.race([once(running.child.stdout!, 'data'), running.ended]);
  if (!running.stdout.endsWith('\n')) throw new Error(`no ready line: ${running.stderr}`);
  return { ...running, running, ready: JSON.parse(running.stdout) as ReadyLine };
}

export interface ReadyLine {
  ready: true;
  api?: string;
  socket?: string;
  health: string;
  pid: number;
  version: string;
}
