// The shapes of the wire contract that belong to reactions: what projectors, sagas and process managers are handed and answer. As in
// book.ts they are structurally the generated messages; proto/daybook/v1/component.proto says what each field means.

import type { Any, CommandBook, Cover, Duration, EventBook, Rejection, Timestamp } from './book.ts';

export type ReactorKind = 'projector' | 'saga' | 'process_manager';

export interface Delivery {
  subscription: string;
  generation: number;
  epoch: number;
  partition: number;
  attempt: number;
  replaying: boolean;
  position: number;
  dryRun: boolean;
}

export interface Projection {
  cover: Cover | undefined;
  projector: string;
  sequence: number;
  projection: Any | undefined;
  key: string;
  position: number;
  deleted: boolean;
}

export interface ProjectorRequest {
  events: EventBook | undefined;
  delivery: Delivery | undefined;
  projector: string;
  current: Projection | undefined;
  workId: string;
}

export interface ProjectorResponse {
  projections: Projection[];
}

export interface SagaRequest {
  source: EventBook | undefined;
  delivery: Delivery | undefined;
  workId: string;
}

export interface SagaResponse {
  commands: CommandBook[];
  /** Facts. */
  events: EventBook[];
}

export interface TimerFired {
  name: string;
  due: Timestamp | undefined;
  payload: Any | undefined;
  cover: Cover | undefined;
}

export interface RejectionNotification {
  command: CommandBook | undefined;
  rejection: Rejection | undefined;
  component: string;
  source: Cover | undefined;
  sourceSequence: number;
  sourcePosition: number;
}

export type Trigger =
  | { $case: 'events'; value: EventBook }
  | { $case: 'timer'; value: TimerFired }
  | { $case: 'rejection'; value: RejectionNotification };

export interface ProcessManagerRequest {
  trigger: Trigger | undefined;
  processState: EventBook | undefined;
  delivery: Delivery | undefined;
  workId: string;
  snapshotWanted: boolean;
}

export interface Timer {
  name: string;
  when: { $case: 'due'; value: Timestamp } | { $case: 'after'; value: Duration } | undefined;
  payload: Any | undefined;
}

export interface ProcessManagerResponse {
  processEvents: EventBook | undefined;
  commands: CommandBook[];
  facts: EventBook[];
  timers: Timer[];
  cancelledTimers: string[];
  ended: boolean;
}

export interface ReactionError {
  component: string;
  target: Cover | undefined;
  reason: string;
  message: string;
  source: Cover | undefined;
  sourceSequence: number;
  sourcePosition: number;
}

/** What goes to and comes from each kind. */
export interface ReactionMessages {
  projector: { request: ProjectorRequest; response: ProjectorResponse };
  saga: { request: SagaRequest; response: SagaResponse };
  process_manager: { request: ProcessManagerRequest; response: ProcessManagerResponse };
}
