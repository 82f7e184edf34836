// The library: everything that an application needs is exported here.

export { type Aggregate, type DecideContext, Rejection, type RejectionKindName } from './aggregate.ts';
export { type AttachOptions, attach, Host } from './attach.ts';
export type { HostEvent } from './attachment.ts';
export type { CallOptions } from './calls.ts';
export { Client, type ConnectOptions, connect, type SyncOptions } from './client.ts';
export { type Command, type CoverParts, cover, type Surroundings } from './command.ts';
export type { Control } from './control.ts';
export type { DeadLetters, DeadLettersQuery, ParkedStateName } from './dead-letters.ts';
export {
  DaybookError,
  type DaybookReason,
  type LocalReason,
  Overloaded,
  type Reason,
  Rejected,
  SequenceConflict,
} from './errors.ts';
export type { Folding } from './fold.ts';
export { foldProjector, type RowFold } from './fold-projector.ts';
export type {
  Instance,
  ListSubscriptionsResponse,
  Partition,
  RebuildProgress,
  Subscription as SubscriptionStatus,
} from './gen/daybook/v1/control.ts';
export type { DeadLetter, ListDeadLettersResponse } from './gen/daybook/v1/dead_letters.ts';
export type { HeadResponse } from './gen/daybook/v1/positions.ts';
export type { ListProjectionsResponse } from './gen/daybook/v1/projections.ts';
export type { ReadLogResponse } from './gen/daybook/v1/query.ts';
export type {
  CommandBook,
  CommandResponse,
  Cover,
  Delivery,
  EventBook,
  EventPage,
  Projection,
  ReactionError,
  Snapshot,
} from './gen/daybook/v1/types.ts';
export type { Any } from './gen/google/protobuf/any.ts';
export type { Hosted } from './hosted.ts';
export { rootOf, uuidBytes, uuidText, uuidv7 } from './ids.ts';
export { oneByOne } from './one-by-one.ts';
export { type MessageType, pack, packJson, typeName, unpack, unpackJson } from './payload.ts';
export { Pipeline, type PipelineOptions, type SendOptions } from './pipeline.ts';
export type { Positions, WaitOptions } from './positions.ts';
export type {
  Outcome,
  ProcessContext,
  ProcessManager,
  ProcessStep,
  TimerSetting,
  Trigger,
} from './process-manager.ts';
export type { ProjectionQuery, Projections, ProjectionsQuery } from './projections.ts';
export type { ProjectContext, Projected, Projector, Row } from './projector.ts';
export type { HistoryQuery, LogQuery } from './query.ts';
export type {
  Fact,
  ReactionCommand,
  ReactionContext,
  RecordedPage,
  StartPoint,
  Subscription,
} from './reactor.ts';
export { RejectionNotification } from './rejection-notification.ts';
export type { RetryPolicy } from './retry.ts';
export type { ReactContext, Reaction, Saga } from './saga.ts';
export type { SyncModeName } from './sync-mode.ts';
export type { Upcaster } from './upcaster.ts';
export type { WorkContext } from './work-in-hand.ts';
