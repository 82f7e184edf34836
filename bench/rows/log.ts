// P7, P8: a long log, and several daemons on one.

import { progress } from '../lib/bench.ts';
import { type Daemon, openStorage } from '../lib/daemon.ts';
import { alternate, shown, sum } from '../lib/figures.ts';
import type { Row } from '../lib/row.ts';
import { seed } from '../lib/seed.ts';
import { type Load, perSecond } from '../lib/throughput.ts';
import type { LoadResult } from '../load/pipelined.ts';
import { AGGREGATES, finish, type HostProcess, hostProcess, loadProcess, setting } from './commands.ts';

/** Of the long log; the ones that are written to are among them. */
const LONG_AGGREGATES = 100_000;

export const P7: Row = {
  id: 'P7',
  what: 'pipelined commands, PostgreSQL, 512 in flight, with a long log',
  async measure(bench) {
    const load = loadProcess(bench);
    const events = bench.events ?? (bench.quick ? 100_000 : 10_000_000);
    const long = { type: 'postgres', connectionString: await bench.database() } as const;
    const store = await openStorage(long);
    await seed(store, events, LONG_AGGREGATES);
    await store.close();
    const ours = await setting(bench, long, {}, load);
    const empty = await setting(bench, await bench.storage('postgres'), {}, load);
    const { seconds } = bench;
    for (const each of [ours, empty]) await each.pipelined(512, seconds);
    const figures = await alternate(bench.rounds, {
      ours: async () => perSecond(await ours.pipelined(512, seconds)),
      empty: async () => perSecond(await empty.pipelined(512, seconds)),
    });
    await finish(ours);
    await finish(empty);
    const yardstick = { name: 'with none', series: figures.empty };
    const notes = [`${events.toLocaleString('en')} events of ${shown(LONG_AGGREGATES)} aggregates before`];
    return [{ ours: figures.ours, unit: '/s', yardstick, target: { kind: 'at-least', value: 0.9 }, notes }];
  },
};

const DAEMONS = 4;

export const P8: Row = {
  id: 'P8',
  what: '4 daemons on one PostgreSQL, pipelined commands in all, 512 in flight',
  async measure(bench) {
    const one = await setting(bench, await bench.storage('postgres'));
    const storage = await bench.storage('postgres');
    const daemons: { daemon: Daemon; host: HostProcess; load: Load }[] = [];
    for (let i = 0; i < DAEMONS; i++) {
      const daemon = await bench.daemon(storage);
      const host = hostProcess(bench);
      await host.call({ kind: 'attach', options: { address: daemon.address } });
      daemons.push({ daemon, host, load: loadProcess(bench) });
    }
    // Each has aggregates of its own: sending an aggregate's commands to the same daemon is what a service does.
    const all = async (seconds: number) => {
      const before = await daemons[0]!.daemon.head();
      const results = await Promise.all(
        daemons.map(({ daemon, load }, i): Promise<LoadResult> => {
          const aggregates = AGGREGATES / DAEMONS;
          const inFlight = 512 / DAEMONS;
          const firstAggregate = i * aggregates;
          return load.call({
            kind: 'pipelined',
            address: daemon.address,
            aggregates,
            firstAggregate,
            inFlight,
            seconds,
          });
        }),
      );
      const answered = sum(results.map((result) => result.answered));
      const grown = (await daemons[0]!.daemon.head()) - before;
      if (grown !== answered) throw new Error(`the log grew by ${grown} events, and ${answered} were acknowledged`);
      return sum(results.map(perSecond));
    };
    const { seconds } = bench;
    progress('warming up');
    await all(seconds);
    await one.pipelined(512, seconds);
    const figures = await alternate(bench.rounds, {
      four: () => all(seconds),
      one: async () => perSecond(await one.pipelined(512, seconds)),
    });
    await finish(one);
    const yardstick = { name: '1 daemon', series: figures.one };
    return [{ ours: figures.four, unit: '/s', yardstick, target: { kind: 'at-least', value: 0.9 } }];
  },
};
