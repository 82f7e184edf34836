// How a daemon tells that it answers, and where.

import { renameSync, rmSync, writeFileSync } from 'node:fs';

export interface Addresses {
  /** `host:port`, with the port that was found for 0. */
  api?: string;
  socket?: string;
  health: string;
}

/** One line of JSON. */
export function readyLine(addresses: Addresses, pid: number, version: string): string {
  return JSON.stringify({ ready: true, ...addresses, pid, version });
}

/** Whoever waits for the file finds all of it or none. */
export function writeReadyFile(path: string, line: string): void {
  const part = `${path}.${process.pid}.part`;
  writeFileSync(part, `${line}\n`);
  renameSync(part, path);
}

export function removeReadyFile(path: string): void {
  rmSync(path, { force: true });
}
