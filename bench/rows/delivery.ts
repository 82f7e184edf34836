// P5, P13: events to projectors: all of a long log, and the newest while commands come.

import type { Store } from '../../src/store.ts';
import { type Bench, progress } from '../lib/bench.ts';
import { CpuMeter } from '../lib/cpu.ts';
import { type Daemon, openStorage } from '../lib/daemon.ts';
import { alternate, median, shown } from '../lib/figures.ts';
import type { Measured, Row } from '../lib/row.ts';
import { seed, seedShortLived } from '../lib/seed.ts';
import { commands, type Load, perSecond } from '../lib/throughput.ts';
import type { BareFeedJob } from '../load/bare-feed.ts';
import type { Projected } from '../load/host.ts';
import { AGGREGATES, finish, type HostProcess, hostProcess, loadProcess, setting } from './commands.ts';

/** Of the aggregates with ten events each. */
const UNDER_WAY = 1000;

export const P5: Row = {
  id: 'P5',
  what: 'events/s to an attached projector that catches up, PostgreSQL',
  async measure(bench) {
    const events = bench.events ?? (bench.quick ? 50_000 : 1_000_000);
    const short = (store: Store) => seedShortLived(store, events, UNDER_WAY);
    const long = (store: Store) => seed(store, events, AGGREGATES);
    const ten = await catchUp(bench, events, short);
    const inTurn = await catchUp(bench, events, long);
    const floor = 'read, ten to a request, encode, send, decode, answer, and nothing else (the floor)';
    return [
      {
        part: 'ten events an aggregate, 1,000 aggregates at a time',
        ...ten.ours,
        target: { kind: 'at-least', value: 0.4 },
      },
      { part: floor, ...ten.floor },
      { part: '10,000 aggregates in turn', ...inTurn.ours },
      { part: `the same, ${floor}`, ...inTurn.floor },
    ];
  },
};

async function catchUp(
  bench: Bench,
  events: number,
  fill: (store: Store) => Promise<void>,
): Promise<{ ours: Measured; floor: Measured }> {
  const load = loadProcess(bench);
  const url = await bench.database();
  const storage = { type: 'postgres', connectionString: url } as const;
  const store = await openStorage(storage);
  await fill(store);
  await store.close();
  const daemon = await bench.daemon(storage);
  const select = async () => perSecond(await load.call({ kind: 'select-log', url, events, batch: 1000 }));
  const host = hostProcess(bench);
  const cpu = new CpuMeter({ daemon: daemon.pid, PostgreSQL: await bench.postmaster(), host: host.pid });
  // Each time another projector, which begins at the beginning.
  let number = 0;
  const pages: number[] = [];
  const project = async () => {
    const projector = `counts-${++number}`;
    const run = async () => {
      await host.call({ kind: 'attach', options: { address: daemon.address, projector } });
      return settled(daemon, host, projector);
    };
    const { lastMs, firstMs, events: seen, calls } = await cpu.measure(run, (result) => result.events);
    if (seen !== events) throw new Error(`the projector got ${seen} of ${events} events`);
    pages.push(seen / calls);
    return (seen * 1000) / (lastMs - firstMs);
  };
  const bareFeed = bench.program<BareFeedJob, string>('load/bare-feed.ts');
  const address = await bareFeed.call({ url, events });
  const taker = loadProcess(bench);
  const bareCpu = new CpuMeter({ reader: bareFeed.pid, PostgreSQL: await bench.postmaster(), host: taker.pid });
  const bare = async () => {
    const result = await bareCpu.measure(
      () => taker.call({ kind: 'take', address }),
      ({ answered }) => answered,
    );
    if (result.answered !== events) throw new Error(`the bare way took ${result.answered} of ${events} events`);
    return perSecond(result);
  };
  await select();
  const figures = await alternate(bench.rounds, { ours: project, bare, select });
  await host[Symbol.asyncDispose]();
  await daemon.stop();
  const yardstick = { name: 'raw SELECT in batches of 1,000', series: figures.select };
  const notes = [`${shown(events)} events of 200 bytes, ${shown(median(pages))} to a call; ${cpu.text()}`];
  const floor = { ours: figures.bare, unit: '/s', yardstick, notes: [`the floor: ${bareCpu.text()}`] };
  return { ours: { ours: figures.ours, unit: '/s', yardstick, notes }, floor };
}

const PROJECTOR = 'counts';

export const P13: Row = {
  id: 'P13',
  what: 'append stamped until projector called, at half of what the daemon can take, PostgreSQL, p99',
  async measure(bench) {
    const load = loadProcess(bench);
    const ours = await setting(bench, await bench.storage('postgres'), { projector: PROJECTOR, lag: true }, load);
    const { daemon, host } = ours;
    await ours.pipelined(512, 3);
    const capacity = perSecond(await ours.pipelined(512, bench.seconds));
    await settled(daemon, host, PROJECTOR);
    const rate = capacity / 2;
    progress(`capacity ${shown(capacity)}/s with the projector`);
    const latencies: number[] = [];
    const figures = await alternate(bench.rounds, {
      lag: async () => {
        const result = await openLoop(daemon, load, rate, bench.seconds * 2);
        latencies.push(result.latency.p99);
        const { events, lag } = await settled(daemon, host, PROJECTOR);
        if (events !== result.answered) throw new Error(`the projector got ${events} of ${result.answered} events`);
        return lag.p99;
      },
    });
    await finish(ours);
    const notes = [
      `open loop at ${shown(rate)}/s, fsync on; commands' own p99 ${latencies.map(shown).join(', ')} ms; the lag includes the commit`,
    ];
    return [{ ours: figures.lag, unit: 'ms', target: { kind: 'at-most', value: 100 }, notes }];
  },
};

/** When the projector has seen everything that is in the log now. */
async function settled(daemon: Daemon, host: HostProcess, projector: string): Promise<Projected> {
  const { consistencyToken } = await daemon.client.positions.head();
  await daemon.client.positions.wait(consistencyToken, { subscriptions: [projector], waitTimeoutMs: 900_000 });
  return host.call({ kind: 'projected' });
}

export function openLoop(daemon: Daemon, load: Load, rate: number, seconds: number) {
  const job = { kind: 'pipelined', address: daemon.address, perSecond: rate, aggregates: AGGREGATES, seconds } as const;
  return commands(daemon, load, job);
}
