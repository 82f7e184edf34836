// `daybook start`: the daemon, from its configuration to its end.

import { constants } from 'node:os';
import { setFlagsFromString } from 'node:v8';
import { loadConfig, type StorageConfig } from '../config.ts';
import { openConfiguredStore } from '../open-store.ts';
import { type Runtime, systemRuntime } from '../runtime.ts';
import type { Store } from '../store.ts';
import { type Logger, openLog } from '../telemetry/log.ts';
import { VERSION } from '../version.ts';
import { EXIT } from './exit-codes.ts';
import { print } from './output.ts';
import { readyLine, removeReadyFile, writeReadyFile } from './ready.ts';

/** Given to `stop` beyond the drain limit, to close files and connections. */
const CLOSE_MS = 5000;

export async function start(options: { config?: string; readyFile?: string }): Promise<never> {
  keepYoungObjectsYoung();
  const config = loadConfig({ configPath: options.config });
  const log = await openLog({ level: config.log.level });
  // Whoever read the ready line may go.
  process.stdout.on('error', () => {});
  process.on('uncaughtException', (err) => fail(log, err, 'a defect in Daybook'));
  const readyFile = options.readyFile;
  if (readyFile !== undefined) removeReadyFile(readyFile);

  const signalled = firstSignal(log);
  log.info({ version: VERSION, pid: process.pid, file: config.file }, 'starting');
  const starting = new AbortController();
  void signalled.then((signal) => starting.abort(signal));
  const runtime = systemRuntime();
  const openStore = openEarly(config.storage, runtime);
  const { startDaemon } = await import('../main.ts');
  const daemon = await startDaemon(config, log, { runtime, openStore, signal: starting.signal }).catch(
    (err: unknown) => {
      if (!starting.signal.aborted || err !== starting.signal.reason) return fail(log, err as Error, 'cannot start');
      log.info({ signal: err }, 'stopped before it could begin');
      return process.exit(0);
    },
  );
  const line = readyLine(daemon.addresses, process.pid, VERSION);
  if (readyFile !== undefined) writeReadyFile(readyFile, line);
  await print(line);

  const signal = await signalled;
  log.info({ signal, drain_ms: config.limits.drainMs }, 'stopping: finishing what is under way');
  const timer = setTimeout(
    () => fail(log, undefined, 'stopping took too long: giving up'),
    config.limits.drainMs + CLOSE_MS,
  );
  await daemon.stop().catch((err: Error) => fail(log, err, 'stopping failed'));
  clearTimeout(timer);
  if (readyFile !== undefined) removeReadyFile(readyFile);
  log.info({}, 'stopped');
  process.exit(0);
}

/**
 * V8 lets objects be born old where many survived. After a burst of commands that is everywhere, and it keeps itself up: what is old holds
 * what is young until the next full collection. All memory of all commands became old, and a full collection every few seconds held
 * every command up for 100 ms. Without it, commands at half of what the daemon can take: p99 23 ms instead of 188.
 */
function keepYoungObjectsYoung(): void {
  setFlagsFromString('--no-allocation-site-pretenuring');
}

/** The store opens while the rest of the daemon is loaded. Whoever asks again, because it was not there, has it opened anew. */
function openEarly(storage: StorageConfig, runtime: Runtime): () => Promise<Store> {
  let early: Promise<Store> | undefined = openConfiguredStore(storage, runtime);
  // Thrown to whoever asks.
  early.catch(() => {});
  return () => {
    const opening = early ?? openConfiguredStore(storage, runtime);
    early = undefined;
    return opening;
  };
}

/** The first SIGTERM or SIGINT asks; a second one does not wait for the answer. */
function firstSignal(log: Logger): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let asked = false;
    const onSignal = (signal: NodeJS.Signals) => {
      if (asked) {
        log.warn({ signal }, 'a second signal: stopping at once');
        process.exit(128 + constants.signals[signal]);
      }
      asked = true;
      resolve(signal);
    };
    process.on('SIGTERM', onSignal);
    process.on('SIGINT', onSignal);
  });
}

function fail(log: Logger, err: Error | undefined, what: string): never {
  log.fatal(err === undefined ? {} : { err }, err === undefined ? what : `${what}: ${err.message}`);
  process.exit(EXIT.fault);
}
