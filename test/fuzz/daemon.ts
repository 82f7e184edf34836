// A daemon in a process of its own, with a forced collection on request: `node --expose-gc test/fuzz/daemon.ts <folder>`. Tells its
// parent its address, and then, whenever it is asked, what it uses and which defects it has logged.

import { loadConfig } from '../../src/config.ts';
import { startDaemon } from '../../src/main.ts';
import { openLog } from '../../src/telemetry/log.ts';
import { FUZZED_LIMITS } from './bystander.ts';

export interface DaemonReport {
  /** After a forced collection: of the heap and of buffers outside. */
  usedBytes: number;
  residentBytes: number;
  defects: string[];
}

const DEFECTS_MAX = 10;
const defects: string[] = [];
const write = (line: string) => {
  if (line.includes('internal error') && defects.length < DEFECTS_MAX) defects.push(line);
};
const log = await openLog({ level: 'debug', stream: { write }, pretty: false });
const config = loadConfig({
  env: {
    DAYBOOK__LISTEN__ADDRESS: '127.0.0.1:0',
    DAYBOOK__LISTEN__HEALTH: '127.0.0.1:0',
    // What is kept on purpose stays small, so that what is kept by mistake is seen.
    DAYBOOK__LIMITS__HOT_CACHE_BYTES: '1048576',
    DAYBOOK__LIMITS__HOT_CACHE_AGGREGATE_BYTES: '65536',
    ...FUZZED_LIMITS,
  },
  cwd: process.argv[2]!,
});
const daemon = await startDaemon(config, log);

async function report(): Promise<DaemonReport> {
  // Twice, with a turn between: what finalizers let go in the first goes in the second.
  for (let round = 0; round < 2; round++) {
    globalThis.gc!();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { heapUsed, external, rss } = process.memoryUsage();
  return { usedBytes: heapUsed + external, residentBytes: rss, defects };
}

process.on('message', async (message) => {
  if (message === 'report') process.send!(await report());
  else {
    await daemon.stop();
    process.disconnect();
  }
});
process.send!(daemon.addresses.api!);
