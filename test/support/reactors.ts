// Projectors, sagas and process managers as they introduce themselves, and calls to them.

import type { ReactionCall } from '../../src/component.ts';
import type { ProcessManagerHosting, ProjectorHosting, SagaHosting } from '../../src/gen/daybook/v1/component.ts';
import type { Delivery, ProcessManagerRequest, ProjectorRequest, SagaRequest } from '../../src/model/reaction.ts';

const common = { filter: undefined, credits: undefined, generation: 0, start: undefined, partitions: 0, version: 0 };

export function projector(name: string, rest: Partial<ProjectorHosting> = {}): ProjectorHosting {
  return { ...common, name, sync: undefined, ordered: false, maxPages: 0, ...rest };
}

export function saga(name: string, rest: Partial<SagaHosting> = {}): SagaHosting {
  return { ...common, name, ...rest };
}

export function processManager(name: string, rest: Partial<ProcessManagerHosting> = {}): ProcessManagerHosting {
  return { ...common, name, domain: '', snapshotSchemaVersion: 0, ...rest };
}

const delivery: Delivery = {
  subscription: 's',
  generation: 1,
  epoch: 1,
  partition: 0,
  attempt: 1,
  replaying: false,
  position: 1,
  dryRun: false,
};

export const REQUESTS = {
  projector: { events: undefined, delivery, projector: 's', current: undefined, workId: '' } satisfies ProjectorRequest,
  saga: { source: undefined, delivery, workId: '' } satisfies SagaRequest,
  process_manager: {
    trigger: undefined,
    processState: undefined,
    delivery,
    workId: '',
    snapshotWanted: false,
  } satisfies ProcessManagerRequest,
};

export const RESPONSES = {
  projector: { projections: [] },
  saga: { commands: [], events: [] },
  process_manager: { processEvents: undefined, commands: [], facts: [], timers: [], cancelledTimers: [], ended: false },
};

let calls = 0;

export function reactionCall(rest: Partial<ReactionCall> = {}): ReactionCall {
  return {
    about: 's: event 1 of /order/1',
    workId: `r-${++calls}`,
    key: undefined,
    bytes: 100,
    timeoutMs: 1000,
    signal: new AbortController().signal,
    traceparent: '',
    tracestate: '',
    ...rest,
  };
}
