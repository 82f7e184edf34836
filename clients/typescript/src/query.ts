// What you write to ask for the past, and the messages that it becomes.

import { cover } from './command.ts';
import type { Query, ReadLogRequest } from './gen/daybook/v1/query.ts';
import type { Timestamp } from './gen/google/protobuf/timestamp.ts';

/** Of one aggregate; or, where the call allows it, of everything with one correlation id. */
export interface HistoryQuery {
  domain?: string;
  root?: Uint8Array;
  correlationId?: string;
  tenant?: string;
  /** Nothing: all, from the newest snapshot on. `{ from: 0 }` is every event and no snapshot. */
  select?:
    | { from: number; to?: number }
    | { sequences: readonly number[] }
    | { asOfSequence: number }
    | { asOfTime: Date };
  /** From an answer: what is read then includes at least what that answer knew. */
  consistencyToken?: string;
}

/** Of the log, in commit order. */
export interface LogQuery {
  /** Nothing: from the beginning. */
  start?: { afterPosition: number } | { afterToken: string } | { fromTime: Date };
  tenant?: string;
  allTenants?: boolean;
  domains?: readonly string[];
  /** Full names, such as `shop.v1.OrderPlaced`. */
  types?: readonly string[];
  correlationId?: string;
  /** Stay and send what comes. */
  follow?: boolean;
  /** Ends after this many books. */
  limit?: number;
}

export function historyQuery(query: HistoryQuery): Query {
  return { cover: cover(query), selection: selection(query.select), consistencyToken: query.consistencyToken ?? '' };
}

export function logQuery(query: LogQuery): ReadLogRequest {
  return {
    start: start(query.start),
    tenant: query.tenant ?? '',
    allTenants: query.allTenants ?? false,
    domains: [...(query.domains ?? [])],
    types: [...(query.types ?? [])],
    correlationId: query.correlationId ?? '',
    follow: query.follow ?? false,
    limit: query.limit ?? 0,
  };
}

export function timestamp(time: Date): Timestamp {
  const ms = time.getTime();
  const seconds = Math.floor(ms / 1000);
  return { seconds, nanos: (ms - seconds * 1000) * 1e6 };
}

function selection(select: HistoryQuery['select']): Query['selection'] {
  if (select === undefined) return undefined;
  if ('from' in select) return { $case: 'range', value: { lower: select.from, upper: select.to } };
  if ('sequences' in select) return { $case: 'sequences', value: { values: [...select.sequences] } };
  if ('asOfSequence' in select) {
    return { $case: 'temporal', value: { point: { $case: 'asOfSequence', value: select.asOfSequence } } };
  }
  return { $case: 'temporal', value: { point: { $case: 'asOfTime', value: timestamp(select.asOfTime) } } };
}

function start(from: LogQuery['start']): ReadLogRequest['start'] {
  if (from === undefined) return undefined;
  if ('afterPosition' in from) return { $case: 'afterPosition', value: from.afterPosition };
  if ('afterToken' in from) return { $case: 'afterToken', value: from.afterToken };
  return { $case: 'fromTime', value: timestamp(from.fromTime) };
}
