import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostLost, type Reactor } from '../../src/component.ts';
import { type Attached, ComponentRegistry, type RegistryOptions } from '../../src/components/registry.ts';
import { Deadlines } from '../../src/deadlines.ts';
import { DaybookError } from '../../src/errors.ts';
import type { CoordinatorMessage, Hello, Notice, Reply, Work } from '../../src/gen/daybook/v1/component.ts';
import { manualRuntime, settle } from '../support/clock.ts';
import { hello } from '../support/hosting.ts';
import { processManager, projector, REQUESTS, RESPONSES, reactionCall, saga } from '../support/reactors.ts';

const OPTIONS: RegistryOptions = {
  owned: undefined,
  served: [],
  servedUpcasters: [],
  servedReactors: [],
  upcasted: [],
  limits: { componentTimeoutMs: 1000 },
  onUpcastersChanged: () => {},
  onDescriptors: () => {},
};

/** One attach stream, without a transport. */
class Stream {
  readonly messages: CoordinatorMessage[] = [];
  readonly attached: Attached;

  constructor(registry: ComponentRegistry, rest: Partial<Hello>) {
    this.attached = registry.attach(hello([], rest), {
      send: (message) => this.messages.push(message) > 0,
      writable: () => Promise.resolve(),
      end: () => {},
    });
  }

  get work(): Work[] {
    return this.messages.flatMap(({ work }) => work);
  }

  get notices(): Notice[] {
    return this.messages.flatMap(({ notices }) => notices);
  }

  get cancels(): string[] {
    return this.messages.flatMap(({ cancels }) => cancels.map(({ workId }) => workId));
  }

  reply(workId: string, result: Reply['result']): void {
    this.attached.receive({ hello: undefined, replies: [{ workId, result }], drain: undefined });
  }

  drain(): void {
    this.attached.receive({ hello: undefined, replies: [], drain: { timeout: undefined } });
  }
}

function open(options: Partial<RegistryOptions> = {}) {
  const runtime = manualRuntime();
  const registry = new ComponentRegistry(runtime, new Deadlines(runtime), { ...OPTIONS, ...options });
  let changes = 0;
  registry.onReactorsChanged(() => changes++);
  return {
    runtime,
    registry,
    attach: (rest: Partial<Hello>) => new Stream(registry, rest),
    reactor: (name: string): Reactor => registry.reactors().find(({ declaration }) => declaration.name === name)!,
    /** How often listeners were told since the last time. */
    async told(): Promise<number> {
      await settle();
      const told = changes;
      changes = 0;
      return told;
    },
  };
}

/** The reason of a refusal, and the field. */
function refused(act: () => unknown): [string, unknown, string] {
  try {
    act();
  } catch (error) {
    assert.ok(error instanceof DaybookError, String(error));
    return [error.reason, error.metadata.field, error.message];
  }
  return ['accepted', undefined, ''];
}

const fails = (reason: string, message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof DaybookError, String(error));
  assert.equal(error.reason, reason, error.message);
  assert.match(error.message, message);
  return true;
};

test('what is left out of a declaration has its default', () => {
  const { registry, attach } = open();
  attach({
    projectors: [projector('summary'), projector('ledger', { ordered: true, partitions: 8, sync: false, maxPages: 7 })],
    sagas: [saga('fulfilment', { generation: 1, start: { start: { $case: 'now', value: true } } })],
    processManagers: [
      processManager('payment'),
      processManager('refund', { domain: 'refunds', snapshotSchemaVersion: 3, version: 2, partitions: 1024 }),
    ],
  });
  const base = { domains: [], types: [], generation: 1, version: 1, start: { kind: 'beginning' }, partitions: 16 };
  const plain = { ...base, sync: false, ordered: false, maxPages: 1, domain: '', snapshotSchemaVersion: 0 };
  assert.deepEqual(
    registry.reactors().map(({ declaration }) => declaration),
    [
      { ...plain, kind: 'projector', name: 'summary', sync: true, maxPages: 100 },
      { ...plain, kind: 'projector', name: 'ledger', ordered: true, partitions: 1, maxPages: 7 },
      { ...plain, kind: 'saga', name: 'fulfilment', start: { kind: 'now' } },
      { ...plain, kind: 'process_manager', name: 'payment', domain: 'payment' },
      {
        ...plain,
        kind: 'process_manager',
        name: 'refund',
        domain: 'refunds',
        snapshotSchemaVersion: 3,
        version: 2,
        partitions: 1024,
      },
    ],
  );
});

test('starts and filters arrive as they were given; what is there twice counts once', () => {
  const { attach, reactor } = open();
  attach({
    projectors: [
      projector('a', {
        start: { start: { $case: 'afterPosition', value: 42 } },
        filter: { domains: ['order', 'stock', 'order'], types: ['shop.v1.OrderPlaced', 'shop.v1.OrderPlaced'] },
      }),
      projector('b', { start: { start: { $case: 'fromTime', value: { seconds: 1, nanos: 500_000 } } } }),
    ],
  });
  assert.deepEqual(reactor('a').declaration.start, { kind: 'after', position: 42 });
  assert.deepEqual(reactor('a').declaration.domains, ['order', 'stock']);
  assert.deepEqual(reactor('a').declaration.types, ['shop.v1.OrderPlaced']);
  assert.deepEqual(reactor('b').declaration.start, { kind: 'time', timeMicros: 1_000_500 });
});

test('a declaration that cannot be used is refused with its field, and nothing of its Hello is hosted', () => {
  const { registry, attach } = open();
  const filter = (domains: string[], types: string[] = []) => ({ filter: { domains, types } });
  const names = Array.from({ length: 1001 }, (_, i) => `d${i}`);
  const cases: [string, Partial<Hello>, string][] = [
    ['no name', { projectors: [projector('')] }, 'hello.projectors.name'],
    ['a name that is none', { sagas: [saga('Fulfilment')] }, 'hello.sagas.name'],
    ['a name twice', { sagas: [saga('a'), saga('a')] }, 'hello.sagas.name'],
    [
      'a name twice, of two generations',
      { projectors: [projector('a'), projector('a', { generation: 2 })] },
      'hello.projectors.name',
    ],
    ['a name for two kinds', { projectors: [projector('a')], sagas: [saga('a')] }, 'hello.sagas.name'],
    ['no domain', { sagas: [saga('a', filter(['order', '']))] }, 'hello.sagas.filter.domains'],
    ['trap 26: an empty domain alone', { sagas: [saga('a', filter(['']))] }, 'hello.sagas.filter.domains'],
    ['trap 26: a trailing comma', { sagas: [saga('a', filter(['order,']))] }, 'hello.sagas.filter.domains'],
    ['too many domains', { sagas: [saga('a', filter(names))] }, 'hello.sagas.filter.domains'],
    ['trap 26: an empty type', { sagas: [saga('a', filter([], ['']))] }, 'hello.sagas.filter.types'],
    ['trap 26: a list of types in one', { sagas: [saga('a', filter([], ['a.B,a.C']))] }, 'hello.sagas.filter.types'],
    ['trap 26: a type after a space', { sagas: [saga('a', filter([], [' a.B']))] }, 'hello.sagas.filter.types'],
    ['a type URL', { sagas: [saga('a', filter([], ['type.googleapis.com/a.B']))] }, 'hello.sagas.filter.types'],
    ['too many partitions', { projectors: [projector('a', { partitions: 1025 })] }, 'hello.projectors.partitions'],
    ['a version that is a date', { projectors: [projector('a', { version: 20261127 })] }, 'hello.projectors.version'],
    ['too many pages', { projectors: [projector('a', { maxPages: 1001 })] }, 'hello.projectors.max_pages'],
    ['a second generation of a saga', { sagas: [saga('a', { generation: 2 })] }, 'hello.sagas.generation'],
    [
      'a second generation of a process manager',
      { processManagers: [processManager('a', { generation: 2 })] },
      'hello.process_managers.generation',
    ],
    [
      'a domain that is none',
      { processManagers: [processManager('a', { domain: 'A' })] },
      'hello.process_managers.domain',
    ],
    [
      'a time that is none',
      { sagas: [saga('a', { start: { start: { $case: 'fromTime', value: { seconds: 1, nanos: -1 } } } })] },
      'hello.sagas.start.from_time',
    ],
    [
      'a start that is not',
      { sagas: [saga('a', { start: { start: { $case: 'now', value: false } } })] },
      'hello.sagas.start.now',
    ],
  ];
  for (const [name, rest, field] of cases) {
    const [reason, found, message] = refused(() => attach({ projectors: [], ...rest }));
    assert.deepEqual([reason, found], ['INVALID_ARGUMENT', field], `${name}: ${message}`);
  }
  assert.deepEqual(registry.reactors(), []);
});

test('what is known already decides about what comes: kinds, filters, partitions, owned domains', () => {
  const { registry, attach } = open({ owned: ['payment'] });
  const filter = { domains: ['order', 'stock'], types: ['shop.v1.OrderPlaced'] };
  const first = attach({
    projectors: [projector('summary', { filter })],
    processManagers: [processManager('payment')],
  });
  const cases: [Partial<Hello>, string, RegExp][] = [
    [{ sagas: [saga('summary')] }, 'hello.sagas.name', /is the name of a projector/],
    [
      { projectors: [projector('summary', { filter: { ...filter, domains: ['order'] } })] },
      'hello.projectors.filter.domains',
      /raise version/,
    ],
    [
      { projectors: [projector('summary', { filter: { ...filter, types: [] } })] },
      'hello.projectors.filter.types',
      /found all; raise version/,
    ],
    [
      { projectors: [projector('summary', { filter, partitions: 4 })] },
      'hello.projectors.partitions',
      /raise generation/,
    ],
    [{ projectors: [projector('summary', { filter, ordered: true })] }, 'hello.projectors.ordered', /raise generation/],
    [
      { processManagers: [processManager('payment', { partitions: 4 })] },
      'hello.process_managers.partitions',
      /another name/,
    ],
    [
      { processManagers: [processManager('payment', { snapshotSchemaVersion: 1 })] },
      'hello.process_managers.snapshot_schema_version',
      /raise version/,
    ],
    [{ processManagers: [processManager('refund')] }, 'hello.process_managers.domain', /owns \(payment\)/],
  ];
  for (const [rest, field, sentence] of cases) {
    const [reason, found, message] = refused(() => attach(rest));
    assert.deepEqual([reason, found], ['INVALID_ARGUMENT', field], message);
    assert.match(message, sentence);
  }
  // The same in another order is the same; a version of its own is another reactor.
  const domains = [...filter.domains].reverse();
  attach({ projectors: [projector('summary', { filter: { ...filter, domains } })] }).attached.close();
  attach({ projectors: [projector('summary', { version: 2 })] }).attached.close();
  assert.equal(registry.reactors().length, 3);
  // When nobody hosts it any more it may be declared anew; its name stays a projector's.
  first.attached.close();
  assert.match(refused(() => attach({ sagas: [saga('summary')] }))[2], /is the name of a projector/);
  attach({ projectors: [projector('summary', { partitions: 4 })] });
  assert.deepEqual(
    registry.reactors().map(({ declaration: { name, version, partitions } }) => `${name} ${version} ${partitions}`),
    ['summary 1 4', 'payment 1 16', 'summary 2 16'],
  );
});

test('a process manager is refused beside an aggregate of its domain: nobody else decides about its streams', () => {
  const aggregates = hello([{ domain: 'payment' }]).aggregates;
  const processManagers = [processManager('payment')];
  for (const [held, rest] of [
    [{ aggregates }, { processManagers }],
    [{ processManagers }, { aggregates }],
    [undefined, { aggregates, processManagers }],
  ]) {
    const { attach } = open();
    if (held !== undefined) attach(held);
    const [reason, , message] = refused(() => attach(rest!));
    assert.equal(reason, 'INVALID_ARGUMENT');
    assert.match(message, /payment/);
  }
});

for (const kind of ['projector', 'saga', 'process_manager'] as const) {
  test(`a ${kind} gets its request as work, and its response comes back as it was sent`, async () => {
    const { attach, reactor } = open();
    const stream = attach(
      {
        projector: { projectors: [projector('r')] },
        saga: { sagas: [saga('r')] },
        process_manager: { processManagers: [processManager('r')] },
      }[kind],
    );
    const call = reactionCall({ timeoutMs: 1234, traceparent: '00-1-2-01', tracestate: 'a=b' });
    const answer = reactor('r').handle(REQUESTS[kind], call);
    await settle();
    const $case = kind === 'process_manager' ? 'processManager' : kind;
    assert.deepEqual(stream.work, [
      {
        workId: call.workId,
        timeoutMs: 1234,
        traceparent: '00-1-2-01',
        tracestate: 'a=b',
        component: 'r',
        request: { $case, value: REQUESTS[kind] },
      },
    ]);
    stream.reply(call.workId, { $case, value: RESPONSES[kind] } as Reply['result']);
    assert.equal(await answer, RESPONSES[kind]);
  });
}

test('a handler that failed, that is overloaded, and a reply of another kind', async () => {
  const { attach, reactor } = open();
  const stream = attach({ sagas: [saga('s')] });
  const ask = async (result: Reply['result']) => {
    const call = reactionCall();
    const answer = reactor('s').handle(REQUESTS.saga, call);
    await settle();
    stream.reply(call.workId, result);
    return answer;
  };
  const failure = (overloaded: boolean) => ({
    $case: 'failure' as const,
    value: { message: 'no database', overloaded },
  });
  await assert.rejects(ask(failure(false)), fails('COMPONENT_FAULT', /^s: event 1 of \/order\/1: .*no database/));
  await assert.rejects(ask(failure(true)), fails('OVERLOADED', /no database/));
  assert.deepEqual(stream.notices, []);
  for (const result of [
    undefined,
    { $case: 'projector' as const, value: RESPONSES.projector },
    { $case: 'cancelled' as const, value: {} },
  ]) {
    await assert.rejects(ask(result), fails('COMPONENT_FAULT', /expected a reply to a saga request/));
  }
  await settle();
  assert.deepEqual(
    stream.notices.map(({ reason }) => reason),
    ['COMPONENT_FAULT', 'COMPONENT_FAULT', 'COMPONENT_FAULT'],
  );
});

test('the deadline counts from the sending: what waits for credit is not late', async () => {
  const { runtime, attach, reactor } = open();
  const stream = attach({ sagas: [saga('s', { credits: { items: 1, bytes: 0 } })] });
  const [slow, waiting] = [reactionCall(), reactionCall()];
  const first = reactor('s').handle(REQUESTS.saga, slow);
  let over = false;
  const second = reactor('s')
    .handle(REQUESTS.saga, waiting)
    .finally(() => {
      over = true;
    });
  const late = assert.rejects(first, fails('COMPONENT_TIMEOUT', /within 1000 ms/));
  await runtime.advance(1100);
  await late;
  // The host still has the first, and with it the credit.
  assert.deepEqual(stream.cancels, [slow.workId]);
  await runtime.advance(5000);
  assert.equal(over, false);
  stream.reply(slow.workId, { $case: 'cancelled', value: {} });
  await runtime.advance(900);
  assert.equal(over, false);
  assert.deepEqual(
    stream.work.map(({ workId }) => workId),
    [slow.workId, waiting.workId],
  );
  const alsoLate = assert.rejects(second, fails('COMPONENT_TIMEOUT', /within 1000 ms/));
  await runtime.advance(200);
  await alsoLate;
});

test('when the stream goes, only what was sent may have killed it', async () => {
  const { attach, reactor } = open();
  const stream = attach({ sagas: [saga('s', { credits: { items: 1, bytes: 0 } })] });
  const sent = reactor('s').handle(REQUESTS.saga, reactionCall());
  const waiting = reactor('s').handle(REQUESTS.saga, reactionCall());
  stream.attached.close();
  await assert.rejects(sent, (error) => error instanceof HostLost && /^s: event 1/.test(error.message));
  await assert.rejects(waiting, (error) => {
    assert.ok(!(error instanceof HostLost));
    return fails('COMPONENT_UNAVAILABLE', /before it was sent/)(error);
  });
  await assert.rejects(reactor('s').handle(REQUESTS.saga, reactionCall()), fails('COMPONENT_UNAVAILABLE', /no host/));
});

test('withdrawn work: the host is told, whoever waited gets the reason', async () => {
  const { attach, reactor } = open();
  const stream = attach({ sagas: [saga('s')] });
  const controller = new AbortController();
  const call = reactionCall({ signal: controller.signal });
  const answer = reactor('s').handle(REQUESTS.saga, call);
  const reason = new Error('lease lost');
  controller.abort(reason);
  await assert.rejects(answer, reason);
  await settle();
  assert.deepEqual(stream.cancels, [call.workId]);
  stream.reply(call.workId, { $case: 'cancelled', value: {} });
  assert.deepEqual(stream.notices, []);
  await assert.rejects(reactor('s').handle(REQUESTS.saga, reactionCall({ signal: controller.signal })), reason);
  assert.equal(stream.work.length, 1);
});

test('of several processes the one with the least in hand is asked, of equals each in its turn', async () => {
  const { attach, reactor } = open();
  const streams = [1, 2, 3].map(() => attach({ sagas: [saga('s')] }));
  const counts = () => streams.map(({ work }) => work.length);
  for (let i = 0; i < 9; i++)
    reactor('s')
      .handle(REQUESTS.saga, reactionCall())
      .catch(() => {});
  await settle();
  assert.deepEqual(counts(), [3, 3, 3]);
  for (const { workId } of streams[1]!.work) streams[1]!.reply(workId, { $case: 'saga', value: RESPONSES.saga });
  for (let i = 0; i < 3; i++)
    reactor('s')
      .handle(REQUESTS.saga, reactionCall())
      .catch(() => {});
  await settle();
  assert.deepEqual(counts(), [3, 6, 3]);
  streams[0]!.drain();
  streams[1]!.drain();
  reactor('s')
    .handle(REQUESTS.saga, reactionCall())
    .catch(() => {});
  await settle();
  assert.deepEqual(counts(), [3, 6, 4]);
  for (const { attached } of streams) attached.close();
});

test('listeners are told when reactors come, drain and go; the reactor stays the same', async () => {
  const { registry, attach, reactor, told } = open();
  assert.equal(await told(), 0);
  const first = attach({ sagas: [saga('s')], projectors: [projector('p')] });
  assert.equal(await told(), 1);
  const known = reactor('s');
  assert.equal(known.available, true);
  const second = attach({ sagas: [saga('s')] });
  assert.equal(await told(), 1);
  first.drain();
  assert.equal(await told(), 1);
  assert.equal(known.available, true);
  assert.equal(reactor('p').available, false);
  second.attached.close();
  assert.equal(await told(), 1);
  assert.equal(known.available, false);
  first.attached.close();
  assert.equal(await told(), 1);
  // Other daemons are to know which domains have a host here.
  attach({ aggregates: hello([{}]).aggregates });
  assert.equal(await told(), 1);
  attach({ sagas: [saga('s')] });
  assert.equal(reactor('s'), known);
  assert.equal(known.available, true);
  await registry.drain(1000);
  assert.equal(await told(), 1);
  assert.equal(known.available, false);
});

test('a refused reactor gets no work, and each of its hosts is told once', async () => {
  const { attach, reactor, told } = open();
  const first = attach({ sagas: [saga('s')] });
  const s = reactor('s');
  s.refuse('somebody declared a newer one');
  s.refuse('somebody declared a newer one');
  const second = attach({ sagas: [saga('s')] });
  await told();
  const notice = { workId: '', reason: 'DECLARATION_REFUSED', message: 'somebody declared a newer one' };
  assert.deepEqual([first.notices, second.notices], [[notice], [notice]]);
  assert.equal(s.available, false);
  await assert.rejects(s.handle(REQUESTS.saga, reactionCall()), fails('COMPONENT_UNAVAILABLE', /a newer one/));
  s.refuse(undefined);
  assert.equal(await told(), 1);
  assert.equal(s.available, true);
  assert.equal(first.notices.length, 1);
});

test('the smallest number of pages that a host takes holds for all', async () => {
  const { attach, reactor } = open();
  attach({ projectors: [projector('p')] });
  const small = attach({ projectors: [projector('p', { maxPages: 10 })] });
  assert.equal(reactor('p').declaration.maxPages, 10);
  small.attached.close();
  assert.equal(reactor('p').declaration.maxPages, 100);
});
