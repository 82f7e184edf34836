// Spans of time, for people.

import type { Duration } from '../model/book.ts';

export function millisecondsOf({ seconds, nanos }: Duration): number {
  return seconds * 1000 + nanos / 1e6;
}

/** In the largest unit of which there are at least two. */
export function durationText(ms: number): string {
  if (ms < 2000) return `${Math.round(ms)} ms`;
  if (ms < 120_000) return `${Math.round(ms / 1000)} s`;
  if (ms < 7_200_000) return `${Math.round(ms / 60_000)} min`;
  if (ms < 172_800_000) return `${Math.round(ms / 3_600_000)} h`;
  return `${Math.round(ms / 86_400_000)} d`;
}
