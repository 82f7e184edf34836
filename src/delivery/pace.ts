// Catching up takes what commands leave. While some come in, a reader that is behind offers a slice of events every few milliseconds.
// When it wakes late, the daemon or the machine is busy: so late every command is as well, and the slices shrink; else they grow.
// They never shrink so far that the log grows faster than it catches up, nor below some thousand events a second: on a machine that is always
// busy with other things everybody is late, and yet a rebuild has to end. No more than that, though: each of these events is handled while
// commands wait. And when commands pile up, because a disk or a collection has held them up, they come first for a tenth of a second at most:
// what the log grows by meanwhile is caught up with afterwards.

import { type Runtime, sleep } from '../runtime.ts';
import type { Reading } from './reading.ts';

const TICK_MS = 5;
/** Without commands for so long, it does not rest: what is begun in a short gap is in the way of what comes after. */
const QUIET_MS = 500;
/** So much later than that, others had to wait. */
const LATE_MS = 0.5;
/** So many events are caught up with for each that is appended. */
const AHEAD = 1.1;
/** Of one read. */
const SLICES = 4;
/** Commands more than this, and twice as many as usual, are under way: something has held them up. */
const CROWD_MIN = 32;
/** So many ticks are theirs then, at most. */
const CROWD_TICKS = 20;

/** Those whom it leaves room for. */
export interface Commands {
  /** So far. */
  readonly admitted: number;
  /** Under way now. */
  readonly executing: number;
}

export class Pace {
  readonly #runtime: Runtime;
  readonly #limits: Reading['slice'];
  readonly #commands: Commands;
  #seen = 0;
  /** Under way, smoothed over a third of a second; from the first look on. */
  #usual: number | undefined;
  /** When there was one. */
  #busyMs = -Infinity;
  #slice: number;
  #offered = 0;
  #resting = false;
  /** At the last rest. */
  #position = 0;
  #end = 0;
  /** By how much the log grows from rest to rest, smoothed. */
  #growth = 0;
  /** Of the last rest. */
  #ticks = 1;

  constructor(runtime: Runtime, slice: Reading['slice'], commands: Commands) {
    this.#runtime = runtime;
    this.#limits = slice;
    this.#slice = slice.min;
    this.#commands = commands;
  }

  /** What to read at once, at most: what waits for its turn grows old in memory, and is the dearer to collect. */
  get readEvents(): number {
    return this.#resting ? Math.ceil(SLICES * this.#slice) : Infinity;
  }

  /** Events were offered. True: it is time to rest. */
  offered(events: number): boolean {
    this.#offered += events;
    return this.#offered >= this.#slice;
  }

  /** While commands come in. The reader is here now, and the log's end there. */
  async rest(position: number, end: number, signal: AbortSignal): Promise<void> {
    const { admitted } = this.#commands;
    const begunMs = this.#runtime.monotonicMs();
    if (admitted !== this.#seen) this.#busyMs = begunMs;
    this.#seen = admitted;
    // What the filter leaves out costs nothing, and brings the reader on all the same.
    const share = this.#offered / Math.max(1, position - this.#position);
    // Smoothed, what the log has grown by while the reader waited for something else is caught up with over some ticks.
    const most = this.#limits.max * this.#ticks;
    if (this.#end > 0) this.#growth += (Math.min(end - this.#end, most) - this.#growth) / 8;
    [this.#position, this.#end, this.#offered, this.#ticks] = [position, end, 0, 1];
    this.#resting = begunMs - this.#busyMs <= QUIET_MS;
    if (!this.#resting) return;
    await sleep(this.#runtime, TICK_MS, signal).catch(() => {});
    const lateMs = this.#runtime.monotonicMs() - begunMs - TICK_MS;
    for (; this.#crowded() && this.#ticks < CROWD_TICKS && !signal.aborted; this.#ticks++) {
      await sleep(this.#runtime, TICK_MS, signal).catch(() => {});
    }
    const slice = this.#slice * (lateMs > LATE_MS ? 0.8 : 1.01);
    const { min, max } = this.#limits;
    this.#slice = Math.min(max, Math.max(min, AHEAD * this.#growth * share, slice));
  }

  #crowded(): boolean {
    const { executing } = this.#commands;
    const usual = this.#usual ?? executing;
    this.#usual = usual + (executing - usual) / 64;
    return executing > Math.max(CROWD_MIN, 2 * usual);
  }
}
