// Sends rows of the outbox. Those of one lane go one after the other; what is tried again, and when, is told by the row.

import { HostLost } from '../component.ts';
import { ClaimLost } from '../coordinators/claim.ts';
import { asDaybookError } from '../errors.ts';
import { afterFailure, counts, sentenceOf } from '../model/failure.ts';
import { retryDelayMs } from '../model/retry.ts';
import type { Timer } from '../runtime.ts';
import type { OutboxRow } from '../store.ts';
import { aboutRow, type OutputParts, tellDead, writeRow } from './outputs.ts';
import { Fenced } from './units.ts';

/** Where rows come from, and what becomes of one. */
export interface RowSource {
  /** For the log. */
  readonly name: string;
  /** Aborted when nothing of it may be stored any more. */
  readonly signal: AbortSignal;
  mayDispatch(): boolean;
  /** First rows of their lanes, the earliest due first. */
  due(nowMicros: number, limit: number): Promise<OutboxRow[]>;
  /** When to look again; `undefined`: when somebody says so. */
  nextDue(): Promise<number | undefined>;
  /** Resolves when the row has gone or was changed. Rejects with ClaimLost or Fenced when it is not as it was, else with why it waits. */
  send(row: OutboxRow): Promise<void>;
  /** A row has gone, or changed. */
  progressed(): void;
}

/** Rows of one partition under way. */
const CONCURRENCY = 64;
const UNCOUNTED = { tries: Infinity, minMs: 50, maxMs: 1000 };
/** Lanes that wait in memory after such a try. Others wait in the store, so that they are not read again and again. */
const WAITING = 256;
const WAIT_IN_STORE_MS = 1000;
/** They are let go in groups: each look at the outbox costs what is found. */
const GROUP_MS = 50;
/** The longest sleep while something is ready: rows may also be replayed by others. */
const LOOK_AGAIN_MS = 3000;

export class Dispatcher {
  readonly #parts: OutputParts;
  readonly #source: RowSource;
  readonly #lanes = new Set<string>();
  /** Tries in a row that nobody judged, by lane. */
  readonly #uncounted = new Map<string, number>();
  /** Lanes that wait a moment after such a try, and until when by the monotonic clock. */
  readonly #waiting = new Map<string, number>();
  #waitTimer: Timer | undefined;
  #looking = false;
  #again = false;
  #timer: Timer | undefined;
  /** When it fires, by the monotonic clock. */
  #wakesMs = Infinity;
  #stopped = false;
  #idle: (() => void)[] = [];

  constructor(parts: OutputParts, source: RowSource) {
    this.#parts = parts;
    this.#source = source;
  }

  /** There may be something to send. */
  kick(): void {
    if (this.#stopped || !this.#source.mayDispatch()) return;
    this.#again = true;
    if (!this.#looking) void this.#look();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#waitTimer?.cancel();
  }

  /** Stops; resolves when nothing is under way. */
  async drain(): Promise<void> {
    this.stop();
    if (this.#lanes.size === 0) return;
    await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  async #look(): Promise<void> {
    this.#looking = true;
    try {
      while (this.#again && !this.#stopped && this.#source.mayDispatch()) {
        this.#again = false;
        await this.#begin();
      }
    } catch (error) {
      this.#parts.log.warn({ subscription: this.#source.name, err: error }, 'the outbox cannot be read; trying again');
      this.#wakeIn(1000);
    } finally {
      this.#looking = false;
    }
  }

  async #begin(): Promise<void> {
    const now = this.#parts.storeClock();
    const room = CONCURRENCY - this.#lanes.size;
    if (room <= 0) return;
    const rows = await this.#source.due(now, CONCURRENCY + this.#lanes.size + this.#waiting.size);
    for (const row of rows) {
      if (this.#stopped || this.#lanes.size >= CONCURRENCY) return;
      const lane = laneOf(row);
      if (!this.#lanes.has(lane) && !this.#waiting.has(lane)) void this.#send(row, lane);
    }
    // What is under way is due as well, and hides when others are. When it is over, it is looked again.
    if (rows.length > 0) return this.#wakeIn(LOOK_AGAIN_MS);
    const next = await this.#source.nextDue();
    if (next !== undefined) this.#wakeIn(Math.min(LOOK_AGAIN_MS, (next - now) / 1000));
  }

  /** At the latest. */
  #wakeIn(delayMs: number): void {
    const { runtime } = this.#parts;
    const restMs = Math.max(1, delayMs);
    const atMs = runtime.monotonicMs() + restMs;
    if (this.#stopped || atMs >= this.#wakesMs) return;
    this.#timer?.cancel();
    this.#wakesMs = atMs;
    this.#timer = runtime.after(restMs, () => {
      this.#wakesMs = Infinity;
      this.kick();
    });
  }

  async #send(row: OutboxRow, lane: string): Promise<void> {
    this.#lanes.add(lane);
    try {
      await this.#source.send(row);
      this.#uncounted.delete(lane);
    } catch (thrown) {
      await this.#failed(row, lane, thrown).catch((error) => {
        this.#parts.log.warn({ ...aboutRow(row), err: error }, 'an output could not be dealt with; trying again');
        this.#wait(lane);
      });
    } finally {
      this.#lanes.delete(lane);
      this.#source.progressed();
      if (this.#lanes.size === 0) for (const resolve of this.#idle.splice(0)) resolve();
      // A lane that waits has nothing new; but it may have made room.
      if (!this.#waiting.has(lane) || this.#lanes.size === 0) this.kick();
    }
  }

  async #failed(row: OutboxRow, lane: string, thrown: unknown): Promise<void> {
    if (this.#stopped || this.#source.signal.aborted) return;
    // The row is not as it was; it is looked for again, though not in haste.
    if (thrown instanceof ClaimLost || thrown instanceof Fenced) return this.#wait(lane);
    const error = asDaybookError(thrown);
    if (!counts(error) && !(error instanceof HostLost && row.kind !== 'command')) return this.#later(row, lane);
    if (error.reason === 'UNKNOWN_DOMAIN' && this.#mayYetCome(row)) return this.#later(row, lane);
    const attempts = row.attempts + 1;
    const after = this.#after(attempts);
    const delayMs = after.state === 'dead' ? 0 : after.delayMs;
    const changed: OutboxRow = {
      ...row,
      state: after.state === 'dead' ? 'dead' : row.state,
      attempts,
      dueAtMicros: Math.round(this.#parts.storeClock() + delayMs * 1000),
      reason: error.reason,
      message: sentenceOf(error),
    };
    this.#uncounted.delete(lane);
    // Somebody else has dealt with it meanwhile: then nothing failed.
    if (!(await this.#write(row, changed))) return;
    if (after.state === 'dead') return tellDead(this.#parts, row, error);
    this.#parts.log.warn({ ...aboutRow(row), attempts, err: error }, 'an output failed; trying again');
    // A little later than that, by whichever clock: who comes too early finds nothing.
    this.#wakeIn(delayMs + 1);
  }

  #after(attempts: number) {
    const { reactionAttempts, reactionRetryMinMs, reactionRetryMaxMs } = this.#parts.limits;
    const schedule = { tries: reactionAttempts, minMs: reactionRetryMinMs, maxMs: reactionRetryMaxMs };
    return afterFailure(schedule, attempts, this.#parts.runtime.random());
  }

  /** After a restart nobody has served the domain yet. When nobody comes for long, it is a mistake, and somebody should see it. */
  #mayYetCome(row: OutboxRow): boolean {
    const { limits, storeClock } = this.#parts;
    const patienceMs = limits.reactionAttempts * limits.reactionRetryMaxMs;
    return storeClock() - row.createdAtMicros < patienceMs * 1000;
  }

  /** False: it has gone or changed. */
  #write(row: OutboxRow, changed: OutboxRow): Promise<boolean> {
    return writeRow(this.#parts, row, changed, this.#source.signal);
  }

  /** Nobody judged it. */
  async #later(row: OutboxRow, lane: string): Promise<void> {
    if (this.#waiting.size < WAITING) return this.#wait(lane);
    const { storeClock, runtime } = this.#parts;
    const delayMs = WAIT_IN_STORE_MS * (1 + runtime.random());
    await this.#write(row, { ...row, dueAtMicros: Math.round(storeClock() + delayMs * 1000) });
  }

  #wait(lane: string): void {
    const { runtime } = this.#parts;
    const tries = (this.#uncounted.get(lane) ?? 0) + 1;
    this.#uncounted.set(lane, tries);
    this.#waiting.set(lane, runtime.monotonicMs() + retryDelayMs(UNCOUNTED, tries, runtime.random())!);
    this.#letGoSoon();
  }

  #letGoSoon(): void {
    if (this.#stopped || this.#waitTimer !== undefined) return;
    const { runtime } = this.#parts;
    this.#waitTimer = runtime.after(GROUP_MS, () => {
      this.#waitTimer = undefined;
      const now = runtime.monotonicMs();
      const before = this.#waiting.size;
      for (const [lane, untilMs] of this.#waiting) if (untilMs <= now) this.#waiting.delete(lane);
      if (this.#waiting.size < before) this.kick();
      if (this.#waiting.size > 0) this.#letGoSoon();
    });
  }
}

/** Lanes of different partitions may have the same name. */
function laneOf({ subscription, generation, partition, lane }: OutboxRow): string {
  return `${subscription} ${generation} ${partition} ${lane}`;
}
