// One run: daemons on a store, work, faults one after the other, and the verdict.

import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { runCli } from '../support/cli.ts';
import { seeded } from '../support/random.ts';
import { Daemons } from './daemons.ts';
import { FAULTS, type FaultName, type Scene } from './faults.ts';
import { type Place, postgresPlace, sqlitePlace } from './place.ts';
import { WORKS, type Work, type WorkName } from './work.ts';

export interface RunOptions {
  store: 'sqlite' | 'postgres';
  work: WorkName;
  daemons: number;
  faults: readonly FaultName[];
  /** Faults in all, and for how long at most. */
  times: number;
  seconds: number;
  seed: number;
  leaseMs: number | undefined;
}

export interface Summary {
  faults: string[];
  /** For people and programs. */
  figures: Record<string, unknown>;
}

/** Nothing is answered: the run has failed. */
const SILENCE_MS = 60_000;
/** For so long at most work goes on between two faults. */
const WORKING_MS = 1500;
/** Every so many faults the auditor reads the log. */
const AUDIT_EVERY = 5;
/** By which the clocks of a run with shifted clocks are ahead at its end, so that every timer is due. */
const AHEAD_MS = 3 * 3_600_000;

export async function runChaos(options: RunOptions, say: (line: string) => void): Promise<Summary> {
  const { store, daemons: count, seed, leaseMs } = options;
  const place = store === 'sqlite' ? sqlitePlace(options.faults.includes('disk')) : await postgresPlace(count);
  const { lines, begin } = WORKS[options.work];
  const daemons = new Daemons({ place, count, leaseMs, lines });
  await daemons.startAll();
  const work = await begin({ addresses: daemons.addresses, tables: place.tables, seed });
  const startedMs = performance.now();
  const elapsed = () => `${((performance.now() - startedMs) / 1000).toFixed(1).padStart(6)} s`;
  say(`${place.description}, ${count} daemons, ${options.work}; seed ${seed}`);
  const own: string[] = [];
  const all = () => [...own, ...daemons.faults, ...work.faults];

  const did = await disturb(options, { place, daemons, work, failed: () => all().length > 0 }, (line) =>
    say(`${elapsed()} ${line}: ${work.answered} answered, ${work.position} events audited`),
  );
  if (options.faults.includes('clock')) writeFileSync(place.clock, String(AHEAD_MS));
  await daemons.ready();
  await answering(work);
  await work.settle();
  say(`${elapsed()} ${work.answered} commands answered; concluding`);
  own.push(...(await verify(daemons.config)));
  const figures = await work.conclude(() => daemons.restartAll());
  own.push(...(await verify(daemons.config)));
  await work.close();
  await daemons.stopAll();
  const faults = all();
  await place.close(faults.length > 0);
  return {
    faults,
    figures: {
      store,
      work: options.work,
      daemons: count,
      seed,
      ...(leaseMs !== undefined && { lease_ms: leaseMs }),
      done: did.counts,
      slowest_recovery_ms: Math.round(did.slowestMs),
      fenced: daemons.fenced,
      ...figures,
      seconds: Math.round((performance.now() - startedMs) / 1000),
      faults: faults.length,
    },
  };
}

async function disturb(
  options: RunOptions,
  { place, daemons, work, failed }: { place: Place; daemons: Daemons; work: Work; failed: () => boolean },
  say: (line: string) => void,
): Promise<{ counts: Record<string, number>; slowestMs: number }> {
  const random = seeded(options.seed ^ 0x5eed);
  const counts: Record<string, number> = {};
  const endMs = performance.now() + options.seconds * 1000;
  let slowestMs = 0;
  const scene: Scene = {
    place,
    daemons,
    random,
    pauseMs: options.leaseMs === undefined ? 1000 : 2.5 * options.leaseMs,
    killHost: () => work.killHost(random),
    async recovered() {
      const ms = await answering(work);
      slowestMs = Math.max(slowestMs, ms);
      return ms;
    },
  };
  for (let n = 1; n <= options.times && performance.now() < endMs && !failed(); n++) {
    const fault = options.faults[Math.floor(random() * options.faults.length)]!;
    // Kills have moments of their own.
    if (fault !== 'kill') {
      await answering(work);
      await sleep(random() * WORKING_MS);
    }
    say(`${n} ${await FAULTS[fault](scene)}`);
    counts[fault] = (counts[fault] ?? 0) + 1;
    if (n % AUDIT_EVERY !== 0) continue;
    await daemons.ready();
    await answering(work);
    await work.audit();
  }
  return { counts, slowestMs };
}

/** Resolves when a command was answered, with how long that took. */
async function answering(work: Work): Promise<number> {
  const { answered } = work;
  const beganMs = performance.now();
  while (work.answered === answered) {
    if (performance.now() - beganMs > SILENCE_MS) throw new Error(`nothing was answered for ${SILENCE_MS / 1000} s`);
    await sleep(2);
  }
  return performance.now() - beganMs;
}

async function verify(config: string): Promise<string[]> {
  const { code, stdout, stderr } = await runCli(['verify', '--config', config]);
  return code === 0 ? [] : [`daybook verify ended with ${code}: ${stdout}${stderr}`];
}
