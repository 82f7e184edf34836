/** A bounded, exponential retry schedule. */
export interface RetrySchedule {
  tries: number;
  minMs: number;
  maxMs: number;
}

/**
 * How long to wait after the n-th failed try (from 1), or `undefined` when the tries are spent. Doubles from `minMs` to
 * `maxMs`; `jitter` in [0, 1) takes away up to half, so that those who failed together do not meet again.
 */
export function retryDelayMs(schedule: RetrySchedule, failedTries: number, jitter: number): number | undefined {
  if (failedTries >= schedule.tries) return undefined;
  // Beyond 2 ** 1023 nothing times Infinity would be NaN.
  const doublings = Math.min(failedTries - 1, 60);
  const full = Math.min(schedule.maxMs, schedule.minMs * 2 ** doublings);
  return full * (1 - jitter / 2);
}
