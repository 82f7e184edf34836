// `npm run bench:soak [-- minutes]`: commands at 70 % of what the daemon can take, on PostgreSQL with a projector attached, for 10 minutes,
// open loop. Each minute the daemon is told to collect its garbage, and says what it holds then. Exits with 1 when its memory at the
// end is more than 10 % over the second minute's, when latencies grew, or when something was not done.

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Bench, progress } from './lib/bench.ts';
import { median, shown } from './lib/figures.ts';
import { commands, perSecond } from './lib/throughput.ts';
import { AGGREGATES, finish, setting } from './rows/commands.ts';

const MINUTES = Number(process.argv[2] ?? 10);
const MINUTE_S = 60;
const LOAD = 0.7;
const MEMORY_GROWTH = 1.1;
/** Medians of single minutes differ by so much without any cause. */
const LATENCY_GROWTH = 1.25;
const MIB = 2 ** 20;

if (spawnSync(process.execPath, ['scripts/build.ts'], { stdio: 'inherit' }).status !== 0) process.exit(1);
await using bench = new Bench({ quick: false });
const said = join(bench.folder(), 'memory');

/** Loaded before the daemon's own code: no hook of the daemon's is needed, and no code of ours is in it otherwise. */
const collect = `
  import { appendFileSync } from 'node:fs';
  import { isMainThread } from 'node:worker_threads';
  if (isMainThread) process.on('SIGUSR2', () => {
    gc();
    gc();
    appendFileSync(${JSON.stringify(said)}, JSON.stringify(process.memoryUsage()) + '\\n');
  });`;
const nodeOptions = ['--expose-gc', '--import', `data:text/javascript,${encodeURIComponent(collect)}`];

const ours = await setting(bench, await bench.storage('postgres'), { projector: 'counts' }, undefined, { nodeOptions });
const { daemon, load } = ours;
await ours.pipelined(512, 5);
const capacity = perSecond(await ours.pipelined(512, 15));
const rate = capacity * LOAD;
console.log(`${shown(capacity)} commands/s at most; ${MINUTES} minutes at ${shown(rate)}/s, fsync on\n`);
console.log(
  '| minute | commands/s | p50 ms | p99 ms | max ms | resident MiB | heap MiB |\n|---|---|---|---|---|---|---|',
);

const minutes: { p99: number; resident: number }[] = [];
for (let minute = 1; minute <= MINUTES; minute++) {
  const job = {
    kind: 'pipelined',
    address: daemon.address,
    aggregates: AGGREGATES,
    perSecond: rate,
    seconds: MINUTE_S,
  } as const;
  const result = await commands(daemon, load, job);
  const { rss, heapUsed } = await collected(minute);
  const { p50, p99, max } = result.latency;
  minutes.push({ p99, resident: rss });
  const figures = [perSecond(result), p50, p99, max, rss / MIB, heapUsed / MIB];
  console.log(`| ${minute} | ${figures.map(shown).join(' | ')} |`);
}
await finish(ours);

const [, second] = minutes;
const last = minutes.at(-1)!;
if (second !== undefined) {
  const memory = last.resident / second.resident;
  const third = Math.max(1, Math.floor((minutes.length - 1) / 3));
  const p99 = (from: number, to?: number) => median(minutes.slice(from, to).map((minute) => minute.p99));
  const latency = p99(-third) / p99(1, 1 + third);
  console.log(`\nresident at the end by the second minute's: ${memory.toFixed(2)} (at most ${MEMORY_GROWTH})`);
  console.log(`p99 of the last third by that of the first, without minute 1: ${latency.toFixed(2)}`);
  if (memory > MEMORY_GROWTH || latency > LATENCY_GROWTH) process.exitCode = 1;
}

async function collected(minute: number): Promise<NodeJS.MemoryUsage> {
  process.kill(daemon.pid, 'SIGUSR2');
  for (;;) {
    await pause(50);
    const lines = read().trim().split('\n');
    if (lines.length >= minute && lines[0] !== '') return JSON.parse(lines[minute - 1]!);
  }
}

function read(): string {
  try {
    return readFileSync(said, 'utf8');
  } catch {
    progress('waiting for the daemon to collect');
    return '';
  }
}
