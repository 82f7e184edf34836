// P11: ten times what the daemon can take.

import { setTimeout as pause } from 'node:timers/promises';
import { type Bench, progress } from '../lib/bench.ts';
import { shown } from '../lib/figures.ts';
import type { Measured, Row } from '../lib/row.ts';
import { commands, perSecond } from '../lib/throughput.ts';
import type { HostOptions } from '../load/host.ts';
import type { LoadResult, PipelinedJob } from '../load/pipelined.ts';
import { AGGREGATES, finish, loadProcess, meter, setting } from './commands.ts';

/** A caller that waits no longer: what comes later is of no use to it, and does not count. */
const PATIENCE_MS = 1_000;
const STREAMS = 20;
const MIB = 2 ** 20;

export const P11: Row = {
  id: 'P11',
  what: 'ten times what it can take, goodput within 1 s',
  async measure(bench) {
    return [
      ...(await overload(bench, 'domain code is slow: 32 decisions of 10 ms at once', {
        credits: { items: 32, bytes: 16 << 20 },
        decisionMs: 10,
      })),
      ...(await overload(bench, 'the machine is full', {})),
    ];
  },
};

async function overload(bench: Bench, part: string, hosted: Omit<HostOptions, 'address'>): Promise<Measured[]> {
  const load = loadProcess(bench);
  const ours = await setting(bench, await bench.storage('postgres'), hosted, load);
  const { daemon } = ours;
  await ours.pipelined(512, 3);
  const capacity = perSecond(await ours.pipelined(512, bench.seconds));
  const run = async (rate: number, seconds: number): Promise<LoadResult> => {
    const job: PipelinedJob = {
      kind: 'pipelined',
      address: daemon.address,
      aggregates: AGGREGATES,
      perSecond: rate,
      seconds,
      streams: STREAMS,
      timeoutMs: PATIENCE_MS,
    };
    return commands(daemon, load, job, { mayFail: true });
  };
  const calm: number[] = [];
  const stormy: number[] = [];
  const residents: number[] = [];
  const said: string[] = [];
  const cpu = await meter(bench, ours);
  for (let round = 0; round < (bench.quick ? 1 : 3); round++) {
    const before = await run(capacity * 0.9, bench.seconds);
    calm.push(before.inTime / bench.seconds);
    const seconds = bench.quick ? 5 : 30;
    let over = false;
    const running = cpu
      .measure(
        () => run(capacity * 10, seconds),
        ({ inTime }) => inTime,
      )
      .finally(() => {
        over = true;
      });
    let highest = 0;
    while (!over) {
      highest = Math.max(highest, daemon.memory().resident / MIB);
      await pause(100);
    }
    const result = await running;
    stormy.push(result.inTime / seconds);
    residents.push(highest);
    said.push(
      `answered ${shown(result.answered)}, in time ${shown(result.inTime)}, p50 ${shown(result.latency.p50)} ms, p99 ${shown(result.latency.p99)} ms, refused ${JSON.stringify(result.failed)}`,
    );
    progress(`${part}: ${said.at(-1)}`);
  }
  await finish(ours);
  const yardstick = { name: `goodput at 0.9 of ${shown(capacity)}/s`, series: calm };
  return [
    {
      part,
      ours: stormy,
      unit: '/s',
      yardstick,
      target: { kind: 'at-least', value: 0.8 },
      notes: [`${part}: ${said.at(-1)}; of what was in time: ${cpu.text()}`],
    },
    { part: `${part}: resident memory, highest`, ours: residents, unit: 'MiB' },
  ];
}
