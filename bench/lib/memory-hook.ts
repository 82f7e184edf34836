// Loaded into a daemon before its own code, with --expose-gc: at SIGUSR2 it collects what can be collected and writes what is left into
// the file that BENCH_MEMORY names, a line each time.

import { appendFileSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';

const file = process.env.BENCH_MEMORY;
const collect = (globalThis as { gc?: () => void }).gc;
if (isMainThread && file !== undefined && collect !== undefined) {
  process.on('SIGUSR2', () => {
    const before = process.memoryUsage();
    collect();
    collect();
    appendFileSync(file, `${JSON.stringify({ before, after: process.memoryUsage() })}\n`);
  });
}
