// Reactions: which subscriptions there are, which of their partitions this daemon works for, and when that changes. What happens to an
// event is in partition.ts; docs/architecture.md tells the whole.

import type { Components } from '../component.ts';
import type { Asking } from '../coordinators/asking.ts';
import type { Histories } from '../coordinators/histories.ts';
import { ProcessManagerCoordinator } from '../coordinators/process-manager.ts';
import { ProjectorCoordinator } from '../coordinators/projector.ts';
import type { Effect, ReactionLimits } from '../coordinators/reaction.ts';
import type { HeldPartition } from '../coordinators/round.ts';
import { SagaCoordinator } from '../coordinators/saga.ts';
import { sleep, type Timer } from '../runtime.ts';
import type {
  InstanceRow,
  NewsTopic,
  OutboxRow,
  PartitionCursor,
  PartitionKey,
  SubscriptionDefinition,
} from '../store.ts';
import { Declaring } from './declaring.ts';
import { Forwarded } from './forwarded.ts';
import { Generations, generationText } from './generations.ts';
import { describeInstance, type InstanceBody, type Instances } from './instances.ts';
import { Leases } from './leases.ts';
import type { LogTail } from './log-tail.ts';
import { Lookout } from './lookout.ts';
import { Announcer } from './news.ts';
import type { OutputParts, OutputSource } from './outputs.ts';
import type { Commands } from './pace.ts';
import type { Partition } from './partition.ts';
import type { DeliveryLimits } from './parts.ts';
import { hostsOf, isMine, knownOf, membersOf } from './sharing.ts';
import { Subscription, type SubscriptionParts, type TakenPartition } from './subscription.ts';
import { readStubbornly } from './units.ts';

export interface DeliveryOptions extends Omit<OutputParts, 'storeClock' | 'limits'> {
  tail: LogTail;
  components: Components;
  histories: Histories;
  asking: Asking;
  limits: DeliveryLimits & ReactionLimits & { snapshotAfterPages: number };
  logIdentity: { logId: string; incarnation: string };
  instance: string;
  version: string;
  /** Whoever catches up leaves room for them. */
  commands: Commands;
  /** Domains that this daemon decides for now. */
  domains: () => readonly string[];
  /** The daemons of the log: what is learned of them is kept there. */
  instances: Instances;
  /** Where other daemons reach this one; empty: nowhere. */
  peerAddress: () => string;
  /** Why the store cannot be used; `undefined`: it can again. */
  onStore: (fault: string | undefined) => void;
}

/** After a partition was given up, before it is taken again. */
const RETAKE_MS = 100;
/** Heartbeats between two looks at what others may have declared, paused or released without a word. */
const BEATS = 2;
/** At least so often it is looked for what others left to do. */
const LOOK_MS = 3000;
/** Between two heartbeats, also when somebody asks for domains that nobody hosts. */
const LOOK_AROUND_MS = 25;

export class Delivery {
  readonly #options: DeliveryOptions;
  readonly #leases: Leases;
  readonly #parts: SubscriptionParts;
  readonly #sagas: SagaCoordinator;
  readonly #processManagers: ProcessManagerCoordinator;
  /** By name and generation. */
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #generations: Generations;
  readonly #progressListeners = new Set<() => void>();
  readonly #storedListeners = new Set<(subscription: string, effect: Effect) => void>();
  readonly #declaring: Declaring;
  readonly #newsListeners = new Set<() => void>();
  readonly #announcer: Announcer;
  readonly #lookout: Lookout;
  readonly #forwarded: Forwarded;
  /** What this daemon says of itself: with the newest heartbeat, and when others were last called to look. */
  #told = Buffer.alloc(0);
  #announced = Buffer.alloc(0);
  #beats = 0;
  #beatMs = -Infinity;
  #lookingAround: Promise<void> | undefined;
  /** Some partition is this daemon's share, and still somebody else's. */
  #incomplete = false;
  #reconciling: Promise<void> | undefined;
  #again = false;
  #retake: Timer | undefined;
  #retakeAtMs = Infinity;
  #stopped = false;

  constructor(options: DeliveryOptions) {
    const { store, runtime, limits, instance, log, components } = options;
    this.#options = options;
    this.#leases = new Leases({
      store,
      runtime,
      leaseMs: limits.leaseMs,
      instance,
      log,
      describe: () => {
        this.#told = describeInstance(this.#describe());
        return this.#told;
      },
      onHeartbeat: (rows) => this.#heartbeat(rows),
      onStore: (fault) => options.onStore(fault),
    });
    const storeClock = this.#leases.storeClock;
    const { instances } = options;
    this.#announcer = new Announcer(store.news, runtime, () => instances.alone);
    const onProgress = () => {
      for (const listener of this.#progressListeners) listener();
    };
    this.#parts = {
      ...options,
      storeClock,
      hostsHere: (domain) => components.aggregate(domain) !== undefined,
      hostedElsewhere: (domain) => instances.hostsOf(domain).length > 0,
      announce: () => this.announce('outbox'),
      valid: () => this.#leases.valid,
      held: (partition) => this.#held(partition),
      onGivenUp: () => this.#retakeIn(RETAKE_MS),
      onProgress,
      onStored: (subscription, effect) => {
        for (const listener of this.#storedListeners) listener(subscription, effect);
      },
    };
    // There, `log` is the log of events.
    const reactionParts = { ...options, storeClock, log: options.logIdentity };
    this.#sagas = new SagaCoordinator(reactionParts);
    this.#processManagers = new ProcessManagerCoordinator(reactionParts);
    this.#declaring = new Declaring(options);
    this.#generations = new Generations({
      ...options,
      leaseMs: limits.leaseMs,
      subscription: (name, generation) => this.subscription(name, generation),
      isServed: (definition) => hostsOf(definition, knownOf(options.instances.all, this.#describe())).length > 0,
      onHolding: () => void this.#leases.renew(),
      onChanged: () => this.#kick(),
      again: (delayMs) => this.#retakeIn(delayMs),
    });
    this.#lookout = new Lookout({
      ...options,
      storeClock,
      everyMs: Math.min(LOOK_MS, limits.leaseMs / 4),
      subscriptions: () => this.subscriptions,
    });
    this.#forwarded = new Forwarded({
      ...options,
      storeClock,
      shares: () => instances.sharesOf(options.domains()),
      valid: () => this.#leases.valid,
      sourceOf: (row) => this.#sourceOf(row),
      onProgress: () => {
        this.announce('outbox');
        onProgress();
      },
    });
    components.onReactorsChanged(() => {
      if (this.#stopped) return;
      this.#kick();
      this.tellOthers();
    });
    store.news?.listen((topic) => this.#heard(topic));
  }

  /** Waits for a store that is away. Throws the signal's reason. */
  async start(signal: AbortSignal): Promise<void> {
    await readStubbornly(this.#options, signal, () => this.#leases.start());
    await readStubbornly(this.#options, signal, () => this.#reconcile());
    this.#lookout.start();
    this.#forwarded.kick();
  }

  /** Ends what is in hand, within the time, and gives every lease back. */
  async stop(timeoutMs: number): Promise<void> {
    this.#stopped = true;
    this.#retake?.cancel();
    this.#lookout.stop();
    this.#generations.stop();
    const releasing = (async () => {
      await this.#reconciling?.catch(() => {});
      // Those that came meanwhile.
      this.#generations.stop();
      await Promise.all([
        this.#forwarded.drain(),
        ...this.subscriptions.map((subscription) =>
          subscription.release(subscription.partitions.map(({ key }) => key.partition)),
        ),
      ]);
    })().catch((error) => this.#options.log.warn({ err: error }, 'leases could not be given back; they expire'));
    await Promise.race([releasing, sleep(this.#options.runtime, timeoutMs)]);
    for (const subscription of this.#subscriptions.values()) subscription.stop();
    this.#forwarded.stop();
    await this.#leases.leave().catch(() => {});
    if (!this.#options.instances.alone) await this.#options.store.news?.announce('daemons').catch(() => {});
    this.#announcer.stop();
  }

  readonly storeClock = (): number => this.#leases.storeClock();

  /** Somebody could not reach the store: asks it now, unless it is known to be away. */
  lookAtStore(): void {
    if (this.#leases.storeFault === undefined) void this.#leases.renew();
  }

  get sagas(): SagaCoordinator {
    return this.#sagas;
  }

  get processManagers(): ProcessManagerCoordinator {
    return this.#processManagers;
  }

  /** What this daemon works for, in order of name and generation. */
  get subscriptions(): readonly Subscription[] {
    return [...this.#subscriptions.values()];
  }

  subscription(name: string, generation: number): Subscription | undefined {
    return this.#subscriptions.get(generationText({ name, generation }));
  }

  /** What waiting callers may know of a partition; `undefined`: it is not held here. */
  look({ subscription: name, generation, partition: number }: PartitionKey): HeldPartition | undefined {
    const partition = this.subscription(name, generation)?.partition(number);
    if (partition === undefined) return undefined;
    return {
      position: partition.position,
      hasHandled: (position) => partition.hasHandled(position),
      parkedKey: (key) => partition.parked.get(key),
    };
  }

  /** The daemons of this log, as of the last heartbeat. */
  get instances(): readonly InstanceBody[] {
    return this.#options.instances.all;
  }

  isHosted(subscription: string): boolean {
    const { components, instances } = this.#options;
    const here = components.reactors().some(({ declaration }) => declaration.name === subscription);
    return here || instances.all.some((other) => other.components.some(({ name }) => name === subscription));
  }

  /** Other daemons may want to look. */
  announce(topic: NewsTopic): void {
    this.#announcer.announce(topic);
  }

  /** What this daemon says of itself has changed. */
  tellOthers(): void {
    void this.#leases.renew();
  }

  /** Called when other daemons may have done something. */
  onNews(listener: () => void): void {
    this.#newsListeners.add(listener);
  }

  /** Learns of daemons that have just come; once for all who ask at the same time. */
  lookAround(): Promise<void> {
    this.#lookingAround ??= (async () => {
      const { runtime } = this.#options;
      await sleep(runtime, Math.max(0, this.#beatMs + LOOK_AROUND_MS - runtime.monotonicMs()));
      await this.#leases.renew();
      this.#lookingAround = undefined;
    })();
    return this.#lookingAround;
  }

  /** Called when a cursor moved, a key was parked or replayed, or an output went. */
  onProgress(listener: () => void): () => void {
    this.#progressListeners.add(listener);
    return () => this.#progressListeners.delete(listener);
  }

  /** Called with what became of an event, or a trigger, when that is stored. */
  onStored(listener: (subscription: string, effect: Effect) => void): () => void {
    this.#storedListeners.add(listener);
    return () => this.#storedListeners.delete(listener);
  }

  /** Somebody waits: cursors move without delay. */
  hurry(): void {
    this.#options.tail.tick();
    for (const subscription of this.#subscriptions.values()) {
      for (const partition of subscription.partitions) partition.hurry();
    }
  }

  /** Subscriptions were paused, resumed or declared by somebody else. */
  async changed(): Promise<void> {
    this.announce('daemons');
    await this.#reconcile();
  }

  /** Parked keys or outputs were replayed or discarded. */
  async replayed(name: string): Promise<void> {
    this.announce('outbox');
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.name !== name) continue;
      for (const partition of subscription.partitions) await partition.parked.refresh();
      subscription.kickOutbox();
    }
  }

  #heartbeat(rows: readonly InstanceRow[]): void {
    const { instances, runtime } = this.#options;
    const changed = instances.update(rows);
    this.#beatMs = runtime.monotonicMs();
    if (this.#stopped) return;
    // Rows may have been changed by other daemons, and leases given up.
    const due = !instances.alone && (this.#incomplete || ++this.#beats % BEATS === 0);
    if (changed || due) this.#kick();
    if (changed) this.#forwarded.kick();
    if (!this.#told.equals(this.#announced)) this.#announcer.announce('daemons');
    this.#announced = this.#told;
    // Leases may have been doubtful for a while.
    for (const subscription of this.#subscriptions.values()) subscription.pumpAll();
  }

  #heard(topic: NewsTopic): void {
    if (this.#stopped) return;
    if (topic === 'daemons') {
      this.#kick();
      void this.#leases.renew();
    }
    if (topic !== 'outbox') this.#options.tail.wake();
    if (topic !== 'events') this.#forwarded.kick();
    if (topic !== 'events') this.#lookout.soon();
    for (const listener of this.#newsListeners) listener();
  }

  #sourceOf({ subscription: name, generation }: OutboxRow): OutputSource | undefined {
    const subscription = this.subscription(name, generation);
    if (subscription === undefined || subscription.definition.paused) return undefined;
    const processDomain = this.#options.instances.processDomainOf(name) ?? subscription.processDomain;
    return { name, kind: subscription.kind, processDomain };
  }

  #describe(): InstanceBody {
    const { instance, version, logIdentity, domains, components, peerAddress } = this.#options;
    const hosted = components.reactors().filter(({ available }) => available);
    return {
      instance,
      version,
      incarnation: logIdentity.incarnation,
      domains: [...domains()],
      peerAddress: peerAddress(),
      takesForwarded: true,
      components: hosted.map(({ declaration }) => ({
        name: declaration.name,
        kind: declaration.kind,
        generation: declaration.generation,
        version: declaration.version,
        domain: declaration.domain,
      })),
      replacing: this.#generations.replacing,
      heartbeatAtMicros: 0,
    };
  }

  /** At the latest. */
  #retakeIn(delayMs: number): void {
    const { runtime } = this.#options;
    const atMs = runtime.monotonicMs() + delayMs;
    if (this.#stopped || atMs >= this.#retakeAtMs) return;
    this.#retake?.cancel();
    this.#retakeAtMs = atMs;
    this.#retake = runtime.after(delayMs, () => {
      this.#retakeAtMs = Infinity;
      this.#kick();
    });
  }

  #kick(): void {
    void this.#reconcile().catch((error) => {
      if (this.#stopped) return;
      this.#options.log.warn({ err: error }, 'subscriptions could not be brought up to date; trying again');
    });
  }

  /** One at a time; what changes meanwhile is looked at once more. Tried again when it fails, whatever its caller makes of that. */
  #reconcile(): Promise<void> {
    this.#again = true;
    this.#reconciling ??= (async () => {
      try {
        while (this.#again && !this.#stopped) {
          this.#again = false;
          await this.#bringUpToDate();
        }
      } catch (error) {
        this.#retakeIn(RETAKE_MS);
        throw error;
      } finally {
        this.#reconciling = undefined;
      }
    })();
    return this.#reconciling;
  }

  async #bringUpToDate(): Promise<void> {
    const { store } = this.#options;
    let definitions = await store.listSubscriptions();
    if (await this.#declaring.declareAll(definitions)) {
      definitions = await store.listSubscriptions();
      this.#announcer.announce('daemons');
      // Those that were looked at before may contradict it.
      this.#again = true;
    }
    const kept = await this.#generations.sortOut(definitions);
    for (const definition of kept) {
      const text = generationText(definition);
      const known = this.#subscriptions.get(text);
      const reactor = this.#declaring.reactorFor(definition);
      if (known !== undefined) known.update(definition, reactor);
      else {
        const subscription = new Subscription(this.#parts, this.#coordinatorFor(definition), definition);
        subscription.update(definition, reactor);
        this.#subscriptions.set(text, subscription);
      }
    }
    for (const [text, subscription] of this.#subscriptions) {
      if (kept.some((definition) => generationText(definition) === text)) continue;
      subscription.stop();
      this.#subscriptions.delete(text);
    }
    this.#generations.follow(kept);
    const cursors = await store.listCursors();
    this.#incomplete = false;
    for (const definition of kept) await this.#share(definition, cursors);
    this.#generations.lookNow();
  }

  #coordinatorFor({ kind }: SubscriptionDefinition) {
    if (kind === 'saga') return this.#sagas;
    if (kind === 'process_manager') return this.#processManagers;
    return new ProjectorCoordinator(this.#options);
  }

  /** Takes and gives back partitions, so that every daemon that can reach the component has its share. */
  async #share(definition: SubscriptionDefinition, cursors: readonly PartitionCursor[]): Promise<void> {
    const { store, instance } = this.#options;
    const { name, generation, partitions, version } = definition;
    const subscription = this.#subscriptions.get(generationText({ name, generation }));
    if (subscription === undefined || this.#generations.holds(name, generation)) return;
    const { members, hosted } = membersOf(definition, this.#options.instances.all, this.#describe());
    const mine = (partition: number) => isMine(instance, members, name, partition);
    const surplus = subscription.partitions.filter(({ key }) => !mine(key.partition)).map(({ key }) => key.partition);
    // When no daemon can reach the component, everything stays where it is until one can.
    if (hosted && surplus.length > 0) {
      await subscription.release(surplus);
      this.#announcer.announce('daemons');
    }
    // What a release that failed, or a rebuild that did not come about, has left behind.
    for (const row of cursors) {
      if (row.subscription !== name || row.generation !== generation || row.owner !== instance) continue;
      const left = !mine(row.partition) && subscription.partition(row.partition) === undefined;
      if (left && !this.#stopped) await store.release(row, row.epoch);
    }
    const taken: TakenPartition[] = [];
    for (let partition = 0; partition < partitions; partition++) {
      const held = subscription.partition(partition);
      if (!mine(partition) || this.#stopped) continue;
      const cursor = cursors.find(
        (row) => row.subscription === name && row.generation === generation && row.partition === partition,
      );
      const current = held !== undefined && cursor?.epoch === held.epoch && cursor.definitionVersion === version;
      if (current) continue;
      // Held under an older declaration: what is in hand ends first, and nothing is taken for lost.
      if (held !== undefined) await subscription.release([partition]);
      const acquired = await store.acquire({ subscription: name, generation, partition }, instance, version);
      const redeclared = cursor !== undefined && cursor.epoch > 0 && cursor.definitionVersion !== version;
      if (acquired !== undefined) taken.push({ ...acquired, redeclared });
      else this.#incomplete = true;
    }
    if (taken.length > 0) await subscription.add(taken, (await store.head()).position, instance);
  }

  async #held({ key, epoch }: Partition): Promise<boolean> {
    const cursors = await this.#options.store.listCursors(key.subscription);
    return cursors.some(
      (cursor) =>
        cursor.generation === key.generation &&
        cursor.partition === key.partition &&
        cursor.epoch === epoch &&
        cursor.owner === this.#options.instance,
    );
  }
}
