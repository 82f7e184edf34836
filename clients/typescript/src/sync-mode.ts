// How long the caller of a command waits, by name.

import { SyncMode } from './gen/daybook/v1/types.ts';
import type { Duration } from './gen/google/protobuf/duration.ts';

/**
 * `none`: until the events are durable. `simple`: until the synchronous projectors have handled them. `cascade`: until everything
 * that follows from the command has settled.
 */
export type SyncModeName = 'none' | 'simple' | 'cascade';

export const SYNC_MODES: Readonly<Record<SyncModeName, 0 | 1 | 2>> = {
  none: SyncMode.SYNC_MODE_NONE,
  simple: SyncMode.SYNC_MODE_SIMPLE,
  cascade: SyncMode.SYNC_MODE_CASCADE,
};

export function durationOf(ms: number): Duration;
export function durationOf(ms: number | undefined): Duration | undefined;
export function durationOf(ms: number | undefined): Duration | undefined {
  if (ms === undefined) return undefined;
  const seconds = Math.floor(ms / 1000);
  return { seconds, nanos: Math.round((ms - seconds * 1000) * 1e6) };
}
