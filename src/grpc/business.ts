import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import { completeCommand, completeCover } from '../coordinators/answers.ts';
import type { DryRunner } from '../coordinators/dry-run.ts';
import type { FactRecorder } from '../coordinators/facts.ts';
import type { DryRunRequest, DryRunResponse, RecordRequest } from '../gen/daybook/v1/coordinators.ts';
import type { SyncCommandBook } from '../gen/daybook/v1/gateway.ts';
import { unary } from './calls.ts';
import { executeSync, type GatewayParts, withTrace } from './gateway.ts';
import { pointOf } from './query.ts';

export interface BusinessServiceParts extends GatewayParts {
  facts: FactRecorder;
  dryRunner: DryRunner;
}

export function businessService(parts: BusinessServiceParts): UntypedServiceImplementation {
  const { facts, dryRunner, runtime } = parts;
  return {
    handle: unary(parts, (request: SyncCommandBook, caller, call) =>
      executeSync(parts, { ...request, command: withTrace(request.command, call) }, caller),
    ),

    record: unary(parts, (request: RecordRequest, caller) => {
      if (request.facts?.cover !== undefined) completeCover(request.facts.cover, runtime);
      return facts.record(request.facts, request.askAggregate, caller);
    }),

    dryRun: unary(parts, async ({ command: given, asOf }: DryRunRequest, caller, call): Promise<DryRunResponse> => {
      const command = withTrace(given, call);
      completeCommand(command, runtime);
      const answer = await dryRunner.run(command, asOf && pointOf(asOf, 'as_of'), caller);
      const result =
        answer.kind === 'events'
          ? ({ $case: 'events', value: answer.events } as const)
          : ({ $case: 'rejection', value: answer.rejection } as const);
      return { result, nextSequence: answer.nextSequence };
    }),
  };
}
