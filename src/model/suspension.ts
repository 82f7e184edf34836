// A common outage is not a million dead letters: when many keys fail and none succeeds, it is not the keys.

export interface SuspensionLimits {
  /** Keys parked with no success between. */
  suspendAfterKeys: number;
  /** Keys parked in all. */
  suspendAfterKeysInAll: number;
}

export class Suspension {
  readonly #limits: SuspensionLimits;
  #parkedSinceSuccess = 0;
  #suspended = false;
  /** So many were parked when it was resumed last: more than that are needed to suspend it again. */
  #tolerated = 0;

  constructor(limits: SuspensionLimits) {
    this.#limits = limits;
  }

  get suspended(): boolean {
    return this.#suspended;
  }

  /** A key was parked; `inAll` are now. True: this suspends. */
  parked(inAll: number): boolean {
    this.#parkedSinceSuccess++;
    const { suspendAfterKeys, suspendAfterKeysInAll } = this.#limits;
    const many = inAll >= Math.max(suspendAfterKeysInAll, this.#tolerated);
    if (this.#suspended || (this.#parkedSinceSuccess < suspendAfterKeys && !many)) return false;
    this.#suspended = true;
    return true;
  }

  /** Something was handled; `inAll` tells how many keys are parked. True: this resumes. */
  succeeded(inAll: () => number): boolean {
    this.#parkedSinceSuccess = 0;
    if (this.#suspended) {
      this.#suspended = false;
      this.#tolerated = inAll() + this.#limits.suspendAfterKeys;
      return true;
    }
    // Fewer are parked again: the limit holds as before.
    if (this.#tolerated > 0 && inAll() < this.#limits.suspendAfterKeysInAll) this.#tolerated = 0;
    return false;
  }
}
