// `daybook verify`: reads the whole log and says whether it keeps its promises. May run beside a daemon.

import { loadConfig } from '../config.ts';
import { verifyLog } from '../verify.ts';
import { EXIT, Exit } from './exit-codes.ts';
import { complain, print } from './output.ts';
import { openStoredLog } from './stored-log.ts';

export async function verify(options: { config?: string; json?: boolean }): Promise<void> {
  const { storage } = loadConfig({ configPath: options.config });
  const store = await openStoredLog(storage, 'verify');
  const interrupted = new AbortController();
  process.once('SIGINT', () => interrupted.abort(new Exit(130, 'interrupted')));
  try {
    const result = await verifyLog(store, { onProgress: progress(), signal: interrupted.signal });
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
    if (options.json) await print(JSON.stringify(result));
    else {
      const { positions, streams, snapshots } = result;
      await print(`${positions} positions, ${streams} streams, ${snapshots} snapshots in ${store.description}`);
      await print(result.fault === undefined ? 'no fault' : `fault: ${result.fault}`);
    }
    if (result.fault !== undefined) process.exitCode = EXIT.fault;
  } finally {
    await store.close();
  }
}

/** A line that is written over on a terminal; elsewhere one line in ten seconds. */
function progress(): (positions: number) => void {
  const tty = process.stderr.isTTY;
  let next = 0;
  return (positions) => {
    const now = performance.now();
    if (now < next) return;
    next = now + (tty ? 100 : 10_000);
    if (tty) process.stderr.write(`\rverified ${positions} positions\x1b[K`);
    else complain(`verified ${positions} positions`);
  };
}
