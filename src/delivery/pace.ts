// Catching up takes what commands leave. While some come in, a reader that is behind offers a little at a time, waits until that is handled
// and stored, and then rests for longer than it took: commands find the daemon, the store and the hosts free most of the time.

import { type Runtime, sleep } from '../runtime.ts';

/** Offered before it rests: so few that a command hardly waits for them. */
const EVENTS = 256;
/** Of the time that they took. */
const REST = 1;
const REST_MAX_MS = 250;

/** A partition, as far as it concerns the pace. */
interface Worker {
  /** Resolves when what was offered is handled and stored. */
  emptied(): Promise<void>;
}

export class Pace {
  readonly #runtime: Runtime;
  /** Commands so far. */
  readonly #commands: () => number;
  #seen = 0;
  #offered = 0;
  #begunMs: number;

  constructor(runtime: Runtime, commands: () => number) {
    this.#runtime = runtime;
    this.#commands = commands;
    this.#begunMs = runtime.monotonicMs();
  }

  /** Events were offered by a reader that is behind. */
  async after(events: number, workers: Iterable<Worker>, signal: AbortSignal): Promise<void> {
    this.#offered += events;
    if (this.#offered < EVENTS) return;
    this.#offered = 0;
    const commands = this.#commands();
    const busy = commands !== this.#seen;
    this.#seen = commands;
    if (busy) {
      await Promise.all([...workers].map((worker) => worker.emptied()));
      const tookMs = this.#runtime.monotonicMs() - this.#begunMs;
      await sleep(this.#runtime, Math.min(REST_MAX_MS, REST * tookMs), signal).catch(() => {});
    }
    this.#begunMs = this.#runtime.monotonicMs();
  }
}
