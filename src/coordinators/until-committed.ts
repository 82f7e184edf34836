import { DaybookError } from '../errors.ts';
import { type RetrySchedule, retryDelayMs } from '../model/retry.ts';
import { type Runtime, sleep } from '../runtime.ts';
import type { Histories } from './histories.ts';

export interface ConflictLimits {
  conflictTries: number;
  conflictMinMs: number;
  conflictMaxMs: number;
}

/**
 * Tries until something is committed. `once` answers `undefined` when somebody else changed the history meanwhile: what is cached of it
 * is then wrong. CONTENTION when that happens too often; the signal's reason when nobody waits any more.
 */
export async function untilCommitted<T>(
  text: string,
  parts: { runtime: Runtime; histories: Histories; limits: ConflictLimits },
  signal: AbortSignal,
  once: () => Promise<T | undefined>,
): Promise<T> {
  const { runtime, histories, limits } = parts;
  const schedule: RetrySchedule = {
    tries: limits.conflictTries,
    minMs: limits.conflictMinMs,
    maxMs: limits.conflictMaxMs,
  };
  for (let tries = 1; ; tries++) {
    signal.throwIfAborted();
    const result = await once();
    if (result !== undefined) return result;
    histories.forget(text);
    const delayMs = retryDelayMs(schedule, tries, runtime.random());
    if (delayMs === undefined) {
      throw new DaybookError('CONTENTION', `${text}: others kept changing the history; gave up after ${tries} tries`, {
        metadata: { attempts: tries },
        retryDelayMs: schedule.maxMs,
      });
    }
    await sleep(runtime, delayMs, signal);
  }
}
