// The door: how much may be under way, and whose turn it is. Commands for one root are executed one after the other, in the order of
// their arrival; different roots are independent.

import { onAbort } from '../abort.ts';
import { DaybookError } from '../errors.ts';
import { Turnover } from '../model/turnover.ts';
import type { Runtime } from '../runtime.ts';

export interface AdmissionLimits {
  perRootCommands: number;
  executingCommands: number;
  executingBytes: number;
}

/** Of the executing limits, kept for what is already under way: calls from inside work, and later reactions. */
const RESERVED = 0.2;

/**
 * What is expected to take more of the time that a caller has left is refused: what comes too late was work for nothing. When there is far too
 * much to do everything takes longer than was expected, and commands have waited on their way before.
 */
const PATIENCE = 1 / 3;

export interface AdmissionJob {
  domain: string;
  bytes: number;
  /** It belongs to what is under way already: let in to the last. */
  reserved: boolean;
  /** By the monotonic clock; Infinity for a caller who has time. */
  deadlineMs: number;
  signal: AbortSignal;
}

interface Waiter {
  resolve: () => void;
}

/** Of one domain, while anything of it is under way: others are not slow because it is. */
interface Door {
  executing: number;
  readonly turnover: Turnover;
}

export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #runtime: Runtime;
  readonly #doors = new Map<string, Door>();
  /** Present: the root is busy. The list holds those who wait. */
  readonly #busy = new Map<string, Waiter[] | undefined>();
  #executing = 0;
  #admitted = 0;
  #executingBytes = 0;
  #draining = false;
  #whenIdle: (() => void) | undefined;

  constructor(limits: AdmissionLimits, runtime: Runtime) {
    this.#limits = limits;
    this.#runtime = runtime;
  }

  /** Commands that were let in so far. */
  get admitted(): number {
    return this.#admitted;
  }

  /** Under way now. */
  get executing(): number {
    return this.#executing;
  }

  /**
   * Runs the job when it is its turn for this root. OVERLOADED or SHUTTING_DOWN when it is not let in; the signal's reason when that
   * aborts before its turn.
   */
  async run<T>(streamText: string, job: AdmissionJob, execute: () => Promise<T>): Promise<T> {
    const door = this.#admit(streamText, job);
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
      this.#close(door, job);
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

  /** Why a command of the domain would not be let in now, whatever else it is; `undefined`: nothing speaks against it. */
  refusal(domain: string, deadlineMs: number): DaybookError | undefined {
    const limit = this.#reached({ domain, deadlineMs, bytes: 0, reserved: false }, this.#runtime.monotonicMs());
    return limit === undefined ? undefined : overloaded(limit, domain);
  }

  #admit(streamText: string, job: AdmissionJob): Door {
    const { domain, bytes, reserved } = job;
    if (this.#draining && !reserved) {
      throw new DaybookError('SHUTTING_DOWN', 'the daemon is stopping; nothing was stored');
    }
    if ((this.#busy.get(streamText)?.length ?? 0) >= this.#limits.perRootCommands)
      throw overloaded('per_root_commands', streamText);
    const now = this.#runtime.monotonicMs();
    const limit = this.#reached(job, now);
    if (limit !== undefined) throw overloaded(limit, streamText);
    let door = this.#doors.get(domain);
    if (door === undefined) {
      door = { executing: 0, turnover: new Turnover(now) };
      this.#doors.set(domain, door);
    }
    door.executing++;
    this.#executing++;
    this.#admitted++;
    this.#executingBytes += bytes;
    return door;
  }

  /** The limit that keeps a job out, or `deadline`. */
  #reached(job: Pick<AdmissionJob, 'domain' | 'bytes' | 'reserved' | 'deadlineMs'>, now: number): string | undefined {
    const { domain, bytes, reserved, deadlineMs } = job;
    const { executingCommands, executingBytes } = this.#limits;
    const share = reserved ? 1 : 1 - RESERVED;
    if (this.#executing >= executingCommands * share) return 'executing_commands';
    if (this.#executingBytes + bytes > executingBytes * share) return 'executing_bytes';
    const door = this.#doors.get(domain);
    const waitMs = door === undefined ? 0 : door.turnover.waitMs(door.executing, now);
    return !reserved && waitMs > (deadlineMs - now) * PATIENCE ? 'deadline' : undefined;
  }

  /** What ran out of time does not tell how fast things go. */
  #close(door: Door, { domain, deadlineMs, signal }: AdmissionJob): void {
    const now = this.#runtime.monotonicMs();
    if (!signal.aborted && now < deadlineMs) door.turnover.done(now);
    if (--door.executing === 0) this.#doors.delete(domain);
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

/** Without a stack: there are many of them when there is least time for them. */
function overloaded(limit: string, about: string): DaybookError {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  const why = limit === 'deadline' ? 'by now its turn would come too late' : `the limit ${limit} is reached`;
  const error = new DaybookError('OVERLOADED', `${about}: ${why}; try again later`, {
    metadata: { limit },
    retryDelayMs: 100,
  });
  Error.stackTraceLimit = stackTraceLimit;
  return error;
}
