// `daybook export`: the log as CloudEvents, one a line. May run beside a daemon.

import { once } from 'node:events';
import { type FileHandle, lstat, open, rename, rm } from 'node:fs/promises';
import { loadConfig } from '../config.ts';
import { CannotExport, exportLog } from '../transfer/export.ts';
import { EXIT, Exit } from './exit-codes.ts';
import { complain, print } from './output.ts';
import { openStoredLog } from './stored-log.ts';
import { TransferProgress } from './transfer-progress.ts';

export interface ExportEventsOptions {
  config?: string;
  fromPosition?: number;
  tenant?: string;
  domain?: string[];
  json?: boolean;
}

export async function exportEvents(file: string | undefined, options: ExportEventsOptions): Promise<void> {
  const { storage } = loadConfig({ configPath: options.config });
  const store = await openStoredLog(storage, 'export');
  const interrupted = new AbortController();
  process.once('SIGINT', () => interrupted.abort(new Exit(130, 'interrupted')));
  const progress = new TransferProgress('exported');
  const { fromPosition = 1, tenant, domain: domains } = options;
  const result = { events: 0, from_position: fromPosition, to_position: fromPosition - 1 };
  try {
    const target = file === undefined ? stdoutTarget() : await fileTarget(file);
    try {
      for await (const part of exportLog(store, { fromPosition, tenant, domains, signal: interrupted.signal })) {
        await target.write(part.text);
        result.events += part.events;
        result.to_position = part.through;
        progress.show(result.events, (part.through - fromPosition + 1) / (part.end - fromPosition + 1));
      }
      await target.finish();
    } catch (error) {
      await target.giveUp();
      throw error;
    }
  } catch (error) {
    throw error instanceof CannotExport || isFileError(error) ? new Exit(EXIT.fault, (error as Error).message) : error;
  } finally {
    progress.clear();
    await store.close();
  }
  const { events, from_position, to_position } = result;
  const seconds = progress.seconds().toFixed(1);
  const sentence = `exported ${events} events of positions ${from_position} to ${to_position} in ${seconds} s, ${progress.rate(events)} a second`;
  const say = file === undefined ? complain : print;
  await say(options.json ? JSON.stringify(result) : sentence);
}

interface Target {
  write(text: string): Promise<void>;
  finish(): Promise<void>;
  giveUp(): Promise<void>;
}

function stdoutTarget(): Target {
  return {
    async write(text) {
      if (!process.stdout.write(text)) await once(process.stdout, 'drain');
    },
    async finish() {},
    async giveUp() {},
  };
}

/**
 * Whoever finds the file finds all of it: it gets its name at the end. Only a file is replaced so. A device, a pipe or a link
 * is written to as it stands, for a rename would put a file in its place.
 */
async function fileTarget(path: string): Promise<Target> {
  const there = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    return undefined;
  });
  if (there !== undefined && !there.isFile()) return inPlaceTarget(path);
  const part = `${path}.${process.pid}.part`;
  const handle: FileHandle = await open(part, 'w');
  return {
    async write(text) {
      await handle.writeFile(text);
    },
    async finish() {
      await handle.sync();
      await handle.close();
      await rename(part, path);
    },
    async giveUp() {
      await handle.close();
      await rm(part, { force: true });
    },
  };
}

async function inPlaceTarget(path: string): Promise<Target> {
  const handle = await open(path, 'w');
  return {
    async write(text) {
      await handle.writeFile(text);
    },
    async finish() {
      await handle.close();
    },
    async giveUp() {
      await handle.close();
    },
  };
}

export function isFileError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error;
}
