// Programs beside this one: each is asked by a message and answers with one.

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { profiling } from './profile.ts';

export interface Remote<Job, Result> extends AsyncDisposable {
  readonly pid: number;
  call(job: Job): Promise<Result>;
}

/** Starts a program that calls `serve`. It ends with this one. */
export function start<Job extends object, Result>(program: string, args: string[] = []): Remote<Job, Result> {
  const child = fork(new URL(`../${program}`, import.meta.url), args, {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    serialization: 'advanced',
    execArgv: profiling(program.replaceAll('/', '-')),
  });
  const died = once(child, 'exit').then(([code, signal]) => {
    throw new Error(`${program} ended with ${signal ?? `code ${code}`}`);
  });
  died.catch(() => {});
  return {
    pid: child.pid!,
    async call(job) {
      child.send(job);
      const [answer] = (await Promise.race([once(child, 'message'), died])) as [
        { result: Result } | { failed: string },
      ];
      if ('failed' in answer) throw new Error(`${program}: ${answer.failed}`);
      return answer.result;
    },
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.disconnect();
      await died.catch(() => {});
    },
  };
}

/** The other side: one job after the other. `close` when nobody asks any more. */
export function serve<Job, Result>(work: (job: Job) => Promise<Result>, close: () => void | Promise<void> = () => {}) {
  process.on('message', async (job: Job) => {
    try {
      process.send!({ result: await work(job) });
    } catch (error) {
      process.send!({ failed: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    }
  });
  process.on('disconnect', async () => {
    await close();
    process.exit(0);
  });
}
