// Results of ranges of seeds, one JSON object a line, so that a long run can be broken off, gone on with, and put together from pieces.

import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import type { RangeResult } from './worker.ts';

export function readRanges(file: string): RangeResult[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '');
  return lines.map((line) => JSON.parse(line) as RangeResult);
}

export function addRange(file: string, result: RangeResult): void {
  appendFileSync(file, `${JSON.stringify(result)}\n`);
}

/** What of the range was not run yet, in pieces of at most `size`. */
export function missing(
  done: readonly RangeResult[],
  from: number,
  to: number,
  size: number,
): { from: number; to: number }[] {
  const sorted = [...done].sort((a, b) => a.from - b.from);
  const pieces: { from: number; to: number }[] = [];
  let next = from;
  const add = (end: number) => {
    for (; next < end; next = Math.min(end, next + size)) pieces.push({ from: next, to: Math.min(end, next + size) });
  };
  for (const range of sorted) {
    if (range.to <= next) continue;
    add(Math.min(to, range.from));
    next = Math.max(next, range.to);
    if (next >= to) break;
  }
  add(to);
  return pieces;
}

export interface Total {
  seeds: number;
  failed: RangeResult['failed'];
  steps: number;
  events: number;
  virtualHours: number;
  cpuSeconds: number;
}

/** Ranges that were run twice count once. */
export function merge(ranges: readonly RangeResult[]): Total {
  const total: Total = { seeds: 0, failed: [], steps: 0, events: 0, virtualHours: 0, cpuSeconds: 0 };
  let next = -Infinity;
  for (const range of [...ranges].sort((a, b) => a.from - b.from)) {
    if (range.from < next) continue;
    next = range.to;
    total.seeds += range.to - range.from;
    total.failed.push(...range.failed);
    total.steps += range.steps;
    total.events += range.events;
    total.virtualHours += range.virtualMs / 3_600_000;
    total.cpuSeconds += range.cpuMs / 1000;
  }
  return total;
}
