// Delivery's part of the store: a statement for each call.

import type {
  AcquiredPartition,
  DeliveryStore,
  HostShare,
  InstanceRow,
  OutboxKey,
  OutboxRow,
  ParkedCount,
  ParkedKey,
  ParkedState,
  PartitionCursor,
  PartitionDue,
  PartitionKey,
  ProjectionKey,
  ProjectionRow,
  SubscriptionDefinition,
  TimerKey,
  TimerRow,
} from '../../../store.ts';
import { comparePlaces } from '../../order.ts';
import { int8s, texts } from '../arrays.ts';
import { bytea } from '../queries.ts';
import { Together } from '../together.ts';
import * as rows from './rows.ts';
import type { DeliverySql } from './statements.ts';

/** Sorts behind every name: those are ASCII. */
const LAST = '\u{10ffff}';
const EVER = Number.MAX_SAFE_INTEGER;

type Asked<Name extends keyof DeliveryStore> = Parameters<DeliveryStore[Name]>[0];

export abstract class PostgresDelivery implements DeliveryStore {
  protected abstract read<Row extends unknown[]>(name: keyof DeliverySql, ...values: unknown[]): Promise<Row[]>;
  protected abstract write<Row extends unknown[]>(name: keyof DeliverySql, ...values: unknown[]): Promise<Row[]>;
  /** What a test says the time is; `null`: the database's clock says it. */
  protected abstract given(): number | null;

  readonly #projections: Together<ProjectionKey, ProjectionRow | undefined>;

  /** Reads at once. */
  constructor(readers: number) {
    this.#projections = new Together(readers, (keys) => this.#readProjections(keys));
  }

  abstract now(): Promise<number>;

  async heartbeat(instance: string, body: Uint8Array, ttlMs: number): Promise<InstanceRow[]> {
    const ttlMicros = Math.round(ttlMs * 1000);
    // Beside the reads: a heartbeat must not wait behind somebody who waits for a lock.
    const found = await this.read<rows.InstanceTuple>('heartbeat', this.given(), instance, bytea(body), ttlMicros);
    return found.map(rows.instanceRow);
  }

  async leave(instance: string): Promise<void> {
    await this.write('leave', instance);
  }

  async declare(definition: SubscriptionDefinition): Promise<SubscriptionDefinition> {
    const { name, generation, kind, version, domains, types, partitions, startAfter, sync, paused } = definition;
    const filter = [JSON.stringify(domains), JSON.stringify(types)];
    const values = [name, generation, kind, version, ...filter, partitions, startAfter, sync, paused];
    const [row] = await this.write<rows.SubscriptionTuple>('declare', ...values);
    return rows.subscriptionRow(row!);
  }

  async listSubscriptions(): Promise<SubscriptionDefinition[]> {
    return (await this.read<rows.SubscriptionTuple>('listSubscriptions')).map(rows.subscriptionRow);
  }

  async setPaused(subscription: string, paused: boolean): Promise<void> {
    await this.write('setPaused', subscription, paused);
  }

  async removeGeneration(subscription: string, generation: number, limit: number): Promise<boolean> {
    const [row] = await this.write<[boolean]>('removeGeneration', subscription, generation, limit);
    return row![0];
  }

  async listCursors(subscription?: string): Promise<PartitionCursor[]> {
    const found = await this.read<rows.CursorTuple>('listCursors', subscription ?? '', subscription ?? LAST);
    return found.map(rows.cursorRow);
  }

  async acquire(
    partition: PartitionKey,
    instance: string,
    definitionVersion: number,
  ): Promise<AcquiredPartition | undefined> {
    const { subscription, generation, partition: number } = partition;
    const [row] = await this.write<[number, number, string | null]>(
      'acquire',
      this.given(),
      subscription,
      generation,
      number,
      instance,
      definitionVersion,
    );
    if (row === undefined) return undefined;
    const [position, epoch, takenFrom] = row;
    return {
      subscription,
      generation,
      partition: number,
      position,
      epoch,
      owner: instance,
      definitionVersion,
      takenFrom: takenFrom ?? undefined,
    };
  }

  async release(partition: PartitionKey, epoch: number): Promise<void> {
    await this.write('release', ...place(partition), epoch);
  }

  async listDone(partition: PartitionKey): Promise<number[]> {
    return (await this.read<[number]>('listDone', ...place(partition))).map(([position]) => position);
  }

  async readParked(partition: PartitionKey, key: string): Promise<ParkedKey | undefined> {
    const [row] = await this.read<rows.ParkedTuple>('findParked', ...place(partition), key);
    return row && rows.parkedRow(row);
  }

  async listParked(list: Asked<'listParked'>): Promise<ParkedKey[]> {
    const { partition, state, after, limit } = list;
    const subscription = partition?.subscription ?? list.subscription;
    if (list.subscription !== undefined && list.subscription !== subscription) return [];
    // No ordering key is empty, and partitions begin at 0: this lies before everything that is wanted.
    const begin = [subscription ?? '', partition?.generation ?? -1, partition?.partition ?? -1, ''];
    const end = [subscription ?? LAST, partition?.generation ?? EVER, partition?.partition ?? EVER];
    const next = after && [...place(after.partition), after.key];
    const from = next !== undefined && comparePlaces(next, begin) > 0 ? next : begin;
    const found = await this.read<rows.ParkedTuple>('listParked', ...from, ...end, state ?? null, limit);
    return found.map(rows.parkedRow);
  }

  async countParked(): Promise<ParkedCount[]> {
    const found = await this.read<[string, number, ParkedState, number]>('countParked');
    return found.map(([subscription, generation, state, count]) => ({ subscription, generation, state, count }));
  }

  async dueOutbox(partition: PartitionKey, nowMicros: number, limit: number): Promise<OutboxRow[]> {
    const found = await this.read<rows.OutboxTuple>('dueOutbox', ...place(partition), nowMicros, limit);
    return found.map(rows.outboxRow);
  }

  async nextOutboxDue(partition: PartitionKey): Promise<number | undefined> {
    return (await this.read<[number]>('nextOutboxDue', ...place(partition)))[0]?.[0];
  }

  async dueForwarded(shares: readonly HostShare[], nowMicros: number, limit: number): Promise<OutboxRow[]> {
    const domains = shares.map(({ domain }) => domain);
    const parts = [shares.map(({ part }) => part), shares.map(({ parts }) => parts)];
    return (await this.read<rows.OutboxTuple>('dueForwarded', domains, ...parts, nowMicros, limit)).map(rows.outboxRow);
  }

  async nextDue(instance: string): Promise<PartitionDue[]> {
    const found = await this.read<[string, number, number, number | null, number | null]>('nextDue', instance);
    return found.map(([subscription, generation, partition, outboxDue, timerDue]) => ({
      subscription,
      generation,
      partition,
      outboxDue: outboxDue ?? undefined,
      timerDue: timerDue ?? undefined,
    }));
  }

  async readOutbox(key: OutboxKey): Promise<OutboxRow | undefined> {
    const [row] = await this.read<rows.OutboxTuple>('findOutbox', ...outboxPlace(key));
    return row && rows.outboxRow(row);
  }

  async listOutbox(list: Asked<'listOutbox'>): Promise<OutboxRow[]> {
    const { subscription, state, correlation, after, limit } = list;
    const begin = [subscription ?? '', -1, -1, -1, '', ''];
    const next = after && outboxPlace(after);
    const from = next !== undefined && comparePlaces(next, begin) > 0 ? next : begin;
    const values = [...from, subscription ?? LAST];
    const ask = () => {
      if (correlation !== undefined) {
        const { tenant, correlationId } = correlation;
        const more = [state ?? null, limit, correlationId, tenant];
        return this.read<rows.OutboxTuple>('listCorrelatedOutbox', ...values, ...more);
      }
      if (state === 'dead') return this.read<rows.OutboxTuple>('listDeadOutbox', ...values, limit);
      return this.read<rows.OutboxTuple>('listOutbox', ...values, state ?? null, limit);
    };
    return (await ask()).map(rows.outboxRow);
  }

  async dueTimers(subscription: string, partition: number, nowMicros: number, limit: number): Promise<TimerRow[]> {
    const found = await this.read<rows.TimerTuple>('dueTimers', subscription, partition, nowMicros, limit);
    return found.map(rows.timerRow);
  }

  async nextTimerDue(subscription: string, partition: number): Promise<number | undefined> {
    return (await this.read<[number]>('nextTimerDue', subscription, partition))[0]?.[0];
  }

  async readTimer(key: TimerKey): Promise<TimerRow | undefined> {
    const { subscription, tenant, process, name } = key;
    const [row] = await this.read<rows.TimerTuple>('findTimer', subscription, tenant, process, name);
    return row && rows.timerRow(row);
  }

  readProjection(key: ProjectionKey): Promise<ProjectionRow | undefined> {
    return this.#projections.ask(key);
  }

  async #readProjections(keys: readonly ProjectionKey[]): Promise<(ProjectionRow | undefined)[]> {
    const found = await this.read<[n: number, ...rows.ProjectionTuple]>(
      'findProjections',
      texts(keys.map(({ projector }) => projector)),
      int8s(keys.map(({ generation }) => generation)),
      texts(keys.map(({ tenant }) => tenant)),
      texts(keys.map(({ key }) => key)),
    );
    const answers: (ProjectionRow | undefined)[] = keys.map(() => undefined);
    for (const [n, ...row] of found) answers[n - 1] = rows.projectionRow(row);
    return answers;
  }

  async hasProjections(projector: string, generation: number): Promise<boolean> {
    return (await this.read('findAnyProjection', projector, generation)).length > 0;
  }

  async listProjections(list: Asked<'listProjections'>): Promise<ProjectionRow[]> {
    const { tenant, projector, generation, prefix, after, limit } = list;
    const behind = after !== undefined && comparePlaces([after], [prefix]) >= 0;
    const to = behindPrefix(prefix);
    const name = `listProjections${behind ? 'After' : 'From'}${to === undefined ? '' : 'To'}` as const;
    const values = [projector, generation, tenant, behind ? after : prefix, limit, ...(to === undefined ? [] : [to])];
    return (await this.read<rows.ProjectionTuple>(name, ...values)).map(rows.projectionRow);
  }

  async projectionsOf(of: Asked<'projectionsOf'>): Promise<ProjectionRow[]> {
    const { stream, projector, generation, from, limit } = of;
    const key = [stream.tenant, stream.domain, bytea(stream.root)];
    const found = await this.read<rows.ProjectionTuple>('projectionsOf', projector, generation, ...key, from, limit);
    return found.map(rows.projectionRow);
  }

  /** 0 when there is none. */
  async activeGeneration(projector: string): Promise<number> {
    return (await this.read<[number]>('findActive', projector))[0]?.[0] ?? 0;
  }

  async activeGenerations(): Promise<{ projector: string; generation: number }[]> {
    const found = await this.read<[string, number]>('listActive');
    return found.map(([projector, generation]) => ({ projector, generation }));
  }

  async switchGeneration(projector: string, previous: number, next: number): Promise<boolean> {
    const [row] = await this.write<[boolean]>('switchGeneration', projector, previous, next);
    return row![0];
  }
}

function place({ subscription, generation, partition }: PartitionKey) {
  return [subscription, generation, partition] as const;
}

function outboxPlace(key: OutboxKey) {
  return [key.subscription, key.generation, key.position, key.index, key.logId, key.incarnation];
}

/** The first that sorts behind every text with the prefix; `undefined`: nothing does. */
function behindPrefix(prefix: string): string | undefined {
  const characters = [...prefix];
  while (characters.length > 0) {
    const last = characters.pop()!.codePointAt(0)!;
    if (last === 0x10ffff) continue;
    // What lies between is no character.
    return characters.join('') + String.fromCodePoint(last === 0xd7ff ? 0xe000 : last + 1);
  }
  return undefined;
}
