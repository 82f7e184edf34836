// Messages of every RPC that its type can hold, and that mostly make sense: else none would get beyond the first check.

import type { BinaryWriter } from '@bufbuild/protobuf/wire';
import { ComponentHostDefinition, ComponentMessage } from '../../src/gen/daybook/v1/component.ts';
import {
  ControlDefinition,
  FlushCacheRequest,
  ListInstancesRequest,
  ListSubscriptionsRequest,
  PauseRequest,
  RebuildRequest,
  ResumeRequest,
  SetLogLevelRequest,
} from '../../src/gen/daybook/v1/control.ts';
import {
  BusinessCoordinatorDefinition,
  DryRunRequest,
  ProcessManagerCoordinatorDefinition,
  ProjectorCoordinatorDefinition,
  ReactionDryRunRequest,
  RecordRequest,
  SagaCoordinatorDefinition,
} from '../../src/gen/daybook/v1/coordinators.ts';
import {
  DeadLettersDefinition,
  DiscardDeadLetterRequest,
  GetDeadLetterRequest,
  ListDeadLettersRequest,
  ReplayDeadLettersRequest,
} from '../../src/gen/daybook/v1/dead_letters.ts';
import {
  CommandGatewayDefinition,
  ExecuteStreamCountRequest,
  ExecuteStreamTimeRequest,
  PipelinedCommands,
  SyncCommandBook,
} from '../../src/gen/daybook/v1/gateway.ts';
import { GetDescriptorsRequest, PayloadsDefinition } from '../../src/gen/daybook/v1/payloads.ts';
import { HeadRequest, PositionsDefinition, WaitRequest } from '../../src/gen/daybook/v1/positions.ts';
import {
  GetProjectionRequest,
  ListProjectionsRequest,
  ProjectionsDefinition,
  WatchProjectionsRequest,
} from '../../src/gen/daybook/v1/projections.ts';
import {
  AggregateRootsRequest,
  EventQueryDefinition,
  EventStreamDefinition,
  EventStreamFilter,
  ListRejectionsRequest,
  Query,
  ReadLogRequest,
  type TemporalQuery,
} from '../../src/gen/daybook/v1/query.ts';
import { CommandBook, EventBook as EventBookMessage } from '../../src/gen/daybook/v1/types.ts';
import { any } from '../support/books.ts';
import { hello } from '../support/hosting.ts';
import type { Random } from '../support/random.ts';
import type { Method } from './calls.ts';
import { bytes, pick } from './damage.ts';

const WORDS = [
  '',
  'account',
  'fuzz',
  'Account',
  'a b',
  '../..',
  '\0',
  'ü',
  '💥',
  'x'.repeat(65),
  'y'.repeat(5000),
  'acme',
];
const NUMBERS = [0, 0, 1, 2, 7, 1000, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1];

/** What makes sense, or a message would never get beyond the first check; and what does not, now and then. */
function mostly<T>(random: Random, sense: T, nonsense: () => T): T {
  return random() < 0.9 ? sense : nonsense();
}

function word(random: Random): string {
  return pick(random, ...WORDS);
}

function number(random: Random): number {
  return pick(random, ...NUMBERS);
}

function maybe<T>(random: Random, value: T): T | undefined {
  return random() < 0.95 ? value : undefined;
}

function list<T>(random: Random, make: () => T): T[] {
  return Array.from({ length: random() < 0.01 ? 150 : pick(random, 0, 1, 1, 2, 5) }, make);
}

function coverOf(random: Random) {
  const root = {
    value: bytes(
      random,
      mostly(random, 16, () => pick(random, 0, 15, 17)),
    ),
  };
  return {
    root: maybe(random, root),
    domain: mostly(random, 'account', () => word(random)),
    correlationId: mostly(random, '', () => word(random)),
    tenant: mostly(random, '', () => word(random)),
  };
}

function anyOf(random: Random) {
  const typeUrl = mostly(random, any(pick(random, 'Deposit', 'Withdraw', 'Touch')).typeUrl, () => word(random));
  if (random() < 0.002) return { typeUrl, value: new Uint8Array(270_000) };
  return { typeUrl, value: mostly<Uint8Array>(random, Buffer.from('1'), () => bytes(random, pick(random, 0, 20))) };
}

function time(random: Random) {
  return {
    seconds: pick(random, -1, 0, 1, 1e9, 2 ** 40, -(2 ** 40)),
    nanos: pick(random, 0, -1, 999_999_999, 2 ** 31 - 1),
  };
}

function origin(random: Random) {
  return {
    component: word(random),
    source: maybe(random, coverOf(random)),
    externalSource: mostly(random, 'bank', () => word(random)),
  };
}

function commandOf(random: Random) {
  const page = () => ({
    sequence: mostly<number | undefined>(random, undefined, () => number(random)),
    command: maybe(random, anyOf(random)),
  });
  return {
    cover: maybe(random, coverOf(random)),
    pages: random() < 0.7 ? [page()] : list(random, page),
    origin: random() < 0.1 ? origin(random) : undefined,
    idempotencyKey: mostly(random, '', () => word(random)),
    metadata: mostly<Record<string, string>>(random, {}, () => ({ [word(random)]: word(random) })),
    workId: mostly(random, '', () => word(random)),
  };
}

function eventsOf(random: Random) {
  const page = () => ({
    event: maybe(random, anyOf(random)),
    sequence: number(random),
    occurredAt: maybe(random, time(random)),
    origin: maybe(random, { ...origin(random), externalId: mostly(random, 'id', () => word(random)) }),
  });
  return { cover: maybe(random, coverOf(random)), pages: list(random, page), snapshot: undefined };
}

/** Of another service, as far as that makes sense. */
function foreignOf(random: Random) {
  const { cover, ...events } = eventsOf(random);
  return { ...events, cover: cover && { ...cover, domain: mostly(random, 'abroad', () => word(random)) } };
}

function syncOf(random: Random) {
  return {
    command: maybe(random, commandOf(random)),
    syncMode: mostly(random, 0, () => pick(random, 1, 2, 77)) as 0,
    waitTimeout: maybe(random, time(random)),
  };
}

function temporal(random: Random): TemporalQuery {
  return {
    point: pick<TemporalQuery['point']>(
      random,
      { $case: 'asOfSequence', value: number(random) },
      { $case: 'asOfTime', value: time(random) },
      undefined,
    ),
  };
}

function queryOf(random: Random) {
  const selection = pick<Query['selection']>(
    random,
    { $case: 'range', value: { lower: number(random), upper: maybe(random, number(random)) } },
    { $case: 'sequences', value: { values: list(random, () => number(random)) } },
    { $case: 'temporal', value: temporal(random) },
    undefined,
  );
  return { cover: maybe(random, coverOf(random)), selection, consistencyToken: mostly(random, '', () => word(random)) };
}

function filterOf(random: Random) {
  return {
    tenant: mostly(random, '', () => word(random)),
    correlationId: mostly(random, '', () => word(random)),
    domains: list(random, () => word(random)),
    types: list(random, () => word(random)),
    after: mostly(random, '', () => word(random)),
  };
}

function readLogOf(random: Random) {
  const { after: _, ...filter } = filterOf(random);
  const start = pick<ReadLogRequest['start']>(
    random,
    { $case: 'afterPosition', value: pick(random, 0, 1, 1e6, Number.MAX_SAFE_INTEGER) },
    { $case: 'fromTime', value: time(random) },
    { $case: 'afterToken', value: word(random) },
    undefined,
  );
  return { ...filter, start, allTenants: random() < 0.3, follow: random() < 0.3, limit: number(random) };
}

function readingOf(random: Random) {
  return {
    tenant: mostly(random, '', () => word(random)),
    projector: mostly(random, 'rows', () => pick(random, 'silent', 'nobody', word(random))),
    consistencyToken: mostly(random, '', () => word(random)),
  };
}

/** What names a parked key, or an output; or could. */
function idOf(random: Random): string {
  const place = [pick(random, 'rows', 'silent', word(random)), number(random), number(random)];
  const parts = pick<unknown>(
    random,
    ['parked', ...place, word(random)],
    ['outbox', word(random), word(random), ...place, number(random)],
    ['parked', ...place],
    [word(random)],
    -1,
    {},
  );
  return random() < 0.9 ? Buffer.from(JSON.stringify(parts)).toString('base64url') : word(random);
}

function subscriptionOf(random: Random): string {
  return mostly(random, 'silent', () => pick(random, '', 'nobody', word(random)));
}

/** An attach stream, well begun or not. Never for the bystander's domain: who hosts that gets its work. */
function attachOf(random: Random): Uint8Array[] {
  const greeting = hello([{ domain: pick(random, 'fuzz', 'fuzz', 'Fuzz', ''), keepsState: random() < 0.5 }], {
    protocolVersion: pick(random, 1, 1, 1, 0, 99),
    name: word(random),
    fileDescriptorSet: random() < 0.2 ? bytes(random, 50) : new Uint8Array(),
  });
  const reply = () => ({
    workId: pick(random, word(random), '0', '1'),
    result: pick(
      random,
      { $case: 'command', value: { result: { $case: 'events', value: eventsOf(random) } } } as const,
      { $case: 'needHistory', value: {} } as const,
      { $case: 'failure', value: { message: word(random), overloaded: true } } as const,
      undefined,
    ),
  });
  const rest = () =>
    ComponentMessage.fromPartial({
      hello: random() < 0.1 ? greeting : undefined,
      replies: list(random, reply),
      drain: random() < 0.2 ? {} : undefined,
    });
  const first = random() < 0.8 ? [ComponentMessage.fromPartial({ hello: greeting })] : [];
  return [...first, ...Array.from({ length: pick(random, 0, 1, 3) }, rest)].map((m) =>
    ComponentMessage.encode(m).finish(),
  );
}

/** A message that its type can hold, as bytes. */
export type Make = (random: Random) => Uint8Array[];

function one<P, T>(
  type: { fromPartial(partial: P): T; encode(message: T): BinaryWriter },
  make: (r: Random) => P,
): Make {
  return (random) => [type.encode(type.fromPartial(make(random))).finish()];
}

const gateway = CommandGatewayDefinition;
const query = EventQueryDefinition;
const business = BusinessCoordinatorDefinition;
const projections = ProjectionsDefinition;
const deadLetters = DeadLettersDefinition;
const control = ControlDefinition;
const positions = PositionsDefinition;
const pipelined = one(PipelinedCommands, (random) => ({
  commands: list(random, () => ({
    ...syncOf(random),
    id: number(random),
    timeoutMs: pick(random, 0, 0, number(random)),
  })),
}));
/** Every RPC that the daemon offers. */
export const SUBJECTS: [service: string, method: Method, make: Make][] = [
  [gateway.fullName, gateway.methods.execute, one(CommandBook, commandOf)],
  [gateway.fullName, gateway.methods.executeSync, one(SyncCommandBook, syncOf)],
  [gateway.fullName, gateway.methods.executeStream, one(CommandBook, commandOf)],
  [
    gateway.fullName,
    gateway.methods.executeStreamResponseCount,
    one(ExecuteStreamCountRequest, (r) => ({ command: maybe(r, commandOf(r)), count: pick(r, 1, 0, -1, 2 ** 31 - 1) })),
  ],
  [
    gateway.fullName,
    gateway.methods.executeStreamResponseTime,
    one(ExecuteStreamTimeRequest, (r) => ({
      command: maybe(r, commandOf(r)),
      timeoutMs: pick(r, 1, 0, -1, 2 ** 31 - 1),
    })),
  ],
  [gateway.fullName, gateway.methods.executePipelined, pipelined],
  [business.fullName, business.methods.handle, one(SyncCommandBook, syncOf)],
  [
    business.fullName,
    business.methods.record,
    one(RecordRequest, (r) => ({ facts: maybe(r, eventsOf(r)), askAggregate: r() < 0.5 })),
  ],
  [
    business.fullName,
    business.methods.dryRun,
    one(DryRunRequest, (r) => ({ command: maybe(r, commandOf(r)), asOf: maybe(r, temporal(r)) })),
  ],
  [query.fullName, query.methods.getEventBook, one(Query, queryOf)],
  [query.fullName, query.methods.getEvents, one(Query, queryOf)],
  [query.fullName, query.methods.synchronize, one(Query, queryOf)],
  [
    query.fullName,
    query.methods.getAggregateRoots,
    one(AggregateRootsRequest, (r) => ({
      tenant: mostly(r, '', () => word(r)),
      domain: mostly(r, 'account', () => word(r)),
    })),
  ],
  [query.fullName, query.methods.readLog, one(ReadLogRequest, readLogOf)],
  [
    query.fullName,
    query.methods.listRejections,
    one(ListRejectionsRequest, (r) => ({
      tenant: mostly(r, '', () => word(r)),
      correlationId: mostly(r, 'bystander', () => word(r)),
    })),
  ],
  ...[ProjectorCoordinatorDefinition, SagaCoordinatorDefinition, ProcessManagerCoordinatorDefinition].flatMap(
    ({ fullName, methods }): [string, Method, Make][] => [
      [fullName, methods.handle, one(EventBookMessage, foreignOf)],
      [fullName, methods.handleSync, one(EventBookMessage, foreignOf)],
      [
        fullName,
        methods.dryRun,
        one(ReactionDryRunRequest, (r) => ({
          component: mostly(r, pick(r, 'rows', 'silent'), () => word(r)),
          events: maybe(r, foreignOf(r)),
        })),
      ],
    ],
  ),
  [EventStreamDefinition.fullName, EventStreamDefinition.methods.subscribe, one(EventStreamFilter, filterOf)],
  [
    projections.fullName,
    projections.methods.get,
    one(GetProjectionRequest, (r) => ({
      ...readingOf(r),
      key: mostly(r, '', () => word(r)),
      cover: maybe(r, coverOf(r)),
    })),
  ],
  [
    projections.fullName,
    projections.methods.list,
    one(ListProjectionsRequest, (r) => ({
      ...readingOf(r),
      keyPrefix: mostly(r, '', () => word(r)),
      pageSize: number(r),
      pageToken: mostly(r, '', () => pick(r, word(r), idOf(r))),
    })),
  ],
  [
    projections.fullName,
    projections.methods.watch,
    one(WatchProjectionsRequest, (r) => ({
      ...readingOf(r),
      keyPrefix: mostly(r, '', () => word(r)),
      changesOnly: r() < 0.5,
    })),
  ],
  [
    deadLetters.fullName,
    deadLetters.methods.list,
    one(ListDeadLettersRequest, (r) => ({
      subscription: mostly(r, '', () => subscriptionOf(r)),
      state: pick(r, 0, 1, 2, 3, 77) as 0,
      tenant: mostly(r, '', () => word(r)),
      allTenants: r() < 0.5,
      pageSize: number(r),
      pageToken: pick(r, '', idOf(r)),
    })),
  ],
  [deadLetters.fullName, deadLetters.methods.get, one(GetDeadLetterRequest, (r) => ({ id: idOf(r) }))],
  [
    deadLetters.fullName,
    deadLetters.methods.replay,
    one(ReplayDeadLettersRequest, (r) => ({
      which: pick<ReplayDeadLettersRequest['which']>(
        r,
        { $case: 'id', value: idOf(r) },
        { $case: 'subscription', value: subscriptionOf(r) },
        undefined,
      ),
      force: r() < 0.5,
    })),
  ],
  [
    deadLetters.fullName,
    deadLetters.methods.discard,
    one(DiscardDeadLetterRequest, (r) => ({ id: idOf(r), reason: word(r) })),
  ],
  // Not one that would hide what the daemon says of defects.
  [
    control.fullName,
    control.methods.setLogLevel,
    one(SetLogLevelRequest, (r) => ({ level: mostly(r, 'debug', () => word(r)) })),
  ],
  [control.fullName, control.methods.pause, one(PauseRequest, (r) => ({ subscription: subscriptionOf(r) }))],
  [control.fullName, control.methods.resume, one(ResumeRequest, (r) => ({ subscription: subscriptionOf(r) }))],
  [
    control.fullName,
    control.methods.rebuild,
    one(RebuildRequest, (r) => ({
      projector: mostly(r, 'rows', () => pick(r, 'silent', word(r))),
      start: pick(
        r,
        { start: { $case: 'now', value: true } } as const,
        { start: { $case: 'afterPosition', value: number(r) } } as const,
        { start: { $case: 'fromTime', value: time(r) } } as const,
        undefined,
      ),
    })),
  ],
  [
    control.fullName,
    control.methods.flushCache,
    one(FlushCacheRequest, (r) => ({ cover: r() < 0.1 ? undefined : coverOf(r) })),
  ],
  [control.fullName, control.methods.listInstances, one(ListInstancesRequest, () => ({}))],
  [
    control.fullName,
    control.methods.listSubscriptions,
    one(ListSubscriptionsRequest, (r) => ({ subscriptions: list(r, () => subscriptionOf(r)) })),
  ],
  [
    positions.fullName,
    positions.methods.wait,
    one(WaitRequest, (r) => ({
      consistencyToken: word(r),
      subscriptions: list(r, () => subscriptionOf(r)),
      timeout: { seconds: 0, nanos: 1e6 },
    })),
  ],
  [positions.fullName, positions.methods.head, one(HeadRequest, () => ({}))],
  [PayloadsDefinition.fullName, PayloadsDefinition.methods.getDescriptors, one(GetDescriptorsRequest, () => ({}))],
  [ComponentHostDefinition.fullName, ComponentHostDefinition.methods.attach, attachOf],
];
