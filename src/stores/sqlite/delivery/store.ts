// The daemon's side of delivery: every call goes to a worker with its arguments as they are.

import type {
  AcquiredPartition,
  DeliveryStore,
  HostShare,
  InstanceRow,
  OutboxKey,
  OutboxRow,
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
} from '../../../store.ts';
import type { DeliveryRead } from './reads.ts';
import type { DeliveryWrite } from './writes.ts';

type Asked<Name extends keyof DeliveryStore> = Parameters<DeliveryStore[Name]>;
type Answered<Name extends keyof DeliveryStore> = Awaited<ReturnType<DeliveryStore[Name]>>;

export abstract class SqliteDelivery implements DeliveryStore {
  protected abstract read<Name extends DeliveryRead>(name: Name, ...ask: Asked<Name>): Promise<Answered<Name>>;
  /** The worker also gets the time. */
  protected abstract write<Name extends DeliveryWrite>(name: Name, ...ask: Asked<Name>): Promise<Answered<Name>>;

  abstract now(): Promise<number>;

  heartbeat(instance: string, body: Uint8Array, ttlMs: number): Promise<InstanceRow[]> {
    return this.write('heartbeat', instance, body, ttlMs);
  }

  leave(instance: string): Promise<void> {
    return this.write('leave', instance);
  }

  declare(definition: SubscriptionDefinition): Promise<SubscriptionDefinition> {
    return this.write('declare', definition);
  }

  listSubscriptions(): Promise<SubscriptionDefinition[]> {
    return this.read('listSubscriptions');
  }

  setPaused(subscription: string, paused: boolean): Promise<void> {
    return this.write('setPaused', subscription, paused);
  }

  removeGeneration(subscription: string, generation: number, limit: number): Promise<boolean> {
    return this.write('removeGeneration', subscription, generation, limit);
  }

  listCursors(subscription?: string): Promise<PartitionCursor[]> {
    return this.read('listCursors', subscription);
  }

  acquire(
    partition: PartitionKey,
    instance: string,
    definitionVersion: number,
  ): Promise<AcquiredPartition | undefined> {
    return this.write('acquire', partition, instance, definitionVersion);
  }

  release(partition: PartitionKey, epoch: number): Promise<void> {
    return this.write('release', partition, epoch);
  }

  listDone(partition: PartitionKey): Promise<number[]> {
    return this.read('listDone', partition);
  }

  readParked(partition: PartitionKey, key: string): Promise<ParkedKey | undefined> {
    return this.read('readParked', partition, key);
  }

  listParked(...ask: Asked<'listParked'>): Promise<ParkedKey[]> {
    return this.read('listParked', ...ask);
  }

  countParked(): Promise<ParkedCount[]> {
    return this.read('countParked');
  }

  dueOutbox(partition: PartitionKey, nowMicros: number, limit: number): Promise<OutboxRow[]> {
    return this.read('dueOutbox', partition, nowMicros, limit);
  }

  nextOutboxDue(partition: PartitionKey): Promise<number | undefined> {
    return this.read('nextOutboxDue', partition);
  }

  dueForwarded(shares: readonly HostShare[], nowMicros: number, limit: number): Promise<OutboxRow[]> {
    return this.read('dueForwarded', shares, nowMicros, limit);
  }

  nextDue(instance: string): Promise<PartitionDue[]> {
    return this.read('nextDue', instance);
  }

  readOutbox(key: OutboxKey): Promise<OutboxRow | undefined> {
    return this.read('readOutbox', key);
  }

  listOutbox(...ask: Asked<'listOutbox'>): Promise<OutboxRow[]> {
    return this.read('listOutbox', ...ask);
  }

  dueTimers(subscription: string, partition: number, nowMicros: number, limit: number): Promise<TimerRow[]> {
    return this.read('dueTimers', subscription, partition, nowMicros, limit);
  }

  nextTimerDue(subscription: string, partition: number): Promise<number | undefined> {
    return this.read('nextTimerDue', subscription, partition);
  }

  readTimer(key: TimerKey): Promise<TimerRow | undefined> {
    return this.read('readTimer', key);
  }

  readProjection(key: ProjectionKey): Promise<ProjectionRow | undefined> {
    return this.read('readProjection', key);
  }

  hasProjections(projector: string, generation: number): Promise<boolean> {
    return this.read('hasProjections', projector, generation);
  }

  listProjections(...ask: Asked<'listProjections'>): Promise<ProjectionRow[]> {
    return this.read('listProjections', ...ask);
  }

  projectionsOf(...ask: Asked<'projectionsOf'>): Promise<ProjectionRow[]> {
    return this.read('projectionsOf', ...ask);
  }

  activeGeneration(projector: string): Promise<number> {
    return this.read('activeGeneration', projector);
  }

  activeGenerations(): Promise<{ projector: string; generation: number }[]> {
    return this.read('activeGenerations');
  }

  switchGeneration(projector: string, previous: number, next: number): Promise<boolean> {
    return this.write('switchGeneration', projector, previous, next);
  }
}
