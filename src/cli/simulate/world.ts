// One seed of a user's simulation: a daemon in this process on a store in memory, and the components beside it, until everything that follows
// from the commands is done.

import { loadConfig } from '../../config.ts';
import {
  BusinessCoordinatorDefinition,
  type DryRunRequest,
  type DryRunResponse,
} from '../../gen/daybook/v1/coordinators.ts';
import { CommandGatewayDefinition } from '../../gen/daybook/v1/gateway.ts';
import type { CommandBook } from '../../gen/daybook/v1/types.ts';
import { type Daemon, startDaemon } from '../../main.ts';
import { uuidText } from '../../model/stream.ts';
import { sleep, systemRuntime } from '../../runtime.ts';
import { type Random, stream } from '../../simulation/random.ts';
import { type TroubledStore, troubledStore } from '../../simulation/troubled-store.ts';
import type { Store } from '../../store.ts';
import { openMemory } from '../../stores/memory.ts';
import { type Logger, openLog } from '../../telemetry/log.ts';
import { CallFailed, call } from '../connect.ts';
import { EXIT, Exit } from '../exit-codes.ts';
import { ComponentProcess } from './component-process.ts';
import type { Blow, Schedule } from './schedule.ts';

/** What a command was answered, for comparing. */
export interface Answer {
  text: string;
  first: number;
  events: { typeUrl: string; value: Uint8Array }[];
  rejected: boolean;
}

export interface Options {
  components: readonly string[];
  verbose: boolean;
}

const LIMITS = {
  DAYBOOK__LIMITS__REACTION_RETRY_MAX_MS: '1000',
  DAYBOOK__LIMITS__LEASE_MS: '1000',
  DAYBOOK__LIMITS__DRAIN_MS: '0',
};
/** For one command to be answered, and for everything to be done. */
const PATIENCE_MS = 60_000;
const LOOK_MS = 100;

export class World implements AsyncDisposable {
  readonly store: Store;
  readonly broken: string[] = [];
  readonly #schedule: Schedule;
  readonly #random: Random;
  readonly #runtime = systemRuntime();
  readonly #log: Logger;
  #daemon: Daemon | undefined;
  #troubled: TroubledStore | undefined;
  #address = '127.0.0.1:0';
  #components: ComponentProcess[] = [];
  #failures = 0;
  #calm = false;
  /** A component went away by itself. */
  #ended: string | undefined;

  private constructor(schedule: Schedule, random: Random, log: Logger) {
    const { uuid } = this.#runtime;
    this.store = openMemory({ logId: uuidText(uuid()), incarnation: uuidText(uuid()) });
    this.#schedule = schedule;
    this.#random = random;
    this.#log = log;
  }

  static async open(seed: number, schedule: Schedule, { components, verbose }: Options): Promise<World> {
    const log = await openLog({ level: verbose ? 'info' : 'fatal' });
    const world = new World(schedule, stream(seed, 1), log);
    await world.#startDaemon();
    const ended = (sentence: string) => {
      world.#ended = sentence;
    };
    world.#components = components.map((command) => new ComponentProcess(command, world.address, ended));
    for (const component of world.#components) component.start();
    return world;
  }

  /** Without all of its components there is nothing to simulate. */
  checkComponents(): void {
    if (this.#ended !== undefined) throw new Exit(EXIT.fault, this.#ended);
  }

  get address(): string {
    return this.#address;
  }

  /** Of the store, that were simulated. */
  get failures(): number {
    return this.#failures + (this.#troubled?.failures ?? 0);
  }

  async blow(blow: Blow, component: number): Promise<void> {
    const hit = this.#components[component]!;
    switch (blow) {
      case 'kill component':
        await hit.end('SIGKILL');
        return hit.start();
      case 'stop component':
        await hit.end('SIGTERM');
        return hit.start();
      case 'kill daemon':
        this.#troubled!.cut();
        await this.#stopDaemon();
        return this.#startDaemon();
      case 'stop daemon':
        await this.#stopDaemon();
        return this.#startDaemon();
    }
  }

  /** Until it is answered, with its key. */
  async execute(command: CommandBook): Promise<Answer> {
    const about = `${command.cover!.domain}: ${command.idempotencyKey}`;
    const untilMs = this.#runtime.monotonicMs() + PATIENCE_MS;
    for (let failed = ''; this.#runtime.monotonicMs() < untilMs; ) {
      this.checkComponents();
      try {
        const { events } = await call(this.#address, CommandGatewayDefinition, 'execute', command);
        const pages = events!.pages;
        const first = pages[0]?.sequence ?? events!.nextSequence;
        const happened = pages.map(({ event }) => event!);
        const text = `events ${first}: ${happened.map(({ typeUrl }) => typeUrl).join()}`;
        return { text, first, events: happened, rejected: false };
      } catch (thrown) {
        if (!(thrown instanceof CallFailed)) throw thrown;
        if (thrown.rejection !== undefined) {
          const { code, message } = thrown.rejection;
          return { text: `rejected: ${code} ${message}`, first: 0, events: [], rejected: true };
        }
        if (thrown.reason === 'INVALID_ARGUMENT' || thrown.reason === 'TOO_LARGE') throw thrown;
        if (thrown.reason === 'COMPONENT_FAULT' && thrown.message !== failed) {
          this.broken.push(`${about}: ${thrown.message}`);
          failed = thrown.message;
        }
        await sleep(this.#runtime, 20 + this.#random() * 100);
      }
    }
    throw new Exit(EXIT.fault, `${about} was not answered within ${PATIENCE_MS / 1000} s`);
  }

  /** What is decided for a command on an earlier history. A component that was stopped last may still be on its way back. */
  async decideAgain(request: DryRunRequest): Promise<DryRunResponse> {
    const untilMs = this.#runtime.monotonicMs() + PATIENCE_MS;
    for (;;) {
      this.checkComponents();
      try {
        return await call(this.#address, BusinessCoordinatorDefinition, 'dryRun', request);
      } catch (thrown) {
        const away = thrown instanceof CallFailed && thrown.reason === 'COMPONENT_UNAVAILABLE';
        if (!away || this.#runtime.monotonicMs() > untilMs) throw thrown;
        await sleep(this.#runtime, LOOK_MS);
      }
    }
  }

  /** Nothing goes wrong from now on. Resolves when nothing is under way. */
  async settle(): Promise<void> {
    this.#calm = true;
    this.#troubled!.calm();
    const untilMs = this.#runtime.monotonicMs() + PATIENCE_MS;
    for (let waitsFor = await this.#waitsFor(); waitsFor !== undefined; waitsFor = await this.#waitsFor()) {
      if (this.#runtime.monotonicMs() > untilMs) {
        this.broken.push(`not settled after ${PATIENCE_MS / 1000} s: ${waitsFor}`);
        return;
      }
      await sleep(this.#runtime, LOOK_MS);
    }
  }

  /** Timers of processes are not waited for: they may be days away. */
  async #waitsFor(): Promise<string | undefined> {
    const { position } = await this.store.head();
    const behind = (await this.store.listCursors()).find((cursor) => cursor.position < position);
    if (behind !== undefined) return `${behind.subscription} is at ${behind.position}, the log ends at ${position}`;
    const [retrying] = await this.store.listParked({ state: 'retrying', limit: 1 });
    if (retrying !== undefined) return `${retrying.partition.subscription}: ${retrying.message}`;
    const [output] = await this.store.listOutbox({ state: 'ready', limit: 1 });
    return output && `${output.subscription}: an output for ${output.target.domain}: ${output.message}`;
  }

  async #startDaemon(): Promise<void> {
    const env = {
      DAYBOOK__STORAGE__TYPE: 'memory',
      DAYBOOK__LISTEN__ADDRESS: this.#address,
      DAYBOOK__LISTEN__HEALTH: '127.0.0.1:0',
      ...LIMITS,
    };
    const config = loadConfig({ env, cwd: '/' });
    this.#failures += this.#troubled?.failures ?? 0;
    const troubled = troubledStore(this.store, this.#schedule.troubles, this.#random, this.#runtime);
    if (this.#calm) troubled.calm();
    this.#troubled = troubled;
    for (let tries = 1; ; tries++) {
      try {
        this.#daemon = await startDaemon(config, this.#log, {
          runtime: this.#runtime,
          openStore: () => Promise.resolve(troubled.store),
        });
        break;
      } catch (error) {
        // The store may be away just then.
        if (tries === 20) throw error;
        await sleep(this.#runtime, 50);
      }
    }
    this.#address = this.#daemon.addresses.api!;
  }

  async #stopDaemon(): Promise<void> {
    await this.#daemon!.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const component of this.#components) await component.end('SIGTERM');
    this.#troubled!.cut();
    await this.#stopDaemon();
  }
}
