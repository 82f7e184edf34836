// P9, P10: what the daemon costs before it does anything, and how soon it can.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { alternate, median } from '../lib/figures.ts';
import type { Measured, Row } from '../lib/row.ts';
import { loadProcess, setting } from './commands.ts';

const MIB = 2 ** 20;
const IDLE_MS = 5_000;

export const P9: Row = {
  id: 'P9',
  what: 'resident memory',
  async measure(bench) {
    const idle: Record<string, number[]> = { sqlite: [], postgres: [] };
    for (const type of ['sqlite', 'postgres'] as const) {
      const daemon = await bench.daemon(await bench.storage(type));
      await pause(IDLE_MS);
      idle[type]!.push(daemon.memory().resident / MIB);
      await daemon.stop();
    }
    const loaded: number[] = [];
    const ours = await setting(bench, await bench.storage('postgres'), {}, loadProcess(bench));
    for (let round = 0; round < bench.rounds; round++) {
      const running = ours.pipelined(512, bench.seconds * 2);
      const seen: number[] = [];
      let over = false;
      void running.finally(() => {
        over = true;
      });
      while (!over) {
        seen.push(ours.daemon.memory().resident / MIB);
        await pause(200);
      }
      await running;
      loaded.push(Math.max(...seen));
    }
    const atMost = (value: number) => ({ kind: 'at-most', value }) as const;
    return [
      { part: 'idle, SQLite', ours: idle.sqlite!, unit: 'MiB', target: atMost(90) },
      { part: 'idle, PostgreSQL', ours: idle.postgres!, unit: 'MiB', target: atMost(90) },
      { part: 'under P2, highest', ours: loaded, unit: 'MiB', target: atMost(250) },
    ];
  },
};

export const P10: Row = {
  id: 'P10',
  what: 'start until SERVING, beyond that of an empty Node',
  async measure(bench) {
    const runs = bench.quick ? 3 : 15;
    const storage = { sqlite: await bench.storage('sqlite'), postgres: await bench.storage('postgres') };
    const serving = async (type: 'sqlite' | 'postgres') => {
      const daemon = await bench.daemon(storage[type]);
      // It serves what it says.
      await daemon.head();
      await daemon.stop();
      return daemon.readyMs;
    };
    const empty = async () => {
      const begunMs = performance.now();
      await once(spawn(process.execPath, ['-e', '0'], { stdio: 'ignore' }), 'exit');
      return performance.now() - begunMs;
    };
    await serving('sqlite');
    await serving('postgres');
    const figures = await alternate(runs, {
      sqlite: () => serving('sqlite'),
      empty,
      postgres: () => serving('postgres'),
    });
    const beyond = (series: number[]) => series.map((ms, i) => ms - figures.empty[i]!);
    const notes = [`node -e 0 takes ${median(figures.empty).toFixed(0)} ms`];
    const target = { kind: 'at-most', value: 300 } as const;
    const parts: Measured[] = [
      { part: 'SQLite', ours: beyond(figures.sqlite), unit: 'ms', target, notes },
      { part: 'PostgreSQL', ours: beyond(figures.postgres), unit: 'ms' },
    ];
    return parts;
  },
};
