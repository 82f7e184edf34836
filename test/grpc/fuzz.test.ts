// Bytes that no client sends: random, valid ones that were damaged, and valid messages that make no sense. Each is answered with
// success or with a typed error that is not a defect of ours; others on the same daemon notice nothing.

import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { after, before, test } from 'node:test';
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { attach, type Host, packJson } from '@daybook/client';
import { Client, credentials, type ServiceError, type StatusObject, status } from '@grpc/grpc-js';
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
  type PipelinedResults,
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
import type { CommandResponse, EventBook } from '../../src/model/book.ts';
import { any, command, newRoot, textOf } from '../support/books.ts';
import { detailsOf, type TestClient, type TestDaemon, type TestHost, testDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { hello, hostAccount } from '../support/hosting.ts';
import { type Random, seeded } from '../support/random.ts';

const PER_METHOD = 2000;
const AT_ONCE = 64;
/** After it a live stream that says nothing counts as one that waits for events, which is a success. */
const SILENCE_MS = 150;
/** Everything else must end within this. */
const ANSWER_MS = 30_000;

const seed = Number(process.env.FUZZ_SEED ?? randomInt(2 ** 31));
let daemon: TestDaemon;
let bystander: TestClient;
let host: TestHost;
let reactors: Host;
const seen: string[] = [];

before(async () => {
  daemon = await testDaemon({
    env: { DAYBOOK__LIMITS__MESSAGE_BYTES: '262144', DAYBOOK__LIMITS__EVENT_BYTES_PER_REPLY: '262144' },
  });
  bystander = daemon.client();
  host = bystander.attach();
  await hostAccount(host);
  const project = () => [{ payload: packJson('Row', 1) }];
  const names = { address: daemon.address, name: 'reactors', onEvent: () => {} };
  reactors = attach({
    ...names,
    projectors: [{ name: 'rows', project }],
    sagas: [{ name: 'silent', react: () => [] }],
  });
  await reactors.ready();
  const own = command(newRoot(), any('Deposit', '0'), { correlationId: 'bystander' });
  const stream = bystander.serverStream<EventBook>('gateway.executeStream', own);
  stream.on('data', (book: EventBook) => seen.push(...book.pages.map((page) => textOf(page.event))));
  await eventually('the bystander follows', () => seen.length === 1);
});

after(async () => {
  await reactors.close();
  await daemon[Symbol.asyncDispose]();
});

interface Method {
  name: string;
  responseType: { decode(bytes: Uint8Array): unknown };
  requestStream: boolean;
  responseStream: boolean;
}

interface Outcome {
  status: StatusObject;
  /** We left a stream that was open. */
  left: boolean;
  answers: unknown[];
}

/** Live streams go on when the request has ended. */
function waits({ name }: Method): boolean {
  return /^(ExecuteStream|ReadLog|Subscribe|Synchronize|Watch)/.test(name);
}

/** Sends the frames and nothing more. On the wire all kinds of methods look the same. */
function call(client: Client, service: string, method: Method, frames: Uint8Array[]): Promise<Outcome> {
  const stream = client.makeBidiStreamRequest(
    `/${service}/${method.name}`,
    (bytes: Uint8Array) => Buffer.from(bytes),
    (bytes: Buffer) => method.responseType.decode(bytes),
  );
  const outcome: Outcome = { status: { code: status.OK } as StatusObject, left: false, answers: [] };
  const leave = () => {
    outcome.left = true;
    stream.cancel();
  };
  const timer = setTimeout(leave, waits(method) ? SILENCE_MS : ANSWER_MS);
  stream.on('data', (answer) => {
    outcome.answers.push(answer);
    if (method.responseStream && !method.requestStream) leave();
  });
  stream.on('error', () => {});
  for (const frame of frames) stream.write(frame);
  stream.end();
  return new Promise((resolve) => {
    stream.on('status', (ended: StatusObject) => {
      clearTimeout(timer);
      resolve({ ...outcome, status: ended });
    });
  });
}

/** What is wrong with an outcome; `undefined`: nothing. */
function complaint(method: Method, { status: ended, left, answers }: Outcome): string | undefined {
  if (left) return waits(method) || answers.length > 0 ? undefined : `no end within ${ANSWER_MS} ms`;
  if (ended.code === status.OK) return answers.map(pipelinedComplaint).find((found) => found !== undefined);
  try {
    const { reason, domain } = detailsOf(ended as unknown as ServiceError);
    if (reason === '' || domain !== 'daybook') return `no reason: ${ended.details}`;
    return reason === 'INTERNAL' ? `a defect: ${ended.details}` : undefined;
  } catch (error) {
    return `status ${status[ended.code]} without details: ${ended.details} (${error})`;
  }
}

function pipelinedComplaint(answer: unknown): string | undefined {
  for (const { result } of (answer as Partial<PipelinedResults>).results ?? []) {
    if (result === undefined) return 'a result that is neither a response nor an error';
    if (result.$case === 'error' && ['', 'INTERNAL'].includes(result.value.reason)) return result.value.message;
  }
  return undefined;
}

// What is sent

function pick<T>(random: Random, ...from: T[]): T {
  return from[Math.floor(random() * from.length)]!;
}

function bytes(random: Random, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => Math.floor(random() * 256));
}

/** A copy with up to eight things done to it. */
function damaged(random: Random, good: Uint8Array): Uint8Array {
  let out = Buffer.from(good);
  for (let n = 1 + Math.floor(random() * 8); n > 0; n--) {
    const at = Math.floor(random() * (out.length + 1));
    const to = at + Math.floor(random() * (out.length - at + 1));
    const kind = Math.floor(random() * 6);
    if (kind === 0) out = out.subarray(0, at);
    else if (kind === 1) out = Buffer.concat([out.subarray(0, at), bytes(random, 4), out.subarray(at)]);
    else if (kind === 2) out = Buffer.concat([out.subarray(0, at), out.subarray(to)]);
    else if (kind === 3) out = Buffer.concat([out, out.subarray(at, to)]);
    else if (at < out.length)
      out[at] = kind === 4 ? out[at]! ^ (1 << Math.floor(random() * 8)) : pick(random, 0, 127, 255);
  }
  return out.subarray(0, 100_000);
}

/** Well-formed Protobuf whose fields are whatever comes: right numbers with wrong types, repeated, nested, unknown. */
function fields(random: Random, depth = 4): Uint8Array {
  const writer = new BinaryWriter();
  for (let n = Math.floor(random() * 6); n > 0; n--) {
    const field = pick(random, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 99, 20_000) * 8;
    const kind = Math.floor(random() * 5);
    if (kind === 0) writer.uint32(field).uint64(pick(random, 0, 1, 127, 2 ** 31, 2 ** 32 - 1, Number.MAX_SAFE_INTEGER));
    else if (kind === 1) writer.uint32(field + 1).fixed64(pick(random, 0, 1, Number.MAX_SAFE_INTEGER));
    else if (kind === 2) writer.uint32(field + 5).fixed32(Math.floor(random() * 2 ** 32));
    else if (kind === 3 && depth > 0) writer.uint32(field + 2).bytes(fields(random, depth - 1));
    else writer.uint32(field + 2).bytes(bytes(random, pick(random, 0, 1, 15, 16, 17, 200)));
  }
  return writer.finish();
}

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
type Make = (random: Random) => Uint8Array[];

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
const subjects: [service: string, method: Method, make: Make][] = [
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

/** Deeper than any recursion should follow, and larger than any frame may be. */
const EXTREMES: Uint8Array[] = [
  new Uint8Array(0),
  Buffer.alloc(200_000, 0x0b),
  Buffer.alloc(200_000, 0x0a),
  Buffer.alloc(300_000),
  nested(20_000),
];

/** A message in a message in a message, each as its first field. */
function nested(depth: number): Uint8Array {
  let inner: Uint8Array = new Uint8Array(0);
  for (let i = 0; i < depth; i++) {
    const head = new BinaryWriter().uint32(10).uint32(inner.length).finish();
    if (head.length + inner.length > 100_000) break;
    inner = Buffer.concat([head, inner]);
  }
  return inner;
}

for (const [service, method, make] of subjects) {
  test(`${service}/${method.name}: ${PER_METHOD} messages`, async (t) => {
    const random = seeded(seed);
    const counts: Record<string, number> = {};
    const send = async (client: Client, frames: Uint8Array[]) => {
      const outcome = await call(client, service, method, frames);
      const found = complaint(method, outcome);
      const shown = frames.map((frame) => Buffer.from(frame).subarray(0, 400).toString('hex'));
      assert(found === undefined, `seed ${seed}: ${found}: ${shown.join(' ')}`);
      const kind = outcome.left ? 'left open' : status[outcome.status.code]!;
      counts[kind] = (counts[kind] ?? 0) + 1;
    };
    let left = PER_METHOD;
    const work = async () => {
      // One connection each: HTTP/2 servers close connections on which many streams are reset.
      const client = new Client(daemon.address, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
      while (left-- > 0) {
        const kind = left % 4;
        const good = make(random);
        if (left < EXTREMES.length) await send(client, [EXTREMES[left]!]);
        else if (kind === 0) await send(client, [bytes(random, Math.floor(random() * 300))]);
        else if (kind === 1) await send(client, [fields(random)]);
        else if (kind === 2)
          await send(
            client,
            good.map((frame) => (random() < 0.7 ? damaged(random, frame) : frame)),
          );
        else await send(client, good);
      }
      client.close();
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    t.diagnostic(`seed ${seed}: ${JSON.stringify(counts)}`);
    await untouched(`${service}/${method.name}`);
  });
}

/** The bystander's host, stream and commands go on as if nothing had been. */
async function untouched(what: string): Promise<void> {
  const book = command(newRoot(), any('Deposit', String(seen.length)), { correlationId: 'bystander' });
  const answer = await bystander.unary<CommandResponse>('gateway.execute', book);
  assert.equal(answer.duplicate, false);
  await eventually(
    `the bystander's stream goes on after ${what}`,
    () => seen.at(-1) === textOf(book.pages[0]!.command),
  );
  assert.deepEqual(
    seen,
    Array.from({ length: seen.length }, (_, i) => String(i)),
  );
  assert.equal(host.ended, undefined);
  const defects = daemon.logLines.filter((line) => line.includes('internal error'));
  assert.deepEqual(defects, []);
}
