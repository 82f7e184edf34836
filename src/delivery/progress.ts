// How far a partition has come, and how that is stored: what was offered and is not finished, the cursor at the end of the finished
// prefix, done marks beyond it, and what projectors have answered until their next unit takes it along.

import { type Effect, emptyWork } from '../coordinators/reaction.ts';
import { asDaybookError, DaybookError } from '../errors.ts';
import { Window } from '../model/window.ts';
import type { Timer } from '../runtime.ts';
import type { PartitionKey, ProjectionRow, Unit, WorkPart } from '../store.ts';
import type { EventItem } from './items.ts';
import type { DeliveryParts, SubscriptionContext } from './parts.ts';
import { Fenced } from './units.ts';

/** Handled, and not stored yet: of projectors, whose units hold many. */
interface Handled {
  items: EventItem[];
  effect: Effect;
}

/** What it needs of its partition. */
export interface ProgressOwner {
  readonly key: PartitionKey;
  readonly epoch: number;
  readonly stopped: boolean;
  /** Hardly anything is in hand: what is stored now need not wait for more. */
  readonly dry: boolean;
  /** Far from the end of what is offered. */
  readonly behind: boolean;
  /** Throws Fenced, or a DaybookError for a unit that the store cannot hold. */
  commit(unit: Unit): Promise<void>;
  /** False: the partition is still held, only a row has changed. Throws what is no fence. */
  lost(error: unknown): Promise<boolean>;
  /** There may be room again, or nothing under way. */
  wake(): void;
  /** The cursor is here now. */
  moved(to: number): void;
  /** The store cannot hold what came of this item. */
  park(item: EventItem, error: DaybookError): Promise<void>;
  /** What is stored is not what was thought. */
  restart(error: DaybookError): void;
}

/** The cursor of a projector moves so often, unless somebody waits for it. */
const FLUSH_MS = 100;
const HURRY_MS = 300;
/** Rows that wait for it are not more than this. */
const FLUSH_BYTES = 64 * 1024;
/** Nor more of the window than this, which has no room for others meanwhile. */
const FLUSH_WINDOW = 1 / 4;

export class Progress {
  readonly #parts: DeliveryParts;
  readonly #subscription: SubscriptionContext;
  readonly #owner: ProgressOwner;
  readonly #window: Window<EventItem>;
  /** Stored done marks that the cursor has not passed. */
  readonly #done: Set<number>;
  /** Handled beyond the cursor, stored or with nothing to store. */
  readonly #beyond: Set<number>;
  #position: number;
  #handled: Handled[] = [];
  #handledBytes = 0;
  /** Handled by the component, and not stored. */
  #handledEvents = 0;
  /** One unit at a time moves the cursor. */
  #moving: Promise<void> | undefined;
  #timer: Timer | undefined;
  #flushedMs = -Infinity;
  #hurriedUntilMs = 0;

  constructor(
    parts: DeliveryParts,
    subscription: SubscriptionContext,
    owner: ProgressOwner,
    stored: { position: number; done: readonly number[] },
  ) {
    this.#parts = parts;
    this.#subscription = subscription;
    this.#owner = owner;
    this.#position = stored.position;
    this.#window = new Window(stored.position);
    this.#done = new Set(stored.done);
    this.#beyond = new Set(stored.done);
  }

  /** Everything up to here is finished, and that is stored. */
  get position(): number {
    return this.#position;
  }

  /** Everything up to here was offered. */
  get scanned(): number {
    return this.#window.scanned;
  }

  /** Everything that was offered is finished and stored. */
  get drained(): boolean {
    return this.#position >= this.#window.scanned;
  }

  get full(): boolean {
    const { limits } = this.#parts;
    return this.#window.events >= limits.partitionWindowEvents || this.#window.bytes >= limits.partitionWindowBytes;
  }

  /** Something that was handled is not stored yet. */
  get storing(): boolean {
    return this.#handled.length > 0 || this.#moving !== undefined;
  }

  /** Something beyond the cursor is done, by what is stored. */
  get anyDone(): boolean {
    return this.#done.size > 0;
  }

  /** By what is stored. */
  isDone(position: number): boolean {
    return this.#done.has(position);
  }

  hasHandled(position: number): boolean {
    return position <= this.#position || this.#beyond.has(position);
  }

  /** Offered, after everything that was offered before. */
  add(item: EventItem): void {
    this.#window.add(item);
  }

  /** Nothing up to here is wanted, apart from what was added. */
  scannedTo(position: number): void {
    this.#window.scannedTo(position);
  }

  /** Somebody else's now: the retry lane's. */
  passOver(item: EventItem): void {
    this.#window.finish(item);
  }

  /** There was nothing to do; or it is stored, with the cursor `to` here. */
  finish(items: readonly EventItem[], to = this.#position): void {
    for (const item of items) {
      if (item.last > to) for (const { position } of item.pages) if (position > to) this.#beyond.add(position);
      this.#window.finish(item);
    }
    this.#owner.wake();
  }

  /** To be stored with the next move of the cursor. */
  keepLater(items: EventItem[], effect: Effect): void {
    this.#handled.push({ items, effect });
    for (const { events } of items) this.#handledEvents += events;
    for (const { payload } of effect.work.projections) this.#handledBytes += 200 + (payload?.value.length ?? 0);
    const { partitionWindowEvents } = this.#parts.limits;
    if (this.#handledBytes > FLUSH_BYTES || this.#handledEvents > partitionWindowEvents * FLUSH_WINDOW) this.#flush();
  }

  /**
   * Stores the effect in a unit of its own, with the cursor's move when nothing is before it and nobody moves the cursor; else with a
   * mark. False: an expectation of the unit does not hold. `taken` is called as soon as it is stored.
   */
  async keep(items: EventItem[], effect: Effect, taken: () => void): Promise<boolean> {
    const { key: partition, epoch } = this.#owner;
    const to = this.#moving === undefined ? this.#window.prefixWith(items) : 0;
    const moves = to >= items.at(-1)!.last;
    const work = { ...emptyWork(), ...effect.work };
    if (moves) work.cursors.push({ partition, epoch, from: this.#position, to });
    else {
      work.fences.push({ partition, epoch });
      for (const { position } of items.flatMap(({ pages }) => pages)) work.done.push({ partition, position });
    }
    const { appends, expectations, snapshots } = effect;
    const unit = { unitId: this.#parts.runtime.uuid(), appends, expectations, snapshots, outcomes: [], work };
    const store = async () => {
      if (!(await this.#committed(unit, effect))) return false;
      taken();
      this.finish(items, moves ? to : undefined);
      if (moves) this.#moved(to);
      else for (const { position } of work.done) this.#done.add(position);
      this.#subscription.stored(effect, work.outboxAdded, work.timers);
      return true;
    };
    return moves ? this.#move(store) : store();
  }

  /** Waits for its turn to move the cursor, and moves it to the end of the finished prefix in the unit that is given. */
  async moveCursor(unitOf: (cursors: WorkPart['cursors']) => Unit): Promise<void> {
    while (this.#moving !== undefined) await this.#moving;
    if (this.#owner.stopped) throw new Fenced('the partition is not held any more');
    const { key: partition, epoch } = this.#owner;
    await this.#move(async () => {
      const to = this.#window.prefix;
      await this.#owner.commit(unitOf([{ partition, epoch, from: this.#position, to }]));
      this.#moved(to);
    });
  }

  /**
   * Somebody waits, and says so again more often than every HURRY_MS: what is handled is stored without delay. Far from the end it is as
   * usual: whoever waits for that would have every partition store every few milliseconds, all the way there.
   */
  hurry(): void {
    if (this.#owner.behind) return this.schedule();
    this.#hurriedUntilMs = this.#parts.runtime.monotonicMs() + HURRY_MS;
    this.#flush();
  }

  /** The cursor may move, soon. */
  schedule(): void {
    if (this.#timer !== undefined || this.#moving !== undefined || this.#owner.stopped || !this.#mayMove) return;
    const { dry } = this.#owner;
    const now = this.#parts.runtime.monotonicMs();
    const restMs = dry && now < this.#hurriedUntilMs ? 0 : this.#flushedMs + FLUSH_MS - now;
    // Partitions that have much to do move their cursors at the same time: in one transaction.
    this.#timer = this.#parts.runtime.after(dry ? Math.max(0, restMs) : FLUSH_MS - (now % FLUSH_MS), () => {
      this.#timer = undefined;
      this.#flush();
    });
  }

  /** What was handled before a key is parked is stored before it. */
  async storeHandled(): Promise<void> {
    while (!this.#owner.stopped && this.storing) {
      this.#flush();
      await this.#moving;
    }
  }

  /** Begins to store what was handled, and resolves when a unit that is under way is over; `undefined`: none is. */
  storeSome(): Promise<void> | undefined {
    this.#flush();
    return this.#moving;
  }

  /** Whoever takes the partition next does not repeat what was finished out of order. */
  async markFinished(): Promise<void> {
    const { key: partition, epoch } = this.#owner;
    const work = emptyWork();
    for (const position of this.#beyond) {
      if (position > this.#position && !this.#done.has(position)) work.done.push({ partition, position });
    }
    if (this.#owner.stopped || work.done.length === 0) return;
    work.fences.push({ partition, epoch });
    await this.#owner.commit(this.#unitOf(work));
  }

  /** Nothing of what is not stored yet will be. */
  stop(): void {
    this.#timer?.cancel();
    for (const { effect } of this.#handled) effect.dropped();
    this.#handled = [];
  }

  get #mayMove(): boolean {
    return this.#handled.length > 0 || this.#window.prefix > this.#position;
  }

  #flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#moving !== undefined || this.#owner.stopped || !this.#mayMove) return;
    this.#flushedMs = this.#parts.runtime.monotonicMs();
    const handled = this.#handled;
    this.#handled = [];
    this.#handledBytes = 0;
    this.#handledEvents = 0;
    void this.#move(() => this.#storeOrRestart(handled));
  }

  /** Nothing else is stored before it is over: what was handled meanwhile may build on what cannot be stored, and goes with the restart. */
  async #storeOrRestart(handled: Handled[]): Promise<void> {
    try {
      await this.#store(handled);
    } catch (thrown) {
      if (this.#owner.stopped) return;
      if (thrown instanceof DaybookError) await this.#storeInHalves(handled).catch(() => {});
      if (!this.#owner.stopped) this.#owner.restart(asDaybookError(thrown));
    }
  }

  /** Rows of what was handled, in the unit that moves the cursor or marks what lies beyond. */
  async #store(handled: Handled[]): Promise<void> {
    const { key: partition, epoch } = this.#owner;
    const items: EventItem[] = [];
    for (const each of handled) items.push(...each.items);
    const to = this.#window.prefixWith(items);
    const work = emptyWork();
    if (to > this.#position) work.cursors.push({ partition, epoch, from: this.#position, to });
    else work.fences.push({ partition, epoch });
    const rows = new NewestRows();
    for (const { items: own, effect } of handled) {
      for (const row of effect.work.projections) rows.add(row);
      if (effect.work.projections.length === 0 || own.at(-1)!.last <= to) continue;
      for (const { position } of own.flatMap(({ pages }) => pages)) {
        if (position > to) work.done.push({ partition, position });
      }
    }
    work.projections.push(...rows.all);
    if (work.cursors.length + work.projections.length > 0) {
      try {
        await this.#owner.commit(this.#unitOf(work));
      } catch (error) {
        for (const { effect } of handled) effect.dropped();
        await this.#owner.lost(error);
        throw error;
      }
    }
    for (const { effect } of handled) {
      effect.committed();
      this.#subscription.stored(effect, [], []);
    }
    for (const { position } of work.done) this.#done.add(position);
    this.finish(items, Math.max(to, this.#position));
    if (to > this.#position) this.#moved(to);
    this.#subscription.progressed();
  }

  /** The store cannot hold something of this: the culprit is parked, the rest is stored or handled again. */
  async #storeInHalves(handled: Handled[]): Promise<void> {
    try {
      await this.#store(handled);
    } catch (thrown) {
      if (!(thrown instanceof DaybookError) || this.#owner.stopped) throw thrown;
      const half = handled.length >>> 1;
      if (half > 0) {
        await this.#storeInHalves(handled.slice(0, half));
        return this.#storeInHalves(handled.slice(half));
      }
      await this.#owner.park(handled[0]!.items[0]!, thrown);
      // What follows was made from what cannot be stored: it is handled again.
      throw new Fenced('a key was parked');
    }
  }

  /** False: a conflict. Fenced ends the partition when it is not held any more. */
  async #committed(unit: Unit, effect: Effect): Promise<boolean> {
    try {
      await this.#owner.commit(unit);
      effect.committed();
      return true;
    } catch (error) {
      effect.dropped();
      if (error instanceof Fenced && error.conflict) return false;
      if (await this.#owner.lost(error)) return false;
      throw error;
    }
  }

  async #move<T>(work: () => Promise<T>): Promise<T> {
    const running = work();
    const over = running.then(
      () => {},
      () => {},
    );
    this.#moving = over.then(() => {
      this.#moving = undefined;
      this.schedule();
      this.#owner.wake();
    });
    return running;
  }

  #moved(to: number): void {
    this.#position = to;
    for (const position of this.#beyond) if (position <= to) this.#beyond.delete(position);
    for (const position of this.#done) if (position <= to) this.#done.delete(position);
    this.#owner.moved(to);
    this.#subscription.progressed();
  }

  #unitOf(work: WorkPart): Unit {
    const nothing = { appends: [], expectations: [], snapshots: [], outcomes: [] };
    return { unitId: this.#parts.runtime.uuid(), ...nothing, work };
  }
}

/** Of each row what was made of it last. By tenant and then by key: a text put together of both would be copied and hashed for each row. */
class NewestRows {
  readonly #rows = new Map<string, Map<string, ProjectionRow>>();

  add(row: ProjectionRow): void {
    const ofTenant = this.#rows.get(row.tenant);
    if (ofTenant === undefined) this.#rows.set(row.tenant, new Map([[row.key, row]]));
    else ofTenant.set(row.key, row);
  }

  get all(): ProjectionRow[] {
    return [...this.#rows.values()].flatMap((ofTenant) => [...ofTenant.values()]);
  }
}
