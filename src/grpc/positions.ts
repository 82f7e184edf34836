import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import type { QueryCoordinator } from '../coordinators/query.ts';
import type { Waiting } from '../coordinators/waiting.ts';
import type { HeadRequest, HeadResponse, WaitRequest, WaitResponse } from '../gen/daybook/v1/positions.ts';
import { encodeToken } from '../model/token.ts';
import type { LogIdentity } from '../store.ts';
import { type CallParts, unary } from './calls.ts';
import { waitMsOf } from './gateway.ts';

export interface PositionsParts extends CallParts {
  waiting: Waiting;
  query: QueryCoordinator;
  logIdentity: LogIdentity;
}

export function positionsService(parts: PositionsParts): UntypedServiceImplementation {
  const { waiting, query, runtime, logIdentity } = parts;
  const { logId, incarnation } = logIdentity;
  return {
    wait: unary(parts, async (request: WaitRequest, caller): Promise<WaitResponse> => {
      const { consistencyToken, subscriptions, timeout } = request;
      const position = await query.positionOf(consistencyToken, 'consistency_token');
      const endMs = runtime.monotonicMs() + waitMsOf(timeout, 'timeout');
      const deadlineMs = Math.min(caller.deadlineMs, endMs);
      return { position: await waiting.passed({ subscriptions, position, deadlineMs, signal: caller.signal }) };
    }),

    head: unary(parts, async (_: HeadRequest): Promise<HeadResponse> => {
      const position = await query.head();
      return { position, consistencyToken: encodeToken({ logId, incarnation, position }), logId, incarnation };
    }),
  };
}
