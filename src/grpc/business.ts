import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import { completeCommand, completeCover } from '../coordinators/answers.ts';
import type { BusinessCoordinator } from '../coordinators/business.ts';
import type { DryRunAnswer, DryRunner } from '../coordinators/dry-run.ts';
import type { FactRecorder } from '../coordinators/facts.ts';
import type { SyncModes } from '../coordinators/sync-modes.ts';
import type { DryRunRequest, DryRunResponse, RecordRequest } from '../gen/daybook/v1/coordinators.ts';
import type { SyncCommandBook } from '../gen/daybook/v1/gateway.ts';
import { unary } from './calls.ts';
import { executeSync, type GatewayParts, withTrace } from './gateway.ts';
import { pointOf } from './query.ts';

export interface BusinessServiceParts extends GatewayParts {
  facts: Pick<FactRecorder, 'record'>;
  dryRunner: Pick<DryRunner, 'run'>;
  /** Only what this daemon hosts. */
  here: { business: Pick<BusinessCoordinator, 'execute'>; sync: SyncModes };
}

export function businessService(parts: BusinessServiceParts): UntypedServiceImplementation {
  const { facts, dryRunner, runtime, here } = parts;
  return {
    handle: unary(parts, (request: SyncCommandBook, caller, call) =>
      executeSync({ ...parts, ...here }, { ...request, command: withTrace(request.command, call) }, caller),
    ),

    record: unary(parts, (request: RecordRequest, caller) => {
      if (request.facts?.cover !== undefined) completeCover(request.facts.cover, runtime);
      return facts.record(request.facts, request.askAggregate, caller);
    }),

    dryRun: unary(parts, async ({ command: given, asOf }: DryRunRequest, caller, call): Promise<DryRunResponse> => {
      const command = withTrace(given, call);
      completeCommand(command, runtime);
      return dryRunAnswer(await dryRunner.run(command, asOf && pointOf(asOf, 'as_of'), caller));
    }),
  };
}

export function dryRunAnswer(answer: DryRunAnswer): DryRunResponse {
  const { nextSequence } = answer;
  return answer.kind === 'events'
    ? { result: { $case: 'events', value: answer.events }, nextSequence }
    : { result: { $case: 'rejection', value: answer.rejection }, nextSequence };
}
