// A client that follows the log live, from daemon to daemon, and goes on behind the last position that it has seen.

import { type Random, whole } from '../../src/simulation/random.ts';
import type { Simulation } from './simulation.ts';

export interface SeenPage {
  position: number;
  unit: string;
}

export class Follower {
  readonly seen: SeenPage[] = [];
  readonly #simulation: Simulation;
  readonly #random: Random;

  constructor(simulation: Simulation, random: Random) {
    this.#simulation = simulation;
    this.#random = random;
  }

  get position(): number {
    return this.seen.at(-1)?.position ?? 0;
  }

  start(): void {
    this.#later(20);
  }

  #later(delayMs: number): void {
    this.#simulation.time.after(delayMs, () => this.#follow());
  }

  #follow(): void {
    const daemon = this.#simulation.daemons[whole(this.#random, 0, this.#simulation.daemons.length - 1)]!;
    const { process, engine } = daemon;
    if (engine === undefined || process.dead) return this.#later(100);
    const leaving = new AbortController();
    let gone = false;
    const leave = () => {
      if (gone) return;
      gone = true;
      leaving.abort();
      this.#later(50);
    };
    // It changes its mind sometimes, and finds out when the daemon has gone.
    const moveAtMs = this.#simulation.time.nowMs + 500 + this.#random() * 5000;
    const look = () => {
      if (process.dead || this.#simulation.time.nowMs > moveAtMs) leave();
      else this.#simulation.time.after(200, look);
    };
    look();
    void (async () => {
      try {
        for await (const { pages } of engine.tail.follow({}, this.position, leaving.signal)) {
          if (gone || process.dead) return;
          for (const { position, unitId } of pages) {
            this.seen.push({ position, unit: Buffer.from(unitId).toString('hex') });
          }
        }
      } catch {
        // The store was away: it comes again.
      }
      leave();
    })();
  }
}
