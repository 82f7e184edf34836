// P1, P2, P12: how many commands a second, each acknowledged when it is durable.

import { type Bench, progress } from '../lib/bench.ts';
import { CpuMeter } from '../lib/cpu.ts';
import { audit, type Daemon, type Options, type Storage } from '../lib/daemon.ts';
import { alternate, best, spread } from '../lib/figures.ts';
import type { Row } from '../lib/row.ts';
import { commands, type Load, perSecond } from '../lib/throughput.ts';
import { messageDbDatabase, pgbench, yardstickDatabase } from '../lib/yardsticks.ts';
import type { HostJob, HostOptions, Projected } from '../load/host.ts';
import type { LoadJob } from '../load/load.ts';
import type { LoadResult } from '../load/pipelined.ts';

export const AGGREGATES = 10_000;

/** A daemon with its host, and the way to load it. */
export interface Setting {
  daemon: Daemon;
  load: Load;
  storage: Storage;
  host: HostProcess;
  pipelined(inFlight: number, seconds: number): Promise<LoadResult>;
  unary(inFlight: number, seconds: number): Promise<LoadResult>;
}

export type HostProcess = ReturnType<typeof hostProcess>;

export function hostProcess(bench: Bench) {
  return bench.program<HostJob, Projected>('load/host.ts');
}

export function loadProcess(bench: Bench): Load {
  return bench.program<LoadJob, LoadResult>('load/load.ts');
}

export async function setting(
  bench: Bench,
  storage: Storage,
  hosted: Omit<HostOptions, 'address'> = {},
  load: Load = loadProcess(bench),
  options: Options = {},
): Promise<Setting> {
  const daemon = await bench.daemon(storage, options);
  const { address } = daemon;
  const host = hostProcess(bench);
  await host.call({ kind: 'attach', options: { ...hosted, address } });
  const of = (job: Pick<LoadJob, 'kind'> & { inFlight: number; seconds: number }) =>
    commands(daemon, load, { ...job, address, aggregates: AGGREGATES } as LoadJob);
  const pipelined = (inFlight: number, seconds: number) => of({ kind: 'pipelined', inFlight, seconds });
  // Every aggregate exists, and the daemon has heard of it.
  const once = {
    kind: 'pipelined',
    address,
    aggregates: AGGREGATES,
    count: AGGREGATES,
    inFlight: 512,
    seconds: 0,
  } as const;
  await load.call(once);
  await daemon.client.positions.wait((await daemon.client.positions.head()).consistencyToken, {
    waitTimeoutMs: 60_000,
  });
  const unary = (inFlight: number, seconds: number) => of({ kind: 'unary', inFlight, seconds });
  return { daemon, load, storage, host, pipelined, unary };
}

/** Ends the daemon and reads its log to the end. */
export async function finish({ daemon, host, storage }: Setting): Promise<void> {
  await host[Symbol.asyncDispose]();
  const events = await daemon.head();
  await daemon.stop();
  progress(`auditing a log of ${events} events`);
  await audit(storage, events);
}

/** Of everybody who takes part in a command. */
export async function meter(bench: Bench, { daemon, host, load, storage }: Setting): Promise<CpuMeter> {
  const own = { daemon: daemon.pid, host: host.pid, load: load.pid };
  return new CpuMeter(storage.type === 'postgres' ? { ...own, PostgreSQL: await bench.postmaster() } : own);
}

const WARM_UP_S = 3;

export const P1: Row = {
  id: 'P1',
  what: 'durable unary commands, attached component, 64 in flight',
  async measure(bench) {
    const load = loadProcess(bench);
    const sqlite = await setting(bench, await bench.storage('sqlite'), {}, load);
    const memory = await setting(bench, await bench.storage('memory'), {}, load);
    const echo = bench.program<object, string>('load/echo.ts');
    const address = await echo.call({ kind: 'address' });
    const echoes = async (seconds: number) =>
      perSecond(await load.call({ kind: 'unary', address, inFlight: 64, seconds }));
    await echoes(WARM_UP_S);
    for (const each of [sqlite, memory]) await each.unary(64, WARM_UP_S);
    const { seconds } = bench;
    const figures = await alternate(bench.rounds, {
      sqlite: async () => perSecond(await sqlite.unary(64, seconds)),
      echo: () => echoes(seconds),
      memory: async () => perSecond(await memory.unary(64, seconds)),
    });
    await finish(sqlite);
    const yardstick = { name: 'bare unary echo', series: figures.echo };
    return [
      { part: 'SQLite', ours: figures.sqlite, unit: '/s', yardstick, target: { kind: 'at-least', value: 0.7 } },
      { part: 'memory (the ceiling)', ours: figures.memory, unit: '/s', yardstick },
    ];
  },
};

export const P2: Row = {
  id: 'P2',
  what: 'durable pipelined commands, 512 in flight',
  async measure(bench) {
    const load = loadProcess(bench);
    const postgres = await setting(bench, await bench.storage('postgres'), {}, load);
    const others = {
      sqlite: await setting(bench, await bench.storage('sqlite'), {}, load),
      memory: await setting(bench, await bench.storage('memory'), {}, load),
    };
    const url = await yardstickDatabase(bench);
    for (const each of [postgres, ...Object.values(others)]) await each.pipelined(512, WARM_UP_S);
    await pgbench(bench, url, 16);
    const { seconds } = bench;
    const cpu = await meter(bench, postgres);
    const run = () => postgres.pipelined(512, seconds);
    const figures = await alternate(bench.rounds, {
      postgres: async () => perSecond(await cpu.measure(run, ({ answered }) => answered)),
      pgbench16: () => pgbench(bench, url, 16),
      pgbench64: () => pgbench(bench, url, 64),
      sqlite: async () => perSecond(await others.sqlite.pipelined(512, seconds)),
      memory: async () => perSecond(await others.memory.pipelined(512, seconds)),
    });
    await finish(postgres);
    await finish(others.sqlite);
    const series = best(figures.pgbench16, figures.pgbench64);
    const yardstick = { name: 'pgbench, one INSERT each', series };
    const notes = [
      `pgbench with 16 clients ${spread(figures.pgbench16)}, with 64 ${spread(figures.pgbench64)} /s`,
      cpu.text(),
    ];
    return [
      {
        part: 'PostgreSQL',
        ours: figures.postgres,
        unit: '/s',
        yardstick,
        target: { kind: 'at-least', value: 1 },
        notes,
      },
      { part: 'SQLite', ours: figures.sqlite, unit: '/s' },
      { part: 'memory (the ceiling)', ours: figures.memory, unit: '/s' },
    ];
  },
};

export const P12: Row = {
  id: 'P12',
  what: 'durable pipelined commands, PostgreSQL, 64 in flight, 10,000 aggregates',
  async measure(bench) {
    const load = loadProcess(bench);
    const ours = await setting(bench, await bench.storage('postgres'), {}, load);
    const url = await messageDbDatabase(bench);
    const messages = (connections: number, seconds: number) =>
      load.call({ kind: 'message-db', url, seconds, inFlight: 64, connections, streams: AGGREGATES }).then(perSecond);
    await ours.pipelined(64, WARM_UP_S);
    await messages(64, WARM_UP_S);
    const { seconds } = bench;
    const figures = await alternate(bench.rounds, {
      ours: async () => perSecond(await ours.pipelined(64, seconds)),
      few: () => messages(16, seconds),
      many: () => messages(64, seconds),
    });
    await finish(ours);
    const yardstick = { name: 'message-db write_message', series: best(figures.few, figures.many) };
    const notes = [`message-db on 16 connections ${spread(figures.few)}, on 64 ${spread(figures.many)} /s`];
    return [{ ours: figures.ours, unit: '/s', yardstick, target: { kind: 'at-least', value: 2 }, notes }];
  },
};
