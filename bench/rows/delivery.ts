// P5, P13: events to projectors: all of a long log, and the newest while commands come.

import { progress } from '../lib/bench.ts';
import { type Daemon, openStorage } from '../lib/daemon.ts';
import { alternate, shown } from '../lib/figures.ts';
import type { Row } from '../lib/row.ts';
import { seed } from '../lib/seed.ts';
import { commands, type Load, perSecond } from '../lib/throughput.ts';
import type { Projected } from '../load/host.ts';
import { AGGREGATES, finish, type HostProcess, hostProcess, loadProcess, setting } from './commands.ts';

export const P5: Row = {
  id: 'P5',
  what: 'events/s to an attached projector that catches up, PostgreSQL',
  async measure(bench) {
    const load = loadProcess(bench);
    const url = await bench.database();
    const storage = { type: 'postgres', connectionString: url } as const;
    const events = bench.events ?? (bench.quick ? 50_000 : 1_000_000);
    const store = await openStorage(storage);
    await seed(store, events, AGGREGATES);
    await store.close();
    const daemon = await bench.daemon(storage);
    const select = async () => perSecond(await load.call({ kind: 'select-log', url, events, batch: 1000 }));
    // Each time another projector, which begins at the beginning.
    let number = 0;
    const catchUp = async () => {
      const host = hostProcess(bench);
      const projector = `counts-${++number}`;
      await host.call({ kind: 'attach', options: { address: daemon.address, projector } });
      const { lastMs, firstMs, events: seen } = await settled(daemon, host, projector);
      if (seen !== events) throw new Error(`the projector got ${seen} of ${events} events`);
      await host[Symbol.asyncDispose]();
      return (seen * 1000) / (lastMs - firstMs);
    };
    await select();
    const figures = await alternate(bench.quick ? 1 : 3, { ours: catchUp, select });
    const yardstick = { name: 'raw SELECT in batches of 1,000', series: figures.select };
    const notes = [`${shown(events)} events of 200 bytes`];
    return [{ ours: figures.ours, unit: '/s', yardstick, target: { kind: 'at-least', value: 0.4 }, notes }];
  },
};

const PROJECTOR = 'counts';

export const P13: Row = {
  id: 'P13',
  what: 'append stamped until projector called, at half of what the daemon can take, PostgreSQL, p99',
  async measure(bench) {
    const load = loadProcess(bench);
    const ours = await setting(bench, await bench.storage('postgres'), { projector: PROJECTOR }, load);
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
