// One partition that this daemon holds: its events in log order, handled key by key in parallel, each once in effect. The cursor is
// the end of the finished prefix; what is finished beyond it has done marks; what failed is parked, and is the retry lane's.

import { HostLost } from '../component.ts';
import { type Effect, emptyWork, type Place } from '../coordinators/reaction.ts';
import { asDaybookError, DaybookError } from '../errors.ts';
import type { Cover, EventPage } from '../model/book.ts';
import { counts } from '../model/failure.ts';
import { orderingKey } from '../model/ordering.ts';
import { retryDelayMs } from '../model/retry.ts';
import type { AcquiredPartition, OrderingKey, ParkedKey, PartitionKey, Unit, WorkPart } from '../store.ts';
import { Doubts } from './doubts.ts';
import { bookOf, type EventItem, itemsOf, kept } from './items.ts';
import { type Lane, Lanes, type TriggerItem } from './lanes.ts';
import { HELD_UP, Parking } from './parking.ts';
import type { DeliveryParts, SubscriptionContext } from './parts.ts';
import { Progress } from './progress.ts';
import { commitStubbornly, Fenced, readStubbornly } from './units.ts';

/** After tries that nobody judged. */
const UNCOUNTED = { tries: Infinity, minMs: 50, maxMs: 5000 };
/** Of one process's history, which others may change between reading and storing. */
const CONFLICT_TRIES = 10;

export class Partition {
  readonly key: PartitionKey;
  readonly epoch: number;
  readonly #parts: DeliveryParts;
  readonly #subscription: SubscriptionContext;
  readonly #progress: Progress;
  readonly #lanes: Lanes;
  readonly #parking: Parking;
  /** By key: events up to here that are not done were not wanted when their turn was. */
  readonly #passed: ReadonlyMap<OrderingKey, number>;
  readonly #doubts: Doubts;
  #inHand = 0;
  /** `waited`: it was known then that there is none before others have gone on. */
  #wantsRoom: { resolve: () => void; waited: boolean }[] = [];
  #idle: (() => void)[] = [];
  #closed = false;
  #stopped = false;
  readonly #stopping = new AbortController();

  constructor(
    parts: DeliveryParts,
    subscription: SubscriptionContext,
    acquired: AcquiredPartition,
    /** `died`: the owner before us has left things in hand, up to `head`. */
    found: {
      done: number[];
      passed: ReadonlyMap<OrderingKey, number>;
      parked: ParkedKey[];
      died: boolean;
      head: number;
    },
  ) {
    const { subscription: name, generation, partition, epoch, position } = acquired;
    this.key = { subscription: name, generation, partition };
    this.epoch = epoch;
    this.#parts = parts;
    this.#subscription = subscription;
    this.#progress = new Progress(parts, subscription, this, { position, done: found.done });
    this.#passed = found.passed;
    const parkedBefore = new Set(found.parked.filter(({ state }) => state !== 'draining').map(({ key }) => key));
    this.#doubts = new Doubts(found.head, found.died ? 2 * parts.limits.partitionConcurrency : 0, parkedBefore);
    this.#lanes = new Lanes(
      (key) => !this.#closed && !this.#parking.holds(key),
      () => subscription.kick(this),
    );
    this.#parking = new Parking(parts, subscription, this, found.parked, found.died);
  }

  /** Everything up to here is finished, and that is stored. */
  get position(): number {
    return this.#progress.position;
  }

  /** Everything up to here was offered. */
  get scanned(): number {
    return this.#progress.scanned;
  }

  get parked(): Parking {
    return this.#parking;
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Nothing can be done before another generation has gone on. */
  get waitsForOthers(): boolean {
    return this.#lanes.anyAside && this.#inHand === 0 && !this.#lanes.anyReady;
  }

  /** Ends with this partition's lease. */
  get signal(): AbortSignal {
    return this.#stopping.signal;
  }

  get inHand(): number {
    return this.#inHand;
  }

  /** Something of the key is in hand. */
  busy(key: OrderingKey): boolean {
    return this.#lanes.get(key)?.busy === true;
  }

  /** Far from the end of what is offered. */
  get behind(): boolean {
    return this.#subscription.isFar(this.#progress.scanned);
  }

  get full(): boolean {
    return this.#progress.full;
  }

  /** Hardly anything is in hand. */
  get dry(): boolean {
    return this.#inHand <= 1 && !this.#lanes.anyReady;
  }

  /**
   * Resolves when there is room for more, or never again; and when it turns out that there is none before others have gone on. `waited`: that is
   * known already.
   */
  room(waited = this.waitsForOthers): Promise<void> {
    if (!this.full || this.#stopped || (!waited && this.waitsForOthers)) return Promise.resolve();
    return new Promise((resolve) => {
      this.#wantsRoom.push({ resolve, waited });
    });
  }

  /** A book that has pages for this partition, each after everything that was offered before; only wanted pages. */
  offer(cover: Cover, pages: readonly EventPage[]): void {
    if (this.#closed) return;
    const key = orderingKey(this.#subscription.ordering, cover);
    const { scanned } = this.#progress;
    // What the cursor has passed comes again when the reader began earlier, for others: the retry lane has it, or it is done.
    const fresh = pages[0]!.position > scanned ? pages : pages.filter(({ position }) => position > scanned);
    if (this.#subscription.gated) this.#leaveToTail(key, cover, fresh);
    const mine = this.#mine(key, fresh);
    if (mine.length > 0) {
      const lane = this.#lanes.ofKey(key);
      const { mixedUpTo, maxPages } = this.#subscription;
      for (const item of itemsOf(cover, mine, mine[0]!.position <= mixedUpTo ? 1 : maxPages)) {
        this.#progress.add(item);
        lane.queue.push(item);
        // Held until it is known to the store that it may have been in hand.
        if (this.#doubts.any && this.#doubts.of(key, item.first, this.#mayHandle(item))) lane.held = true;
      }
      // Most are already: nothing new may begin because of one more in it.
      if (!lane.ready) this.#lanes.enlist(lane);
    }
    this.#progress.scannedTo(pages.at(-1)!.position);
    this.#tellDoubts();
  }

  /** What nobody has handled, nor is the retry lane's. */
  #mine(key: OrderingKey, pages: readonly EventPage[]): readonly EventPage[] {
    if (this.#passed.size === 0 && !this.#progress.anyDone && !this.#parking.any) return pages;
    const passed = this.#passed.get(key) ?? 0;
    return kept(
      pages,
      ({ position }) => position > passed && !this.#progress.isDone(position) && !this.#parking.owns(key, position),
    );
  }

  /** Nothing up to here is wanted, apart from what was offered. */
  scannedTo(position: number): void {
    if (this.#stopped) return;
    this.#progress.scannedTo(position);
    this.#tellDoubts();
    this.#progress.schedule();
  }

  /**
   * Something of a process that no event brought. Resolves when it is handled; rejects with what is to be retried by its own row. `onFailed`
   * stores what comes of a failure, before anything else of the process begins; without, that is whoever asked's to do.
   */
  trigger(
    key: OrderingKey,
    occasion: TriggerItem['occasion'],
    onFailed: (error: DaybookError) => Promise<void> = (error) => Promise.reject(error),
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(new Fenced('the partition is not held any more'));
      const lane = this.#lanes.ofKey(key);
      const failed = (error: DaybookError) => onFailed(error).then(resolve, reject);
      lane.queue.push({ kind: 'trigger', occasion, resolve, reject, failed });
      this.#lanes.enlist(lane);
    });
  }

  /** The event is handled, or the key's retry lane has it. What is parked is not handled: ask `parked`. */
  hasHandled(position: number): boolean {
    return this.#progress.hasHandled(position);
  }

  /** Somebody waits: what is handled is stored without delay. */
  hurry(): void {
    this.#progress.hurry();
  }

  /** Starts what may start now. */
  pump(): void {
    if (this.#closed) return;
    while (this.#inHand < this.#parts.limits.partitionConcurrency) {
      const lane = this.#lanes.next;
      if (lane === undefined) break;
      if (!lane.suspect && !this.#subscription.mayStart()) return;
      if (!this.#subscription.hasRoom(this)) break;
      this.#lanes.take();
      if (lane.queue.length === 0 || lane.held || lane.resting || this.#parking.holds(lane.key)) continue;
      if (lane.suspect) this.#subscription.suspect(this, lane.key);
      else if (this.#mayHandle(lane.queue[0]!)) void this.#run(lane);
      else this.#lanes.setAside(lane);
    }
    if (this.#lanes.anyAside) this.wake();
    if (this.#parking.any && !this.#subscription.holding && this.#subscription.mayStart()) this.#parking.pump();
  }

  /** Another generation has gone on. */
  recheck(): void {
    // What waited with the tail has been dropped: it is whoever's who takes the partition next, and not the retry lane's that ends here.
    if (this.#closed) return;
    this.#parking.recheck();
    this.#lanes.recheck();
  }

  /** One thing that the subscription counts as in hand, from outside the lanes: the retry lane. */
  async track<T>(work: () => Promise<T>): Promise<T> {
    this.#inHand++;
    this.#subscription.began();
    try {
      return await work();
    } finally {
      this.#inHand--;
      this.#subscription.ended(1);
      this.wake();
    }
  }

  /** Its turn to be tried alone has come: the attempt is written before the call. */
  trySuspect(key: OrderingKey): Promise<void> {
    return this.track(() => this.#trySuspect(key));
  }

  async #trySuspect(key: OrderingKey): Promise<void> {
    const lane = this.#lanes.get(key);
    const [head] = lane?.queue ?? [];
    if (lane !== undefined && head !== undefined && !this.#parking.holds(key)) {
      lane.suspect = false;
      if (head.kind === 'trigger') return this.#lanes.enlist(lane);
      await this.#progress.storeHandled();
      await this.#parking.parkSuspect(key, head.first);
    } else if (lane !== undefined) lane.suspect = false;
    await this.#parking.runAlone(key);
  }

  /** Resolves when nothing is in hand and what was handled is stored. */
  async settled(): Promise<void> {
    while (!this.#stopped && (this.#inHand > 0 || this.#progress.storing)) {
      await (this.#progress.storeSome() ?? new Promise<void>((resolve) => this.#idle.push(resolve)));
    }
  }

  /** Whoever takes the partition next tries them alone as well. */
  async parkSuspects(): Promise<void> {
    await this.#parkDoubtful(this.#doubts.now());
    for (const { key, queue, suspect } of this.#lanes.all) {
      const head = queue.find((item) => item.kind === 'events');
      if (this.#stopped || !suspect || head === undefined || this.#parking.holds(key)) continue;
      await this.#parking.parkSuspect(key, head.first);
    }
  }

  /** Whoever takes the partition next does not repeat what was finished out of order. */
  markFinished(): Promise<void> {
    return this.#progress.markFinished();
  }

  /** Everything that was offered is finished and stored. */
  get drained(): boolean {
    return this.#progress.drained;
  }

  /** Nothing new begins; what is in hand goes on. */
  close(): void {
    this.#closed = true;
    this.#parking.close();
    for (const lane of this.#lanes.all) {
      const [head] = lane.queue;
      const inHand = lane.busy ? head : undefined;
      for (const item of lane.queue) {
        if (item !== inHand && item.kind === 'trigger') item.reject(new Fenced('the partition was given back'));
      }
      // Of suspects it is still to be told that they are.
      const kept = lane.busy || lane.suspect;
      lane.queue = lane.queue.filter((item) => item === inHand || (kept && item.kind === 'events'));
    }
  }

  /** Not held any more, or about to be given back: nothing begins, and nothing of what is in hand is stored from now on. */
  stop(): void {
    if (this.#stopped) return;
    this.close();
    this.#stopped = true;
    this.#stopping.abort(new Fenced('the partition is not held any more'));
    this.#progress.stop();
    for (const lane of this.#lanes.all) {
      for (const item of lane.queue) if (item.kind === 'trigger') item.reject(new Fenced('the partition was given up'));
    }
    this.#lanes.clear();
    for (const { resolve } of this.#wantsRoom.splice(0)) resolve();
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  place(key: OrderingKey, attempt: number, replaying: boolean): Place {
    return {
      partition: this.key,
      epoch: this.epoch,
      key,
      attempt,
      replaying,
      scanned: this.#progress.scanned,
      signal: this.#stopping.signal,
    };
  }

  /** Waits for its turn to move the cursor, and moves it to the end of the finished prefix in the unit that is given. */
  moveCursor(unitOf: (cursors: WorkPart['cursors']) => Unit): Promise<void> {
    return this.#progress.moveCursor(unitOf);
  }

  /** Throws Fenced, or a DaybookError for a unit that the store cannot hold; a store that is away is waited for. */
  commit(unit: Unit): Promise<void> {
    return commitStubbornly(this.#parts, unit, this.#stopping.signal);
  }

  /** From where a key's lane is no longer held up; what it got meanwhile begins. */
  release(key: OrderingKey): void {
    const lane = this.#lanes.get(key);
    if (lane === undefined) return;
    lane.held = false;
    this.#lanes.enlist(lane);
    this.#lanes.forgetEmpty(lane);
  }

  /** Items that come from now on wait. */
  hold(key: OrderingKey): void {
    this.#lanes.ofKey(key).held = true;
  }

  /** The events that wait in the lane are the retry lane's. */
  passOver(key: OrderingKey): void {
    const lane = this.#lanes.get(key);
    if (lane === undefined) return;
    lane.queue = lane.queue.filter((item) => {
      if (item.kind === 'trigger') return true;
      if (this.#subscription.gated) this.#leaveToTail(key, item.cover, item.pages);
      if (!this.#parking.owns(key, item.last)) return true;
      this.#progress.passOver(item);
      return false;
    });
    lane.held = false;
    this.#lanes.forgetEmpty(lane);
    this.#progress.schedule();
    this.wake();
  }

  /** A fenced unit: somebody else holds the partition, or only a row has changed. */
  async lost(error: unknown): Promise<boolean> {
    if (!(error instanceof Fenced)) throw error;
    if (this.#stopped) return true;
    const held = await readStubbornly(this.#parts, this.signal, () => this.#subscription.stillHeld(this));
    if (held) return false;
    this.#subscription.giveUp(this, error.message);
    return true;
  }

  #leaveToTail(key: OrderingKey, cover: Cover, pages: readonly EventPage[]): void {
    const gated = pages.find(({ position }) => !this.#subscription.mayHandle(cover, position));
    if (gated !== undefined) this.#parking.leaveToTail(key, gated.position);
  }

  #mayHandle(item: EventItem | TriggerItem): boolean {
    return item.kind === 'trigger' || this.#subscription.mayHandle(item.cover, item.last);
  }

  async #run(lane: Lane): Promise<void> {
    lane.busy = true;
    this.#inHand++;
    this.#subscription.began();
    let events = 1;
    try {
      const [head] = lane.queue;
      if (head?.kind === 'trigger') await this.#runTrigger(lane, head);
      else if (head !== undefined) {
        const items = this.#nextOf(lane);
        events = items.reduce((sum, item) => sum + item.events, 0);
        await this.#handle(lane, items);
      }
    } catch (thrown) {
      // Units that the store refuses, and what only a defect can throw: begin anew from what is stored.
      if (!this.#stopped) this.#subscription.restart(this, asDaybookError(thrown));
    } finally {
      lane.busy = false;
      this.#inHand--;
      this.#subscription.ended(events);
      this.#lanes.enlist(lane);
      this.#lanes.forgetEmpty(lane);
      this.wake();
      this.#subscription.kick(this);
    }
  }

  async #handle(lane: Lane, items: EventItem[]): Promise<void> {
    const first = items[0]!;
    // The retry lane goes on with it: there each event is stored alone, and so that only one of the two generations has handled it.
    if (this.#subscription.heldUp(first.cover, first.last) !== undefined) return this.#park(lane, first, HELD_UP);
    for (let tries = 1; ; tries++) {
      let effect: Effect | undefined;
      try {
        const replaying = this.#subscription.replays(first.cover, first.last);
        effect = await this.#subscription.handle(bookOf(items), this.place(lane.key, 1, replaying));
      } catch (thrown) {
        return this.#failed(lane, first, asDaybookError(thrown));
      }
      if (this.#stopped) return effect?.dropped();
      if (effect !== undefined) {
        lane.uncounted = 0;
        this.#subscription.succeeded();
      }
      try {
        const stored =
          effect === undefined || this.#subscription.storesLater
            ? this.#keepLater(lane, items, effect)
            : await this.#keep(lane, items, effect);
        this.#progress.schedule();
        if (stored || this.#stopped) return;
      } catch (thrown) {
        // The store cannot hold what the component wants.
        if (thrown instanceof DaybookError) return this.#failed(lane, first, thrown);
        throw thrown;
      }
      // The process's history was not as it was read.
      if (tries >= CONFLICT_TRIES) return this.#later(lane);
    }
  }

  /** The next things of a lane that make one request. */
  #nextOf(lane: Lane): EventItem[] {
    const { maxPages } = this.#subscription;
    const items: EventItem[] = [];
    const replays = ({ cover, last }: EventItem) => this.#subscription.replays(cover, last);
    let pages = 0;
    let bytes = 0;
    for (const item of lane.queue) {
      if (item.kind !== 'events') break;
      if (items.length > 0 && (!this.#mayHandle(item) || replays(item) !== replays(items[0]!))) break;
      pages += item.pages.length;
      bytes += item.bytes;
      if (items.length > 0 && (pages > maxPages || bytes > this.#parts.limits.messageBytes / 2)) break;
      items.push(item);
      // Only one stream's pages may share a book.
      if (maxPages === 1 || this.#subscription.ordering !== 'stream') break;
    }
    return items;
  }

  /** False: the expectation of the unit does not hold, handle it again. */
  #keep(lane: Lane, items: EventItem[], effect: Effect): Promise<boolean> {
    return this.#progress.keep(items, effect, () => takeOut(lane, items));
  }

  #keepLater(lane: Lane, items: EventItem[], effect: Effect | undefined): true {
    takeOut(lane, items);
    if (effect === undefined) this.#progress.finish(items);
    else this.#progress.keepLater(items, effect);
    return true;
  }

  async #runTrigger(lane: Lane, item: TriggerItem): Promise<void> {
    for (let tries = 1; ; tries++) {
      let effect: Effect | undefined;
      try {
        effect = await this.#subscription.handleTrigger(item.occasion, this.place(lane.key, 1, false));
      } catch (thrown) {
        const error = asDaybookError(thrown);
        if (!counts(error) && !(error instanceof HostLost)) return this.#putOff(lane, item);
        // It stays first meanwhile: that is how it is known to be in hand.
        await item.failed(error);
        lane.queue.shift();
        return;
      }
      if (this.#stopped) return effect?.dropped();
      if (effect === undefined) return this.#putOff(lane, item);
      const work = { ...emptyWork(), ...effect.work };
      work.fences.push({ partition: this.key, epoch: this.epoch });
      const { appends, expectations, snapshots } = effect;
      const unit = { unitId: this.#parts.runtime.uuid(), appends, expectations, snapshots, outcomes: [], work };
      try {
        await this.commit(unit);
        effect.committed();
        lane.queue.shift();
        lane.uncounted = 0;
        this.#subscription.stored(effect, work.outboxAdded, work.timers);
        item.resolve();
        return;
      } catch (error) {
        effect.dropped();
        if (error instanceof Fenced && error.conflict && tries < CONFLICT_TRIES) continue;
        if (await this.lost(error)) return;
        // The row that fired is not as it was: whoever brought it looks again.
        lane.queue.shift();
        item.reject(error);
        return;
      }
    }
  }

  async #failed(lane: Lane, item: EventItem, error: DaybookError): Promise<void> {
    if (this.#stopped) return;
    if (error instanceof HostLost) {
      lane.suspect = true;
      return;
    }
    if (!counts(error) || this.#subscription.suspended) return this.#later(lane);
    const { state, delayMs } = this.#parking.after(1);
    this.#subscription.failed(lane.key, item.first, error, state === 'dead');
    await this.#park(lane, item, { attempts: 1, delayMs, reason: error.reason, message: error.message, state });
  }

  /** What is being given back waits for nothing: whoever holds it next looks for the row. */
  #putOff(lane: Lane, item: TriggerItem): void {
    if (!this.#closed) return this.#later(lane);
    lane.queue.shift();
    item.reject(new Fenced('the partition was given back'));
  }

  /** The lane waits a moment: nobody judged what is first in it. */
  #later(lane: Lane): void {
    const { runtime } = this.#parts;
    const delayMs = retryDelayMs(UNCOUNTED, ++lane.uncounted, runtime.random())!;
    lane.resting = true;
    runtime.after(delayMs, () => {
      lane.resting = false;
      if (this.#stopped) return;
      this.#lanes.enlist(lane);
      this.#lanes.forgetEmpty(lane);
    });
  }

  async #park(
    lane: Lane,
    item: EventItem,
    failure: { attempts: number; delayMs: number; reason: string; message: string; state?: 'retrying' | 'dead' },
  ): Promise<void> {
    await this.#progress.storeHandled();
    await this.#parking.park(lane.key, item.first, failure);
  }

  #tellOfRoom(): void {
    const { full, waitsForOthers } = this;
    if (full && !waitsForOthers) return;
    const asked = this.#wantsRoom;
    this.#wantsRoom = asked.filter(({ waited }) => full && waited);
    for (const { resolve, waited } of asked) if (!full || !waited) resolve();
  }

  #tellDoubts(): void {
    if (!this.#doubts.any) return;
    const { scanned } = this.#progress;
    const stuck = this.full || scanned >= this.#subscription.end;
    void this.#parkDoubtful(this.#doubts.whenComplete(scanned, stuck));
  }

  async #parkDoubtful(places: ReadonlyMap<OrderingKey, number> | undefined): Promise<void> {
    if (places === undefined) return;
    try {
      await this.#parking.parkDoubtful(places);
    } catch (thrown) {
      if (!this.#stopped) this.#subscription.restart(this, asDaybookError(thrown));
      return;
    }
    this.#subscription.kick(this);
  }

  /** What came of it cannot be stored. */
  async park(item: EventItem, error: DaybookError): Promise<void> {
    const key = orderingKey(this.#subscription.ordering, item.cover);
    const { state, delayMs } = this.#parking.after(1);
    this.#subscription.failed(key, item.first, error, state === 'dead');
    const { reason, message } = error;
    await this.#parking.park(key, item.first, { attempts: 1, delayMs, reason, message, state });
  }

  /** The cursor is here now. */
  moved(to: number): void {
    this.#parking.drainedThrough(to);
  }

  restart(error: DaybookError): void {
    this.#subscription.restart(this, error);
  }

  /** Whoever waits for room, or for nothing to be in hand, goes on. */
  wake(): void {
    if (this.#wantsRoom.length > 0) this.#tellOfRoom();
    if (this.#inHand === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }
}

/** Of the lane; some may be the retry lane's by now. */
function takeOut(lane: Lane, items: readonly EventItem[]): void {
  lane.queue = lane.queue.filter((item) => !items.includes(item as EventItem));
}
