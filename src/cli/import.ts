// `daybook import`: what `daybook export` wrote becomes events of the configured log.

import { createReadStream, existsSync, statSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { loadConfig, type StorageConfig } from '../config.ts';
import { DaybookError } from '../errors.ts';
import type { Store } from '../store.ts';
import { openMemory } from '../stores/memory.ts';
import { openSqlite } from '../stores/sqlite/index.ts';
import { importLog } from '../transfer/import.ts';
import { EXIT, Exit, usage } from './exit-codes.ts';
import { isFileError } from './export.ts';
import { complain, print } from './output.ts';
import { openReadOnly } from './stored-log.ts';
import { TransferProgress } from './transfer-progress.ts';

export interface ImportEventsOptions {
  config?: string;
  dryRun?: boolean;
  json?: boolean;
}

export async function importEvents(file: string | undefined, options: ImportEventsOptions): Promise<void> {
  const { storage } = loadConfig({ configPath: options.config });
  if (storage.type === 'memory') throw usage('a log in memory ends with its daemon: nothing to import into');
  if (file === undefined && process.stdin.isTTY) throw usage('expected a file, or events on stdin');
  const dryRun = options.dryRun === true;
  const input: Readable = file === undefined ? process.stdin : createReadStream(file, { highWaterMark: 1 << 18 });
  const store = await openTarget(storage, dryRun);
  const interrupted = new AbortController();
  process.once('SIGINT', () => {
    const why = new Exit(130, 'interrupted: import the same events again to go on');
    interrupted.abort(why);
    input.destroy(why);
  });
  const progress = new TransferProgress(dryRun ? 'checked' : 'imported');
  const sizeBytes = file === undefined ? undefined : statSync(file, { throwIfNoEntry: false })?.size;
  let readBytes = 0;
  async function* counted(): AsyncGenerator<Uint8Array> {
    for await (const chunk of input) {
      readBytes += chunk.length;
      yield chunk;
    }
  }
  try {
    const imported = await importLog(store, counted(), {
      dryRun,
      signal: interrupted.signal,
      onProgress: ({ events, known }) => progress.show(events + known, sizeBytes ? readBytes / sizeBytes : undefined),
    });
    progress.clear();
    const { events, units, known, fault } = imported;
    if (options.json) await print(JSON.stringify({ ...imported, dry_run: dryRun }));
    else {
      const verb = dryRun ? 'would import' : 'imported';
      const seconds = progress.seconds().toFixed(1);
      await print(
        `${verb} ${events} events in ${units} units in ${seconds} s, ${progress.rate(events + known)} a second; ${known} were there before`,
      );
    }
    if (fault === undefined) return;
    if (!options.json) complain(fault);
    process.exitCode = EXIT.fault;
  } catch (error) {
    throw isFileError(error) || error instanceof DaybookError ? new Exit(EXIT.fault, (error as Error).message) : error;
  } finally {
    progress.clear();
    await store.close();
  }
}

/** A dry run makes no file: a log that is not there is an empty one. */
async function openTarget(storage: Exclude<StorageConfig, { type: 'memory' }>, dryRun: boolean): Promise<Store> {
  if (dryRun && storage.type === 'sqlite' && !existsSync(storage.path))
    return openMemory({ logId: '', incarnation: '' });
  const opened = dryRun ? openReadOnly(storage) : openToWrite(storage);
  return opened.catch((error: Error) => {
    const alone = !dryRun && storage.type === 'sqlite';
    throw new Exit(EXIT.fault, `${alone ? 'an import needs the log for itself: ' : ''}${error.message}`);
  });
}

async function openToWrite(storage: Exclude<StorageConfig, { type: 'memory' }>): Promise<Store> {
  if (storage.type === 'sqlite') return openSqlite({ path: storage.path });
  const { openPostgres } = await import('../stores/postgres/index.ts');
  return openPostgres({ ...storage, connectionString: storage.connectionString.reveal() });
}
