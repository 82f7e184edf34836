// The daemons that a chaos run disturbs: real processes, each time at the same address, so that everybody finds them again.

import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Running, startCli } from '../support/cli.ts';
import type { Place } from './place.ts';

const CLOCK = join(import.meta.dirname, 'shifted-clock.ts');
/** Of a write that a former owner attempts after somebody else took over, as the daemon's log tells it. */
const STALE = /is held with epoch \d+, not \d+|is not held any more/g;

interface Daemon {
  address: string;
  running: Running;
  /** Stopped, or killed and not started again yet. */
  down: boolean;
}

export interface DaemonsOptions {
  place: Place;
  count: number;
  leaseMs: number | undefined;
  /** Added to the configuration of each. */
  lines: readonly string[];
}

export class Daemons {
  readonly faults: string[] = [];
  /** Writes under a stale epoch that were refused, in the daemons that have ended. */
  #fenced = 0;
  readonly #options: DaemonsOptions;
  readonly #daemons: Daemon[] = [];

  constructor(options: DaemonsOptions) {
    this.#options = options;
    process.once('exit', () => {
      for (const { running } of this.#daemons) running.child.kill('SIGKILL');
    });
  }

  get addresses(): string[] {
    return this.#daemons.map(({ address }) => address);
  }

  get fenced(): number {
    return this.#daemons.reduce((sum, { running }) => sum + fencedIn(running), this.#fenced);
  }

  /** Of the first one. */
  get config(): string {
    return this.#configOf(0);
  }

  async startAll(): Promise<void> {
    for (let i = 0; i < this.#options.count; i++) {
      const running = this.#start(i, '127.0.0.1:0');
      this.#daemons.push({ address: await readyAddress(running), running, down: false });
    }
  }

  /** One that runs. */
  any(random: () => number): number {
    return Math.floor(random() * this.#daemons.length);
  }

  /** Resolves when it, or each of them, is ready. */
  async ready(n?: number): Promise<void> {
    const daemons = n === undefined ? this.#daemons : [this.#daemons[n]!];
    await Promise.all(daemons.map(({ running }) => readyAddress(running)));
  }

  /** SIGKILL, and a new start. */
  async kill(n: number): Promise<void> {
    await this.#end(n, 'SIGKILL');
    this.#restart(n);
  }

  /** SIGTERM, which drains, and a new start. */
  async drain(n: number): Promise<void> {
    await this.stop(n);
    this.#restart(n);
  }

  /** SIGTERM; it must end by itself with 0. */
  async stop(n: number): Promise<void> {
    await this.ready(n);
    const code = await this.#end(n, 'SIGTERM');
    if (code !== 0) this.faults.push(`SIGTERM: expected exit code 0, found ${code}: ${this.#said(n)}`);
  }

  async stopAll(): Promise<void> {
    for (let i = 0; i < this.#daemons.length; i++) await this.stop(i);
  }

  async restartAll(): Promise<void> {
    for (let i = 0; i < this.#daemons.length; i++) await this.kill(i);
    await this.ready();
  }

  /** Stands still for so long. */
  async pause(n: number, ms: number): Promise<void> {
    const { child } = this.#daemons[n]!.running;
    child.kill('SIGSTOP');
    await sleep(ms);
    child.kill('SIGCONT');
  }

  async #end(n: number, signal: 'SIGKILL' | 'SIGTERM') {
    const daemon = this.#daemons[n]!;
    const { child, ended } = daemon.running;
    if (child.exitCode !== null) this.faults.push(`daemon ${n} had ended by itself: ${this.#said(n)}`);
    daemon.down = true;
    child.kill(signal);
    const code = await ended;
    this.#fenced += fencedIn(daemon.running);
    daemon.running.stderr = daemon.running.stderr.slice(-4000).replace(STALE, '');
    return code;
  }

  #restart(n: number): void {
    const daemon = this.#daemons[n]!;
    daemon.running = this.#start(n, daemon.address);
    daemon.down = false;
  }

  #start(n: number, address: string): Running {
    const { place, leaseMs, lines } = this.#options;
    const limits = leaseMs === undefined ? '' : `, lease_ms: ${leaseMs}`;
    const all = [
      `storage: ${place.storage(n)}`,
      `listen: { address: ${JSON.stringify(address)}, health: "127.0.0.1:0" }`,
      'log: { level: warn }',
      `limits: { snapshot_after_pages: 20${limits} }`,
      ...lines,
    ];
    const config = this.#configOf(n);
    writeFileSync(config, `${all.join('\n')}\n`);
    const env = {
      NODE_OPTIONS: `--import=${CLOCK}`,
      DAYBOOK_CHAOS_CLOCK: place.clock,
      // Hundreds of starts: each compiles what the first has compiled.
      NODE_COMPILE_CACHE: join(place.folder, 'compiled'),
    };
    return startCli(['start', '--config', config], { env });
  }

  #configOf(n: number): string {
    return join(this.#options.place.folder, `daybook-${n}.yaml`);
  }

  #said(n: number): string {
    return this.#daemons[n]!.running.stderr.slice(-4000);
  }
}

function fencedIn({ stderr }: Running): number {
  return stderr.match(STALE)?.length ?? 0;
}

/** The address of its API, when it is ready. */
async function readyAddress(running: Running): Promise<string> {
  while (!running.stdout.includes('\n')) {
    const ended = await Promise.race([once(running.child.stdout!, 'data').then(() => undefined), running.ended]);
    if (ended !== undefined) throw new Error(`a daemon ended with ${ended} before it was ready: ${running.stderr}`);
  }
  return (JSON.parse(running.stdout) as { api: string }).api;
}
