// The keys of one partition that are held up, and the lane that tries them again. None of a key's events is handled before the one
// that failed: until the lane has caught up with the tail, it alone handles the key.

import { HostLost } from '../component.ts';
import { emptyWork } from '../coordinators/reaction.ts';
import { asDaybookError, type DaybookError } from '../errors.ts';
import { type AfterFailure, afterFailure, counts, sentenceOf } from '../model/failure.ts';
import { retryDelayMs } from '../model/retry.ts';
import type { Timer } from '../runtime.ts';
import type { OrderingKey, ParkedKey, Unit } from '../store.ts';
import { type KeyEvent, KeyReader } from './key-reader.ts';
import type { Partition } from './partition.ts';
import type { DeliveryParts, RetryKind, SubscriptionContext } from './parts.ts';
import { Fenced } from './units.ts';

interface Entry {
  /** As it is stored. */
  row: ParkedKey;
  running: boolean;
  /** The newest of its events that came while it was held up. */
  offered: number;
  /** Tries in a row that nobody judged. */
  uncounted: number;
  /** By the store's clock. */
  dueAtMicros: number;
}

export interface ParkingFailure {
  attempts: number;
  delayMs: number;
  reason: string;
  message: string;
  state?: 'retrying' | 'dead';
}

/** Of rows whose next attempt is made alone and written before the call. */
const SUSPECT = 'COMPONENT_UNAVAILABLE';
const UNCOUNTED = { tries: Infinity, minMs: 100, maxMs: 5000 };
const LIST_ROWS = 500;

export class Parking {
  readonly #parts: DeliveryParts;
  readonly #subscription: SubscriptionContext;
  readonly #partition: Partition;
  readonly #entries = new Map<OrderingKey, Entry>();
  #timer: Timer | undefined;
  /** Of the first that may run; Infinity: none. */
  #nextDueMicros = Infinity;
  #stopped = false;

  constructor(
    parts: DeliveryParts,
    subscription: SubscriptionContext,
    partition: Partition,
    rows: readonly ParkedKey[],
  ) {
    this.#parts = parts;
    this.#subscription = subscription;
    this.#partition = partition;
    for (const row of rows) this.#put(row);
    this.#schedule();
  }

  /** Keys that failed and are not handled since. */
  get size(): number {
    let size = 0;
    for (const { row } of this.#entries.values()) if (row.state !== 'draining' && row.reason !== SUSPECT) size++;
    return size;
  }

  /** All rows, those included that are about to go. */
  get rows(): number {
    return this.#entries.size;
  }

  /** What is known of a key. */
  get(key: OrderingKey): ParkedKey | undefined {
    return this.#entries.get(key)?.row;
  }

  /** The tail may not handle the key. */
  holds(key: OrderingKey): boolean {
    const state = this.#entries.get(key)?.row.state;
    return state !== undefined && state !== 'draining';
  }

  /** The event, which comes now, is the retry lane's, or was. */
  owns(key: OrderingKey, position: number): boolean {
    const entry = this.#entries.get(key);
    if (entry === undefined || (entry.row.state === 'draining' && position > entry.row.through)) return false;
    entry.offered = position;
    return true;
  }

  /** What comes of the n-th counted attempt. */
  after(attempts: number): { state: 'retrying' | 'dead'; delayMs: number } {
    const { reactionAttempts: tries, reactionRetryMinMs: minMs, reactionRetryMaxMs: maxMs } = this.#parts.limits;
    const after: AfterFailure = afterFailure({ tries, minMs, maxMs }, attempts, this.#parts.runtime.random());
    return { state: after.state, delayMs: after.state === 'dead' ? 0 : after.delayMs };
  }

  /** From the event at the position on the key is held up. */
  async park(key: OrderingKey, position: number, failure: ParkingFailure): Promise<void> {
    const now = this.#parts.storeClock();
    const before = this.#entries.get(key)?.row;
    const row: ParkedKey = {
      partition: this.#partition.key,
      key,
      state: failure.state ?? 'retrying',
      position,
      firstPosition: position,
      through: 0,
      attempts: failure.attempts,
      dueAtMicros: Math.round(now + failure.delayMs * 1000),
      parkedAtMicros: now,
      reason: failure.reason,
      message: sentence(failure.message),
      version: 0,
    };
    await this.#partition.commit(this.#unit([{ version: before?.version ?? 0, row }]));
    await this.#reread(key);
    if (failure.reason !== SUSPECT) this.#subscription.parkedOne();
    this.#subscription.progressed();
  }

  /** Starts what is due, as far as there is room. */
  pump(): void {
    const now = this.#parts.storeClock();
    if (this.#stopped) return;
    if (now < this.#nextDueMicros) {
      if (this.#timer === undefined && this.#nextDueMicros !== Infinity) this.#schedule();
      return;
    }
    for (const [key, entry] of this.#entries) {
      if (!mayRun(entry) || entry.dueAtMicros > now) continue;
      if (entry.row.reason === SUSPECT) this.#subscription.suspect(this.#partition, key);
      // Whatever ends makes room, and calls again.
      else if (this.#partition.inHand >= this.#parts.limits.partitionConcurrency) return;
      else void this.run(key, { exclusive: false, written: false });
    }
    this.#schedule();
  }

  /** A key whose success would show that an outage is over; those that are tried again first. */
  candidate(): OrderingKey | undefined {
    let dead: OrderingKey | undefined;
    for (const [key, { row, running }] of this.#entries) {
      if (running) continue;
      if (row.state === 'retrying') return key;
      if (row.state === 'dead') dead ??= key;
    }
    return dead;
  }

  /** The retry lane of one key, as far as it comes. */
  async run(key: OrderingKey, { exclusive, written }: { exclusive: boolean; written: boolean }): Promise<void> {
    await this.#running(key, async (entry, reader) => {
      // Alone for one event: what follows is nobody's suspect.
      if (exclusive) await this.#tryNext(entry, reader, 'exclusive', written);
      else while (await this.#tryNext(entry, reader, 'usual', false));
    });
  }

  /** One attempt that counts against nobody. True: it succeeded. */
  async probe(key: OrderingKey): Promise<boolean> {
    let succeeded = false;
    await this.#running(key, async (entry, reader) => {
      succeeded = await this.#tryNext(entry, reader, 'probe', false);
    });
    return succeeded;
  }

  /** Rows may have been replayed or discarded by anybody. */
  async refresh(): Promise<void> {
    if (this.#stopped) return;
    const partition = this.#partition.key;
    for (let after: ParkedKey | undefined; ; ) {
      const rows = await this.#parts.store.listParked({ partition, limit: LIST_ROWS, ...(after && { after }) });
      for (const row of rows) {
        const entry = this.#entries.get(row.key);
        // What runs finds it out by itself; what is new here has just been written.
        if (entry === undefined || entry.running || row.version <= entry.row.version) continue;
        this.#put(row);
      }
      if (rows.length < LIST_ROWS) break;
      after = rows.at(-1)!;
    }
    this.#schedule();
    this.#subscription.kick(this.#partition);
  }

  /** The cursor has passed it: the store has removed what had drained up to there. */
  drainedThrough(position: number): void {
    if (this.#entries.size === 0) return;
    for (const [key, { row }] of this.#entries) {
      if (row.state === 'draining' && row.through <= position) this.#entries.delete(key);
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  async #running(key: OrderingKey, work: (entry: Entry, reader: KeyReader) => Promise<void>): Promise<void> {
    const entry = this.#entries.get(key);
    if (entry === undefined || entry.running || this.#stopped) return;
    entry.running = true;
    try {
      await this.#partition.track(() =>
        work(entry, new KeyReader(this.#parts.store, this.#subscription.ordering, key)),
      );
    } catch (thrown) {
      const error = asDaybookError(thrown);
      if (!counts(error)) this.#later(entry);
      else if (!this.#stopped) this.#subscription.restart(this.#partition, error);
    } finally {
      entry.running = false;
      this.#schedule();
      this.#subscription.kick(this.#partition);
    }
  }

  /** True: an event was handled, or the row was changed by others, and there may be more. */
  async #tryNext(entry: Entry, reader: KeyReader, kind: RetryKind, written: boolean): Promise<boolean> {
    if (this.#stopped || !this.#subscription.mayRetry(kind)) return false;
    if (entry.row.state === 'draining' || (entry.row.state === 'dead' && kind !== 'probe')) return false;
    const looked = this.#partition.scanned;
    const event = await this.#nextWanted(entry.row, reader, looked);
    // What came while it was looking is its own as well.
    if (event === undefined) return entry.offered > looked || this.#drain(entry);
    const { row } = entry;
    if (kind === 'exclusive' && !written && !(await this.#write(entry, { ...row, attempts: row.attempts + 1 })))
      return true;
    const attempt = kind === 'exclusive' ? entry.row.attempts : row.attempts + 1;
    const { cover, page } = event;
    const book = { cover, snapshot: undefined, pages: [page], nextSequence: page.sequence + 1, consistencyToken: '' };
    let effect: Awaited<ReturnType<SubscriptionContext['handle']>>;
    try {
      effect = await this.#subscription.handle(book, this.#partition.place(row.key, attempt, page.position));
    } catch (thrown) {
      await this.#failed(entry, page.position, asDaybookError(thrown), kind, attempt);
      return false;
    }
    if (this.#stopped) {
      effect?.dropped();
      return false;
    }
    const next = {
      ...entry.row,
      state: 'retrying',
      position: page.position + 1,
      attempts: 0,
      reason: '',
      message: '',
    } as const;
    const unit = this.#unit([{ version: entry.row.version, row: { ...next, dueAtMicros: this.#parts.storeClock() } }]);
    const work = { ...unit.work!, ...effect?.work };
    const { appends = [], expectations = [], snapshots = [] } = effect ?? {};
    try {
      await this.#partition.commit({ ...unit, appends, expectations, snapshots, work });
      effect?.committed();
    } catch (error) {
      effect?.dropped();
      if (error instanceof Fenced && error.conflict) return true;
      if (await this.#partition.lost(error)) return false;
      await this.#reread(row.key);
      return true;
    }
    await this.#reread(row.key);
    entry.uncounted = 0;
    if (effect !== undefined) {
      this.#subscription.stored(effect, work.outboxAdded, work.timers);
      this.#subscription.succeeded();
    }
    return true;
  }

  async #nextWanted(row: ParkedKey, reader: KeyReader, to: number): Promise<KeyEvent | undefined> {
    for (let from = row.position; ; ) {
      const event = await reader.next(from, to);
      if (event === undefined || this.#subscription.mayWant(event.cover, event.page)) return event;
      from = event.page.position + 1;
    }
  }

  async #failed(entry: Entry, position: number, error: DaybookError, kind: RetryKind, attempt: number): Promise<void> {
    if (this.#stopped) return;
    const { row } = entry;
    const lost = error instanceof HostLost;
    if (kind === 'probe' || (!lost && (!counts(error) || this.#subscription.suspended))) {
      // Written before the call, and not to be counted after all.
      if (kind === 'exclusive') await this.#write(entry, { ...row, attempts: attempt - 1 });
      return this.#later(entry);
    }
    const now = this.#parts.storeClock();
    const failure = { reason: error.reason, message: sentenceOf(error) };
    if (lost && kind !== 'exclusive') {
      // Others were in hand as well: it is tried alone before it is blamed.
      await this.#write(entry, { ...row, ...failure, dueAtMicros: now });
      return;
    }
    const { state, delayMs } = this.after(attempt);
    this.#subscription.failed(row.key, position, error, state === 'dead');
    const dueAtMicros = Math.round(now + delayMs * 1000);
    const first = row.position === position ? row.parkedAtMicros : now;
    await this.#write(entry, {
      ...row,
      ...failure,
      state,
      position,
      attempts: attempt,
      dueAtMicros,
      parkedAtMicros: first,
    });
    if (row.attempts === 0 || row.position !== position) this.#subscription.parkedOne();
    this.#subscription.progressed();
  }

  #later(entry: Entry): void {
    const { runtime, storeClock } = this.#parts;
    entry.dueAtMicros = Math.round(storeClock() + 1000 * retryDelayMs(UNCOUNTED, ++entry.uncounted, runtime.random())!);
  }

  /**
   * Everything of the key up to the scan is handled: what comes from now on is the tail's. It waits until this is stored. True: the
   * row was changed meanwhile by somebody else.
   */
  async #drain(entry: Entry): Promise<boolean> {
    const { row } = entry;
    const through = this.#partition.scanned;
    entry.row = { ...row, state: 'draining', through };
    this.#partition.hold(row.key);
    try {
      await this.#partition.moveCursor((cursors) => {
        const draining = { ...row, state: 'draining', through, attempts: 0, reason: '', message: '' } as const;
        const unit = this.#unit([{ version: row.version, row: draining }]);
        return { ...unit, work: { ...unit.work!, fences: [], cursors } };
      });
    } catch (error) {
      if (await this.#partition.lost(error)) return false;
      await this.#reread(row.key);
      this.#partition.passOver(row.key);
      return true;
    }
    if (this.#entries.has(row.key)) await this.#reread(row.key);
    this.#partition.release(row.key);
    this.#subscription.progressed();
    return false;
  }

  /** False: somebody else has changed the row, or the partition is lost. */
  async #write(entry: Entry, row: ParkedKey): Promise<boolean> {
    try {
      await this.#partition.commit(this.#unit([{ version: entry.row.version, row }]));
    } catch (error) {
      if (await this.#partition.lost(error)) return false;
      await this.#reread(row.key);
      return false;
    }
    await this.#reread(row.key);
    return true;
  }

  #unit(parked: readonly { version: number; row: ParkedKey }[]): Unit {
    const { key: partition, epoch } = this.#partition;
    const work = emptyWork();
    work.fences.push({ partition, epoch });
    for (const { version, row } of parked) work.parked.push({ partition, key: row.key, version, row });
    const unitId = this.#parts.runtime.uuid();
    return { unitId, appends: [], expectations: [], snapshots: [], outcomes: [], work };
  }

  /** The store gives the version on which the next change builds. */
  async #reread(key: OrderingKey): Promise<void> {
    const row = await this.#parts.store.readParked(this.#partition.key, key);
    if (row === undefined) this.#entries.delete(key);
    else this.#put(row);
  }

  #put(row: ParkedKey): void {
    const { dueAtMicros } = row;
    const entry = this.#entries.get(row.key);
    if (entry === undefined) this.#entries.set(row.key, { row, running: false, offered: 0, uncounted: 0, dueAtMicros });
    else {
      entry.row = row;
      entry.dueAtMicros = dueAtMicros;
    }
    if (row.state === 'retrying' && dueAtMicros < this.#nextDueMicros) this.#schedule();
  }

  #schedule(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#stopped) return;
    let next = Infinity;
    for (const entry of this.#entries.values()) if (mayRun(entry)) next = Math.min(next, entry.dueAtMicros);
    this.#nextDueMicros = next;
    const delayMs = (next - this.#parts.storeClock()) / 1000;
    // What is due already starts with the next call, when the subscription lets it.
    if (next === Infinity || delayMs <= 0) return;
    // Timers count whole milliseconds: rather late than early.
    this.#timer = this.#parts.runtime.after(Math.ceil(delayMs), () => {
      this.#timer = undefined;
      this.#subscription.kick(this.#partition);
    });
  }
}

function mayRun({ row, running }: Entry): boolean {
  return row.state === 'retrying' && !running;
}

function sentence(message: string): string {
  return message.replaceAll('\0', ' ').slice(0, 1000);
}
