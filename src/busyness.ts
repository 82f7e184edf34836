import { performance } from 'node:perf_hooks';

/** Looked at anew after so long. */
const LOOK_MS = 50;
const BUSY = 0.9;

/** Whether the event loop of this thread has had no time left, lately. */
export function busyness(): () => boolean {
  let last = performance.eventLoopUtilization();
  let lastMs = performance.now();
  let busy = false;
  return () => {
    const now = performance.now();
    if (now - lastMs < LOOK_MS) return busy;
    const current = performance.eventLoopUtilization();
    busy = performance.eventLoopUtilization(current, last).utilization > BUSY;
    last = current;
    lastMs = now;
    return busy;
  };
}
