// A user's component as a process of its own, which is killed and started again.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

/** Of what it printed last, for when it ends by itself. */
const OUTPUT_BYTES = 4000;

export class ComponentProcess {
  readonly #command: string;
  readonly #script: string;
  readonly #onEnd: (sentence: string) => void;
  #child: ChildProcess | undefined;
  #output = '';

  /** `onEnd`: it ended, and nobody had told it to. */
  constructor(command: string, address: string, onEnd: (sentence: string) => void) {
    this.#command = command.replaceAll('{address}', address);
    this.#script = `export DAYBOOK_ADDRESS=${address}; ${this.#command}`;
    this.#onEnd = onEnd;
  }

  start(): void {
    const child = spawn(this.#script, {
      shell: true,
      // A group of its own, so that what the shell starts ends with it.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    const keep = (chunk: Buffer) => {
      this.#output = (this.#output + chunk.toString()).slice(-OUTPUT_BYTES);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    child.once('exit', (code, signal) => {
      if (this.#child !== child) return;
      this.#child = undefined;
      this.#onEnd(`${this.#command} ended by itself with ${signal ?? `code ${code}`}: ${this.#output.trim()}`);
    });
  }

  async end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    this.#child = undefined;
    const exited = once(child, 'exit');
    try {
      process.kill(-child.pid!, signal);
    } catch {
      // It has ended meanwhile.
    }
    const patience = setTimeout(() => process.kill(-child.pid!, 'SIGKILL'), 10_000);
    await exited;
    clearTimeout(patience);
  }
}
