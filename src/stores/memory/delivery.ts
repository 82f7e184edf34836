// The part of the memory store that delivery needs. Every call takes effect when it is made.

import { streamText } from '../../model/stream.ts';
import { isNewer } from '../../model/subscription.ts';
import type {
  AcquiredPartition,
  DeliveryStore,
  HostShare,
  InstanceRow,
  OutboxKey,
  OutboxRow,
  OutboxState,
  ParkedCount,
  ParkedKey,
  PartitionCursor,
  PartitionDue,
  PartitionKey,
  ProjectionKey,
  ProjectionRow,
  SubscriptionDefinition,
  TimerKey,
  TimerRow,
  WorkPart,
} from '../../store.ts';
import { comparePlaces, type Place } from '../order.ts';
import { fencedBy, type WorkState } from '../work-rules.ts';
import { copy } from './copy.ts';
import { Table, type Undo } from './table.ts';

type List<Method extends 'listParked' | 'listOutbox' | 'listProjections' | 'projectionsOf'> = Parameters<
  DeliveryStore[Method]
>[0];

export class MemoryDelivery implements DeliveryStore {
  readonly #clock: () => number;
  readonly #instances = new Map<string, InstanceRow>();
  readonly #subscriptions = new Map<string, SubscriptionDefinition>();
  readonly #active = new Map<string, number>();
  readonly #cursors = new Table<PartitionCursor>();
  /** The next four are in groups by partition. */
  readonly #done = new Table<number>();
  readonly #parked = new Table<ParkedKey>();
  readonly #outbox = new Table<OutboxRow>();
  readonly #timers = new Table<TimerRow>();
  /** In groups by tenant, projector and generation. */
  readonly #projections = new Table<ProjectionRow>();
  #version = 0;

  constructor(clock: () => number) {
    this.#clock = clock;
  }

  async now(): Promise<number> {
    return this.#clock();
  }

  async heartbeat(instance: string, body: Uint8Array, ttlMs: number): Promise<InstanceRow[]> {
    const now = this.#clock();
    for (const row of this.#instances.values()) {
      if (row.expiresAtMicros <= now) this.#instances.delete(row.instance);
    }
    const row = { instance, body: copy(body), heartbeatAtMicros: now, expiresAtMicros: now + ttlMs * 1000 };
    this.#instances.set(instance, row);
    return copy([...this.#instances.values()]).sort((a, b) => comparePlaces([a.instance], [b.instance]));
  }

  async leave(instance: string): Promise<void> {
    this.#instances.delete(instance);
    for (const cursor of this.#cursors.all()) {
      if (cursor.owner === instance) this.#putCursor({ ...cursor, owner: undefined });
    }
  }

  async declare(definition: SubscriptionDefinition): Promise<SubscriptionDefinition> {
    const { name, generation, kind } = definition;
    const text = key(name, generation);
    const known = this.#subscriptions.get(text);
    if (known === undefined) {
      this.#subscriptions.set(text, copy(definition));
      for (let partition = 0; partition < definition.partitions; partition++) {
        const place = { subscription: name, generation, partition };
        this.#putCursor({
          ...place,
          position: definition.startAfter,
          epoch: 0,
          owner: undefined,
          definitionVersion: 0,
        });
      }
      if (kind === 'projector' && !this.#active.has(name)) this.#active.set(name, generation);
    } else if (isNewer(definition, known)) {
      const { partitions, startAfter, paused } = known;
      this.#subscriptions.set(text, { ...copy(definition), partitions, startAfter, paused });
    }
    return copy(this.#subscriptions.get(text)!);
  }

  async listSubscriptions(): Promise<SubscriptionDefinition[]> {
    return inOrder([...this.#subscriptions.values()], ({ name, generation }) => [name, generation]);
  }

  async setPaused(subscription: string, paused: boolean): Promise<void> {
    for (const [text, known] of this.#subscriptions) {
      if (known.name === subscription) this.#subscriptions.set(text, { ...known, paused });
    }
  }

  async removeGeneration(subscription: string, generation: number, limit: number): Promise<boolean> {
    const within = (row: { subscription: string; generation: number }) =>
      row.subscription === subscription && row.generation === generation;
    const others = [...this.#subscriptions.values()].some(
      (other) => other.name === subscription && other.generation !== generation,
    );
    if (others && this.#active.get(subscription) === generation) return true;
    for (const cursor of this.#cursors.all().filter(within)) {
      const group = partitionKey(cursor);
      this.#cursors.remove(group);
      for (const position of this.#done.ofGroup(group)) this.#done.remove(key(group, position));
    }
    for (const { partition, key: name } of this.#parked.all()) {
      if (within(partition)) this.#parked.remove(key(partitionKey(partition), name));
    }
    for (const row of this.#outbox.all().filter(within)) this.#outbox.remove(outboxKey(row));
    const projections = this.#projections
      .all()
      .filter((row) => row.projector === subscription && row.generation === generation);
    for (const row of projections.slice(0, limit)) this.#projections.remove(projectionKey(row));
    if (projections.length > limit) return false;
    this.#subscriptions.delete(key(subscription, generation));
    if (this.#active.get(subscription) === generation) this.#active.delete(subscription);
    if (!others) {
      for (const row of this.#timers.all()) if (row.subscription === subscription) this.#timers.remove(timerKey(row));
    }
    return true;
  }

  async listCursors(subscription?: string): Promise<PartitionCursor[]> {
    const found = this.#cursors.all().filter((cursor) => (subscription ?? cursor.subscription) === cursor.subscription);
    return inOrder(found, partitionPlace);
  }

  async acquire(
    partition: PartitionKey,
    instance: string,
    definitionVersion: number,
  ): Promise<AcquiredPartition | undefined> {
    const cursor = this.#cursors.get(partitionKey(partition));
    if (cursor === undefined || definitionVersion < cursor.definitionVersion) return undefined;
    if (partition.generation < (this.#active.get(partition.subscription) ?? 0)) return undefined;
    const { owner } = cursor;
    if (owner !== undefined && owner !== instance && this.#isThere(owner)) return undefined;
    const taken = { ...cursor, owner: instance, epoch: cursor.epoch + 1, definitionVersion };
    this.#putCursor(taken);
    return { ...taken, takenFrom: owner };
  }

  async release(partition: PartitionKey, epoch: number): Promise<void> {
    const cursor = this.#cursors.get(partitionKey(partition));
    if (cursor?.epoch === epoch) this.#putCursor({ ...cursor, owner: undefined });
  }

  async listDone(partition: PartitionKey): Promise<number[]> {
    return this.#done.ofGroup(partitionKey(partition)).sort((a, b) => a - b);
  }

  async readParked(partition: PartitionKey, orderingKey: string): Promise<ParkedKey | undefined> {
    return copy(this.#parked.get(key(partitionKey(partition), orderingKey)));
  }

  async listParked(list: List<'listParked'>): Promise<ParkedKey[]> {
    const { subscription, partition, state, after, limit } = list;
    const rows = partition === undefined ? this.#parked.all() : this.#parked.ofGroup(partitionKey(partition));
    const found = rows
      .filter((row) => subscription === undefined || row.partition.subscription === subscription)
      .filter((row) => state === undefined || row.state === state);
    return inOrder(found, parkedPlace, after && parkedPlace(after)).slice(0, limit);
  }

  async countParked(): Promise<ParkedCount[]> {
    const counts = new Map<string, ParkedCount>();
    for (const { partition, state } of this.#parked.all()) {
      const { subscription, generation } = partition;
      const text = key(subscription, generation, state);
      const { count } = counts.get(text) ?? { count: 0 };
      counts.set(text, { subscription, generation, state, count: count + 1 });
    }
    return inOrder([...counts.values()], ({ subscription, generation, state }) => [subscription, generation, state]);
  }

  async dueOutbox(partition: PartitionKey, nowMicros: number, limit: number): Promise<OutboxRow[]> {
    const due = this.#heads(partition, 'ready').filter(({ dueAtMicros }) => dueAtMicros <= nowMicros);
    return inOrder(due, duePlace).slice(0, limit);
  }

  async nextOutboxDue(partition: PartitionKey): Promise<number | undefined> {
    return least(this.#heads(partition, 'ready').map(({ dueAtMicros }) => dueAtMicros));
  }

  async dueForwarded(shares: readonly HostShare[], nowMicros: number, limit: number): Promise<OutboxRow[]> {
    const partitions = new Map(this.#outbox.all().map((row) => [partitionKey(row), row]));
    const due = [...partitions.values()]
      .flatMap((partition) => this.#heads(partition, 'forwarded'))
      .filter(({ dueAtMicros }) => dueAtMicros <= nowMicros)
      .filter((row) =>
        shares.some(({ domain, part, parts }) => domain === row.target.domain && row.partition % parts === part),
      );
    return inOrder(due, duePlace).slice(0, limit);
  }

  async nextDue(instance: string): Promise<PartitionDue[]> {
    const found: PartitionDue[] = [];
    for (const { owner, subscription, generation, partition } of inOrder(this.#cursors.all(), partitionPlace)) {
      if (owner !== instance) continue;
      const place = { subscription, generation, partition };
      const outboxDue = await this.nextOutboxDue(place);
      const timerDue = await this.nextTimerDue(subscription, partition);
      if (outboxDue !== undefined || timerDue !== undefined) found.push({ ...place, outboxDue, timerDue });
    }
    return found;
  }

  async readOutbox(row: OutboxKey): Promise<OutboxRow | undefined> {
    return copy(this.#outbox.get(outboxKey(row)));
  }

  async listOutbox(list: List<'listOutbox'>): Promise<OutboxRow[]> {
    const { subscription, state, correlation, after, limit } = list;
    const found = this.#outbox
      .all()
      .filter((row) => subscription === undefined || row.subscription === subscription)
      .filter((row) => state === undefined || row.state === state)
      .filter((row) => correlation === undefined || row.correlationId === correlation.correlationId)
      .filter((row) => correlation === undefined || row.target.tenant === correlation.tenant);
    return inOrder(found, outboxPlace, after && outboxPlace(after)).slice(0, limit);
  }

  async dueTimers(subscription: string, partition: number, nowMicros: number, limit: number): Promise<TimerRow[]> {
    const due = this.#timers.ofGroup(key(subscription, partition)).filter((row) => row.dueAtMicros <= nowMicros);
    return inOrder(due, (row) => [row.dueAtMicros, row.tenant, row.process, row.name]).slice(0, limit);
  }

  async nextTimerDue(subscription: string, partition: number): Promise<number | undefined> {
    return least(this.#timers.ofGroup(key(subscription, partition)).map(({ dueAtMicros }) => dueAtMicros));
  }

  async readTimer(row: TimerKey): Promise<TimerRow | undefined> {
    return copy(this.#timers.get(timerKey(row)));
  }

  async readProjection(row: ProjectionKey): Promise<ProjectionRow | undefined> {
    return copy(this.#projections.get(projectionKey(row)));
  }

  async hasProjections(projector: string, generation: number): Promise<boolean> {
    return this.#projections.all().some((row) => row.projector === projector && row.generation === generation);
  }

  async listProjections(list: List<'listProjections'>): Promise<ProjectionRow[]> {
    const { tenant, projector, generation, prefix, after, limit } = list;
    const found = this.#projections
      .ofGroup(key(tenant, projector, generation))
      .filter((row) => row.payload !== undefined && row.key.startsWith(prefix));
    return inOrder(found, (row) => [row.key], after === undefined ? undefined : [after]).slice(0, limit);
  }

  async projectionsOf({ stream, projector, generation, from, limit }: List<'projectionsOf'>): Promise<ProjectionRow[]> {
    const found = this.#projections
      .ofGroup(key(stream.tenant, projector, generation))
      .filter((row) => row.position >= from && streamText(row.stream) === streamText(stream));
    return inOrder(found, (row) => [row.position, row.key]).slice(0, limit);
  }

  async activeGeneration(projector: string): Promise<number> {
    return this.#active.get(projector) ?? 0;
  }

  async activeGenerations(): Promise<{ projector: string; generation: number }[]> {
    const all = [...this.#active].map(([projector, generation]) => ({ projector, generation }));
    return inOrder(all, ({ projector }) => [projector]);
  }

  async switchGeneration(projector: string, previous: number, next: number): Promise<boolean> {
    if ((this.#active.get(projector) ?? 0) !== previous) return false;
    const cursorsOf = (generation: number) =>
      this.#cursors.all().filter((cursor) => cursor.subscription === projector && cursor.generation === generation);
    const [old, fresh] = [cursorsOf(previous), cursorsOf(next)];
    const parked = this.#parked
      .all()
      .some(
        ({ partition, state }) =>
          partition.subscription === projector && partition.generation === next && state !== 'draining',
      );
    if (fresh.length === 0 || parked) return false;
    const positions = old.map(({ position }) => position);
    const leastOld = least(positions) ?? 0;
    for (const cursor of fresh) {
      const same = old.find(({ partition }) => partition === cursor.partition);
      const progress = old.length === fresh.length ? same!.position : leastOld;
      if (cursor.position < progress) return false;
    }
    this.#active.set(projector, next);
    for (const cursor of old) this.#putCursor({ ...cursor, owner: undefined, epoch: cursor.epoch + 1 });
    return true;
  }

  /** What the work part builds on and is not so any more. */
  protected fencedBy(work: WorkPart): string | undefined {
    return fencedBy(work, this.#state);
  }

  protected writeWork(work: WorkPart, undo: Undo): void {
    const version = this.#version;
    undo.push(() => {
      this.#version = version;
    });
    for (const { partition, position } of work.done) {
      const group = partitionKey(partition);
      this.#done.put(group, key(group, position), position, undo);
    }
    for (const { partition, key: name, row } of work.parked) {
      const group = partitionKey(partition);
      if (row === undefined) this.#parked.remove(key(group, name), undo);
      else this.#parked.put(group, key(group, name), { ...copy(row), version: ++this.#version }, undo);
    }
    for (const row of work.outboxAdded) this.#putOutbox(row, undo);
    for (const { key: name, row } of work.outboxChanged) {
      if (row === undefined) {
        this.#outbox.remove(outboxKey(name), undo);
        continue;
      }
      const { state, attempts, dueAtMicros, expiresAtMicros, reason, message } = row;
      const before = this.#outbox.get(outboxKey(name))!;
      this.#putOutbox({ ...before, state, attempts, dueAtMicros, expiresAtMicros, reason, message }, undo);
    }
    for (const { key: name, row } of work.timers) {
      if (row === undefined) this.#timers.remove(timerKey(name), undo);
      else {
        const stored = { ...copy(row), version: ++this.#version };
        this.#timers.put(key(row.subscription, row.partition), timerKey(row), stored, undo);
      }
    }
    for (const { tenant, subscription, process } of work.timersEnded) {
      const ended = this.#timers
        .all()
        .filter((row) => row.tenant === tenant && row.subscription === subscription && row.process === process);
      for (const row of ended) this.#timers.remove(timerKey(row), undo);
    }
    for (const row of work.projections) {
      this.#projections.put(key(row.tenant, row.projector, row.generation), projectionKey(row), copy(row), undo);
    }
    for (const { partition, to } of work.cursors) this.#moveCursor(partition, to, undo);
  }

  #moveCursor(partition: PartitionKey, to: number, undo: Undo): void {
    const group = partitionKey(partition);
    this.#putCursor({ ...this.#cursors.get(group)!, position: to }, undo);
    for (const position of this.#done.ofGroup(group)) if (position <= to) this.#done.remove(key(group, position), undo);
    for (const row of this.#parked.ofGroup(group)) {
      if (row.state === 'draining' && row.through <= to) this.#parked.remove(key(group, row.key), undo);
    }
  }

  #putCursor(cursor: PartitionCursor, undo?: Undo): void {
    this.#cursors.put(cursor.subscription, partitionKey(cursor), cursor, undo);
  }

  #putOutbox(row: OutboxRow, undo: Undo): void {
    const stored = { ...copy(row), version: ++this.#version };
    this.#outbox.put(partitionKey(row), outboxKey(row), stored, undo);
  }

  /** The first rows of the lanes, where they are in this state. */
  #heads(partition: PartitionKey, wanted: OutboxState): OutboxRow[] {
    const rows = this.#outbox.ofGroup(partitionKey(partition));
    if (rows.length === 0) return rows;
    const heads = new Map<string, OutboxRow>();
    for (const row of rows) {
      const head = heads.get(row.lane);
      const earlier = head !== undefined && comparePlaces([head.position, head.index], [row.position, row.index]) <= 0;
      if (!earlier) heads.set(row.lane, row);
    }
    return [...heads.values()].filter(({ state }) => state === wanted);
  }

  #isThere(instance: string): boolean {
    const row = this.#instances.get(instance);
    return row !== undefined && row.expiresAtMicros > this.#clock();
  }

  readonly #state: WorkState = {
    cursor: (partition) => this.#cursors.get(partitionKey(partition)),
    isDone: (partition, position) => this.#done.get(key(partitionKey(partition), position)) !== undefined,
    parkedVersion: (partition, name) => this.#parked.get(key(partitionKey(partition), name))?.version ?? 0,
    outboxVersion: (row) => this.#outbox.get(outboxKey(row))?.version ?? 0,
    timerVersion: (row) => this.#timers.get(timerKey(row))?.version ?? 0,
  };
}

/** No text in a store contains a NUL. */
function key(...parts: Place): string {
  return parts.join('\0');
}

function partitionKey({ subscription, generation, partition }: PartitionKey): string {
  return key(subscription, generation, partition);
}

function outboxKey(row: OutboxKey): string {
  return key(...outboxPlace(row));
}

function timerKey({ tenant, subscription, process, name }: TimerKey): string {
  return key(tenant, subscription, process, name);
}

function projectionKey({ tenant, projector, generation, key: name }: ProjectionKey): string {
  return key(tenant, projector, generation, name);
}

function partitionPlace({ subscription, generation, partition }: PartitionKey): Place {
  return [subscription, generation, partition];
}

function parkedPlace(row: { partition: PartitionKey; key: string }): Place {
  return [...partitionPlace(row.partition), row.key];
}

function duePlace({ dueAtMicros, position, index }: OutboxRow): Place {
  return [dueAtMicros, position, index];
}

function outboxPlace({ subscription, generation, position, index, logId, incarnation }: OutboxKey): Place {
  return [subscription, generation, position, index, logId, incarnation];
}

/** Copies of the rows behind a place, sorted. */
function inOrder<Row>(rows: Row[], place: (row: Row) => Place, after?: Place): Row[] {
  if (rows.length === 0) return rows;
  return rows
    .map((row) => ({ row, place: place(row) }))
    .filter((placed) => after === undefined || comparePlaces(placed.place, after) > 0)
    .sort((a, b) => comparePlaces(a.place, b.place))
    .map(({ row }) => copy(row));
}

function least(numbers: number[]): number | undefined {
  return numbers.length === 0 ? undefined : numbers.reduce((a, b) => Math.min(a, b));
}
