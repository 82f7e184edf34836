// Processor time that processes took: what a figure costs, also on a machine that is busy with something else.

import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';

const TICKS_PER_S = 100;

interface Stat {
  parent: number;
  seconds: number;
}

function statOf(pid: number | string): Stat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name in brackets may hold anything.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { parent: Number(fields[1]), seconds: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S };
  } catch {
    return undefined;
  }
}

/** Of a process and its children that are there now, in seconds since they began. */
export function cpuSeconds(pid: number): number {
  let seconds = statOf(pid)?.seconds ?? 0;
  for (const name of readdirSync('/proc')) {
    const stat = /^\d+$/.test(name) ? statOf(name) : undefined;
    if (stat?.parent === pid) seconds += stat.seconds;
  }
  return seconds;
}

/** In microseconds for each of what `count` says that was done meanwhile, as text for people. */
export class CpuMeter {
  readonly #pids: Readonly<Record<string, number>>;
  readonly #used: Record<string, number> = {};
  #count = 0;

  constructor(pids: Readonly<Record<string, number>>) {
    this.#pids = pids;
    for (const name of Object.keys(pids)) this.#used[name] = 0;
  }

  async measure<T>(run: () => Promise<T>, count: (result: T) => number): Promise<T> {
    const before = Object.entries(this.#pids).map(([name, pid]) => [name, cpuSeconds(pid)] as const);
    const result = await run();
    await pause(10);
    for (const [name, seconds] of before) this.#used[name]! += cpuSeconds(this.#pids[name]!) - seconds;
    this.#count += count(result);
    return result;
  }

  text(): string {
    const each = Object.entries(this.#used).map(
      ([name, seconds]) => `${name} ${((seconds * 1e6) / this.#count).toFixed(1)}`,
    );
    return `processor time for each, in µs: ${each.join(', ')}`;
  }
}
