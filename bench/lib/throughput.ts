// Commands per second, and that they were really done.

import type { LoadJob } from '../load/load.ts';
import type { LoadResult } from '../load/pipelined.ts';
import type { Daemon } from './daemon.ts';
import type { Remote } from './processes.ts';

export type Load = Remote<LoadJob, LoadResult>;

/**
 * Runs a job whose every command makes `events` events. Throws unless the log grew by exactly what was acknowledged, and, unless some may
 * fail, when some failed.
 */
export async function commands(
  daemon: Daemon,
  load: Load,
  job: LoadJob,
  { events = 1, mayFail = false } = {},
): Promise<LoadResult> {
  const before = await daemon.head();
  const result = await load.call(job);
  const grown = (await daemon.head()) - before;
  if (grown !== result.answered * events) {
    throw new Error(`the log grew by ${grown} events, and ${result.answered} commands were acknowledged`);
  }
  const failures = Object.entries(result.failed);
  if (!mayFail && failures.length > 0) throw new Error(`commands failed: ${failures.join('; ')}`);
  return result;
}

export function perSecond({ answered, seconds }: LoadResult): number {
  return answered / seconds;
}
