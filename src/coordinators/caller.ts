import type { RemoteWork } from './work-in-hand.ts';

/** Who waits for an answer. */
export interface Caller {
  /** By the monotonic clock; Infinity for none. */
  deadlineMs: number;
  /** Aborted when nobody waits any more; its reason is thrown. */
  signal: AbortSignal;
  /** Present when another daemon of this log passed the call on: the work from inside which it came, nearest first. */
  ancestors?: readonly RemoteWork[];
}
