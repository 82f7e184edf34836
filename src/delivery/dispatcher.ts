// Sends what reactions want. Rows of one lane go one after the other; a row goes in the unit of what it leads to, so it happens once.

import { HostLost } from '../component.ts';
import type { Bodies } from '../coordinators/bodies.ts';
import type { BusinessCoordinator } from '../coordinators/business.ts';
import { type Claim, ClaimLost } from '../coordinators/claim.ts';
import type { FactRecorder } from '../coordinators/facts.ts';
import { emptyWork, laneOf } from '../coordinators/reaction.ts';
import { asDaybookError, type DaybookError } from '../errors.ts';
import { type CommandBook, NO_ORIGIN, type Rejection } from '../model/book.ts';
import { counts, sentenceOf } from '../model/failure.ts';
import { orderingKey } from '../model/ordering.ts';
import { retryDelayMs } from '../model/retry.ts';
import { streamText } from '../model/stream.ts';
import type { Timer } from '../runtime.ts';
import type { OutboxKey, OutboxRow, TimerRow, Unit } from '../store.ts';
import type { Partition } from './partition.ts';
import type { DeliveryParts } from './parts.ts';
import { Fenced } from './units.ts';

export interface DispatchParts extends DeliveryParts {
  business: Pick<BusinessCoordinator, 'execute'>;
  facts: Pick<FactRecorder, 'record'>;
  bodies: Bodies;
}

export interface DispatchContext {
  readonly name: string;
  readonly kind: 'saga' | 'process_manager';
  /** Of the process manager's own streams. */
  readonly processDomain: string;
  mayDispatch(): boolean;
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
  readonly #parts: DispatchParts;
  readonly #context: DispatchContext;
  readonly #partition: Partition;
  readonly #lanes = new Set<string>();
  /** Tries in a row that nobody judged, by lane. */
  readonly #uncounted = new Map<string, number>();
  /** Lanes that wait a moment after such a try, and until when by the monotonic clock. */
  readonly #waiting = new Map<string, number>();
  #waitTimer: Timer | undefined;
  #looking = false;
  #again = false;
  #timer: Timer | undefined;
  #stopped = false;
  #idle: (() => void)[] = [];

  constructor(parts: DispatchParts, context: DispatchContext, partition: Partition) {
    this.#parts = parts;
    this.#context = context;
    this.#partition = partition;
  }

  /** There may be something to send. */
  kick(): void {
    if (this.#stopped || !this.#context.mayDispatch()) return;
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
    this.#timer?.cancel();
    try {
      while (this.#again && !this.#stopped && this.#context.mayDispatch()) {
        this.#again = false;
        await this.#begin();
      }
    } catch (error) {
      this.#parts.log.warn({ subscription: this.#context.name, err: error }, 'the outbox cannot be read; trying again');
      this.#wakeIn(1000);
    } finally {
      this.#looking = false;
    }
  }

  async #begin(): Promise<void> {
    const { store, storeClock } = this.#parts;
    const { key } = this.#partition;
    const now = storeClock();
    const room = CONCURRENCY - this.#lanes.size;
    if (room <= 0) return;
    const rows = await store.dueOutbox(key, now, CONCURRENCY + this.#lanes.size + this.#waiting.size);
    for (const row of rows) {
      if (this.#stopped || this.#lanes.size >= CONCURRENCY) return;
      if (!this.#lanes.has(row.lane) && !this.#waiting.has(row.lane)) void this.#send(row);
    }
    const next = await store.nextOutboxDue(key);
    if (next !== undefined && next > now) this.#wakeIn(Math.min(LOOK_AGAIN_MS, (next - now) / 1000));
  }

  #wakeIn(delayMs: number): void {
    if (this.#stopped) return;
    this.#timer?.cancel();
    this.#timer = this.#parts.runtime.after(Math.max(1, delayMs), () => this.kick());
  }

  async #send(row: OutboxRow): Promise<void> {
    this.#lanes.add(row.lane);
    try {
      await this.#dispatch(row);
      this.#uncounted.delete(row.lane);
    } catch (thrown) {
      await this.#failed(row, thrown).catch((error) => {
        this.#parts.log.warn({ ...about(row), err: error }, 'an output could not be dealt with; trying again');
        this.#wait(row.lane);
      });
    } finally {
      this.#lanes.delete(row.lane);
      this.#context.progressed();
      if (this.#lanes.size === 0) for (const resolve of this.#idle.splice(0)) resolve();
      // A lane that waits has nothing new; but it may have made room.
      if (!this.#waiting.has(row.lane) || this.#lanes.size === 0) this.kick();
    }
  }

  async #dispatch(row: OutboxRow): Promise<void> {
    const { business, facts, bodies } = this.#parts;
    const caller = { deadlineMs: Infinity, signal: this.#partition.signal };
    const own = this.#context.kind === 'process_manager';
    if (row.kind === 'timer') {
      const occasion = { kind: 'timer', row: timerOf(row), from: row } as const;
      return this.#partition.trigger(processKeyOf(row), occasion);
    }
    if (row.kind === 'notification' && own) {
      return this.#partition.trigger(processKeyOf(row), { kind: 'rejection', row });
    }
    if (row.kind === 'fact') {
      await facts.record(bodies.decodeEvents(row.body), false, caller, this.#claim(row, undefined));
      return;
    }
    const command = bodies.decodeCommand(row.body);
    try {
      await business.execute(command, caller, this.#claim(row, command));
    } catch (error) {
      // Stored, with the notification; or, for a notification, as a dead letter.
      if (asDaybookError(error).reason !== 'REJECTED') throw error;
      if (row.kind === 'notification') this.#dead(row, asDaybookError(error));
    }
  }

  #claim(row: OutboxRow, command: CommandBook | undefined): Claim {
    const { incarnation, subscription, generation, position, index, target } = row;
    const parts = [incarnation, subscription, generation, position, index];
    // A notification that was refused stays as a dead letter, and may be refused again when it is replayed.
    const key = (row.kind === 'notification' ? [...parts, row.version] : parts).join('/');
    return {
      key: { tenant: target.tenant, kind: 'reaction', key },
      work: (rejection) => {
        const work = emptyWork();
        if (rejection !== undefined && row.kind === 'notification') {
          work.outboxChanged.push({ key: row, version: row.version, row: refused(row, rejection) });
          return work;
        }
        work.outboxChanged.push({ key: row, version: row.version, row: undefined });
        const notification = rejection && command && this.#notification(row, command, rejection);
        if (notification !== undefined) work.outboxAdded.push(notification);
        return work;
      },
    };
  }

  /** Tells whoever caused the command that it was rejected: the aggregate whose event a saga answered, or the process. */
  #notification(row: OutboxRow, command: CommandBook, rejection: Rejection): OutboxRow | undefined {
    const { bodies, storeClock } = this.#parts;
    const { name: component, kind, processDomain } = this.#context;
    const { source, sourceSequence = 0, sourcePosition = 0 } = command.origin ?? {};
    const own = kind === 'process_manager';
    if (source === undefined && !own) return undefined;
    const { tenant, correlationId } = command.cover!;
    const target = own
      ? { tenant, domain: processDomain, root: row.target.root }
      : { tenant: source!.tenant, domain: source!.domain, root: source!.root!.value };
    const notification = { command, rejection, component, source, sourceSequence, sourcePosition };
    const book: CommandBook = {
      cover: { root: { value: target.root }, domain: target.domain, tenant, correlationId },
      pages: [{ command: bodies.packNotification(notification) }],
      origin: { ...NO_ORIGIN, ...command.origin, depth: (command.origin?.depth ?? 0) + 1 },
      idempotencyKey: '',
      metadata: command.metadata,
      workId: '',
    };
    const now = storeClock();
    // Tenants and correlation ids may hold whatever parts them from the target.
    const key = row.lane.slice(0, -streamText(row.target).length - 1);
    return {
      ...row,
      index: row.index + 1,
      lane: laneOf(key, target),
      state: 'ready',
      target,
      kind: 'notification',
      body: bodies.encodeCommand(book),
      attempts: 0,
      dueAtMicros: now,
      createdAtMicros: now,
      reason: '',
      message: '',
      version: 0,
    };
  }

  async #failed(row: OutboxRow, thrown: unknown): Promise<void> {
    if (this.#stopped || this.#partition.signal.aborted) return;
    // The row is not as it was; it is looked for again, though not in haste.
    if (thrown instanceof ClaimLost || thrown instanceof Fenced) return this.#wait(row.lane);
    const error = asDaybookError(thrown);
    if (!counts(error) && !(error instanceof HostLost && row.kind !== 'command')) return this.#later(row);
    if (error.reason === 'UNKNOWN_DOMAIN' && this.#mayYetCome(row)) return this.#later(row);
    const { state, delayMs } = this.#partition.parked.after(row.attempts + 1);
    const changed: OutboxRow = {
      ...row,
      state: state === 'dead' ? 'dead' : 'ready',
      attempts: row.attempts + 1,
      dueAtMicros: Math.round(this.#parts.storeClock() + delayMs * 1000),
      reason: error.reason,
      message: sentenceOf(error),
    };
    this.#uncounted.delete(row.lane);
    // Somebody else has dealt with it meanwhile: then nothing failed.
    if (!(await this.#write(row, changed))) return;
    if (state === 'dead') this.#dead(row, error);
    else
      this.#parts.log.warn({ ...about(row), attempts: changed.attempts, err: error }, 'an output failed; trying again');
  }

  /** After a restart nobody has served the domain yet. When nobody comes for long, it is a mistake, and somebody should see it. */
  #mayYetCome(row: OutboxRow): boolean {
    const { limits, storeClock } = this.#parts;
    const patienceMs = limits.reactionAttempts * limits.reactionRetryMaxMs;
    return storeClock() - row.createdAtMicros < patienceMs * 1000;
  }

  #dead(row: OutboxRow, error: DaybookError): void {
    this.#parts.log.error({ ...about(row), reason: error.reason, err: error }, 'an output is a dead letter');
  }

  /** False: it has gone or changed. */
  async #write(key: OutboxKey & { version: number }, row: OutboxRow): Promise<boolean> {
    const work = emptyWork();
    work.outboxChanged.push({ key, version: key.version, row });
    const unit: Unit = {
      unitId: this.#parts.runtime.uuid(),
      appends: [],
      expectations: [],
      snapshots: [],
      outcomes: [],
      work,
    };
    try {
      await this.#partition.commit(unit);
      return true;
    } catch (error) {
      if (!(error instanceof Fenced)) throw error;
      return false;
    }
  }

  /** Nobody judged it. */
  async #later(row: OutboxRow): Promise<void> {
    if (this.#waiting.size < WAITING) return this.#wait(row.lane);
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

/** A notification that was refused: nothing loops. */
function refused(row: OutboxRow, { code, message }: Rejection): OutboxRow {
  const said = `the aggregate refused to be told: ${message || code || 'no reason given'}`;
  return { ...row, state: 'dead', attempts: row.attempts + 1, reason: 'REJECTED', message: said.slice(0, 1000) };
}

const TIMER_LANE = '>timer ';

function processKeyOf({ target, correlationId }: OutboxRow): string {
  return orderingKey('correlation', { root: undefined, domain: '', tenant: target.tenant, correlationId });
}

/** The row that a timer becomes when it has failed too often. */
export function rowOfTimer(timer: TimerRow, base: Omit<OutboxRow, 'lane' | 'body' | 'kind'>): OutboxRow {
  return { ...base, kind: 'timer', lane: `${timer.process}${TIMER_LANE}${timer.name}`, body: timer.body };
}

function timerOf(row: OutboxRow): TimerRow {
  const process = processKeyOf(row);
  return {
    tenant: row.target.tenant,
    subscription: row.subscription,
    process,
    name: row.lane.slice(process.length + TIMER_LANE.length),
    partition: row.partition,
    correlationId: row.correlationId,
    dueAtMicros: row.createdAtMicros,
    body: row.body,
    version: row.version,
  };
}

function about(row: OutboxRow): object {
  const { subscription, generation, position, index, kind, target, correlationId } = row;
  return { subscription, generation, position, index, kind, target: target.domain, correlation_id: correlationId };
}
