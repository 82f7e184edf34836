// Catching up takes what commands leave. While some come in, a reader that is behind offers a little at a time, waits until that is handled
// and stored, and then rests as long as it took: commands find the daemon, the store and the hosts free half of the time. It rests less
// when the log would grow faster than it catches up.

import { type Runtime, sleep } from '../runtime.ts';

/** Offered before it rests: so few that a command hardly waits for them. */
const EVENTS = 256;
const REST_MAX_MS = 250;
/** So many events are caught up with for each that is appended, if that can be done. */
const AHEAD = 1.5;
/** Below this, it does not rest at all. */
const REST_MIN = 0.1;

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
  #behind = 0;
  /** Events that were appended while so many were offered, smoothed. */
  #growth = 0;
  /** Of the time that the last ones took. */
  #rest = 1;

  constructor(runtime: Runtime, commands: () => number) {
    this.#runtime = runtime;
    this.#commands = commands;
    this.#begunMs = runtime.monotonicMs();
  }

  /** Events were offered by a reader that is now so many behind. */
  async after(events: number, behind: number, workers: Iterable<Worker>, signal: AbortSignal): Promise<void> {
    this.#offered += events;
    if (this.#offered < EVENTS) return;
    const commands = this.#commands();
    const busy = commands !== this.#seen;
    this.#seen = commands;
    this.#adapt(behind);
    this.#offered = 0;
    if (busy && this.#rest >= REST_MIN) {
      await Promise.all([...workers].map((worker) => worker.emptied()));
      const tookMs = this.#runtime.monotonicMs() - this.#begunMs;
      await sleep(this.#runtime, Math.min(REST_MAX_MS, this.#rest * tookMs), signal).catch(() => {});
    }
    this.#begunMs = this.#runtime.monotonicMs();
  }

  #adapt(behind: number): void {
    // Filtered events count as offered as well: what matters is how fast the distance shrinks.
    const growth = this.#behind === 0 ? 0 : Math.max(0, behind - this.#behind + this.#offered);
    this.#behind = behind;
    this.#growth = 0.8 * this.#growth + 0.2 * growth;
    this.#rest *= this.#offered < AHEAD * this.#growth ? 0.7 : 1.1;
    this.#rest = Math.min(1, Math.max(REST_MIN / 2, this.#rest));
  }
}
