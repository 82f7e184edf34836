// One seed: daemons on one store, clients, and what goes wrong, in virtual time, until everything has settled.

import { DaybookError } from '../../src/errors.ts';
import { streamText } from '../../src/model/stream.ts';
import { type Random, stream } from '../../src/simulation/random.ts';
import type { StoreCall } from '../../src/simulation/store-through.ts';
import type { ProjectionRow, Store, SubscriptionDefinition, Unit, UnitResult } from '../../src/store.ts';
import { openMemory } from '../../src/stores/memory.ts';
import { newestProjector } from './audit-bank.ts';
import { audit } from './auditor.ts';
import { Clients } from './clients.ts';
import type { Stage } from './components.ts';
import { Daemon, EPOCH_MICROS, type Process } from './daemon.ts';
import { Follower } from './follower.ts';
import { type ComponentFault, type Fault, type Plan, PROJECTOR } from './plan.ts';
import { Settling } from './settling.ts';
import { VirtualTime } from './virtual-time.ts';

export interface Result {
  /** What is wrong; empty: nothing. */
  broken: string[];
  /** The same for the same plan. */
  hash: number;
  steps: number;
  virtualMs: number;
  events: number;
}

const IDENTITY = { logId: '0195f3a0-0000-7000-8000-000000000001', incarnation: '0195f3a0-0000-7000-8000-000000000002' };
/** More of what is wrong says nothing new. */
const BROKEN_MAX = 20;
/** Things that happen, at most: far more than any seed needs. */
const STEPS_MAX = 400_000;

type Counted = Extract<Fault, { kind: 'component' | 'poison' }>;

export class Simulation {
  readonly plan: Plan;
  readonly time = new VirtualTime();
  readonly store: Store;
  readonly daemons: Daemon[];
  readonly clients: Clients;
  readonly followers: Follower[];
  /** As they were stored last, of every generation; old ones go from the store. */
  readonly rows = new Map<string, ProjectionRow>();
  readonly #broken: string[] = [];
  #events = 0;
  /** The generation of the projector that hosts declare. */
  generation = 1;
  /** Of the projector's generations. */
  readonly #versions = new Map<number, number>();
  /** An operator's rebuild has begun. */
  #rebuiltByHand = false;
  readonly #trace: ((line: string) => void) | undefined;
  readonly #random: Random;
  readonly #counted: Counted[];
  /** The store cannot be reached. */
  away = false;
  /** Nothing goes wrong any more. */
  calm = false;
  #hash = 0x811c9dc5;
  #nonce = 0;
  readonly #lengths = new Map<string, number>();
  readonly #calls = new Map<string, number>();
  /** Events in the order in which a component saw them first, and how often it failed at each. */
  readonly #seen = new Map<string, Map<string, { number: number; failed: number }>>();

  constructor(plan: Plan, trace?: (line: string) => void) {
    this.plan = plan;
    this.#trace = trace;
    this.#random = stream(plan.seed, 1);
    this.#counted = plan.faults.filter(
      (fault): fault is Counted => fault.kind === 'component' || fault.kind === 'poison',
    );
    this.store = openMemory(IDENTITY, () => Math.floor(EPOCH_MICROS + this.time.nowMs * 1000));
    this.daemons = Array.from({ length: plan.daemons }, (_, i) => new Daemon(this, i, stream(plan.seed, 10 + i)));
    this.clients = new Clients(this, stream(plan.seed, 2));
    this.followers = Array.from({ length: plan.followers }, (_, i) => new Follower(this, stream(plan.seed, 100 + i)));
  }

  async run(): Promise<Result> {
    for (const daemon of this.daemons) this.time.after(this.#random() * 20, () => daemon.start());
    for (const command of this.plan.commands) this.clients.plan(command);
    for (const fault of this.plan.faults) this.#schedule(fault);
    for (const follower of this.followers) follower.start();
    const { rebuildAtMs, rebuildAgain } = this.plan;
    if (rebuildAtMs > 0) this.time.after(rebuildAtMs, () => this.#rebuild());
    if (rebuildAgain !== undefined)
      this.time.after(rebuildAgain.atMs, () =>
        rebuildAgain.by === 'component' ? this.#rebuild() : this.#rebuildByHand(),
      );
    new Settling(this).begin();
    await this.time.run();
    if (this.time.steps > STEPS_MAX) this.broken(`still busy after ${STEPS_MAX} steps`);
    const { log, broken } = await audit(this);
    for (const each of broken) this.broken(each);
    this.#events = log;
    return this.result();
  }

  result(): Result {
    const { steps, nowMs } = this.time;
    return { broken: this.#broken, hash: this.#hash >>> 0, steps, virtualMs: nowMs, events: this.#events };
  }

  /** Something is not as it was promised. */
  broken(what: string): void {
    this.note('BROKEN', what);
    if (this.#broken.length < BROKEN_MAX) this.#broken.push(what);
  }

  note(who: string, what: string | (() => string)): void {
    this.#hash = Math.imul(this.#hash ^ (this.time.nowMs * 1000), 0x01000193) ^ this.#nonce;
    if (this.time.steps > STEPS_MAX) this.time.stop();
    this.#trace?.(`${this.time.nowMs.toFixed(3).padStart(10)}  ${who}  ${typeof what === 'string' ? what : what()}`);
  }

  /** Of a stream, in the store, now. */
  lengthOf(streamName: string): number {
    return this.#lengths.get(streamName) ?? 0;
  }

  /** A call took effect. */
  stored(call: StoreCall, args: readonly unknown[], result: unknown): void {
    if (call === 'declare') this.#declared(args[0] as SubscriptionDefinition);
    if (call !== 'commit') return;
    const units = args[0] as readonly Unit[];
    for (const [i, each] of (result as readonly UnitResult[]).entries()) {
      if (each.kind !== 'committed') continue;
      for (const row of units[i]!.work?.projections ?? []) this.#keep(row);
      for (const [n, { stream: key, pages }] of units[i]!.appends.entries()) {
        const end = each.sequences[n]! + pages.length;
        const name = streamText(key);
        if (end > this.lengthOf(name)) this.#lengths.set(name, end);
      }
    }
  }

  /** A generation of its own for a version that has one: only operators ask for that. */
  #declared({ name, generation, version }: SubscriptionDefinition): void {
    if (name !== PROJECTOR || this.#versions.has(generation)) return;
    this.#rebuiltByHand ||= [...this.#versions.values()].includes(version);
    this.#versions.set(generation, version);
  }

  /** A unit that is told again is not stored again. */
  #keep(row: ProjectionRow): void {
    const name = `${row.generation} ${row.key}`;
    if (row.position > (this.rows.get(name)?.position ?? 0)) this.rows.set(name, row);
  }

  stageOf(process: Process, daemon: Daemon): Stage {
    const { workload, partitions, keepsState, journal, rebuildAgain } = this.plan;
    return {
      workload,
      partitions,
      partitionsOf: (generation) => (generation > 2 ? rebuildAgain!.partitions : partitions),
      keepsState,
      journal,
      faultOf: (name, event) => this.#faultOf(name, event),
      takesMs: () => (this.#random() < 0.9 ? this.#random() * 2 : this.#random() * 40),
      nonce: () => ++this.#nonce,
      after: (delayMs, call) => void process.after(delayMs, call),
      note: (what) => this.note(daemon.name, what),
      firesEarly: (dueMicros) => {
        const earlyMs = (dueMicros - EPOCH_MICROS) / 1000 - this.time.nowMs;
        if (earlyMs > EARLY_MS) this.broken(`a timer fires ${earlyMs.toFixed(0)} ms before it is due`);
      },
    };
  }

  #faultOf(name: string, event: string | undefined): ComponentFault | undefined {
    const call = (this.#calls.get(name) ?? 0) + 1;
    this.#calls.set(name, call);
    const seen = event === undefined ? undefined : this.#see(name, event);
    if (this.calm) return undefined;
    for (const fault of this.#counted) {
      if (fault.name !== name) continue;
      if (fault.kind === 'component' && call >= fault.call && call < fault.call + fault.times) return fault.what;
      if (fault.kind === 'poison' && seen?.number === fault.event && seen.failed < fault.times) {
        seen.failed++;
        return fault.what;
      }
    }
    return undefined;
  }

  #see(name: string, event: string): { number: number; failed: number } {
    const events = this.#seen.get(name) ?? new Map<string, { number: number; failed: number }>();
    this.#seen.set(name, events);
    const seen = events.get(event) ?? { number: events.size + 1, failed: 0 };
    events.set(event, seen);
    return seen;
  }

  #schedule(fault: Fault): void {
    if (!('atMs' in fault)) return;
    this.time.after(fault.atMs, () => {
      const daemon = 'daemon' in fault ? this.daemons[fault.daemon] : undefined;
      switch (fault.kind) {
        case 'outage':
          this.note('store', 'goes away');
          this.away = true;
          this.time.after(fault.forMs, () => {
            this.away = false;
          });
          return;
        case 'kill-at':
          return daemon?.kill(fault.downMs);
        case 'stop':
          return daemon?.stop(fault.downMs);
        case 'pause-at':
          return daemon?.pause(fault.forMs);
        case 'clock':
          return daemon?.jump(fault.jumpMs);
        case 'away':
          return daemon?.process.dead ? undefined : daemon?.components?.away(fault.name, fault.forMs);
      }
    });
  }

  /** Readers get what was declared last, and what was planned is declared. */
  async rebuilt(): Promise<boolean> {
    if (this.plan.rebuildAgain?.by === 'operator' && !this.#rebuiltByHand) return false;
    const newest = await newestProjector(this.store);
    return newest?.declared === this.generation && newest.generation === (await this.store.activeGeneration(PROJECTOR));
  }

  /** An operator asks for it at any daemon until it has begun: not before an earlier one is over. */
  #rebuildByHand(): void {
    if (this.#rebuiltByHand) return;
    const engine = this.daemons.find(({ process, engine }) => !process.dead && engine !== undefined)?.engine;
    const asked = engine?.control.rebuild(PROJECTOR, { kind: 'beginning' }, new AbortController().signal).next();
    // Of the projector nobody may have heard yet, or the store is away; of a daemon that dies nothing is heard.
    asked?.catch((error) => {
      if (!(error instanceof DaybookError)) this.broken(`an operator's rebuild: ${error}`);
    });
    this.time.after(500, () => this.#rebuildByHand());
  }

  /** Hosts of the new generation come, one after the other. */
  #rebuild(): void {
    const generation = ++this.generation;
    for (const daemon of this.daemons) {
      this.time.after(this.#random() * 1000, () => {
        const { process, components } = daemon;
        const declared = components?.reactors().some(({ declaration }) => declaration.generation === generation);
        if (!process.dead && declared === false) components!.rebuild(generation);
      });
    }
  }
}

/** What a daemon knows of the store's clock is as old as its last heartbeat. */
const EARLY_MS = 250;
