// The reads of delivery, as the worker answers them. The worker makes each one transaction.

import type { DatabaseSync } from 'node:sqlite';
import type { DeliveryStore } from '../../../store.ts';
import * as outbox from './outbox.ts';
import * as parked from './parked.ts';
import * as projections from './projections.ts';
import * as subscriptions from './subscriptions.ts';
import * as timers from './timers.ts';

export type DeliveryRead =
  | 'listSubscriptions'
  | 'listCursors'
  | 'listDone'
  | 'readParked'
  | 'listParked'
  | 'countParked'
  | 'dueOutbox'
  | 'nextOutboxDue'
  | 'dueForwarded'
  | 'nextDue'
  | 'readOutbox'
  | 'listOutbox'
  | 'dueTimers'
  | 'nextTimerDue'
  | 'readTimer'
  | 'readProjection'
  | 'hasProjections'
  | 'listProjections'
  | 'projectionsOf'
  | 'activeGeneration'
  | 'activeGenerations';

type Reads = {
  [Name in DeliveryRead]: (
    db: DatabaseSync,
    ...ask: Parameters<DeliveryStore[Name]>
  ) => Awaited<ReturnType<DeliveryStore[Name]>>;
};

export const deliveryReads: Reads = {
  listSubscriptions: subscriptions.listSubscriptions,
  listCursors: subscriptions.listCursors,
  listDone: parked.listDone,
  readParked: parked.findParked,
  listParked: parked.listParked,
  countParked: parked.countParked,
  dueOutbox: outbox.dueOutbox,
  nextOutboxDue: outbox.nextOutboxDue,
  dueForwarded: outbox.dueForwarded,
  nextDue: outbox.nextDue,
  readOutbox: outbox.findOutbox,
  listOutbox: outbox.listOutbox,
  dueTimers: timers.dueTimers,
  nextTimerDue: timers.nextTimerDue,
  readTimer: timers.findTimer,
  readProjection: projections.findProjection,
  hasProjections: projections.hasProjections,
  listProjections: projections.listProjections,
  projectionsOf: projections.projectionsOf,
  activeGeneration: subscriptions.findActive,
  activeGenerations: subscriptions.listActive,
};
