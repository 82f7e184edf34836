// Reactions: which subscriptions there are, which of their partitions this daemon works for, and when that changes. What happens to an
// event is in partition.ts; docs/architecture.md tells the whole.

import type { Components, Reactor, ReactorDeclaration } from '../component.ts';
import type { Asking } from '../coordinators/asking.ts';
import type { Histories } from '../coordinators/histories.ts';
import { ProcessManagerCoordinator } from '../coordinators/process-manager.ts';
import { ProjectorCoordinator } from '../coordinators/projector.ts';
import type { Effect, ReactionLimits } from '../coordinators/reaction.ts';
import { SagaCoordinator } from '../coordinators/saga.ts';
import type { HeldPartition } from '../coordinators/waiting.ts';
import { sleep, type Timer } from '../runtime.ts';
import type { InstanceRow, PartitionCursor, PartitionKey, SubscriptionDefinition } from '../store.ts';
import { declaredGeneration, definitionOf, disagreement, startAfterAll } from './declarations.ts';
import type { DispatchParts } from './dispatcher.ts';
import { describeInstance, type InstanceBody, readInstance } from './instances.ts';
import { Leases } from './leases.ts';
import type { LogTail } from './log-tail.ts';
import type { Partition } from './partition.ts';
import type { DeliveryLimits } from './parts.ts';
import { Rebuild } from './rebuild.ts';
import { Subscription, type SubscriptionParts, type TakenPartition } from './subscription.ts';
import { readStubbornly } from './units.ts';

export interface DeliveryOptions extends Omit<DispatchParts, 'storeClock' | 'limits'> {
  tail: LogTail;
  components: Components;
  histories: Histories;
  asking: Asking;
  limits: DeliveryLimits & ReactionLimits & { snapshotAfterPages: number };
  logIdentity: { logId: string; incarnation: string };
  instance: string;
  version: string;
  /** Commands so far. */
  commands: () => number;
  /** Domains that this daemon decides for now. */
  domains: () => readonly string[];
  /** Why the store cannot be used; `undefined`: it can again. */
  onStore: (fault: string | undefined) => void;
}

/** After a partition was given up, before it is taken again. */
const RETAKE_MS = 100;
/** In one batch of the removal of an old generation. */
const REMOVE_ROWS = 1000;

export class Delivery {
  readonly #options: DeliveryOptions;
  readonly #leases: Leases;
  readonly #parts: SubscriptionParts;
  readonly #sagas: SagaCoordinator;
  readonly #processManagers: ProcessManagerCoordinator;
  /** By name and generation. */
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #rebuilds = new Map<string, Rebuild>();
  readonly #progressListeners = new Set<() => void>();
  readonly #storedListeners = new Set<(subscription: string, effect: Effect) => void>();
  /** Reactors that contradict what is known of them, and what they were told. */
  readonly #refused = new Map<Reactor, string>();
  #instances: InstanceBody[] = [];
  #reconciling: Promise<void> | undefined;
  #again = false;
  #retake: Timer | undefined;
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
      describe: () => describeInstance(this.#describe()),
      onHeartbeat: (rows) => this.#heartbeat(rows),
      onStore: (fault) => options.onStore(fault),
    });
    const storeClock = this.#leases.storeClock;
    this.#parts = {
      ...options,
      storeClock,
      valid: () => this.#leases.valid,
      held: (partition) => this.#held(partition),
      onGivenUp: () => this.#retakeSoon(),
      onProgress: () => {
        for (const listener of this.#progressListeners) listener();
      },
      onStored: (subscription, effect) => {
        for (const listener of this.#storedListeners) listener(subscription, effect);
      },
    };
    // There, `log` is the log of events.
    const reactionParts = { ...options, storeClock, log: options.logIdentity };
    this.#sagas = new SagaCoordinator(reactionParts);
    this.#processManagers = new ProcessManagerCoordinator(reactionParts);
    components.onReactorsChanged(() => {
      if (this.#stopped) return;
      this.#kick();
      void this.#leases.renew();
    });
  }

  /** Waits for a store that is away. Throws the signal's reason. */
  async start(signal: AbortSignal): Promise<void> {
    await readStubbornly(this.#options, signal, () => this.#leases.start());
    await readStubbornly(this.#options, signal, () => this.#reconcile());
  }

  /** Ends what is in hand, within the time, and gives every lease back. */
  async stop(timeoutMs: number): Promise<void> {
    this.#stopped = true;
    this.#retake?.cancel();
    for (const rebuild of this.#rebuilds.values()) rebuild.stop();
    const releasing = (async () => {
      await this.#reconciling?.catch(() => {});
      for (const rebuild of this.#rebuilds.values()) rebuild.stop();
      await Promise.all(
        [...this.#subscriptions.values()].map((subscription) =>
          subscription.release(subscription.partitions.map(({ key }) => key.partition)),
        ),
      );
    })().catch((error) => this.#options.log.warn({ err: error }, 'leases could not be given back; they expire'));
    await Promise.race([releasing, sleep(this.#options.runtime, timeoutMs)]);
    for (const subscription of this.#subscriptions.values()) subscription.stop();
    await this.#leases.leave().catch(() => {});
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
    return this.#subscriptions.get(textOf(name, generation));
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
    return this.#instances;
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
    await this.#reconcile();
  }

  /** Parked keys or outputs were replayed or discarded. */
  async replayed(name: string): Promise<void> {
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.name !== name) continue;
      for (const partition of subscription.partitions) await partition.parked.refresh();
      subscription.kickOutbox();
    }
  }

  #heartbeat(rows: readonly InstanceRow[]): void {
    const known = this.#instances.map(({ instance }) => instance).join();
    this.#instances = rows.map(readInstance);
    const changed = this.#instances.map(({ instance }) => instance).join() !== known;
    if (this.#stopped) return;
    // Rows may have been changed by other daemons, and leases given up.
    if (changed || this.#instances.length > 1) this.#kick();
    for (const subscription of this.#subscriptions.values()) {
      subscription.kickAll();
      for (const partition of subscription.partitions) {
        if (partition.parked.rows > 0) void partition.parked.refresh().catch(() => {});
      }
    }
  }

  #describe(): InstanceBody {
    const { instance, version, logIdentity, domains, components } = this.#options;
    const hosted = components.reactors().filter(({ available }) => available);
    return {
      instance,
      version,
      incarnation: logIdentity.incarnation,
      domains: [...domains()],
      components: hosted.map(({ declaration }) => ({
        name: declaration.name,
        kind: declaration.kind,
        generation: declaration.generation,
        version: declaration.version,
      })),
      replacing: [...this.#rebuilds]
        .filter(([, rebuild]) => rebuild.holds(rebuild.previous))
        .map(([name, { previous }]) => ({ name, generation: previous })),
      heartbeatAtMicros: 0,
    };
  }

  #retakeSoon(): void {
    if (this.#stopped || this.#retake !== undefined) return;
    this.#retake = this.#options.runtime.after(RETAKE_MS, () => {
      this.#retake = undefined;
      this.#kick();
    });
  }

  #kick(): void {
    void this.#reconcile().catch((error) => {
      if (this.#stopped) return;
      this.#options.log.warn({ err: error }, 'subscriptions could not be brought up to date; trying again');
      this.#retakeSoon();
    });
  }

  /** One at a time; what changes meanwhile is looked at once more. */
  #reconcile(): Promise<void> {
    this.#again = true;
    this.#reconciling ??= (async () => {
      try {
        while (this.#again && !this.#stopped) {
          this.#again = false;
          await this.#bringUpToDate();
        }
      } finally {
        this.#reconciling = undefined;
      }
    })();
    return this.#reconciling;
  }

  async #bringUpToDate(): Promise<void> {
    const { store, components } = this.#options;
    let definitions = await store.listSubscriptions();
    let declared = false;
    for (const reactor of components.reactors()) {
      if (reactor.available || this.#refused.has(reactor))
        declared = (await this.#declare(reactor, definitions)) || declared;
    }
    if (declared) {
      definitions = await store.listSubscriptions();
      // Those that were looked at before may contradict it.
      this.#again = true;
    }
    for (const definition of definitions) {
      const text = textOf(definition.name, definition.generation);
      const known = this.#subscriptions.get(text);
      const reactor = this.#reactorFor(definition);
      if (known !== undefined) known.update(definition, reactor);
      else {
        const subscription = new Subscription(this.#parts, this.#coordinatorFor(definition), definition);
        subscription.update(definition, reactor);
        this.#subscriptions.set(text, subscription);
      }
    }
    for (const [text, subscription] of this.#subscriptions) {
      if (definitions.some(({ name, generation }) => textOf(name, generation) === text)) continue;
      subscription.stop();
      this.#subscriptions.delete(text);
    }
    await this.#watchRebuilds(definitions);
    const cursors = await store.listCursors();
    for (const definition of definitions) await this.#share(definition, cursors);
  }

  #coordinatorFor({ kind }: SubscriptionDefinition) {
    if (kind === 'saga') return this.#sagas;
    if (kind === 'process_manager') return this.#processManagers;
    return new ProjectorCoordinator(this.#options);
  }

  /** True: something new is in the store now. Refuses what contradicts it. */
  async #declare(reactor: Reactor, definitions: readonly SubscriptionDefinition[]): Promise<boolean> {
    const { declaration } = reactor;
    const known = definitions.filter(({ name }) => name === declaration.name);
    const sentence = disagreement(declaration, known);
    if (this.#refused.get(reactor) !== sentence) {
      if (sentence === undefined) this.#refused.delete(reactor);
      else {
        this.#refused.set(reactor, sentence);
        this.#options.log.warn({ component: declaration.name, why: sentence }, 'a declaration is refused');
      }
      reactor.refuse(sentence);
    }
    if (sentence !== undefined) return false;
    const definition = definitionOf(declaration, known, 0);
    if (definition === undefined) return false;
    const startAfter = await startAfterAll(this.#options.store, declaration.name, await this.#startOf(declaration));
    const now = await this.#options.store.declare({ ...definition, startAfter });
    const about = { subscription: now.name, kind: now.kind, generation: now.generation, version: now.version };
    const before = known.find((row) => row.generation === now.generation);
    if (before?.version === now.version) return false;
    this.#options.log.info({ ...about, start_after: now.startAfter }, 'subscription declared');
    return true;
  }

  async #startOf({ start }: ReactorDeclaration): Promise<number> {
    const { store } = this.#options;
    switch (start.kind) {
      case 'beginning':
        return 0;
      case 'now':
        return (await store.head()).position;
      case 'after':
        return Math.min(start.position, (await store.head()).position);
      case 'time':
        return store.positionBefore(start.timeMicros);
    }
  }

  /** Who may serve this generation of it now. */
  #reactorFor(definition: SubscriptionDefinition): Reactor | undefined {
    const serving = this.#options.components
      .reactors()
      .filter(({ declaration: { name, kind } }) => name === definition.name && kind === definition.kind)
      .filter((reactor) => !this.#refused.has(reactor))
      .filter(({ declaration }) => serves(declaration, definition));
    return serving.find(({ available }) => available) ?? serving[0];
  }

  /** Takes and gives back partitions, so that every daemon that can reach the component has its share. */
  async #share(definition: SubscriptionDefinition, cursors: readonly PartitionCursor[]): Promise<void> {
    const { store, instance } = this.#options;
    const { name, generation, partitions, version } = definition;
    const subscription = this.#subscriptions.get(textOf(name, generation));
    if (subscription === undefined || this.#rebuilds.get(name)?.holds(generation)) return;
    const { members, hosted } = this.#membersFor(definition);
    const mine = (partition: number) => members[(partition + hash(name)) % members.length] === instance;
    const surplus = subscription.partitions.filter(({ key }) => !mine(key.partition)).map(({ key }) => key.partition);
    // When no daemon can reach the component, everything stays where it is until one can.
    if (hosted && surplus.length > 0) await subscription.release(surplus);
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
    }
    if (taken.length > 0) await subscription.add(taken, (await store.head()).position, instance);
  }

  /** Daemons that can reach the component; when none can, all, unless nothing could be done: outputs that wait go all the same. */
  #membersFor(definition: SubscriptionDefinition): { members: string[]; hosted: boolean } {
    const all = this.#instances.length > 0 ? this.#instances : [this.#describe()];
    const own = this.#describe();
    const known = all.map((other) => (other.instance === own.instance ? own : other));
    const replacing = known.find((other) =>
      other.replacing.some(({ name, generation }) => name === definition.name && generation === definition.generation),
    );
    if (replacing !== undefined) return { members: [replacing.instance], hosted: true };
    const hosting = known.filter(({ components }) =>
      components.some(
        (component) =>
          component.name === definition.name && component.kind === definition.kind && serves(component, definition),
      ),
    );
    const hosted = hosting.length > 0;
    const useful = hosted ? hosting : definition.kind === 'projector' ? [] : all;
    return { members: useful.map(({ instance }) => instance).sort(), hosted };
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

  /** A generation beyond the one that readers get is being built. */
  async #watchRebuilds(definitions: readonly SubscriptionDefinition[]): Promise<void> {
    const { store } = this.#options;
    const newest = new Map<string, SubscriptionDefinition>();
    for (const definition of definitions) if (definition.kind === 'projector') newest.set(definition.name, definition);
    for (const [name, next] of newest) {
      const active = await store.activeGeneration(name);
      const running = this.#rebuilds.get(name);
      const over = definitions.filter((other) => other.name === name && other.generation < next.generation);
      for (const { generation } of over) if (generation !== active) void this.#remove(name, generation);
      if (running !== undefined && running.generation !== next.generation) {
        running.stop();
        this.#rebuilds.delete(name);
      }
      if (active === next.generation) {
        running?.over();
        this.#rebuilds.delete(name);
      } else if (!this.#rebuilds.has(name)) {
        const subscription = this.#subscriptions.get(textOf(name, next.generation))!;
        const rebuild = new Rebuild({
          ...this.#parts,
          instance: this.#options.instance,
          leaseMs: this.#options.limits.leaseMs,
          previous: active,
          next: subscription,
          old: () => this.subscription(name, active),
          onHolding: () => void this.#leases.renew(),
          onSwitched: () => this.#kick(),
        });
        this.#rebuilds.set(name, rebuild);
        rebuild.start();
      }
    }
  }

  async #remove(name: string, generation: number): Promise<void> {
    const text = textOf(name, generation);
    this.#subscriptions.get(text)?.stop();
    this.#subscriptions.delete(text);
    const { store, log } = this.#options;
    try {
      while (!this.#stopped && !(await store.removeGeneration(name, generation, REMOVE_ROWS)));
    } catch (error) {
      log.warn({ subscription: name, generation, err: error }, 'an old generation could not be removed; trying again');
      this.#retakeSoon();
    }
  }
}

function serves(component: { generation: number; version: number }, definition: SubscriptionDefinition): boolean {
  return declaredGeneration(definition) === component.generation && definition.version % 1_000_000 <= component.version;
}

function textOf(name: string, generation: number): string {
  return `${name} ${generation}`;
}

/** Spreads the first partitions of subscriptions over the daemons. */
function hash(text: string): number {
  let sum = 0;
  for (let i = 0; i < text.length; i++) sum = (sum * 31 + text.charCodeAt(i)) >>> 0;
  return sum;
}
