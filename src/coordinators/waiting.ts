// Waiting for reactions, never running them: the sync modes, and reads that must have seen a position. All waits of a daemon share one
// round of looking, soon after something moved here, and every so often for what moved elsewhere.

import { onAbort } from '../abort.ts';
import { asDaybookError, DaybookError } from '../errors.ts';
import type { CommandResponse } from '../model/book.ts';
import type { Timer } from '../runtime.ts';
import { Following, type WaitingMode } from './following.ts';
import { Round, type WaitingParts } from './round.ts';

/** Rounds after something moved here, and rounds for what moves elsewhere. */
const SOON_MS = 2;
const POLL_MIN_MS = 20;
const POLL_MAX_MS = 100;

interface Wait {
  /** True: it is over. */
  look(round: Round): Promise<boolean>;
  done: () => void;
}

export class Waiting {
  readonly #parts: WaitingParts;
  readonly #waits = new Set<Wait>();
  #waiting = 0;
  #timer: Timer | undefined;
  #looking = false;
  #pollMs = POLL_MIN_MS;
  #moved = false;

  constructor(parts: WaitingParts) {
    this.#parts = parts;
    parts.delivery.onProgress(() => {
      if (this.#waits.size === 0) return;
      this.#pollMs = POLL_MIN_MS;
      if (this.#moved) return;
      this.#moved = true;
      this.#schedule(SOON_MS);
    });
  }

  /** A place among those who wait. OVERLOADED when there are too many: shed before the command is executed. */
  enter(): { leave(): void } {
    const { waitingCommands } = this.#parts.limits;
    if (this.#waiting >= waitingCommands) {
      throw new DaybookError('OVERLOADED', `${waitingCommands} callers wait for reactions already; try again later`, {
        metadata: { limit: 'waiting_commands' },
        retryDelayMs: 200,
      });
    }
    this.#waiting++;
    let left = false;
    return {
      leave: () => {
        if (!left) this.#waiting--;
        left = true;
      },
    };
  }

  /**
   * Completes the answer of a command with what followed from it, at the latest when the monotonic clock has passed `deadlineMs`: then
   * `settled` is false. What was stored stays stored, so this rejects only with the signal's reason.
   */
  async follow(
    response: CommandResponse,
    mode: WaitingMode,
    deadlineMs: number,
    signal: AbortSignal,
  ): Promise<CommandResponse> {
    const book = response.events!;
    if (book.pages.length === 0) return response;
    const following = new Following(this.#parts, book, mode);
    // The events are stored, whatever the store says now: an error would make callers repeat the command.
    const settled = await this.#until((round) => following.settled(round).catch(unlessAway(false)), deadlineMs, signal);
    const outcome = await following.outcome().catch(unlessAway(undefined));
    return outcome === undefined ? { ...response, settled: false } : { ...response, ...outcome, settled };
  }

  /**
   * Resolves with how far the slowest of the subscriptions has come when all have passed the position; none named: all. Keys that are being
   * tried again hold it up, dead letters do not. Rejects with WAIT_TIMEOUT, or the signal's reason.
   */
  async passed(request: {
    subscriptions: readonly string[];
    position: number;
    deadlineMs: number;
    signal: AbortSignal;
  }): Promise<number> {
    const { subscriptions, position, deadlineMs, signal } = request;
    let slowest = 0;
    const look = async (round: Round) => {
      slowest = await round.slowest(subscriptions, position);
      return slowest >= position;
    };
    const place = this.enter();
    try {
      if (await this.#until(look, deadlineMs, signal)) return slowest;
    } finally {
      place.leave();
    }
    const named = subscriptions.length === 0 ? 'every subscription' : subscriptions.join(', ');
    throw new DaybookError(
      'WAIT_TIMEOUT',
      `${named}: expected to pass position ${position} in time, came to ${slowest}`,
      {
        metadata: { position: slowest },
      },
    );
  }

  /** False: the time is over. */
  async #until(look: Wait['look'], deadlineMs: number, signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted();
    this.#parts.delivery.hurry();
    if (await look(new Round(this.#parts))) return true;
    const { promise, resolve, reject } = Promise.withResolvers<boolean>();
    const wait: Wait = { look, done: () => resolve(true) };
    const leftMs = deadlineMs - this.#parts.runtime.monotonicMs();
    const timer =
      leftMs === Infinity ? undefined : this.#parts.runtime.after(Math.max(0, leftMs), () => resolve(false));
    const ignoreAbort = onAbort(signal, () => reject(signal.reason));
    this.#waits.add(wait);
    this.#schedule(POLL_MIN_MS);
    try {
      return await promise;
    } finally {
      this.#waits.delete(wait);
      timer?.cancel();
      ignoreAbort();
    }
  }

  #schedule(delayMs: number): void {
    if (this.#looking) return;
    this.#timer?.cancel();
    this.#timer = this.#parts.runtime.after(delayMs, () => void this.#round());
  }

  async #round(): Promise<void> {
    this.#looking = true;
    this.#moved = false;
    const round = new Round(this.#parts);
    this.#parts.delivery.hurry();
    for (const wait of [...this.#waits]) {
      // A store that is away is asked again the next time.
      if (await wait.look(round).catch(() => false)) {
        this.#waits.delete(wait);
        wait.done();
      }
    }
    this.#looking = false;
    if (this.#waits.size === 0) return;
    this.#pollMs = Math.min(POLL_MAX_MS, this.#pollMs * 1.5);
    this.#schedule(this.#moved ? SOON_MS : this.#pollMs);
  }
}

/** A store that is away answers nothing now. */
function unlessAway<T>(answer: T): (error: unknown) => T {
  return (error) => {
    if (asDaybookError(error).reason !== 'STORE_UNAVAILABLE') throw error;
    return answer;
  };
}
