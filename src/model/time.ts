// Times inside Daybook are microseconds since 1970 in UTC, as numbers: exact until the year 2255.

import type { Duration, Timestamp } from './book.ts';

export function toTimestamp(micros: number): Timestamp {
  const seconds = Math.floor(micros / 1e6);
  return { seconds, nanos: (micros - seconds * 1e6) * 1000 };
}

/** Digits below a microsecond are cut off. */
export function toMicros(time: Timestamp): number {
  return time.seconds * 1e6 + Math.floor(time.nanos / 1000);
}

/** ISO 8601 with six digits, as `2026-01-31T12:00:00.000001Z`. */
export function timeText(micros: number): string {
  const iso = new Date(Math.floor(micros / 1000)).toISOString();
  return `${iso.slice(0, -1)}${String(((micros % 1000) + 1000) % 1000).padStart(3, '0')}Z`;
}

/** A span of milliseconds, rounded to whole microseconds. */
export function toDuration(ms: number): Duration {
  const micros = Math.round(ms * 1000);
  const seconds = Math.floor(micros / 1e6);
  return { seconds, nanos: (micros - seconds * 1e6) * 1000 };
}
