// One place where a daemon runs, over all its lives. The real engine runs in it; what it sees of the world goes through here: its store, its
// clock, its components. A daemon that was killed does nothing any more, because none of these ever answers it again.

import { HotCache } from '../../src/coordinators/hot-cache.ts';
import { READING } from '../../src/delivery/reading.ts';
import { type Engine, openEngine } from '../../src/engine.ts';
import { asDaybookError, DaybookError } from '../../src/errors.ts';
import type { Runtime } from '../../src/runtime.ts';
import { type Random, whole } from '../../src/simulation/random.ts';
import { type StoreCall, storeThrough } from '../../src/simulation/store-through.ts';
import type { Unit, UnitResult } from '../../src/store.ts';
import type { Logger } from '../../src/telemetry/log.ts';
import { DEFAULT_LIMITS } from '../support/world.ts';
import { type Hosted, hostAll } from './components.ts';
import type { Fault } from './plan.ts';
import type { Simulation } from './simulation.ts';

/** Of the first instant of a simulation, in microseconds since 1970. */
export const EPOCH_MICROS = 1_700_000_000_000_000;
const NEVER = new Promise<never>(() => {});

type StoreFault = Extract<Fault, { kind: 'store' | 'slow-store' | 'kill' | 'pause' }>;

/** One life. */
export class Process {
  dead = false;
  pausedUntilMs = 0;
  readonly #simulation: Simulation;

  constructor(simulation: Simulation) {
    this.#simulation = simulation;
  }

  /** Never when it is dead by then, later when it is paused. */
  after(delayMs: number, call: () => void): { cancel(): void } {
    return this.#simulation.time.after(delayMs, call, this);
  }
}

export class Daemon {
  readonly number: number;
  process: Process;
  engine: Engine | undefined;
  components: Hosted | undefined;
  readonly #simulation: Simulation;
  readonly #random: Random;
  readonly #faults: StoreFault[];
  #skewMs: number;
  #lives = 0;
  #calls = 0;
  #commits = 0;
  /** So many of the next calls fail as this one did. */
  #failing = 0;
  #failingWhen: 'before' | 'after' = 'before';

  constructor(simulation: Simulation, number: number, random: Random) {
    this.#simulation = simulation;
    this.number = number;
    this.#random = random;
    this.#skewMs = simulation.plan.skewMs[number] ?? 0;
    this.process = new Process(simulation);
    this.process.dead = true;
    this.#faults = simulation.plan.faults.filter(
      (fault): fault is StoreFault => 'call' in fault && 'daemon' in fault && fault.daemon === number,
    );
  }

  get name(): string {
    return `d${this.number}.${this.#lives}`;
  }

  start(): void {
    if (!this.process.dead) return;
    this.#lives++;
    const process = new Process(this.#simulation);
    this.process = process;
    this.engine = undefined;
    this.#note('starts');
    const { plan } = this.#simulation;
    const limits = { ...DEFAULT_LIMITS, ...plan.limits };
    const runtime = this.#runtimeOf(process);
    const components = hostAll(this.#simulation.stageOf(process, this), this.#simulation.generation);
    this.components = components;
    const store = storeThrough(this.#simulation.store, (call, args, run) => this.#through(process, call, args, run));
    const { domains } = components;
    const log = this.#logger();
    const cache = new HotCache(limits);
    const options = {
      store,
      components,
      cache,
      runtime,
      limits,
      reading: { ...READING, ...plan.reading },
      log,
      instance: this.name,
      version: 'simulated',
      domains,
    };
    openEngine(options).then(
      (engine) => {
        if (process.dead) return;
        this.engine = engine;
        this.#note('is ready');
      },
      (error) => {
        this.#note(`does not start: ${asDaybookError(error).message}`);
        if (asDaybookError(error).reason === 'INTERNAL')
          this.#simulation.broken(`a daemon did not start: ${error.stack}`);
        process.dead = true;
        this.#startIn(300);
      },
    );
  }

  kill(downMs: number): void {
    if (this.process.dead) return;
    this.#note('is killed');
    this.#end();
    this.#startIn(downMs);
  }

  /** As a daemon that is told to stop. */
  stop(downMs: number): void {
    const { process, engine } = this;
    if (process.dead || engine === undefined) return;
    this.#note('is told to stop');
    this.engine = undefined;
    void engine.drain(2000).then(async () => {
      engine.close();
      await engine.idle();
      if (process.dead) return;
      this.#note('has stopped');
      process.dead = true;
      this.#startIn(downMs);
    });
  }

  pause(forMs: number): void {
    if (this.process.dead) return;
    this.#note(`is paused for ${forMs} ms`);
    this.process.pausedUntilMs = Math.max(this.process.pausedUntilMs, this.#simulation.time.nowMs + forMs);
  }

  jump(ms: number): void {
    this.#note(`its clock jumps by ${ms} ms`);
    this.#skewMs += ms;
  }

  #end(): void {
    this.process.dead = true;
    this.engine = undefined;
  }

  #startIn(delayMs: number): void {
    this.#simulation.time.after(delayMs, () => this.start());
  }

  #note(what: string): void {
    this.#simulation.note(this.name, what);
  }

  #runtimeOf(process: Process): Runtime {
    const { time } = this.#simulation;
    const random = this.#random;
    const begunMs = whole(random, 0, 1e6);
    let lastMs = 0;
    let counter = 0;
    const nowMicros = () => Math.floor(EPOCH_MICROS + (time.nowMs + this.#skewMs) * 1000);
    return {
      nowMicros,
      monotonicMs: () => begunMs + time.nowMs,
      // A timer is a little late, never early.
      after: (delayMs, call) => process.after(delayMs + random(), call),
      random,
      uuid() {
        const ms = Math.floor(nowMicros() / 1000);
        if (ms > lastMs) {
          lastMs = ms;
          counter = 0;
        } else counter++;
        const id = Buffer.alloc(16);
        id.writeUIntBE(lastMs, 0, 6);
        id.writeUInt16BE(0x7000 | (counter & 0xfff), 6);
        id.writeUInt32BE(0x80000000 + Math.floor(random() * 0x3fffffff), 8);
        id.writeUInt32BE(Math.floor(random() * 0x100000000), 12);
        return new Uint8Array(id);
      },
    };
  }

  #faultOf(call: StoreCall): StoreFault | undefined {
    this.#calls++;
    if (call === 'commit') this.#commits++;
    return this.#faults.find((fault) =>
      fault.commits ? call === 'commit' && fault.call === this.#commits : fault.call === this.#calls,
    );
  }

  /** One call of the store: on its way there, its effect, and on its way back. Something may go wrong at each. */
  #through(process: Process, call: StoreCall, args: readonly unknown[], run: () => Promise<unknown>): Promise<unknown> {
    if (process.dead) return NEVER;
    const { time } = this.#simulation;
    const fault = this.#faultOf(call);
    if (fault?.kind === 'store') {
      this.#failing = fault.times;
      this.#failingWhen = fault.when;
    }
    const fails = this.#failing > 0 ? this.#failingWhen : undefined;
    if (fails !== undefined) this.#failing--;
    if (fault?.kind === 'pause') this.pause(fault.forMs);
    const heldUpMs = fault?.kind === 'slow-store' || fault?.kind === 'pause' ? fault.forMs : 0;
    const random = this.#random;
    // Most calls are quick, some are not; what was sent first may arrive last.
    const takesMs = () => (random() < 0.9 ? random() : random() * 15);
    return new Promise((resolve, reject) => {
      const answer = (how: () => void) => process.after(takesMs() * (call === 'commit' ? 1 : 0.2), how);
      time.after(takesMs() + heldUpMs, () => {
        if (fault?.kind === 'kill' && fault.when === 'before') return this.#killed(process, fault.downMs);
        // What a daemon sent just before it died may arrive, or not.
        if (process.dead && random() < 0.5) return;
        const about = () => `${call}${described(call, args)}`;
        if (this.#simulation.away || fails === 'before') {
          this.#simulation.note(this.name, () => `${about()} does not reach the store`);
          const away = new DaybookError('STORE_UNAVAILABLE', 'the store is away');
          answer(() => reject(away));
          return;
        }
        run().then(
          (result) => {
            this.#simulation.stored(call, args, result);
            this.#simulation.note(this.name, () => `${about()} → ${outcome(call, result)}${fails ? ', not told' : ''}`);
            if (fault?.kind === 'kill') return this.#killed(process, fault.downMs);
            if (fails === undefined) return void answer(() => resolve(result));
            const reason = call === 'commit' ? 'OUTCOME_UNKNOWN' : 'STORE_UNAVAILABLE';
            answer(() => reject(new DaybookError(reason, 'the store went away before it answered')));
          },
          (error) => {
            this.#simulation.broken(`${call} failed: ${error.stack}`);
            answer(() => reject(error));
          },
        );
      });
    });
  }

  #killed(process: Process, downMs: number): void {
    if (!process.dead) this.kill(downMs);
  }

  /** The daemon's log: what it takes for a defect of its own is one. */
  #logger(): Logger {
    const write = (fields: Record<string, unknown>, message: string) => {
      const error = fields.err;
      this.#simulation.note(this.name, () => `log: ${message}${error instanceof Error ? `: ${error.message}` : ''}`);
      // Somebody else has the lease: that is no defect.
      const fenced = error instanceof Error && [error, error.cause].some((each) => (each as Error)?.name === 'Fenced');
      const defect = error instanceof Error && !fenced && asDaybookError(error).reason === 'INTERNAL';
      if (defect) this.#simulation.broken(`${message}: ${(error.cause as Error | undefined)?.stack ?? error.stack}`);
    };
    const log: Logger = {
      level: 'info',
      trace: () => {},
      debug: () => {},
      info: write,
      warn: write,
      error: write,
      fatal: write,
      child: () => log,
    };
    return log;
  }
}

function described(call: StoreCall, args: readonly unknown[]): string {
  if (call === 'commit') return ` ${(args[0] as Unit[]).map(unitText).join(' + ')}`;
  const [first] = args;
  if (first === undefined || typeof first === 'number') return ` ${first ?? ''}`;
  return ` ${JSON.stringify(first, (_, value) => (value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value))}`;
}

function unitText({ appends, outcomes, expectations, work }: Unit): string {
  const parts: string[] = [];
  for (const { stream, pages } of appends) {
    parts.push(
      `${stream.domain}/${stream.root[15]} ${pages.map((page) => page.event!.typeUrl.split(/[/.]/).at(-1)).join()}`,
    );
  }
  for (const { stream } of expectations) parts.push(`expects ${stream.domain}/${stream.root[15]}`);
  for (const { kind, key } of outcomes) parts.push(`${kind} key ${key}`);
  for (const { from, to, partition } of work?.cursors ?? []) {
    parts.push(`${partition.subscription}${partition.generation}.${partition.partition} ${from}→${to}`);
  }
  for (const { partition, position } of work?.done ?? []) parts.push(`${partition.subscription} done ${position}`);
  for (const { key, row } of work?.parked ?? [])
    parts.push(`parked ${key} ${row?.state ?? 'gone'} ${row?.position ?? ''} (${row?.partition.generation})`);
  for (const { position, index, kind } of work?.outboxAdded ?? []) parts.push(`${kind} ${position}.${index}`);
  for (const { key, row } of work?.outboxChanged ?? [])
    parts.push(`outbox ${key.position}.${key.index} ${row?.state ?? 'gone'}`);
  for (const { key, row } of work?.timers ?? []) parts.push(`timer ${key.name} ${row === undefined ? 'gone' : 'set'}`);
  for (const { key, position } of work?.projections ?? []) parts.push(`row ${key.slice(-4)} at ${position}`);
  return `{${parts.join('; ')}}`;
}

function outcome(call: StoreCall, result: unknown): string {
  if (call !== 'commit')
    return Array.isArray(result) ? `${result.length}` : typeof result === 'object' ? 'ok' : String(result);
  return (result as UnitResult[])
    .map((each) =>
      each.kind === 'committed' ? `@${each.position}` : each.kind === 'fenced' ? `fenced: ${each.what}` : each.kind,
    )
    .join(' + ');
}
