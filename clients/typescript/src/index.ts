// The library: everything that an application needs is exported here.

export { type Aggregate, type DecideContext, Rejection, type RejectionKindName } from './aggregate.ts';
export { type AttachOptions, attach, Host, type HostEvent } from './attach.ts';
export { type CallOptions, Client, type ConnectOptions, connect, type SyncOptions } from './client.ts';
export { type Command, type CoverParts, cover, type Surroundings } from './command.ts';
export {
  DaybookError,
  type DaybookReason,
  type LocalReason,
  type Reason,
  Rejected,
  SequenceConflict,
} from './errors.ts';
export type { ReadLogResponse } from './gen/daybook/v1/query.ts';
export type {
  CommandResponse,
  Cover,
  EventBook,
  EventPage,
  Projection,
  ReactionError,
  Snapshot,
} from './gen/daybook/v1/types.ts';
export type { Any } from './gen/google/protobuf/any.ts';
export { rootOf, uuidBytes, uuidText, uuidv7 } from './ids.ts';
export { oneByOne } from './one-by-one.ts';
export { type MessageType, pack, packJson, typeName, unpack, unpackJson } from './payload.ts';
export { Pipeline, type PipelineOptions, type SendOptions } from './pipeline.ts';
export type { HistoryQuery, LogQuery } from './query.ts';
export type { RetryPolicy } from './retry.ts';
export type { SyncModeName } from './sync-mode.ts';
