// The coordinators by name: events of other services in, and what would happen if.

import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import { completeCover } from '../coordinators/answers.ts';
import type { Ingest } from '../coordinators/ingest.ts';
import { DEFAULT_WAIT_MS } from '../coordinators/sync-modes.ts';
import type { ProcessManagerResponse, SagaResponse } from '../gen/daybook/v1/component.ts';
import type { ProjectionsResponse, ReactionDryRunRequest } from '../gen/daybook/v1/coordinators.ts';
import type { EventBook } from '../gen/daybook/v1/types.ts';
import type { ReactorKind } from '../model/reaction.ts';
import { type CallParts, unary } from './calls.ts';

export interface CoordinatorsParts extends CallParts {
  ingest: Ingest;
}

export function projectorCoordinatorService(parts: CoordinatorsParts): UntypedServiceImplementation {
  return {
    ...common(parts, 'projector'),
    handleSync: sync(parts, 'projector', ({ projections }): ProjectionsResponse => ({ projections })),
  };
}

export function sagaCoordinatorService(parts: CoordinatorsParts): UntypedServiceImplementation {
  return {
    ...common(parts, 'saga'),
    handleSync: sync(parts, 'saga', ({ responses }): SagaResponse => {
      const answers = responses as SagaResponse[];
      return { commands: answers.flatMap(({ commands }) => commands), events: answers.flatMap(({ events }) => events) };
    }),
  };
}

export function processManagerCoordinatorService(parts: CoordinatorsParts): UntypedServiceImplementation {
  return {
    ...common(parts, 'process_manager'),
    handleSync: sync(parts, 'process_manager', ({ responses }): ProcessManagerResponse => {
      const answers = responses as ProcessManagerResponse[];
      // Of several process managers, or events: the events of the last; everything else together.
      return {
        processEvents: answers.at(-1)?.processEvents,
        commands: answers.flatMap(({ commands }) => commands),
        facts: answers.flatMap(({ facts }) => facts),
        timers: answers.flatMap(({ timers }) => timers),
        cancelledTimers: answers.flatMap(({ cancelledTimers }) => cancelledTimers),
        ended: answers.some(({ ended }) => ended),
      };
    }),
  };
}

function common(parts: CoordinatorsParts, kind: ReactorKind): UntypedServiceImplementation {
  return {
    handle: unary(parts, async (book: EventBook, caller) => {
      await parts.ingest.append(completed(book, parts), caller);
      return {};
    }),
    dryRun: unary(parts, ({ component, events }: ReactionDryRunRequest, caller) =>
      parts.ingest.dryRun(kind, component, events, caller),
    ),
  };
}

type Handled = Awaited<ReturnType<Ingest['handle']>>;

function sync<Response>(parts: CoordinatorsParts, kind: ReactorKind, answerOf: (handled: Handled) => Response) {
  return unary(parts, async (book: EventBook, caller) => {
    const deadlineMs = Math.min(caller.deadlineMs, parts.runtime.monotonicMs() + DEFAULT_WAIT_MS);
    return answerOf(await parts.ingest.handle(kind, completed(book, parts), deadlineMs, caller));
  });
}

function completed(book: EventBook, { runtime }: CoordinatorsParts): EventBook {
  if (book.cover !== undefined) completeCover(book.cover, runtime);
  return book;
}
