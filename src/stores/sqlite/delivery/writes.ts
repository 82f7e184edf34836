// What delivery changes outside of units, as the worker carries it out. The writer makes each one transaction.

import type { DatabaseSync } from 'node:sqlite';
import { isNewer } from '../../../model/subscription.ts';
import type {
  AcquiredPartition,
  DeliveryStore,
  InstanceRow,
  PartitionCursor,
  PartitionKey,
  SubscriptionDefinition,
} from '../../../store.ts';
import * as outbox from './outbox.ts';
import * as parked from './parked.ts';
import * as projections from './projections.ts';
import * as subscriptions from './subscriptions.ts';
import * as timers from './timers.ts';

export type DeliveryWrite =
  | 'heartbeat'
  | 'leave'
  | 'declare'
  | 'setPaused'
  | 'removeGeneration'
  | 'acquire'
  | 'release'
  | 'switchGeneration';

type Writes = {
  [Name in DeliveryWrite]: (
    db: DatabaseSync,
    nowMicros: number,
    ...ask: Parameters<DeliveryStore[Name]>
  ) => Awaited<ReturnType<DeliveryStore[Name]>>;
};

export const deliveryWrites: Writes = {
  heartbeat(db, nowMicros, instance, body, ttlMs): InstanceRow[] {
    subscriptions.deleteExpiredInstances(db, nowMicros);
    const expiresAtMicros = nowMicros + ttlMs * 1000;
    subscriptions.putInstance(db, { instance, body, heartbeatAtMicros: nowMicros, expiresAtMicros });
    return subscriptions.listInstances(db, nowMicros);
  },

  leave(db, _nowMicros, instance): void {
    subscriptions.deleteInstance(db, instance);
    subscriptions.releaseCursors(db, instance);
  },

  declare(db, _nowMicros, definition): SubscriptionDefinition {
    const { name, generation, partitions, startAfter } = definition;
    const known = subscriptions.findSubscription(db, name, generation);
    if (known === undefined) {
      subscriptions.insertSubscription(db, definition);
      for (let partition = 0; partition < partitions; partition++) {
        subscriptions.insertCursor(db, { subscription: name, generation, partition }, startAfter);
      }
      if (definition.kind === 'projector' && subscriptions.findActive(db, name) === 0) {
        subscriptions.putActive(db, name, generation);
      }
    } else if (isNewer(definition, known)) {
      subscriptions.updateSubscription(db, definition);
    }
    return subscriptions.findSubscription(db, name, generation)!;
  },

  setPaused(db, _nowMicros, subscription, paused): void {
    subscriptions.setPaused(db, subscription, paused);
  },

  removeGeneration(db, _nowMicros, subscription, generation, limit): boolean {
    const others = subscriptions.hasOthers(db, subscription, generation);
    if (others && subscriptions.findActive(db, subscription) === generation) return true;
    subscriptions.deleteCursors(db, subscription, generation);
    parked.deleteDoneOf(db, subscription, generation);
    parked.deleteParkedOf(db, subscription, generation);
    outbox.deleteOutboxOf(db, subscription, generation);
    projections.deleteProjections(db, subscription, generation, limit);
    if (projections.hasProjections(db, subscription, generation)) return false;
    subscriptions.deleteSubscription(db, subscription, generation);
    subscriptions.deleteActive(db, subscription, generation);
    if (!others) timers.deleteTimersOf(db, subscription);
    return true;
  },

  acquire(db, nowMicros, partition, instance, definitionVersion): AcquiredPartition | undefined {
    const cursor = subscriptions.findCursor(db, partition);
    if (cursor === undefined || definitionVersion < cursor.definitionVersion) return undefined;
    if (partition.generation < subscriptions.findActive(db, partition.subscription)) return undefined;
    const { owner } = cursor;
    if (owner !== undefined && owner !== instance && subscriptions.isThere(db, owner, nowMicros)) return undefined;
    const taken = { ...cursor, owner: instance, epoch: cursor.epoch + 1, definitionVersion };
    subscriptions.takeCursor(db, taken);
    return { ...taken, takenFrom: owner };
  },

  release(db, _nowMicros, partition, epoch): void {
    subscriptions.releaseCursor(db, partition, epoch);
  },

  switchGeneration(db, _nowMicros, projector, previous, next): boolean {
    if (subscriptions.findActive(db, projector) !== previous) return false;
    const cursors = subscriptions.listCursors(db, projector);
    const old = cursors.filter(({ generation }) => generation === previous);
    const fresh = cursors.filter(({ generation }) => generation === next);
    if (fresh.length === 0 || parked.hasParked(db, projector, next)) return false;
    if (fresh.some((cursor) => cursor.position < progressOf(old, cursor, fresh.length))) return false;
    subscriptions.putActive(db, projector, next);
    for (const cursor of old) subscriptions.takeCursor(db, { ...cursor, owner: undefined, epoch: cursor.epoch + 1 });
    return true;
  },
};

/** How far the old generation is where the new cursor is. 0 when there is no old one. */
function progressOf(old: PartitionCursor[], { partition }: PartitionKey, partitions: number): number {
  const corresponding = old.length === partitions ? old.filter((cursor) => cursor.partition === partition) : old;
  return corresponding.reduce((least, { position }) => Math.min(least, position), corresponding[0]?.position ?? 0);
}
