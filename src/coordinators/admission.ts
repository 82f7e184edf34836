// The door: how much may be under way, and whose turn it is. Commands for one root are executed one after the other, in the order of
// their arrival; different roots are independent.

import { onAbort } from '../abort.ts';
import { DaybookError } from '../errors.ts';

export interface AdmissionLimits {
  perRootCommands: number;
  executingCommands: number;
  executingBytes: number;
}

/** Of the executing limits, kept for what is already under way: calls from inside work, and later reactions. */
const RESERVED = 0.2;

interface Waiter {
  resolve: () => void;
}

export class Admission {
  readonly #limits: AdmissionLimits;
  /** Present: the root is busy. The list holds those who wait. */
  readonly #busy = new Map<string, Waiter[] | undefined>();
  #executing = 0;
  #admitted = 0;
  #executingBytes = 0;
  #draining = false;
  #whenIdle: (() => void) | undefined;

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
  }

  /** Commands that were let in so far. */
  get admitted(): number {
    return this.#admitted;
  }

  /**
   * Runs the job when it is its turn for this root. OVERLOADED or SHUTTING_DOWN when it is not let in; the signal's reason when that
   * aborts before its turn. `reserved` jobs belong to what is under way already: they are let in to the last.
   */
  async run<T>(
    streamText: string,
    job: { bytes: number; reserved: boolean; signal: AbortSignal },
    execute: () => Promise<T>,
  ): Promise<T> {
    this.#admit(streamText, job.bytes, job.reserved);
    try {
      await this.#turn(streamText, job.signal);
      try {
        return await execute();
      } finally {
        this.#leave(streamText);
      }
    } finally {
      this.#executing--;
      this.#executingBytes -= job.bytes;
      if (this.#executing === 0) this.#whenIdle?.();
    }
  }

  /** Lets nothing new in from now on; resolves when nothing is under way. */
  drain(): Promise<void> {
    this.#draining = true;
    if (this.#executing === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#whenIdle = resolve;
    });
  }

  #admit(streamText: string, bytes: number, reserved: boolean): void {
    if (this.#draining && !reserved) {
      throw new DaybookError('SHUTTING_DOWN', 'the daemon is stopping; nothing was stored');
    }
    const { executingCommands, executingBytes, perRootCommands } = this.#limits;
    const share = reserved ? 1 : 1 - RESERVED;
    if (this.#executing >= executingCommands * share) throw overloaded('executing_commands', streamText);
    if (this.#executingBytes + bytes > executingBytes * share) throw overloaded('executing_bytes', streamText);
    if ((this.#busy.get(streamText)?.length ?? 0) >= perRootCommands) throw overloaded('per_root_commands', streamText);
    this.#executing++;
    this.#admitted++;
    this.#executingBytes += bytes;
  }

  #turn(streamText: string, signal: AbortSignal): Promise<void> | undefined {
    if (!this.#busy.has(streamText)) {
      this.#busy.set(streamText, undefined);
      return undefined;
    }
    const waiters = this.#busy.get(streamText) ?? [];
    this.#busy.set(streamText, waiters);
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const waiter: Waiter = {
        resolve: () => {
          ignoreAbort();
          resolve();
        },
      };
      const ignoreAbort = onAbort(signal, () => {
        waiters.splice(waiters.indexOf(waiter), 1);
        reject(signal.reason);
      });
      waiters.push(waiter);
    });
  }

  #leave(streamText: string): void {
    const next = this.#busy.get(streamText)?.shift();
    if (next === undefined) this.#busy.delete(streamText);
    else next.resolve();
  }
}

function overloaded(limit: string, about: string): DaybookError {
  return new DaybookError('OVERLOADED', `${about}: the limit ${limit} is reached; try again later`, {
    metadata: { limit },
    retryDelayMs: 100,
  });
}
