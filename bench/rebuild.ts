// What a rebuild costs those who write: `npm run bench:rebuild [-- events runs [commands/s]]`. A log of 1 million events on SQLite with a
// projector that keeps a row for each aggregate; the write path at half of what it can take, first alone, then while the projector is rebuilt
// over the whole log. Half of it is another rate each time: to compare two states of the daemon, give one. Open loop: a command's time counts
// from when it was due. Exits with 1 when p99 more than doubles in the median of the runs.

import { spawnSync } from 'node:child_process';
import { cpus } from 'node:os';
import { Bench, progress } from './lib/bench.ts';
import { type Daemon, openStorage } from './lib/daemon.ts';
import { median, shown } from './lib/figures.ts';
import { seed } from './lib/seed.ts';
import { perSecond } from './lib/throughput.ts';
import { AGGREGATES, finish, setting } from './rows/commands.ts';
import { openLoop } from './rows/delivery.ts';

const EVENTS = Number(process.argv[2] ?? 1_000_000);
const RUNS = Number(process.argv[3] ?? 3);
const RATE = process.argv[4] === undefined ? undefined : Number(process.argv[4]);
const SECONDS = 30;
const IN_FLIGHT = 512;
const RATIO = 2;
const PROJECTOR = 'totals';

if (spawnSync(process.execPath, ['scripts/build.ts'], { stdio: 'inherit' }).status !== 0) process.exit(1);
await using bench = new Bench({ quick: false });
const storage = await bench.storage('sqlite');
if (storage.type === 'memory') throw new Error('a memory store cannot be seeded');
const store = await openStorage(storage);
await seed(store, EVENTS, AGGREGATES);
await store.close();

progress('the projector catches up the first time');
const begunMs = performance.now();
const ours = await setting(bench, storage, { projector: PROJECTOR, rows: true });
const { daemon, load } = ours;
await caughtUp(daemon);
const firstS = (performance.now() - begunMs) / 1000;
console.log(`first catch-up: ${EVENTS} events at ${shown(EVENTS / firstS)}/s`);

await ours.pipelined(IN_FLIGHT, 5);
const capacity = perSecond(await ours.pipelined(IN_FLIGHT, 10));
const rate = RATE ?? capacity / 2;
console.log(`capacity: ${shown(capacity)} commands/s, ${IN_FLIGHT} in flight, ${cpus().length} cores, full sync`);

const ratios: number[] = [];
for (let run = 1; run <= RUNS; run++) {
  await caughtUp(daemon);
  const { latency: alone } = await openLoop(daemon, load, rate, SECONDS);
  await caughtUp(daemon);
  const rebuild = follow(daemon);
  const { latency: during } = await openLoop(daemon, load, rate, SECONDS);
  if (rebuild.over) throw new Error(`the rebuild took less than ${SECONDS} s: more events are needed`);
  const { position, target, eventsPerSecond } = rebuild;
  await rebuild.end;
  const ratio = during.p99 / alone.p99;
  ratios.push(ratio);
  console.log(
    `run ${run}: alone p50 ${shown(alone.p50)} p99 ${shown(alone.p99)} ms; rebuilding p50 ${shown(during.p50)} p99 ${shown(during.p99)} ms, ` +
      `then at ${position} of ${target} with ${shown(eventsPerSecond)} events/s; p99 × ${ratio.toFixed(2)}`,
  );
}
await finish(ours);
console.log(`median: p99 × ${median(ratios).toFixed(2)} at ${shown(rate)} commands/s (at most ${RATIO})`);
if (median(ratios) > RATIO) process.exitCode = 1;

async function caughtUp({ client }: Daemon): Promise<void> {
  const { consistencyToken } = await client.positions.head();
  await client.positions.wait(consistencyToken, { subscriptions: [PROJECTOR], waitTimeoutMs: 600_000 });
}

/** A rebuild that goes on, and how far it is. */
function follow({ client }: Daemon) {
  const state = { over: false, position: 0, target: 0, eventsPerSecond: 0, end: Promise.resolve() };
  state.end = (async () => {
    for await (const { position, target, eventsPerSecond, switched } of client.control.rebuild(PROJECTOR)) {
      Object.assign(state, { over: switched, position, target, eventsPerSecond });
      progress(`rebuild at ${position} of ${target}, ${shown(eventsPerSecond)} events/s`);
    }
  })();
  // Whoever waits for it is told; when something else fails before, that is what is shown.
  state.end.catch(() => {});
  return state;
}
