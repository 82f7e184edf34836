// What chaos does. Each fault is there for a while and is over when its promise resolves; it says what it did.

import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../support/random.ts';
import type { Daemons } from './daemons.ts';
import type { Place } from './place.ts';

export interface Scene {
  place: Place;
  daemons: Daemons;
  random: Random;
  /** Of a pause: longer than a lease, when leases are short. */
  pauseMs: number;
  /** Kills a process that hosts components, if there are any of their own. */
  killHost: (() => Promise<boolean>) | undefined;
  /** Resolves when commands are answered, with how long that took. */
  recovered: () => Promise<number>;
}

export type FaultName = keyof typeof FAULTS;

export const FAULTS = {
  /** SIGKILL, now and then in the middle of the recovery from the last one. */
  async kill({ daemons, random, killHost, recovered }: Scene) {
    const n = daemons.any(random);
    const early = random() < 1 / 6;
    if (!early) {
      await daemons.ready(n);
      await recovered();
    }
    const ms = Math.round(random() * (early ? 450 : 300));
    const host = random() < 1 / 4 && (await killHost?.()) ? ', and a host' : '';
    await sleep(ms);
    await daemons.kill(n);
    return `daemon ${n} killed, ${ms} ms after its ${early ? 'start' : 'last news'}${host}`;
  },
  async drain({ daemons, random }: Scene) {
    const n = daemons.any(random);
    await daemons.drain(n);
    return `daemon ${n} drained`;
  },
  /** SIGSTOP and SIGCONT. */
  async pause({ daemons, random, pauseMs }: Scene) {
    const n = daemons.any(random);
    await daemons.pause(n, pauseMs);
    return `daemon ${n} paused for ${pauseMs} ms`;
  },
  async restart({ place, random, recovered }: Scene) {
    const mode = random() < 0.5 ? 'immediate' : 'fast';
    await place.server!.stop(mode);
    const ms = Math.round(random() * 1000);
    await sleep(ms);
    await place.server!.start();
    return `server stopped (${mode}) for ${ms} ms; commands went through ${Math.round(await recovered())} ms after its return`;
  },
  async network({ place, daemons, random, recovered }: Scene) {
    const n = daemons.any(random);
    const network = place.networks[n]!;
    const kinds = ['cut', 'cutAnswers', 'stall', 'halfClose'] as const;
    const kind = kinds[Math.floor(random() * kinds.length)]!;
    if (kind === 'cutAnswers') network.cutAnswers(random);
    else if (kind === 'halfClose') network.halfClose(random() < 0.5 ? 'client' : 'server');
    else network[kind]();
    await sleep(random() * 1500);
    network.resume();
    return `network of daemon ${n}: ${kind}; commands went through ${Math.round(await recovered())} ms later`;
  },
  async disk({ place, random, recovered }: Scene) {
    place.disk!.fill();
    const ms = Math.round(200 + random() * 1500);
    await sleep(ms);
    place.disk!.free();
    return `disk full for ${ms} ms; commands went through ${Math.round(await recovered())} ms later`;
  },
  /** Of the daemons, up to an hour in either direction, and back. */
  async clock({ place, random }: Scene) {
    const shiftMs = Math.round((random() - 0.5) * 2 * 3_600_000);
    writeFileSync(place.clock, String(shiftMs));
    await sleep(200 + random() * 1000);
    writeFileSync(place.clock, '0');
    return `clocks shifted by ${Math.round(shiftMs / 1000)} s, and back`;
  },
} satisfies Record<string, (scene: Scene) => Promise<string>>;

export const FAULT_NAMES = Object.keys(FAULTS) as FaultName[];

/** Why it cannot be done there; `undefined`: it can. */
export function impossible(fault: FaultName, store: 'sqlite' | 'postgres'): string | undefined {
  if ((fault === 'restart' || fault === 'network') && store === 'sqlite') return 'SQLite has no server';
  if (fault === 'disk' && store === 'postgres') return 'the disk is only filled under SQLite';
  return undefined;
}
