// What a failed reaction means for its key.

import type { DaybookError, Reason } from '../errors.ts';
import { type RetrySchedule, retryDelayMs } from './retry.ts';

/** Nobody judged the event: it is tried again as if nothing had happened. */
const UNCOUNTED: ReadonlySet<Reason> = new Set([
  'COMPONENT_UNAVAILABLE',
  'OVERLOADED',
  'CONTENTION',
  'SHUTTING_DOWN',
  'STORE_UNAVAILABLE',
  'OUTCOME_UNKNOWN',
]);

/** Only faults, timeouts and what cannot be read count as attempts. */
export function counts(error: DaybookError): boolean {
  return !UNCOUNTED.has(error.reason);
}

export type AfterFailure = { state: 'retrying'; delayMs: number } | { state: 'dead' };

/** After the n-th counted attempt (from 1). */
export function afterFailure(schedule: RetrySchedule, attempts: number, jitter: number): AfterFailure {
  const delayMs = retryDelayMs(schedule, attempts, jitter);
  return delayMs === undefined ? { state: 'dead' } : { state: 'retrying', delayMs };
}

/** For rows and people: not longer than this, and without what no store can hold. */
const SENTENCE_LENGTH = 1000;

export function sentence(message: string): string {
  return message.replaceAll('\0', ' ').slice(0, SENTENCE_LENGTH);
}

export function sentenceOf(error: DaybookError): string {
  return sentence(error.message);
}
