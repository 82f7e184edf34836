// How long those who come now would wait, by how fast others were done lately.

/** Times are looked at in windows of so many milliseconds. */
const WINDOW_MS = 250;
/** With fewer under way nothing is known: it may be that nobody asked for more. */
export const UNDER_WAY_MIN = 32;

export class Turnover {
  #sinceMs: number;
  #done = 0;
  /** In this window there were always enough under way, and somebody asked. */
  #busy = false;
  #quiet = false;
  /** Done in a millisecond, in the last busy window. */
  #perMs: number | undefined;

  constructor(nowMs: number) {
    this.#sinceMs = nowMs;
  }

  done(nowMs: number): void {
    this.#turn(nowMs);
    this.#done++;
  }

  /** What somebody who comes now, behind so many, must expect; 0 when nothing speaks for a wait. */
  waitMs(underWay: number, nowMs: number): number {
    this.#turn(nowMs);
    if (underWay < UNDER_WAY_MIN) {
      this.#quiet = true;
      return 0;
    }
    this.#busy = true;
    return this.#perMs === undefined ? 0 : underWay / this.#perMs;
  }

  #turn(nowMs: number): void {
    const passedMs = nowMs - this.#sinceMs;
    if (passedMs < WINDOW_MS) return;
    // When not one was done in it, that one takes longer than the window is all that is known.
    if (this.#busy && !this.#quiet) this.#perMs = Math.max(1, this.#done) / passedMs;
    this.#sinceMs = nowMs;
    this.#done = 0;
    this.#busy = false;
    this.#quiet = false;
  }
}
