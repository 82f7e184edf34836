// The keys of one partition that are held up, and the lane that tries them again. None of a key's events is handled before the one
// that failed: until the lane has caught up with the tail, it alone handles the key.

import { HostLost } from '../component.ts';
import { emptyWork } from '../coordinators/reaction.ts';
import { asDaybookError, DaybookError } from '../errors.ts';
import { type AfterFailure, afterFailure, counts, sentence, sentenceOf } from '../model/failure.ts';
import { retryDelayMs } from '../model/retry.ts';
import type { Timer } from '../runtime.ts';
import type { OrderingKey, ParkedKey, Unit, WorkPart } from '../store.ts';
import { type KeyEvent, KeyReader } from './key-reader.ts';
import type { Partition } from './partition.ts';
import type { DeliveryParts, RetryKind, SubscriptionContext } from './parts.ts';
import { allParked, Fenced, readStubbornly } from './units.ts';

interface Entry {
  /** As it is stored. */
  row: ParkedKey;
  running: boolean;
  /** It was in hand when something died: its next attempt is made alone and written before the call. */
  alone: boolean;
  /** The newest of its events that came while it was held up. */
  offered: number;
  /** From here on its events are the tail's all the same: another generation has to handle them before. */
  tailFrom: number;
  /** Position of the event that is being tried; 0: none. */
  trying: number;
  /** Tries in a row that nobody judged. */
  uncounted: number;
  /** By the store's clock. */
  dueAtMicros: number;
  /** Order of the last probes. */
  probed: number;
}

export interface ParkingFailure {
  attempts: number;
  delayMs: number;
  reason: string;
  message: string;
  state?: 'retrying' | 'dead';
}

/** Of rows that nobody has judged: they were in hand when something died. */
const IN_HAND = {
  reason: 'COMPONENT_UNAVAILABLE',
  message: 'it was in hand when its host or its daemon went away',
} as const;
const SUSPECT = IN_HAND.reason;
/** Nobody has tried it yet: the generation before could not handle it, or something before it. */
export const HELD_UP = {
  attempts: 0,
  delayMs: 0,
  reason: 'HELD_UP',
  message: 'the generation before is held up in this key',
} as const;
const UNCOUNTED = { tries: Infinity, minMs: 100, maxMs: 5000 };
/** Until a rebuild may go on with what its predecessor has not handled. */
const GATED_MICROS = 50_000;

export class Parking {
  readonly #parts: DeliveryParts;
  readonly #subscription: SubscriptionContext;
  readonly #partition: Partition;
  readonly #entries = new Map<OrderingKey, Entry>();
  /** Their rows are stored, or about to be, and their lanes do not know it yet. */
  readonly #beingParked = new Set<OrderingKey>();
  #timer: Timer | undefined;
  /** Of the first that may run; Infinity: none. */
  #nextDueMicros = Infinity;
  #probes = 0;
  #closed = false;

  constructor(
    parts: DeliveryParts,
    subscription: SubscriptionContext,
    partition: Partition,
    rows: readonly ParkedKey[],
    died: boolean,
  ) {
    this.#parts = parts;
    this.#subscription = subscription;
    this.#partition = partition;
    // Of those who have died with it in hand before, nobody knows how often.
    for (const row of rows) this.#put(row, died || row.reason === SUSPECT);
    this.#schedule(parts.storeClock());
  }

  /** Some key is the retry lane's, for whatever reason. */
  get any(): boolean {
    return this.#entries.size > 0;
  }

  /** Keys that failed and are not handled since. */
  get size(): number {
    let size = 0;
    for (const { row } of this.#entries.values()) if (row.state !== 'draining' && hasFailed(row)) size++;
    return size;
  }

  /** Some key's events are the retry lane's. */
  get anyHeld(): boolean {
    for (const { row } of this.#entries.values()) if (row.state !== 'draining') return true;
    return false;
  }

  /** Some key fails, or may have brought something down. */
  get anyStuck(): boolean {
    for (const { row } of this.#entries.values()) if (isStuck(row)) return true;
    return false;
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
    if (position >= entry.tailFrom) return false;
    entry.offered = position;
    return true;
  }

  /** The event, which comes now, may not be handled yet: it waits with the tail, so that it does not keep the key from draining. */
  leaveToTail(key: OrderingKey, position: number): void {
    const entry = this.#entries.get(key);
    if (entry === undefined || position >= entry.tailFrom || position <= entry.trying) return;
    const { row } = entry;
    if (position > row.position || (position === row.position && row.state !== 'dead')) entry.tailFrom = position;
  }

  /** Another generation has gone on: what waited with the tail may be the retry lane's now. */
  recheck(): void {
    for (const [key, entry] of this.#entries) {
      if (entry.tailFrom === Infinity || entry.row.state === 'draining') continue;
      entry.tailFrom = Infinity;
      this.#partition.passOver(key);
    }
  }

  /** What comes of the n-th counted attempt. */
  after(attempts: number): { state: 'retrying' | 'dead'; delayMs: number } {
    const { reactionAttempts: tries, reactionRetryMinMs: minMs, reactionRetryMaxMs: maxMs } = this.#parts.limits;
    const after: AfterFailure = afterFailure({ tries, minMs, maxMs }, attempts, this.#parts.runtime.random());
    return { state: after.state, delayMs: after.state === 'dead' ? 0 : after.delayMs };
  }

  /** From the event at the position on the key is held up. */
  async park(key: OrderingKey, position: number, failure: ParkingFailure): Promise<void> {
    await this.#park([this.#rowOf(key, position, failure)]);
    if (hasFailed(failure)) this.#subscription.parkedOne();
  }

  /** The key may have brought something down: it is tried alone. */
  async parkSuspect(key: OrderingKey, position: number): Promise<void> {
    await this.park(key, position, { attempts: 0, delayMs: 0, ...IN_HAND });
    const entry = this.#entries.get(key);
    if (entry !== undefined) entry.alone = true;
  }

  /**
   * Keys that were perhaps in hand when the owner before us died, with their first events, in one unit. They are tried together, as usual:
   * whoever is in hand when something dies again is found here, and is then tried alone.
   */
  async parkDoubtful(places: ReadonlyMap<OrderingKey, number>): Promise<void> {
    const doubtful = { attempts: 0, delayMs: 0, ...IN_HAND };
    await this.#park([...places].map(([key, position]) => this.#rowOf(key, position, doubtful)));
  }

  #rowOf(key: OrderingKey, position: number, failure: ParkingFailure): ParkedKey {
    const now = this.#parts.storeClock();
    return {
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
  }

  /** In one unit. From then on the events that wait in the keys' lanes are the retry lane's. */
  async #park(rows: readonly ParkedKey[]): Promise<void> {
    for (const { key } of rows) this.#beingParked.add(key);
    try {
      await this.#store(rows);
    } finally {
      for (const { key } of rows) this.#beingParked.delete(key);
    }
  }

  async #store(rows: readonly ParkedKey[]): Promise<void> {
    for (let stored = false; !stored; ) {
      const changes = rows.map((row) => {
        const known = this.#entries.get(row.key)?.row;
        // Everything in between was handled: the cursor, which may be far behind, does not say so.
        const again = known?.state === 'draining' && { firstPosition: known.firstPosition };
        return { version: known?.version ?? 0, row: { ...row, ...again } };
      });
      try {
        await this.#partition.commit(this.#unit(changes));
        stored = true;
      } catch (error) {
        if (await this.#partition.lost(error)) return;
        // Rows that had drained may have gone with the cursor meanwhile. The lanes stay held.
        for (const { key } of rows) {
          const row = await this.#read(key);
          if (row === undefined) this.#entries.delete(key);
          else this.#put(row);
        }
      }
    }
    const found = await Promise.all(rows.map(({ key }) => this.#read(key)));
    // At once: as soon as the retry lane has a key, what comes may be the tail's again, and must stay in its lane.
    rows.forEach(({ key }, i) => {
      this.#found(key, found[i]);
      const entry = this.#entries.get(key);
      if (entry === undefined) return;
      entry.tailFrom = Infinity;
      this.#partition.passOver(key);
    });
    this.#subscription.progressed();
  }

  /** Starts what is due, as far as there is room. */
  pump(): void {
    const now = this.#parts.storeClock();
    if (this.#closed) return;
    if (now < this.#nextDueMicros) {
      // A timer may come a little early.
      if (this.#timer === undefined && this.#nextDueMicros !== Infinity) this.#schedule(now);
      return;
    }
    for (const [key, entry] of this.#entries) {
      // What its lane has in hand, a timer or a rejection, ends first, and calls again.
      if (!mayRun(entry) || entry.dueAtMicros > now || this.#partition.busy(key)) continue;
      if (entry.alone) this.#subscription.suspect(this.#partition, key);
      // Whatever ends makes room, and calls again.
      else if (this.#partition.inHand >= this.#parts.limits.partitionConcurrency) return;
      else if (!this.#subscription.hasRoom(this.#partition)) return;
      else void this.run(key);
    }
    this.#schedule(now);
  }

  /** A key whose success would show that an outage is over: never the same twice in a row, it may fail for a reason of its own. */
  candidate(): OrderingKey | undefined {
    let best: Entry | undefined;
    for (const entry of this.#entries.values()) {
      const { row, running, probed } = entry;
      if (running || row.state === 'draining') continue;
      const better = best === undefined || (best.row.state === 'dead' && row.state !== 'dead');
      if (better || (row.state === best!.row.state && probed < best!.probed)) best = entry;
    }
    if (best === undefined) return undefined;
    best.probed = ++this.#probes;
    return best.row.key;
  }

  /** The retry lane of one key, as far as it comes. */
  async run(key: OrderingKey): Promise<void> {
    await this.#running(key, async (entry, reader) => {
      while (await this.#tryNext(entry, reader, 'usual'));
    });
  }

  /** With nothing else in hand, and for one event: what follows is nobody's suspect. */
  async runAlone(key: OrderingKey): Promise<void> {
    await this.#running(key, async (entry, reader) => void (await this.#tryNext(entry, reader, 'exclusive')));
  }

  /** One attempt that counts against nobody. True: it succeeded. */
  async probe(key: OrderingKey): Promise<boolean> {
    let succeeded = false;
    await this.#running(key, async (entry, reader) => {
      succeeded = await this.#tryNext(entry, reader, 'probe');
    });
    return succeeded;
  }

  /** Rows may have been replayed or discarded by anybody. */
  async refresh(): Promise<void> {
    if (this.#closed) return;
    this.merge(await allParked(this.#parts.store, { partition: this.#partition.key }));
  }

  /** Rows as they are stored. */
  merge(rows: readonly ParkedKey[]): void {
    if (this.#closed) return;
    for (const row of rows) {
      const entry = this.#entries.get(row.key);
      // What runs finds it out by itself; what is new here has just been written, and so has what is being parked.
      if (entry === undefined || entry.running || this.#beingParked.has(row.key)) continue;
      if (row.version <= entry.row.version) continue;
      this.#put(row);
    }
    this.#schedule(this.#parts.storeClock());
    this.#subscription.kick(this.#partition);
  }

  /** The cursor has passed it: the store has removed what had drained up to there. */
  drainedThrough(position: number): void {
    if (this.#entries.size === 0) return;
    for (const [key, { row, running }] of this.#entries) {
      // One that is about to drain is stored as it was; its own unit comes.
      if (row.state === 'draining' && !running && row.through <= position) this.#entries.delete(key);
    }
  }

  /** Nothing new begins; what is in hand is stored. */
  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  async #running(key: OrderingKey, work: (entry: Entry, reader: KeyReader) => Promise<void>): Promise<void> {
    const entry = this.#entries.get(key);
    if (entry === undefined || entry.running || this.#closed || this.#partition.busy(key)) return;
    entry.running = true;
    try {
      await this.#partition.track(() =>
        work(entry, new KeyReader(this.#parts.store, this.#subscription.ordering, key, this.#parts.reading.keyEvents)),
      );
    } catch (thrown) {
      const error = asDaybookError(thrown);
      if (!counts(error)) this.#later(entry);
      else if (!this.#partition.stopped) this.#subscription.restart(this.#partition, error);
    } finally {
      entry.running = false;
      entry.trying = 0;
      this.#schedule(this.#parts.storeClock());
      this.#subscription.kick(this.#partition);
    }
  }

  /** True: an event was handled, or the row was changed by others, and there may be more. */
  async #tryNext(entry: Entry, reader: KeyReader, kind: RetryKind): Promise<boolean> {
    entry.trying = 0;
    if (this.#closed || this.#subscription.holding || !this.#subscription.mayRetry(kind)) return false;
    const { row } = entry;
    // Discarded, or it has drained.
    if (this.#entries.get(row.key) !== entry || row.state === 'draining') return false;
    if (row.state === 'dead' && kind !== 'probe') return false;
    // What failed is in the log, also when the reader, after a restart, has not come that far again.
    const come = Math.max(this.#partition.scanned, row.reason === '' ? 0 : row.position);
    const looked = Math.min(come, entry.tailFrom - 1);
    const event = await this.#nextWanted(row, reader, looked);
    // What came while it was looking is its own as well, or has become the tail's.
    if (event === undefined || event.page.position >= entry.tailFrom)
      return entry.offered > looked || this.#drain(entry);
    if (!this.#subscription.mayHandle(event.cover, event.page.position)) return this.#waitForOthers(entry);
    entry.trying = event.page.position;
    const heldUp = this.#subscription.heldUp(event.cover, event.page.position);
    const before = heldUp && (await this.#readHeldUp(heldUp, event.page.position));
    if (heldUp !== undefined && before === undefined) return this.#waitForOthers(entry);
    // Whoever made its last attempt did not live to tell.
    if (kind === 'exclusive' && row.attempts > 0 && this.after(row.attempts).state === 'dead') {
      const error = new DaybookError('COMPONENT_UNAVAILABLE', row.message);
      this.#subscription.failed(row.key, event.page.position, error, true);
      await this.#write(entry, { ...row, state: 'dead' });
      this.#subscription.progressed();
      return false;
    }
    const attempt = row.attempts + 1;
    if (kind === 'exclusive' && !(await this.#write(entry, { ...row, attempts: attempt }))) return true;
    const { cover, page } = event;
    const book = { cover, snapshot: undefined, pages: [page], nextSequence: page.sequence + 1, consistencyToken: '' };
    let effect: Awaited<ReturnType<SubscriptionContext['handle']>>;
    try {
      // Whoever was to replace a generation that is held up here has marked how far it came.
      const done = page.position <= Math.max(entry.row.through, before?.through ?? 0);
      const replaying = done || this.#subscription.replays(cover, page.position);
      effect = await this.#subscription.handle(book, this.#partition.place(row.key, attempt, replaying));
    } catch (thrown) {
      await this.#failed(entry, page.position, asDaybookError(thrown), kind, attempt);
      return false;
    }
    if (this.#partition.stopped) {
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
    const parked = [...unit.work!.parked, ...(before === undefined ? [] : [marked(before, page.position)])];
    const work = { ...unit.work!, ...effect?.work, parked };
    const { appends = [], expectations = [], snapshots = [] } = effect ?? {};
    try {
      await this.#partition.commit({ ...unit, appends, expectations, snapshots, work });
      effect?.committed();
    } catch (error) {
      effect?.dropped();
      if (error instanceof Fenced && error.conflict) return true;
      if (error instanceof DaybookError) {
        // The store cannot hold what the component wants.
        await this.#failed(entry, page.position, error, kind, attempt);
        return false;
      }
      if (await this.#partition.lost(error)) return false;
      await this.#reread(row.key);
      return before === undefined || this.#waitForOthers(entry);
    }
    await this.#reread(row.key);
    entry.uncounted = 0;
    entry.alone = false;
    if (effect !== undefined) {
      this.#subscription.stored(effect, work.outboxAdded, work.timers);
      this.#subscription.succeeded();
    }
    return true;
  }

  /** As it is stored now; `undefined`: it goes on there. */
  async #readHeldUp({ partition, key, state }: ParkedKey, position: number): Promise<ParkedKey | undefined> {
    const { signal } = this.#partition;
    const row = await readStubbornly(this.#parts, signal, () => this.#parts.store.readParked(partition, key));
    return row?.state === state && row.position <= position ? row : undefined;
  }

  /** The generation before has to go on first. */
  #waitForOthers(entry: Entry): false {
    entry.trying = 0;
    entry.dueAtMicros = this.#parts.storeClock() + GATED_MICROS;
    return false;
  }

  async #nextWanted(row: ParkedKey, reader: KeyReader, to: number): Promise<KeyEvent | undefined> {
    for (let from = row.position; ; ) {
      const event = await reader.next(from, to);
      if (event === undefined || this.#subscription.mayWant(event.cover, event.page)) return event;
      from = event.page.position + 1;
    }
  }

  async #failed(entry: Entry, position: number, error: DaybookError, kind: RetryKind, attempt: number): Promise<void> {
    if (this.#partition.stopped) return;
    const { row } = entry;
    const lost = error instanceof HostLost;
    if (kind === 'probe' || (!lost && (!counts(error) || this.#subscription.suspended))) {
      // Written before the call, and not to be counted after all.
      if (kind === 'exclusive') await this.#write(entry, { ...row, attempts: attempt - 1 });
      return this.#later(entry);
    }
    entry.alone = lost;
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
    // After a restart the tail begins behind what the lane has handled.
    const through = Math.min(Math.max(this.#partition.scanned, row.position - 1), entry.tailFrom - 1);
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
      if (this.holds(row.key)) this.#partition.passOver(row.key);
      return true;
    }
    await this.#reread(row.key);
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
    // Whoever has the partition by now, when that took long, may have handled it.
    const stored = this.#entries.get(row.key)?.row;
    return stored?.position === row.position && stored.attempts === row.attempts;
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
    this.#found(key, await this.#read(key));
  }

  #read(key: OrderingKey): Promise<ParkedKey | undefined> {
    const { key: partition, signal } = this.#partition;
    return readStubbornly(this.#parts, signal, () => this.#parts.store.readParked(partition, key));
  }

  #found(key: OrderingKey, row: ParkedKey | undefined): void {
    if (row !== undefined) return this.#put(row);
    this.#entries.delete(key);
    this.#partition.release(key);
  }

  #put(row: ParkedKey, alone = false): void {
    const { dueAtMicros } = row;
    const entry = this.#entries.get(row.key);
    if (entry === undefined) {
      const fresh = { running: false, alone, offered: 0, tailFrom: Infinity, trying: 0, uncounted: 0, probed: 0 };
      this.#entries.set(row.key, { row, dueAtMicros, ...fresh });
    } else {
      entry.row = row;
      entry.dueAtMicros = dueAtMicros;
    }
    if (row.state === 'retrying' && dueAtMicros < this.#nextDueMicros) this.#schedule(this.#parts.storeClock());
  }

  #schedule(now: number): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#closed) return;
    let next = Infinity;
    for (const entry of this.#entries.values()) if (mayRun(entry)) next = Math.min(next, entry.dueAtMicros);
    this.#nextDueMicros = next;
    // What is due already starts with the next call, when the subscription lets it.
    if (next === Infinity || next <= now) return;
    // Timers count whole milliseconds: rather late than early.
    this.#timer = this.#parts.runtime.after(Math.ceil((next - now) / 1000), () => {
      this.#timer = undefined;
      this.#subscription.kick(this.#partition);
    });
  }
}

/** A key that is held up in another generation: this one has handled it up to there. */
function marked(row: ParkedKey, position: number): WorkPart['parked'][number] {
  const { partition, key, version } = row;
  return { partition, key, version, row: { ...row, through: Math.max(row.through, position) } };
}

/** It fails, or may have brought something down. Others have only to be gone on with. */
export function isStuck({ state, reason }: ParkedKey): boolean {
  return state !== 'draining' && reason !== '' && reason !== HELD_UP.reason;
}

function hasFailed({ reason }: { reason: string }): boolean {
  return reason !== SUSPECT && reason !== HELD_UP.reason;
}

function mayRun({ row, running }: Entry): boolean {
  return row.state === 'retrying' && !running;
}
