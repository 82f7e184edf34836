// What a rebuild costs those who write: `npm run bench:rebuild [-- events runs]`. A log of 1 million events on SQLite; the write path at
// half of what it can take, first alone, then while a projector is rebuilt over the whole log. Open loop: a command's time counts
// from when it was due, not from when it could be sent. Everything on this machine: daemon, host and load are three processes.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Client, connect, type Pipeline } from '@daybook/client';
import { startDaemon } from '../examples/shop/daemon.ts';
import { openSqlite } from '../src/stores/sqlite/index.ts';
import { progress } from './lib/bench.ts';
import { seed } from './lib/seed.ts';
import { DOMAIN, payload, rootBytes, TYPE_URL } from './load/messages.ts';

const EVENTS = Number(process.argv[2] ?? 1_000_000);
const RUNS = Number(process.argv[3] ?? 3);
const AGGREGATES = 10_000;
const CAPACITY_S = 8;
const ALONE_S = 30;
/** A rebuild that ends sooner is not looked at for longer. */
const DURING_S = 60;
const IN_FLIGHT = 512;

const event = { typeUrl: TYPE_URL, value: payload() };

let sent = 0;
function command() {
  return { domain: DOMAIN, root: rootBytes(sent++ % AGGREGATES), payload: event };
}

/** Commands per second with so many in flight. */
async function capacity(pipeline: Pipeline, seconds: number): Promise<number> {
  const endMs = performance.now() + seconds * 1000;
  let answered = 0;
  const lane = async () => {
    while (performance.now() < endMs) {
      await pipeline.send(command());
      answered++;
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
  return answered / seconds;
}

/** Latencies in milliseconds, ascending, of commands sent at a fixed rate until told to stop. */
async function openLoop(pipeline: Pipeline, perSecond: number, over: () => boolean): Promise<number[]> {
  const latencies: number[] = [];
  const pending: Promise<void>[] = [];
  const begunMs = performance.now();
  for (let due = 0; !over(); ) {
    const now = performance.now();
    for (; begunMs + (due * 1000) / perSecond <= now; due++) {
      const dueMs = begunMs + (due * 1000) / perSecond;
      pending.push(pipeline.send(command()).then(() => void latencies.push(performance.now() - dueMs)));
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await Promise.all(pending);
  return latencies.sort((a, b) => a - b);
}

const percentile = (sorted: number[], p: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))]!;
const rate = (count: number, begunMs: number) => Math.round((count * 1000) / (performance.now() - begunMs));

async function once(client: Client, perSecond: number) {
  const pipeline = client.pipeline({ maxWaiting: 1_000_000 });
  const untilMs = performance.now() + ALONE_S * 1000;
  const alone = await openLoop(pipeline, perSecond, () => performance.now() > untilMs);

  let switched = false;
  let tail = { eventsPerSecond: 0, position: 0 };
  const begunMs = performance.now();
  const rebuilding = (async () => {
    for await (const step of client.control.rebuild('totals')) {
      if (step.position > 0) tail = step;
      progress(`rebuild at ${step.position} of ${step.target}, ${Math.round(step.eventsPerSecond)} events/s`);
      if (step.switched) switched = true;
    }
  })();
  const during = await openLoop(pipeline, perSecond, () => switched || performance.now() - begunMs > DURING_S * 1000);
  await rebuilding;
  const rebuildS = (performance.now() - begunMs) / 1000;
  await pipeline.close();
  const rebuilt = Math.round(tail.position / rebuildS);
  return { alone, during, rebuildS, rebuilt };
}

const folder = mkdtempSync(join(tmpdir(), 'daybook-bench-'));
const store = await openSqlite({ path: join(folder, 'daybook.db') });
await seed(store, EVENTS, AGGREGATES);
await store.close();
const daemon = await startDaemon(folder);
const host = spawn(process.execPath, [fileURLToPath(new URL('rebuild-host.ts', import.meta.url)), daemon.address], {
  stdio: ['ignore', 'pipe', 'inherit'],
});
await new Promise((resolve) => host.stdout!.once('data', resolve));
const client = connect({ address: daemon.address });

progress('waiting for the projector to catch up the first time\n');
const firstMs = performance.now();
await client.positions.wait(await client.positions.head().then((head) => head.consistencyToken), {
  subscriptions: ['totals'],
  waitTimeoutMs: 600_000,
});
console.log(`first catch-up: ${EVENTS} events at ${rate(EVENTS, firstMs)}/s`);

const warm = client.pipeline();
// The host has heard of every aggregate before: else it is the reading of histories that is measured.
await Promise.all(Array.from({ length: AGGREGATES }, () => warm.send(command())));
const perSecond = await capacity(warm, CAPACITY_S);
await warm.close();
console.log(`capacity: ${Math.round(perSecond)} commands/s, ${IN_FLIGHT} in flight, ${cpus().length} cores, full sync`);

const ratios: number[] = [];
for (let run = 1; run <= RUNS; run++) {
  const { alone, during, rebuildS, rebuilt } = await once(client, perSecond / 2);
  const ratio = percentile(during, 0.99) / percentile(alone, 0.99);
  ratios.push(ratio);
  const shown = (name: string, all: number[]) =>
    `${name} p50 ${percentile(all, 0.5).toFixed(1)} p99 ${percentile(all, 0.99).toFixed(1)} ms (${all.length})`;
  console.log(
    `run ${run}: ${shown('alone', alone)}; ${shown('rebuilding', during)}; rebuilt in ${rebuildS.toFixed(1)} s, ${rebuilt} events/s; p99 × ${ratio.toFixed(2)}`,
  );
}
ratios.sort((a, b) => a - b);
console.log(
  `median: p99 × ${ratios[Math.floor(ratios.length / 2)]!.toFixed(2)} at ${Math.round(perSecond / 2)} commands/s`,
);

client.close();
host.kill('SIGTERM');
await daemon.stop();
rmSync(folder, { recursive: true });
