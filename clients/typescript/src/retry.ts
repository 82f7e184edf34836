// Trying again: bounded, with growing pauses, and with jitter so that many clients do not return at the same instant.

import { setTimeout as timeout } from 'node:timers/promises';
import { DaybookError } from './errors.ts';

export interface RetryPolicy {
  /** The first one included. 1 never repeats. */
  attempts: number;
  /** Before the second attempt; doubles with each further one. */
  firstDelayMs: number;
  maxDelayMs: number;
}

export const DEFAULT_RETRY: RetryPolicy = { attempts: 6, firstDelayMs: 50, maxDelayMs: 2_000 };

/** The pause after the n-th failure, from 1: between half and all of the doubled delay. */
export function backoffMs(failures: number, policy: Pick<RetryPolicy, 'firstDelayMs' | 'maxDelayMs'>): number {
  const delay = Math.min(policy.maxDelayMs, policy.firstDelayMs * 2 ** (failures - 1));
  return delay * (0.5 + Math.random() / 2);
}

/** Resolves after the pause; rejects with the signal's reason if that comes first. */
export async function pause(delayMs: number, signal?: AbortSignal): Promise<void> {
  try {
    await timeout(delayMs, undefined, signal && { signal });
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  }
}

/** Waits before the next attempt. Throws the error when there shall be none: final, out of attempts, or out of time. */
export async function beforeRetry(
  error: unknown,
  failures: number,
  options: { policy: RetryPolicy; deadlineMs: number; signal?: AbortSignal | undefined },
): Promise<void> {
  if (!(error instanceof DaybookError) || !error.retryable || failures >= options.policy.attempts) throw error;
  const delayMs = Math.max(backoffMs(failures, options.policy), error.retryDelayMs ?? 0);
  if (Date.now() + delayMs >= options.deadlineMs) throw error;
  await pause(delayMs, options.signal);
}
