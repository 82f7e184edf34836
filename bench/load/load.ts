// The load generator: a process of its own, which does one job after the other.

import { serve } from '../lib/processes.ts';
import { type FollowJob, follow } from './follow.ts';
import { type LoadResult, type PipelinedJob, pipelined } from './pipelined.ts';
import { type InsertJob, inserts, type MessageDbJob, messageDb, type SelectJob, selectLog } from './sql.ts';
import { type TakeJob, take } from './take.ts';
import { closeAll } from './transport.ts';
import { type EchoStreamJob, echoStream, type UnaryJob, unaryCalls } from './unary.ts';

export type LoadJob =
  | PipelinedJob
  | UnaryJob
  | EchoStreamJob
  | InsertJob
  | MessageDbJob
  | SelectJob
  | FollowJob
  | TakeJob;

serve<LoadJob, LoadResult>((job) => {
  switch (job.kind) {
    case 'pipelined':
      return pipelined(job);
    case 'unary':
      return unaryCalls(job);
    case 'echo-stream':
      return echoStream(job);
    case 'insert':
      return inserts(job);
    case 'message-db':
      return messageDb(job);
    case 'select-log':
      return selectLog(job);
    case 'follow':
      return follow(job);
    case 'take':
      return take(job);
  }
}, closeAll);
