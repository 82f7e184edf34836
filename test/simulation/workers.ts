import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Job, JobResult } from './worker.ts';

/**
 * What a seed leaves behind is garbage as soon as it is over: little is copied when there is room for several seeds. There are as many workers
 * as cores, so that collecting on more threads only makes them wait for each other.
 */
const MEMORY = ['--single-threaded-gc', '--min-semi-space-size=32', '--max-semi-space-size=32'];

/** A process that runs one job at a time. */
export class Worker implements AsyncDisposable {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(plant?: string): Promise<Worker> {
    const child = fork(join(import.meta.dirname, 'worker.ts'), plant === undefined ? [] : [plant], {
      execArgv: MEMORY,
    });
    await answerOf(child);
    return new Worker(child);
  }

  async run<Kind extends Job['kind']>(job: Extract<Job, { kind: Kind }>): Promise<Extract<JobResult, { kind: Kind }>> {
    const answer = answerOf(this.#child);
    this.#child.send(job);
    return (await answer) as Extract<JobResult, { kind: Kind }>;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const exit = once(this.#child, 'exit');
    this.#child.kill();
    await exit;
  }
}

function answerOf(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const ended = (code: number | null, signal: string | null) => {
      reject(new Error(`a worker ended: ${code ?? signal}`));
    };
    child.once('exit', ended);
    child.once('message', (message) => {
      child.off('exit', ended);
      resolve(message);
    });
  });
}
