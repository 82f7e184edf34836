// Fires the timers of one partition's processes. A timer that fails is tried again by its own row; one that fails too often becomes a
// dead letter.

import { decodeTimer, encodeTimer } from '../coordinators/process-manager.ts';
import { emptyWork, triggerIndex } from '../coordinators/reaction.ts';
import type { DaybookError } from '../errors.ts';
import { sentenceOf } from '../model/failure.ts';
import type { Timer } from '../runtime.ts';
import type { LogIdentity, TimerRow } from '../store.ts';
import type { Partition } from './partition.ts';
import { type OutboxContext, type OutboxParts, rowOfTimer } from './partition-outbox.ts';
import { Fenced } from './units.ts';

export interface TimersParts extends OutboxParts {
  logIdentity: LogIdentity;
}

const BATCH = 100;
/** Fired and not handled yet; more wait in the store. */
const FIRED = 2000;
/** What is due later is looked for with all other partitions'. */
const LOOK_AGAIN_MS = 10_000;
/** While a timer that is due waits for its process, others are looked for so often. */
const HELD_UP_MS = 1000;

export class Timers {
  readonly #parts: TimersParts;
  readonly #context: OutboxContext;
  readonly #partition: Partition;
  readonly #fired = new Set<string>();
  #timer: Timer | undefined;
  #looking = false;
  #again = false;
  #stopped = false;

  constructor(parts: TimersParts, context: OutboxContext, partition: Partition) {
    this.#parts = parts;
    this.#context = context;
    this.#partition = partition;
  }

  /** Timers were set, or the component is there again. */
  kick(): void {
    if (this.#stopped) return;
    this.#again = true;
    if (!this.#looking) void this.#look();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  async #look(): Promise<void> {
    this.#looking = true;
    this.#timer?.cancel();
    try {
      while (this.#again && !this.#stopped) {
        this.#again = false;
        await this.#fire();
      }
    } catch (error) {
      this.#parts.log.warn({ subscription: this.#context.name, err: error }, 'timers cannot be read; trying again');
      this.#wakeIn(1000);
    } finally {
      this.#looking = false;
    }
  }

  async #fire(): Promise<void> {
    const { store, storeClock } = this.#parts;
    const { subscription, partition } = this.#partition.key;
    const now = storeClock();
    // Whatever is handled makes room, and looks again.
    if (this.#fired.size >= FIRED) return;
    const limit = BATCH + this.#fired.size;
    const rows = await store.dueTimers(subscription, partition, now, limit);
    for (const row of rows) if (!this.#fired.has(nameOf(row))) void this.#handle(row);
    if (rows.length === limit) {
      this.#again = true;
      return;
    }
    const next = await store.nextTimerDue(subscription, partition);
    if (next === undefined) return;
    // What is due and fired already comes back when it is handled; as long as its process is held up, it hides when the next is due.
    const inMs = next > now ? (next - now) / 1000 : HELD_UP_MS;
    if (inMs <= LOOK_AGAIN_MS) this.#wakeIn(inMs);
  }

  #wakeIn(delayMs: number): void {
    if (this.#stopped) return;
    this.#timer?.cancel();
    this.#timer = this.#parts.runtime.after(Math.max(1, delayMs), () => this.kick());
  }

  async #handle(row: TimerRow): Promise<void> {
    const name = nameOf(row);
    this.#fired.add(name);
    try {
      const occasion = { kind: 'timer', row, from: undefined } as const;
      await this.#partition.trigger(row.process, occasion, (error) => this.#failed(row, error));
    } catch (error) {
      // Fenced: it was set again or cancelled meanwhile, or the partition is gone.
      if (!(error instanceof Fenced) && !this.#stopped)
        this.#parts.log.warn({ subscription: this.#context.name, err: error }, 'a timer waits');
    } finally {
      this.#fired.delete(name);
      this.#context.progressed();
      this.kick();
    }
  }

  async #failed(row: TimerRow, error: DaybookError): Promise<void> {
    if (this.#stopped) return;
    const { runtime, storeClock, bodies, log } = this.#parts;
    const { attempts, payload } = decodeTimer(bodies, row.body);
    const { state, delayMs } = this.#partition.parked.after(attempts + 1);
    const about = { subscription: row.subscription, timer: row.name, correlation_id: row.correlationId };
    const work = emptyWork();
    work.fences.push({ partition: this.#partition.key, epoch: this.#partition.epoch });
    const now = storeClock();
    const body = encodeTimer(bodies, { attempts: attempts + 1, payload });
    const tried = { ...row, body, dueAtMicros: Math.round(now + delayMs * 1000) };
    const key = row;
    if (state === 'retrying') work.timers.push({ key, version: row.version, row: tried });
    else {
      work.timers.push({ key, version: row.version, row: undefined });
      work.outboxAdded.push(this.#deadLetter(tried, attempts + 1, error.reason, sentenceOf(error), now));
      log.error({ ...about, reason: error.reason, err: error }, 'a timer is a dead letter');
    }
    const nothing = { appends: [], expectations: [], snapshots: [], outcomes: [] };
    await this.#partition.commit({ unitId: runtime.uuid(), ...nothing, work });
    if (state === 'retrying')
      log.warn({ ...about, attempts: attempts + 1, err: error }, 'a timer failed; trying again');
  }

  #deadLetter(row: TimerRow, attempts: number, reason: string, message: string, now: number) {
    const { logId, incarnation } = this.#parts.logIdentity;
    const { subscription, generation, partition } = this.#partition.key;
    return rowOfTimer(row, {
      logId,
      incarnation,
      subscription,
      generation,
      partition,
      position: Math.max(1, this.#partition.scanned),
      index: triggerIndex(row.version),
      state: 'dead',
      target: { tenant: row.tenant, domain: this.#context.processDomain, root: new Uint8Array(16) },
      correlationId: row.correlationId,
      attempts,
      dueAtMicros: now,
      expiresAtMicros: undefined,
      createdAtMicros: now,
      reason,
      message,
      version: 0,
    });
  }
}

function nameOf({ process, name }: TimerRow): string {
  return `${process}\0${name}`;
}
