// What the pieces of delivery need of each other and of the daemon.

import type { Committer } from '../coordinators/committer.ts';
import type { Effect, Occasion, Place } from '../coordinators/reaction.ts';
import type { UpcastingReads } from '../coordinators/upcasting.ts';
import type { DaybookError } from '../errors.ts';
import type { Cover, EventBook, EventPage } from '../model/book.ts';
import type { Ordering } from '../model/ordering.ts';
import type { SuspensionLimits } from '../model/suspension.ts';
import type { Runtime } from '../runtime.ts';
import type { OrderingKey, OutboxRow, ParkedKey, Store, WorkPart } from '../store.ts';
import type { Partition } from './partition.ts';
import type { Reading } from './reading.ts';

export interface DeliveryLimits extends SuspensionLimits {
  partitionWindowEvents: number;
  partitionWindowBytes: number;
  partitionConcurrency: number;
  messageBytes: number;
  reactionAttempts: number;
  reactionRetryMinMs: number;
  reactionRetryMaxMs: number;
  leaseMs: number;
  drainMs: number;
}

/** As far as pino's is used. */
export interface DeliveryLog {
  info(about: object, message: string): void;
  warn(about: object, message: string): void;
  error(about: object, message: string): void;
}

export interface DeliveryParts {
  store: Store;
  reads: UpcastingReads;
  committer: Pick<Committer, 'commit'>;
  runtime: Runtime;
  /** Microseconds since 1970, as the store counts them. */
  storeClock: () => number;
  limits: DeliveryLimits;
  reading: Reading;
  log: DeliveryLog;
}

/** What a partition needs of its subscription. */
export interface SubscriptionContext {
  readonly name: string;
  readonly ordering: Ordering;
  /** Of one request, at most. */
  readonly maxPages: number;
  /** Effects are stored with the next move of the cursor, not each in a unit of its own: projectors'. */
  readonly storesLater: boolean;
  /** Too much fails: nothing is judged. */
  readonly suspended: boolean;
  /** A call to the component may begin. */
  mayStart(): boolean;
  /** The same for the retry lane, which goes on alone while others wait. */
  mayRetry(kind: RetryKind): boolean;
  /** One more of the partition's may be in hand. False: the partition is pumped when there is room. */
  hasRoom(partition: Partition): boolean;
  began(): void;
  /** It was about so many events. */
  ended(events: number): void;
  /** There is something to start. */
  kick(partition: Partition): void;
  /** Wants to be tried alone. */
  suspect(partition: Partition, key: OrderingKey): void;
  /** An event was handled. */
  succeeded(): void;
  /** An attempt counted against a key. */
  failed(key: OrderingKey, position: number, error: DaybookError, dead: boolean): void;
  /** A key was parked because of it. */
  parkedOne(): void;
  /** Another generation has handled it: that is what the component is told. */
  replays(cover: Cover, position: number): boolean;
  /** False: this generation is being built, and the one before it has not handled it yet. */
  mayHandle(cover: Cover, position: number): boolean;
  /** The key of the generation before that is held up at this event, or before it, and that this one may go on with. */
  heldUp(cover: Cover, position: number): ParkedKey | undefined;
  /** `mayHandle` may be false of some events now. */
  readonly gated: boolean;
  /** Up to here, one event may have been handled by another generation and the next one not. */
  readonly mixedUpTo: number;
  /** Nothing that failed is tried again now. */
  readonly holding: boolean;
  /** Nothing beyond this is offered now. */
  readonly end: number;
  /** From the end of what it is offered now. */
  isFar(position: number): boolean;
  /** `undefined`: nobody wants these pages after all. */
  handle(book: EventBook, place: Place): Promise<Effect | undefined>;
  /** `undefined`: not now. */
  handleTrigger(occasion: Exclude<Occasion, { kind: 'events' }>, place: Place): Promise<Effect | undefined>;
  /** By what is stored, as far as known without it. An old event's type is known only when it was upcast. */
  mayWant(cover: Cover, page: EventPage): boolean;
  /** An effect is stored: those who wait for it are told, and what is to be sent is sent. */
  stored(effect: Effect, outbox: readonly OutboxRow[], timers: WorkPart['timers']): void;
  /** A cursor moved, or a parked key changed. */
  progressed(): void;
  /** By what is stored now. */
  stillHeld(partition: Partition): Promise<boolean>;
  /** Somebody else has it. */
  giveUp(partition: Partition, why: string): void;
  /** Begins anew from what is stored. */
  restart(partition: Partition, error: DaybookError): void;
}

export type RetryKind =
  | 'usual'
  /** Nothing else is in hand. */
  | 'exclusive'
  /** The subscription is suspended, and asks whether it is over. */
  | 'probe';
