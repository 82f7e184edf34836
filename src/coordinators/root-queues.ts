// Commands for one root are executed one after the other, in the order of their arrival; different roots are independent.

import { DaybookError } from '../errors.ts';

export interface QueueLimits {
  perRootCommands: number;
}

interface Waiter {
  resolve: () => void;
}

export class RootQueues {
  readonly #limits: QueueLimits;
  /** Present: the root is busy. The list holds those who wait. */
  readonly #busy = new Map<string, Waiter[] | undefined>();

  constructor(limits: QueueLimits) {
    this.#limits = limits;
  }

  isBusy(streamText: string): boolean {
    return this.#busy.has(streamText);
  }

  /**
   * Resolves when it is the caller's turn, who must `leave` afterwards; at once (`undefined`) when nobody is before it. OVERLOADED when
   * too many wait; the signal's reason when it aborts first.
   */
  enter(streamText: string, signal: AbortSignal): Promise<void> | undefined {
    if (!this.#busy.has(streamText)) {
      this.#busy.set(streamText, undefined);
      return undefined;
    }
    const waiters = this.#busy.get(streamText) ?? [];
    if (waiters.length >= this.#limits.perRootCommands) throw overloaded('per_root_commands', streamText);
    this.#busy.set(streamText, waiters);
    return new Promise((resolve, reject) => {
      const abort = () => {
        waiters.splice(waiters.indexOf(waiter), 1);
        reject(signal.reason);
      };
      const waiter: Waiter = {
        resolve: () => {
          signal.removeEventListener('abort', abort);
          resolve();
        },
      };
      signal.addEventListener('abort', abort, { once: true });
      waiters.push(waiter);
    });
  }

  leave(streamText: string): void {
    const next = this.#busy.get(streamText)?.shift();
    if (next === undefined) this.#busy.delete(streamText);
    else next.resolve();
  }
}

export function overloaded(limit: string, about: string): DaybookError {
  return new DaybookError('OVERLOADED', `${about}: the limit ${limit} is reached; try again later`, {
    metadata: { limit },
    retryDelayMs: 100,
  });
}
