// P3, P4, P6: how long one command takes when nobody else is there.

import { setTimeout as pause } from 'node:timers/promises';
import { type Bench, progress } from '../lib/bench.ts';
import { CpuMeter } from '../lib/cpu.ts';
import { openStorage } from '../lib/daemon.ts';
import { alternate } from '../lib/figures.ts';
import type { Measured, Row } from '../lib/row.ts';
import { seedAggregate } from '../lib/seed.ts';
import { commands, type Load } from '../lib/throughput.ts';
import { yardstickDatabase } from '../lib/yardsticks.ts';
import type { BareJob } from '../load/bare.ts';
import type { LoadResult } from '../load/pipelined.ts';
import { AGGREGATES, finish, loadProcess, meter, setting } from './commands.ts';

const WARM_UP_S = 2;
const p50 = ({ latency }: LoadResult) => latency.p50;

export const P3: Row = {
  id: 'P3',
  what: 'one command at a time, PostgreSQL, p50',
  async measure(bench) {
    const load = loadProcess(bench);
    const ours = await setting(bench, await bench.storage('postgres'), {}, load);
    const url = await yardstickDatabase(bench);
    const echo = bench.program<object, string>('load/echo.ts');
    const bare = bench.program<BareJob, string>('load/bare.ts');
    const echoAddress = await echo.call({ kind: 'address' });
    const bareAddress = await bare.call({ host: echoAddress, url });
    const unary = (address: string) => (seconds: number) => load.call({ kind: 'unary', address, inFlight: 1, seconds });
    const sides = {
      ours: (seconds: number) => ours.unary(1, seconds),
      echo: unary(echoAddress),
      bare: unary(bareAddress),
      insert: (seconds: number) => load.call({ kind: 'insert', url, seconds }),
    };
    // As many calls as the echo has had by then: one at a time, two seconds would not be enough for the code to be compiled.
    await ours.unary(64, WARM_UP_S);
    for (const side of Object.values(sides)) await side(WARM_UP_S);
    const cpu = await meter(bench, ours);
    const bareCpu = new CpuMeter({
      'between them': bare.pid,
      host: echo.pid,
      load: load.pid,
      PostgreSQL: await bench.postmaster(),
    });
    const seconds = bench.seconds / 2;
    const answered = (result: LoadResult) => result.answered;
    const figures = await alternate(bench.rounds, {
      ours: () => cpu.measure(() => sides.ours(seconds), answered).then(p50),
      bare: () => bareCpu.measure(() => sides.bare(seconds), answered).then(p50),
      echo: () => sides.echo(seconds).then(p50),
      insert: () => sides.insert(seconds).then(p50),
    });
    await finish(ours);
    const series = figures.echo.map((echo, i) => 2 * echo + figures.insert[i]!);
    const yardstick = { name: '2 echoes + 1 INSERT', series };
    return [
      {
        ours: figures.ours,
        unit: 'ms',
        yardstick,
        target: { kind: 'at-most', value: 1.4 },
        notes: [cpu.text()],
      },
      {
        part: 'call, message to a host and back, INSERT, and nothing else (the floor)',
        ours: figures.bare,
        unit: 'ms',
        yardstick,
        notes: [`the floor: ${bareCpu.text()}`],
      },
    ];
  },
};

const LONG = 100_000;

export const P4: Row = {
  id: 'P4',
  what: 'one command at a time on an aggregate with 100,000 events, p50',
  async measure(bench) {
    const parts: Measured[] = [];
    for (const type of ['sqlite', 'postgres'] as const) {
      for (const snapshots of [false, true]) parts.push(await longHistory(bench, type, snapshots));
    }
    return parts;
  },
};

async function longHistory(bench: Bench, type: 'sqlite' | 'postgres', snapshots: boolean): Promise<Measured> {
  const load = loadProcess(bench);
  const storage = await bench.storage(type);
  if (storage.type === 'memory') throw new Error('a memory store cannot be seeded');
  const store = await openStorage(storage);
  progress(`seeding an aggregate of ${LONG} events`);
  await seedAggregate(store, AGGREGATES, LONG);
  await seedAggregate(store, AGGREGATES + 1, 10);
  await store.close();
  const ours = await setting(bench, storage, { snapshots }, load);
  const one = async (aggregate: number, seconds: number) =>
    p50(await commands(ours.daemon, load, job(ours.daemon.address, aggregate, seconds)));
  // The first command carries the whole history, and a snapshot comes back.
  for (const aggregate of [AGGREGATES, AGGREGATES + 1]) await one(aggregate, WARM_UP_S);
  const seconds = bench.seconds / 2;
  // Of the short one another each time: it gets longer with every command.
  const figures = await alternate(bench.rounds, {
    ours: () => one(AGGREGATES, seconds),
    short: () => one(AGGREGATES + 1, seconds),
  });
  await finish(ours);
  const yardstick = { name: 'an aggregate that began with 10', series: figures.short };
  const part = `${NAMES[type]}, ${snapshots ? 'a host with snapshots' : 'a host that keeps its states'}`;
  return { part, ours: figures.ours, unit: 'ms', yardstick, target: { kind: 'at-most', value: 1.2 } };
}

const NAMES = { sqlite: 'SQLite', postgres: 'PostgreSQL', memory: 'memory' };

function job(address: string, firstAggregate: number, seconds: number) {
  return { kind: 'unary', address, aggregates: 1, firstAggregate, inFlight: 1, seconds } as const;
}

export const P6: Row = {
  id: 'P6',
  what: 'event, saga, command, event: until the gateway shows it, p50',
  async measure(bench) {
    const parts: Measured[] = [];
    for (const type of ['postgres', 'sqlite'] as const) parts.push(await reaction(bench, type, loadProcess(bench)));
    return parts;
  },
};

async function reaction(bench: Bench, type: 'postgres' | 'sqlite', load: Load): Promise<Measured> {
  const storage = await bench.storage(type);
  const ours = await setting(bench, storage, { saga: true }, load);
  const { address } = ours.daemon;
  // What the first commands of all led to is done.
  while ((await ours.daemon.head()) < 2 * AGGREGATES) await pause(50);
  const follow = async (seconds: number) =>
    p50(await commands(ours.daemon, load, { kind: 'follow', address, aggregates: AGGREGATES, seconds }, { events: 2 }));
  await follow(WARM_UP_S);
  const alone = await setting(bench, await bench.storage(type), {}, load);
  await alone.unary(1, WARM_UP_S);
  const seconds = bench.seconds / 2;
  const figures = await alternate(bench.rounds, {
    ours: () => follow(seconds),
    alone: async () => p50(await alone.unary(1, seconds)),
  });
  await finish(ours);
  await finish(alone);
  const yardstick = { name: 'one command', series: figures.alone };
  return { part: NAMES[type], ours: figures.ours, unit: 'ms', yardstick, target: { kind: 'at-most', value: 4 } };
}
