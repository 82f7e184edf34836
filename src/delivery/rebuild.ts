// A projector is built anew beside the running one. The new generation never goes beyond the old one's cursors, so whatever it is handed
// was handled before. When it is close, the old one is held where it is, the new one catches up to exactly there, and one
// transaction switches over: at each instant one of the two owns the next event.

import { type Runtime, sleep } from '../runtime.ts';
import type { Store } from '../store.ts';
import type { DeliveryLog } from './parts.ts';
import type { Subscription } from './subscription.ts';

export interface RebuildOptions {
  store: Store;
  runtime: Runtime;
  log: DeliveryLog;
  instance: string;
  /** The generation that readers get. */
  previous: number;
  next: Subscription;
  /** The old one on this daemon. */
  old: () => Subscription | undefined;
  onSwitched: () => void;
}

const LOOK_MS = 100;
const TELL_MS = 10_000;
/** Closer than this, the hand-over is tried. */
const CLOSE_EVENTS = 1000;
/** The old one is not held longer. */
const HOLD_MS = 5000;
/** After a hand-over that did not come about. */
const PAUSE_MS = 2000;

export interface Progress {
  position: number;
  target: number;
  parked: number;
}

export class Rebuild {
  readonly #options: RebuildOptions;
  readonly #stopping = new AbortController();
  /** Cursors of the old generation, by partition. */
  #oldest = 0;
  #holding = false;

  constructor(options: RebuildOptions) {
    this.#options = options;
    const { next } = options;
    next.replaying = Infinity;
    next.limit = () => this.#oldest;
  }

  /** That is built. */
  get generation(): number {
    return this.#options.next.generation;
  }

  /** Its partitions are not to be taken by the usual way now. */
  holds(generation: number): boolean {
    return this.#holding && generation === this.#options.previous;
  }

  start(): void {
    void this.#run();
  }

  stop(): void {
    this.#stopping.abort(new Error('the rebuild has ended'));
  }

  async #run(): Promise<void> {
    const { runtime, log, next, previous } = this.#options;
    const { signal } = this.#stopping;
    const about = { projector: next.name, generation: next.generation, previous };
    log.info(about, 'rebuild: a new generation is built beside the one that readers get');
    let told = { atMs: runtime.monotonicMs(), position: -1 };
    while (!signal.aborted) {
      try {
        const progress = await this.#look();
        const elapsedMs = runtime.monotonicMs() - told.atMs;
        if (elapsedMs >= TELL_MS) {
          const rate = told.position < 0 ? 0 : ((progress.position - told.position) * 1000) / elapsedMs;
          const left = progress.target - progress.position;
          log.info(
            {
              ...about,
              ...progress,
              events_per_second: Math.round(rate),
              seconds_left: rate > 0 ? Math.round(left / rate) : -1,
            },
            'rebuild under way',
          );
          told = { atMs: runtime.monotonicMs(), position: progress.position };
        }
        const close = progress.target - progress.position <= CLOSE_EVENTS && progress.parked === 0;
        if (close && next.partition(0) !== undefined) {
          if (await this.#handOver()) return;
          await sleep(runtime, PAUSE_MS, signal);
        } else await sleep(runtime, LOOK_MS, signal);
      } catch (error) {
        if (signal.aborted) return;
        log.warn({ ...about, err: error }, 'rebuild: trying again');
        await sleep(runtime, PAUSE_MS, signal).catch(() => {});
      }
    }
  }

  async #look(): Promise<Progress> {
    const { store, next, previous } = this.#options;
    const cursors = await store.listCursors(next.name);
    const positions = (generation: number) =>
      cursors.filter((row) => row.generation === generation).map((row) => row.position);
    this.#oldest = Math.min(...positions(previous));
    const parked = (await store.countParked())
      .filter((row) => row.subscription === next.name && row.generation === next.generation)
      .reduce((sum, { count }) => sum + count, 0);
    return { position: Math.min(...positions(next.generation)), target: this.#oldest, parked };
  }

  async #handOver(): Promise<boolean> {
    const { runtime, store, next, previous, log, onSwitched, old: find } = this.#options;
    const begunMs = runtime.monotonicMs();
    const late = () => this.#stopping.signal.aborted || runtime.monotonicMs() - begunMs > HOLD_MS;
    const old = find();
    this.#holding = true;
    try {
      if (!(await this.#hold(old, late))) return false;
      const cursors = (await store.listCursors(next.name)).filter((row) => row.generation === previous);
      const frozen = Math.max(...cursors.map(({ position }) => position));
      next.replaying = frozen;
      this.#oldest = frozen;
      while (!late()) {
        for (const partition of next.partitions) partition.hurry();
        if (await store.switchGeneration(next.name, previous, next.generation)) {
          next.limit = () => Infinity;
          log.info(
            {
              projector: next.name,
              generation: next.generation,
              previous,
              position: frozen,
              held_ms: Math.round(runtime.monotonicMs() - begunMs),
            },
            'rebuild: switched over; readers get the new generation',
          );
          onSwitched();
          return true;
        }
        await sleep(runtime, 5, this.#stopping.signal);
      }
      next.replaying = Infinity;
      return false;
    } finally {
      this.#holding = false;
      old?.unquiesce();
    }
  }

  /** Nothing more is handled by the old generation. */
  async #hold(old: Subscription | undefined, late: () => boolean): Promise<boolean> {
    const { store, instance, next, previous } = this.#options;
    const cursors = (await store.listCursors(next.name)).filter((row) => row.generation === previous);
    if (old?.reactor?.available === true && old.partitions.length === cursors.length) return old.quiesce(late);
    // Nobody serves it any more: whoever holds its partitions keeps others from them.
    await old?.release(old.partitions.map(({ key }) => key.partition));
    const { version } = (await store.listSubscriptions()).find(
      ({ name, generation }) => name === next.name && generation === previous,
    )!;
    for (const { partition } of cursors) {
      const key = { subscription: next.name, generation: previous, partition };
      if ((await store.acquire(key, instance, version)) === undefined) return false;
    }
    return true;
  }
}
