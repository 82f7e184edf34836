// What operators see of a daemon and its log, and what they may change: pausing, rebuilding, forgetting.

import type { Components } from '../component.ts';
import { rebuiltDefinition, startAfterAll } from '../delivery/declarations.ts';
import type { InstanceBody } from '../delivery/instances.ts';
import type { DeliveryLog } from '../delivery/parts.ts';
import { stuckKeys } from '../delivery/stored-progress.ts';
import type { Subscription } from '../delivery/subscription.ts';
import { invalid } from '../errors.ts';
import { orderingOf, partitionOf } from '../model/ordering.ts';
import type { ReactorKind } from '../model/reaction.ts';
import { type StreamKey, streamText } from '../model/stream.ts';
import { declaredGeneration } from '../model/subscription.ts';
import { toMicros } from '../model/time.ts';
import { type Runtime, sleep } from '../runtime.ts';
import type { ParkedCount, PartitionCursor, Store, SubscriptionDefinition } from '../store.ts';
import type { HotCache } from './hot-cache.ts';
import { filterOf, unknownName } from './projections.ts';

export interface ControlParts {
  store: Store;
  components: Components;
  cache: HotCache;
  runtime: Runtime;
  log: DeliveryLog;
  delivery: {
    readonly subscriptions: readonly Subscription[];
    readonly instances: readonly InstanceBody[];
    changed(): Promise<void>;
  };
}

/** Where a rebuild begins. */
export type RebuildStart =
  | { kind: 'beginning' }
  | { kind: 'now' }
  | { kind: 'after'; position: number }
  | { kind: 'time'; timeMicros: number };

export interface RebuildProgress {
  position: number;
  target: number;
  eventsPerSecond: number;
  /** `undefined`: it cannot be told. */
  leftMs: number | undefined;
  switched: boolean;
  generation: number;
  parked: number;
}

export interface SubscriptionStatus {
  definition: SubscriptionDefinition;
  state: 'running' | 'paused' | 'suspended' | 'waiting for a host';
  partitions: (PartitionCursor & { lagMs: number | undefined })[];
  parked: number;
  dead: number;
}

/** Between two reports of a rebuild. */
const TELL_MS = 500;
/** What the rate of a rebuild is taken from. */
const RATE_LOOKS = 20;
const READ_EVENTS = 1000;
const READ_BYTES = 1 << 20;
/** Events that are looked at for the lag of partitions that are equally far. */
const LAG_EVENTS = 20_000;
const DEAD_OUTPUTS_MAX = 1000;

export class ControlCoordinator {
  readonly #parts: ControlParts;

  constructor(parts: ControlParts) {
    this.#parts = parts;
  }

  /** Stopped after what is in hand, or going on; on all daemons of the log, and after a restart as well. */
  async setPaused(subscription: string, paused: boolean): Promise<void> {
    const { store, log, delivery } = this.#parts;
    const definitions = await store.listSubscriptions();
    if (!definitions.some(({ name }) => name === subscription)) {
      throw unknownName(
        'subscription',
        subscription,
        definitions.map(({ name }) => name),
      );
    }
    await store.setPaused(subscription, paused);
    log.warn({ subscription }, paused ? 'an operator paused the subscription' : 'an operator resumed the subscription');
    await delivery.changed();
  }

  /** Tells how far it is about twice a second, until readers get the new generation. It goes on when nobody listens. */
  async *rebuild(
    projector: string,
    start: RebuildStart,
    signal: AbortSignal,
  ): AsyncGenerator<RebuildProgress, void, void> {
    const { store, runtime } = this.#parts;
    await this.#begin(projector, start);
    const looks: { atMs: number; position: number; generation: number }[] = [];
    for (;;) {
      const progress = await this.#progress(projector);
      const { position, target, generation } = progress;
      if (looks.length > 0 && looks[0]!.generation !== generation) looks.length = 0;
      looks.push({ atMs: runtime.monotonicMs(), position, generation });
      if (looks.length > RATE_LOOKS) looks.shift();
      const seconds = (looks.at(-1)!.atMs - looks[0]!.atMs) / 1000;
      const eventsPerSecond = seconds > 0 ? Math.max(0, position - looks[0]!.position) / seconds : 0;
      const left = Math.max(0, target - position);
      const switched = (await store.activeGeneration(projector)) === generation;
      const leftMs = switched || left === 0 ? 0 : eventsPerSecond > 0 ? (left / eventsPerSecond) * 1000 : undefined;
      yield { ...progress, eventsPerSecond, leftMs, switched };
      if (switched) return;
      await sleep(runtime, TELL_MS, signal);
    }
  }

  /** Of one aggregate, or of all: how many histories were forgotten. */
  flushCache(stream: StreamKey | undefined): number {
    const { cache } = this.#parts;
    if (stream === undefined) return cache.flush();
    const text = streamText(stream);
    if (cache.get(text) === undefined) return 0;
    cache.forget(text);
    return 1;
  }

  /** The daemons of this log, as of the last heartbeat. */
  instances(): readonly InstanceBody[] {
    return this.#parts.delivery.instances;
  }

  /** In order of name and generation; without names: all. */
  async subscriptions(names: readonly string[]): Promise<{ subscriptions: SubscriptionStatus[]; head: number }> {
    const { store } = this.#parts;
    const definitions = await store.listSubscriptions();
    const unknown = names.find((wanted) => !definitions.some(({ name }) => name === wanted));
    if (unknown !== undefined) {
      throw unknownName(
        'subscriptions',
        unknown,
        definitions.map(({ name }) => name),
      );
    }
    const { position: head } = await store.head();
    const cursors = await store.listCursors();
    const counts = await store.countParked();
    const subscriptions: SubscriptionStatus[] = [];
    for (const definition of definitions) {
      if (names.length > 0 && !names.includes(definition.name)) continue;
      const own = cursors.filter((row) => isOf(row, definition));
      const count = (...states: ParkedCount['state'][]) =>
        counts
          .filter((row) => isOf(row, definition) && states.includes(row.state))
          .reduce((sum, row) => sum + row.count, 0);
      const lags = await this.#lags(definition, own, head);
      subscriptions.push({
        definition,
        state: this.#state(definition),
        partitions: own.map((row) => ({ ...row, lagMs: lags.get(row.partition) })),
        parked: count('retrying', 'draining'),
        dead: count('dead') + (await this.#deadOutputs(definition)),
      });
    }
    return { subscriptions, head };
  }

  async #begin(projector: string, start: RebuildStart): Promise<void> {
    const { store, log, delivery } = this.#parts;
    const definitions = await store.listSubscriptions();
    const newest = definitions.filter(({ name }) => name === projector).at(-1);
    if (newest === undefined) {
      const projectors = definitions.filter(({ kind }) => kind === 'projector');
      throw unknownName(
        'projector',
        projector,
        projectors.map(({ name }) => name),
      );
    }
    if (newest.kind !== 'projector') {
      const never = 'what it did is never done again, so only projectors are rebuilt';
      throw invalid('projector', `projector: ${projector} is a ${newest.kind.replace('_', ' ')}: ${never}`);
    }
    // One is under way: declared by its component, or asked for before.
    if ((await store.activeGeneration(projector)) !== newest.generation) return;
    const startAfter = await startAfterAll(store, projector, await this.#startAfter(start));
    const { generation } = await store.declare(rebuiltDefinition(newest, startAfter));
    log.info({ projector, generation, start_after: startAfter }, 'an operator asked for a rebuild');
    await delivery.changed();
  }

  async #startAfter(start: RebuildStart): Promise<number> {
    const { store } = this.#parts;
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

  /** Of the newest generation. */
  async #progress(projector: string): Promise<Pick<RebuildProgress, 'position' | 'target' | 'generation' | 'parked'>> {
    const { store } = this.#parts;
    const cursors = await store.listCursors(projector);
    const generation = Math.max(...cursors.map((row) => row.generation));
    const previous = await store.activeGeneration(projector);
    const least = (of: number) =>
      cursors.filter((row) => row.generation === of).reduce((low, { position }) => Math.min(low, position), Infinity);
    const position = least(generation);
    // When it is over, the old generation goes.
    const target = least(previous) === Infinity ? position : least(previous);
    const parked = await stuckKeys(store, { name: projector, generation });
    return { position, target, generation, parked: parked.length };
  }

  #state(definition: SubscriptionDefinition): SubscriptionStatus['state'] {
    const { delivery } = this.#parts;
    if (definition.paused) return 'paused';
    const held = delivery.subscriptions.find(
      ({ name, generation }) => name === definition.name && generation === definition.generation,
    );
    // Whoever holds its partitions knows best.
    if (held !== undefined && held.partitions.length > 0) return held.state;
    const hosted = delivery.instances.some(({ components }) =>
      components.some(
        ({ name, kind, generation }) =>
          name === definition.name && kind === definition.kind && generation === declaredGeneration(definition),
      ),
    );
    return hosted ? 'running' : 'waiting for a host';
  }

  /**
   * Of each partition that has something to do: since when its first event waits. Beyond so many events that concern others, the last of
   * them counts instead: it does not wait longer than that.
   */
  async #lags(
    definition: SubscriptionDefinition,
    cursors: readonly PartitionCursor[],
    head: number,
  ): Promise<Map<number, number>> {
    const { store, components, runtime } = this.#parts;
    const ordering = orderingOf(
      definition.kind as ReactorKind,
      definition.kind === 'projector' && definition.partitions === 1,
    );
    const filter = filterOf(definition, components);
    const now = runtime.nowMicros();
    const lags = new Map<number, number>();
    const places = new Map<number, Set<number>>();
    for (const { position, partition } of cursors) {
      if (position >= head) continue;
      places.set(position, (places.get(position) ?? new Set()).add(partition));
    }
    for (const [position, partitions] of places) {
      const done = new Map<number, Set<number>>();
      for (const partition of partitions) {
        const { name: subscription, generation } = definition;
        done.set(partition, new Set(await store.listDone({ subscription, generation, partition })));
      }
      let last: number | undefined;
      let after = position;
      while (partitions.size > 0 && after < head && after - position < LAG_EVENTS) {
        const limits = { maxEvents: READ_EVENTS, maxBytes: READ_BYTES };
        const read = await store.readLog({ after, to: head, filter, ...limits });
        for (const { cover, pages } of read.books) {
          const partition = partitionOf(ordering, cover!, definition.partitions);
          const page = pages.find((each) => !done.get(partition)?.has(each.position));
          if (page === undefined) continue;
          last = Math.max(0, now - toMicros(page.createdAt!)) / 1000;
          if (partitions.delete(partition)) lags.set(partition, last);
        }
        if (read.through === after) break;
        after = read.through;
      }
      if (after < head && last !== undefined) for (const partition of partitions) lags.set(partition, last);
    }
    return lags;
  }

  async #deadOutputs({ name, kind, generation }: SubscriptionDefinition): Promise<number> {
    if (kind === 'projector') return 0;
    const list = { subscription: name, state: 'dead', limit: DEAD_OUTPUTS_MAX } as const;
    return (await this.#parts.store.listOutbox(list)).filter((row) => row.generation === generation).length;
  }
}

function isOf(
  row: { subscription: string; generation: number },
  { name, generation }: { name: string; generation: number },
): boolean {
  return row.subscription === name && row.generation === generation;
}
