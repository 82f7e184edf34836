/** Who waits for an answer. */
export interface Caller {
  /** By the monotonic clock; Infinity for none. */
  deadlineMs: number;
  /** Aborted when nobody waits any more; its reason is thrown. */
  signal: AbortSignal;
}
