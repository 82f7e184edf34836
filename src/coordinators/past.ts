// Where a stream stood at some point. Times never decrease within a stream, so a few single pages tell.

import type { StreamKey } from '../model/stream.ts';
import { toMicros } from '../model/time.ts';
import type { UpcastingReads } from './upcasting.ts';

export type PointInTime =
  /** Up to this sequence, included. */
  | { kind: 'sequence'; sequence: number }
  /** Recorded at or before this time, microseconds since 1970. */
  | { kind: 'time'; timeMicros: number };

type Reads = Pick<UpcastingReads, 'readStored'>;

/** The next sequence of the stream as of then; as of now without a point. */
export async function nextSequenceAt(reads: Reads, stream: StreamKey, asOf: PointInTime | undefined): Promise<number> {
  const { nextSequence } = await reads.readStored(stream, { from: 0, to: 0, maxBytes: 1 });
  if (asOf === undefined) return nextSequence;
  if (asOf.kind === 'sequence') return Math.min(nextSequence, asOf.sequence + 1);
  // The first sequence that was recorded later.
  let low = 0;
  let high = nextSequence;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const { pages } = await reads.readStored(stream, { from: middle, to: middle, maxBytes: 1 });
    if (toMicros(pages[0]!.createdAt!) <= asOf.timeMicros) low = middle + 1;
    else high = middle;
  }
  return low;
}
