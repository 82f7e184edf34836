// One generation of a projector, saga or process manager on this daemon: its component, the partitions that are held here, and what
// concerns them together: whether calls may begin, and how many.

import type { Components, Reactor } from '../component.ts';
import type { Effect, Occasion, Place, ReactionCoordinator } from '../coordinators/reaction.ts';
import { DaybookError } from '../errors.ts';
import { type Cover, type EventBook, type EventPage, typeName } from '../model/book.ts';
import { type Ordering, orderingKey, orderingOf } from '../model/ordering.ts';
import type { ReactorKind } from '../model/reaction.ts';
import type {
  AcquiredPartition,
  OrderingKey,
  OutboxRow,
  ParkedKey,
  PartitionCursor,
  SubscriptionDefinition,
  WorkPart,
} from '../store.ts';
import { Dispatcher } from './dispatcher.ts';
import { Feeds } from './feeds.ts';
import type { LogTail } from './log-tail.ts';
import { Outage } from './outage.ts';
import type { Commands } from './pace.ts';
import { Partition } from './partition.ts';
import { type OutboxContext, PartitionOutbox } from './partition-outbox.ts';
import type { RetryKind, SubscriptionContext } from './parts.ts';
import { Room } from './room.ts';
import type { StoredProgress } from './stored-progress.ts';
import { Suspects } from './suspects.ts';
import { Timers, type TimersParts } from './timers.ts';
import { allParked } from './units.ts';

export interface SubscriptionParts extends TimersParts {
  tail: LogTail;
  /** Whoever catches up leaves room for them. */
  commands: Commands;
  components: Components;
  /** Leases hold. */
  valid: () => boolean;
  /** By what is stored: it is still ours, with this epoch. */
  held: (partition: Partition) => Promise<boolean>;
  /** A partition was given up: somebody may take it again. */
  onGivenUp: () => void;
  /** Something moved that callers may wait for. */
  onProgress: () => void;
  /** For those who wait for what a component answers to an event. */
  onStored: (subscription: string, effect: Effect) => void;
}

export type SubscriptionState = 'running' | 'paused' | 'suspended' | 'waiting for a host';

const READ_BYTES = 1 << 20;

/** A partition that was taken. */
export interface TakenPartition extends AcquiredPartition {
  /** Whoever had it last filtered by an older declaration. */
  redeclared: boolean;
}

/** The generation that a new one replaces, until it does: what it did not handle is its own. */
export interface Predecessor {
  /** It handled this event. */
  hasHandled(cover: Cover, position: number): boolean;
  /** It has handled it, or is held up there: the new one may. */
  leaves(cover: Cover, position: number): boolean;
  /** The key that it has given up at this event, or before. */
  heldUp(cover: Cover, position: number): ParkedKey | undefined;
  /** It goes nowhere beyond this now. */
  readonly end: number;
}

interface Held {
  partition: Partition;
  dispatcher: Dispatcher | undefined;
  timers: Timers | undefined;
}

export class Subscription implements SubscriptionContext, OutboxContext {
  readonly name: string;
  readonly generation: number;
  readonly kind: 'saga' | 'process_manager';
  readonly reactorKind: ReactorKind;
  readonly ordering: Ordering;
  readonly storesLater: boolean;
  readonly #parts: SubscriptionParts;
  readonly #coordinator: ReactionCoordinator;
  #definition: SubscriptionDefinition;
  #reactor: Reactor | undefined;
  /** When it was brought up to date last. */
  #told: SubscriptionState | undefined;
  readonly #held = new Map<number, Held>();
  readonly #feeds: Feeds;
  readonly #room: Room;
  readonly #suspects: Suspects;
  readonly #outage: Outage;
  #stopped = false;
  /** Offers nothing new. */
  #holding = false;
  /** Set while this generation is being built: what the one before it has handled. */
  predecessor: Predecessor | undefined;
  /** Generations that were replaced, as long as this one has not handled all that they had. */
  #replaced: readonly StoredProgress[] = [];
  #replacedUpTo = 0;

  constructor(parts: SubscriptionParts, coordinator: ReactionCoordinator, definition: SubscriptionDefinition) {
    this.#parts = parts;
    this.#coordinator = coordinator;
    this.#definition = definition;
    this.name = definition.name;
    this.generation = definition.generation;
    this.reactorKind = definition.kind as ReactorKind;
    this.kind = definition.kind === 'saga' ? 'saga' : 'process_manager';
    // An ordered projector is the only one with a single partition by declaration; one key or one partition is then the same order.
    this.ordering = orderingOf(this.reactorKind, definition.kind === 'projector' && definition.partitions === 1);
    this.storesLater = definition.kind === 'projector';
    this.#room = new Room(parts.runtime, parts.reading.fewRequests);
    this.#suspects = new Suspects({
      inHand: () => this.#room.inHand > 0,
      mayTry: () => this.mayRetry('exclusive'),
      restart: (partition, error) => this.restart(partition, error),
      onOver: () => this.#pumpEach(),
    });
    this.#outage = new Outage(parts, this);
    this.#feeds = new Feeds(parts, () => this.#feedOptions());
  }

  /** For people; the newest generation is the one that counts. */
  get title(): string {
    return `${this.reactorKind.replace('_', ' ')} ${this.name}`;
  }

  get definition(): SubscriptionDefinition {
    return this.#definition;
  }

  get reactor(): Reactor | undefined {
    return this.#reactor;
  }

  get maxPages(): number {
    return this.#reactor?.declaration.maxPages ?? 1;
  }

  /** It has outputs. */
  get reacts(): boolean {
    return this.reactorKind !== 'projector';
  }

  get processDomain(): string {
    return this.#reactor?.declaration.domain || this.name;
  }

  get suspended(): boolean {
    return this.#outage.suspended;
  }

  get state(): SubscriptionState {
    if (this.#definition.paused) return 'paused';
    if (this.suspended) return 'suspended';
    return this.#reactor?.available === true ? 'running' : 'waiting for a host';
  }

  get partitions(): readonly Partition[] {
    return [...this.#held.values()].map(({ partition }) => partition);
  }

  partition(number: number): Partition | undefined {
    return this.#held.get(number)?.partition;
  }

  /** The declaration that holds now, and who serves it. */
  update(definition: SubscriptionDefinition, reactor: Reactor | undefined): void {
    const before = this.#definition;
    this.#definition = definition;
    this.#reactor = reactor;
    if (String([before.domains, before.types]) !== String([definition.domains, definition.types]))
      this.#feeds.restart();
    // Each look costs something in every partition.
    const { state } = this;
    if (state !== this.#told || definition.version !== before.version) this.kickAll();
    else this.pumpAll();
    this.#told = state;
  }

  /** What was taken is worked for from now on. */
  async add(acquired: readonly TakenPartition[], head: number, instance: string): Promise<void> {
    const found: { taken: TakenPartition; done: number[]; passed: Map<OrderingKey, number>; parked: ParkedKey[] }[] =
      [];
    for (const taken of acquired) {
      const { store } = this.#parts;
      const done = await store.listDone(taken);
      const passed = taken.redeclared ? await this.#passed(taken, done) : new Map();
      found.push({ taken, done, passed, parked: await allParked(store, { partition: taken }) });
    }
    if (this.#stopped) return;
    // From here on nothing can fail: what is held is worked for.
    const fresh: Partition[] = [];
    for (const { taken, done, passed, parked } of found) {
      const died = taken.takenFrom !== undefined && taken.takenFrom !== instance;
      const partition = new Partition(this.#parts, this, taken, { done, passed, parked, died, head });
      const outbox = this.reacts;
      const before = this.#held.get(taken.partition);
      if (before !== undefined) this.#drop(before.partition);
      this.#held.set(taken.partition, {
        partition,
        dispatcher: outbox ? new Dispatcher(this.#parts, new PartitionOutbox(this.#parts, this, partition)) : undefined,
        timers: this.reactorKind === 'process_manager' ? new Timers(this.#parts, this, partition) : undefined,
      });
      fresh.push(partition);
    }
    this.#feeds.join(fresh);
    this.kickAll();
  }

  /**
   * How far each key was handled out of order. Under the declaration before, what lies between and was not handled was not wanted: the wider
   * one holds from there on, or the key's events would be handed out of their order.
   */
  async #passed(taken: PartitionCursor, done: readonly number[]): Promise<Map<OrderingKey, number>> {
    const passed = new Map<OrderingKey, number>();
    const finished = new Set(done);
    const to = done.at(-1) ?? taken.position;
    const { store, reading } = this.#parts;
    for (let after = taken.position; after < to; ) {
      const size = { maxEvents: reading.readEvents, maxBytes: READ_BYTES };
      const read = await store.readLog({ after, to, filter: {}, ...size });
      for (const { cover, pages } of read.books) {
        const last = pages.findLast(({ position }) => finished.has(position));
        if (last !== undefined) passed.set(orderingKey(this.ordering, cover!), last.position);
      }
      after = read.through;
    }
    return passed;
  }

  /** Ends what is in hand and stores it; gives the leases back. */
  async release(numbers: readonly number[]): Promise<void> {
    await Promise.all(
      numbers.map(async (number) => {
        const held = this.#held.get(number);
        if (held === undefined) return;
        const { partition, dispatcher, timers } = held;
        this.#feeds.leave(partition);
        timers?.stop();
        partition.close();
        try {
          await Promise.all([dispatcher?.drain(), partition.settled()]);
          await partition.parkSuspects();
          await partition.markFinished();
        } catch (error) {
          this.#parts.log.warn({ ...partition.key, err: error }, 'a partition is given back as it is');
        } finally {
          this.#drop(partition);
        }
        await this.#parts.store.release(partition.key, partition.epoch);
      }),
    );
  }

  /** At once: what is in hand is not stored any more. */
  stop(): void {
    this.#stopped = true;
    this.#outage.stop();
    this.#room.stop();
    for (const { partition } of this.#held.values()) this.#drop(partition);
    this.#feeds.stop();
  }

  /** Offers and retries nothing until everything that was begun is finished and stored: false when that does not come about. */
  async quiesce(until: () => boolean): Promise<boolean> {
    this.#holding = true;
    const settled = () =>
      this.#feeds.together && this.partitions.every(({ drained, inHand }) => drained && inHand === 0);
    while (!settled()) {
      if (until()) return false;
      for (const partition of this.partitions) partition.hurry();
      await new Promise<void>((resolve) => this.#parts.runtime.after(5, resolve));
    }
    return true;
  }

  unquiesce(): void {
    this.#holding = false;
    this.kickAll();
  }

  /** What was offered goes on to its end; what failed before waits. */
  get holding(): boolean {
    return this.#holding;
  }

  /** What generations had handled that readers do not get any more. */
  replaces(old: readonly StoredProgress[]): void {
    this.#replaced = old;
    this.#replacedUpTo = Math.max(0, ...old.map(({ end }) => end));
  }

  /** The generation before has gone on, or is over. */
  recheck(): void {
    for (const { partition } of this.#held.values()) partition.recheck();
  }

  mayStart(): boolean {
    return !this.#suspects.any && this.mayRetry('exclusive');
  }

  mayRetry(kind: RetryKind): boolean {
    if (kind === 'usual') return this.mayStart();
    const open = !this.#stopped && this.#reactor?.available === true && !this.#definition.paused && this.#parts.valid();
    return open && (kind === 'probe' || !this.suspended);
  }

  mayDispatch(): boolean {
    return !this.#stopped && !this.#definition.paused && this.#parts.valid();
  }

  hasRoom(partition: Partition): boolean {
    return this.#room.for(partition);
  }

  began(): void {
    this.#room.began();
  }

  ended(events: number): void {
    this.#room.ended(events);
    this.#suspects.pump();
  }

  kick(partition: Partition): void {
    if (!this.#stopped) partition.pump();
  }

  /** A host came, or somebody resumed: everything that waited for it goes on. */
  kickAll(): void {
    if (this.#stopped) return;
    for (const partition of this.#held.keys()) this.kickDue(partition, { outbox: true, timers: true });
    this.pumpAll();
  }

  /** Something is due in a partition, as the store tells. */
  kickDue(partition: number, { outbox, timers }: { outbox: boolean; timers: boolean }): void {
    const held = this.#held.get(partition);
    if (outbox) held?.dispatcher?.kick();
    if (timers && this.#reactor?.available === true) held?.timers?.kick();
  }

  /** Leases hold again, or nothing has changed: what waits in memory may begin. */
  pumpAll(): void {
    if (this.#stopped) return;
    this.#pumpEach();
    this.#outage.pump();
    this.#suspects.pump();
  }

  /** Rows of the outbox may have been replayed. */
  kickOutbox(): void {
    for (const { dispatcher } of this.#held.values()) dispatcher?.kick();
  }

  suspect(partition: Partition, key: OrderingKey): void {
    this.#suspects.add(partition, key);
  }

  succeeded(): void {
    this.#outage.succeeded();
  }

  failed(key: OrderingKey, position: number, error: DaybookError, dead: boolean): void {
    const about = { subscription: this.name, generation: this.generation, key, position, reason: error.reason };
    if (dead)
      this.#parts.log.error({ ...about, err: error }, 'an event is a dead letter; its key waits for replay or discard');
    else this.#parts.log.warn({ ...about, err: error }, 'an event failed; its key is parked and tried again');
  }

  parkedOne(): void {
    this.#outage.parkedOne();
  }

  get gated(): boolean {
    return this.predecessor !== undefined;
  }

  get end(): number {
    return this.predecessor?.end ?? Infinity;
  }

  isFar(position: number): boolean {
    const { tail, reading } = this.#parts;
    // Held, it comes no further: whoever holds it waits for what is handled.
    return !this.#holding && Math.min(tail.position, this.end) - position > reading.nearEvents;
  }

  replays(cover: Cover, position: number): boolean {
    if (this.predecessor === undefined && this.#replaced.length === 0) return false;
    const handled = (old: Pick<Predecessor, 'hasHandled'>) => old.hasHandled(cover, position);
    return (this.predecessor !== undefined && handled(this.predecessor)) || this.#replaced.some(handled);
  }

  get mixedUpTo(): number {
    return this.gated ? Infinity : this.#replacedUpTo;
  }

  mayHandle(cover: Cover, position: number): boolean {
    return this.predecessor?.leaves(cover, position) ?? true;
  }

  heldUp(cover: Cover, position: number): ParkedKey | undefined {
    return this.predecessor?.heldUp(cover, position);
  }

  async handle(book: EventBook, place: Place): Promise<Effect | undefined> {
    const reactor = this.#available();
    const { tenant, domain, root } = book.cover!;
    const { reads } = this.#parts;
    const { pages: stored } = book;
    // Nearly nowhere: a promise for each request would be one too many.
    const upcast = reads.concerns(domain, stored);
    const pages = upcast ? await reads.pages({ tenant, domain, root: root!.value }, stored) : stored;
    if (this.#isOwn(domain)) return undefined;
    const { types } = this.#definition;
    const wanted = types.length === 0 ? pages : pages.filter((page) => types.includes(typeName(page.event!.typeUrl)));
    if (wanted.length === 0) return undefined;
    return this.#coordinator.handle({ kind: 'events', book: { ...book, pages: wanted } }, reactor, place);
  }

  async handleTrigger(occasion: Exclude<Occasion, { kind: 'events' }>, place: Place): Promise<Effect | undefined> {
    return this.#coordinator.handle(occasion, this.#available(), place);
  }

  mayWant({ domain }: Cover, page: EventPage): boolean {
    const { domains, types } = this.#definition;
    if ((domains.length > 0 && !domains.includes(domain)) || this.#isOwn(domain)) return false;
    return (
      types.length === 0 || types.includes(typeName(page.event!.typeUrl)) || this.#parts.reads.concerns(domain, [page])
    );
  }

  stored(effect: Effect, outbox: readonly OutboxRow[], timers: WorkPart['timers']): void {
    if (outbox.length > 0) this.#held.get(outbox[0]!.partition)?.dispatcher?.kick();
    const [timer] = timers;
    if (timer?.row !== undefined) this.#held.get(timer.row.partition)?.timers?.kick();
    this.#parts.onStored(this.name, effect);
    this.progressed();
  }

  progressed(): void {
    this.#parts.onProgress();
  }

  stillHeld(partition: Partition): Promise<boolean> {
    return this.#parts.held(partition);
  }

  giveUp(partition: Partition, why: string): void {
    this.#parts.log.warn({ ...partition.key, epoch: partition.epoch, why }, 'a partition is held by somebody else now');
    this.#drop(partition);
    this.#parts.onGivenUp();
  }

  restart(partition: Partition, error: DaybookError): void {
    this.#parts.log.warn({ ...partition.key, err: error }, 'a partition begins anew from what is stored');
    this.#drop(partition);
    this.#parts.onGivenUp();
  }

  /**
   * A process manager is not handed what it says itself, whatever its filter: it would answer without end. Before the first host is there,
   * nobody knows its domain.
   */
  #isOwn(domain: string): boolean {
    const declared = this.#reactor?.declaration.domain;
    return this.reactorKind === 'process_manager' && declared !== undefined && domain === (declared || this.name);
  }

  #available(): Reactor {
    const reactor = this.#reactor;
    if (reactor?.available === true) return reactor;
    throw new DaybookError('COMPONENT_UNAVAILABLE', `${this.name}: no host is reachable`, {
      metadata: { component: this.name },
    });
  }

  #drop(partition: Partition): void {
    const held = this.#held.get(partition.key.partition);
    if (held?.partition === partition) {
      this.#held.delete(partition.key.partition);
      held.dispatcher?.stop();
      held.timers?.stop();
    }
    this.#feeds.leave(partition);
    this.#room.forget(partition);
    partition.stop();
  }

  #pumpEach(): void {
    for (const { partition } of this.#held.values()) partition.pump();
  }

  #feedOptions() {
    const { domains, types } = this.#definition;
    const { components } = this.#parts;
    return {
      subscription: this,
      ordering: this.ordering,
      partitions: this.#definition.partitions,
      // Each read asks anew: with upcasters about, the store cannot tell today's types.
      filter: () => ({
        ...(domains.length > 0 && { domains }),
        ...(types.length > 0 && !components.hasUpcasters && { types }),
      }),
      limit: () => this.end,
      held: () => this.#holding,
    };
  }
}
