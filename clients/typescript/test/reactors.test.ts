import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import type { EventPage } from '../src/gen/daybook/v1/types.ts';
import {
  type Any,
  type AttachOptions,
  attach,
  foldProjector,
  type Host,
  type HostEvent,
  Overloaded,
  type ProcessManager,
  type Projector,
  packJson,
  type Saga,
  type Trigger,
} from '../src/index.ts';
import { added, amountOf, counter, root } from './support/counter.ts';
import { type Attachment, daybookError, FakeDaemon, page, responseTo } from './support/fake-daemon.ts';
import {
  ask,
  book,
  cover,
  delivery,
  processCover,
  processRoot,
  processWork,
  projectorWork,
  resultOf,
  sagaWork,
} from './support/work.ts';

let daemon: FakeDaemon;
let host: Host | undefined;
let events: HostEvent[];

beforeEach(async () => {
  daemon = await FakeDaemon.start();
  events = [];
});

afterEach(async () => {
  await host?.close({ timeoutMs: 100 });
  host = undefined;
  daemon.stop();
});

async function attached(hosted: Partial<AttachOptions>): Promise<Attachment> {
  host = attach({
    address: daemon.address,
    name: 'test',
    retry: { attempts: 1 },
    onEvent: (event) => events.push(event),
    ...hosted,
  });
  const attachment = await daemon.attachments.take();
  await host.ready();
  return attachment;
}

const projector = (project: Projector['project']): Partial<AttachOptions> => ({
  projectors: [{ name: 'totals', project }],
});
const saga = (react: Saga['react']): Partial<AttachOptions> => ({ sagas: [{ name: 'echo', react }] });

/** Its state is the sum of its own events. */
const rounds = (changes: Partial<ProcessManager<number>>): Partial<AttachOptions> => ({
  processManagers: [
    {
      name: 'rounds',
      initial: () => 0,
      evolve: (state, event) => state + amountOf(event),
      handle: () => {},
      ...changes,
    } satisfies ProcessManager<number>,
  ],
});

test('Hello declares projectors, sagas and process managers with what was said of them', async () => {
  const from = new Date(1_500);
  const attachment = await attached({
    projectors: [
      {
        name: 'totals',
        domains: ['counter'],
        types: ['a.B'],
        version: 2,
        generation: 3,
        sync: false,
        ordered: true,
        maxPages: 5,
        partitions: 1,
        start: 'now',
        credits: { items: 1, bytes: 2 },
        project: () => {},
      },
    ],
    sagas: [{ name: 'echo', start: { fromTime: from }, react: () => {} }],
    ...rounds({
      domain: 'rounds-log',
      start: { afterPosition: 4 },
      snapshot: { version: 6, encode: (state) => packJson('Sum', state), decode: amountOf },
    }),
  });
  const { projectors, sagas, processManagers } = attachment.hello!;
  assert.deepEqual(projectors, [
    {
      name: 'totals',
      filter: { domains: ['counter'], types: ['a.B'] },
      credits: { items: 1, bytes: 2 },
      sync: false,
      ordered: true,
      generation: 3,
      start: { start: { $case: 'now', value: true } },
      partitions: 1,
      maxPages: 5,
      version: 2,
    },
  ]);
  const unsaid = { filter: { domains: [], types: [] }, credits: undefined, generation: 0, partitions: 0, version: 0 };
  assert.deepEqual(sagas, [
    { ...unsaid, name: 'echo', start: { start: { $case: 'fromTime', value: { seconds: 1, nanos: 500_000_000 } } } },
  ]);
  assert.deepEqual(processManagers, [
    {
      ...unsaid,
      name: 'rounds',
      start: { start: { $case: 'afterPosition', value: 4 } },
      domain: 'rounds-log',
      snapshotSchemaVersion: 6,
    },
  ]);
});

test('decisions and deliveries have a stream each, upcasters before all', async () => {
  const first = daemon.attachments.take();
  const second = await attached({
    aggregates: [counter()],
    upcasters: [{ domain: 'counter', types: ['Old'], upcast: (event) => event }],
    ...projector(() => {}),
  });
  const { hello } = await first;
  assert.deepEqual([hello!.aggregates.length, hello!.upcasters.length, hello!.projectors.length], [1, 1, 0]);
  assert.deepEqual([second.hello!.aggregates.length, second.hello!.projectors.length], [0, 1]);
  assert.equal(hello!.instance, second.hello!.instance);
  assert.equal(events.filter((event) => event.type === 'attached').length, 2);
});

test('one stream that is refused ends the host as a whole', async () => {
  daemon.welcome = (attachment) => {
    if (attachment.hello!.sagas.length === 0) attachment.welcome();
    else attachment.call.emit('error', daybookError(12, 'UNIMPLEMENTED'));
    attachment.call.on('end', () => attachment.call.end());
  };
  host = attach({ address: daemon.address, name: 'test', aggregates: [counter()], ...saga(() => {}), onEvent() {} });
  await assert.rejects(host.ready(), { reason: 'UNIMPLEMENTED' });
  assert.equal((await host.closed)?.reason, 'UNIMPLEMENTED');
});

test('a projector gets pages, delivery and the current row, and its rows say what they are made from', async () => {
  const current = { cover, projector: 'totals', sequence: 3, projection: packJson('Row', 1) };
  const attachment = await attached(
    projector((pages, context) => {
      assert.deepEqual(
        pages.map(({ sequence, event }) => [sequence, amountOf(event)]),
        [
          [4, 10],
          [5, 20],
        ],
      );
      const { domain, tenant, correlationId, traceparent, workId } = context;
      assert.deepEqual([domain, tenant, correlationId, traceparent, workId], ['counter', 't', 'c-1', 'trace', 'w1']);
      assert.deepEqual(context.root, root);
      assert.deepEqual(context.delivery, { ...delivery, replaying: true, dryRun: false });
      assert.equal(amountOf(context.current!.projection!), 1);
      assert.ok(context.deadlineMs > Date.now());
      return [{ payload: packJson('Row', 31) }, { key: 'other', deleted: true }];
    }),
  );
  const reply = await ask(
    attachment,
    projectorWork({
      events: book(page(4, added(10)), page(5, added(20))),
      current,
      delivery: { ...delivery, replaying: true },
    }),
  );
  const of = { cover, projector: 'totals', sequence: 5, position: 0 };
  assert.deepEqual(resultOf(reply, 'projector').projections, [
    { ...of, key: '', projection: packJson('Row', 31), deleted: false },
    { ...of, key: 'other', projection: undefined, deleted: true },
  ]);
});

test('a projector that writes elsewhere returns nothing', async () => {
  const attachment = await attached(projector(async () => {}));
  const reply = await ask(attachment, projectorWork({ events: book(page(0, added(1))) }));
  assert.deepEqual(resultOf(reply, 'projector'), { projections: [] });
});

test('foldProjector: a row goes on from where it was, and counts nothing twice', async () => {
  const totals = foldProjector<number>({
    name: 'totals',
    initial: () => 0,
    evolve: (total, event) => (amountOf(event) === 0 ? undefined : total + amountOf(event)),
    encode: (total) => packJson('Row', total),
    decode: amountOf,
  });
  const attachment = await attached({ projectors: [totals] });
  const row = async (current: number | undefined, ...pages: EventPage[]) => {
    const stored = { cover, sequence: 1, projection: packJson('Row', current) };
    const asked = projectorWork({ events: book(...pages), ...(current !== undefined && { current: stored }) });
    const [made] = resultOf(await ask(attachment, asked), 'projector').projections;
    return made && (made.deleted ? 'deleted' : amountOf(made.projection!));
  };
  assert.equal(await row(undefined, page(0, added(1)), page(1, added(2))), 3);
  assert.equal(await row(3, page(2, added(4))), 7);
  assert.equal(await row(3, page(0, added(1)), page(1, added(2)), page(2, added(4))), 7);
  assert.equal(await row(3, page(1, added(2))), undefined);
  assert.equal(await row(3, page(2, added(0))), 'deleted');
  assert.equal(await row(3, page(2, added(0)), page(3, added(5))), 5);
  const dryRun = projectorWork({
    events: book(page(0, added(1))),
    current: { cover, sequence: 1, projection: packJson('Row', 3) },
    delivery: { ...delivery, dryRun: true },
  });
  const [shown] = resultOf(await ask(attachment, dryRun), 'projector').projections;
  assert.equal(amountOf(shown!.projection!), 1);
});

test('a saga answers with commands and facts, and leaves conversation, tenant and key to Daybook', async () => {
  const attachment = await attached(
    saga((event, context) => {
      assert.equal(amountOf(event), 10);
      assert.equal(context.page.sequence, 4);
      assert.deepEqual(context.delivery, { ...delivery, replaying: false, dryRun: false });
      return {
        commands: [{ domain: 'other', root, payload: [added(1), added(2)], metadata: { a: 'b' } }],
        facts: [{ domain: 'bank', root, event: added(3), source: 'bank', id: 'x-1', occurredAt: new Date(2_000) }],
      };
    }),
  );
  const { commands, events: facts } = resultOf(await ask(attachment, sagaWork(page(4, added(10)))), 'saga');
  assert.deepEqual(commands, [
    {
      cover: { ...cover, domain: 'other', correlationId: '', tenant: '' },
      pages: [added(1), added(2)].map((command) => ({ sequence: undefined, command })),
      origin: undefined,
      idempotencyKey: '',
      metadata: { a: 'b' },
      workId: '',
    },
  ]);
  assert.deepEqual(facts[0]!.cover, { ...cover, domain: 'bank', correlationId: '', tenant: '' });
  const [{ event, origin, occurredAt }] = facts[0]!.pages as [EventPage];
  assert.deepEqual(
    [event, origin!.externalSource, origin!.externalId, occurredAt!.seconds],
    [added(3), 'bank', 'x-1', 2],
  );
});

test('an array is commands, and nothing is nothing', async () => {
  const attachment = await attached(
    saga((event) => (amountOf(event) > 0 ? [{ domain: 'other', root, payload: event }] : undefined)),
  );
  const one = await ask(attachment, sagaWork(page(0, added(1))));
  assert.equal(resultOf(one, 'saga').commands[0]!.cover!.domain, 'other');
  const none = await ask(attachment, sagaWork(page(0, added(0))));
  assert.deepEqual(resultOf(none, 'saga'), { commands: [], events: [] });
});

test('a process manager folds its own stream, and answers with everything at once', async () => {
  const attachment = await attached(
    rounds({
      handle(state, trigger, context) {
        assert.equal(trigger.kind, 'event');
        assert.deepEqual([trigger.domain, trigger.root, trigger.page.sequence], ['counter', root, 4]);
        assert.deepEqual([context.domain, context.root, context.nextSequence], ['rounds', processRoot, 2]);
        return {
          events: [added(state + amountOf(trigger.event))],
          commands: [{ domain: 'other', root, payload: added(1) }],
          facts: [{ domain: 'bank', root, event: added(3), source: 'bank', id: 'x-1' }],
          timers: [
            { name: 'soon', afterMs: 1_500, payload: added(7) },
            { name: 'then', due: new Date(3_000) },
          ],
          cancelTimers: ['old'],
          ended: true,
        };
      },
    }),
  );
  const request = {
    trigger: { $case: 'events' as const, value: book(page(4, added(10))) },
    processState: { cover: processCover, pages: [page(0, added(1)), page(1, added(2))] },
  };
  const step = resultOf(await ask(attachment, processWork(request)), 'processManager');
  assert.deepEqual(
    step.processEvents!.pages.map(({ sequence, event }) => [sequence, amountOf(event!)]),
    [[2, 13]],
  );
  assert.equal(step.commands[0]!.cover!.domain, 'other');
  assert.equal(step.facts[0]!.cover!.domain, 'bank');
  assert.deepEqual(step.timers, [
    { name: 'soon', when: { $case: 'after', value: { seconds: 1, nanos: 500_000_000 } }, payload: added(7) },
    { name: 'then', when: { $case: 'due', value: { seconds: 3, nanos: 0 } }, payload: undefined },
  ]);
  assert.deepEqual([step.cancelledTimers, step.ended], [['old'], true]);
});

test('timers and rejections are triggers too', async () => {
  const seen: Trigger[] = [];
  const attachment = await attached(rounds({ handle: (_state, trigger) => void seen.push(trigger) }));
  const due = { seconds: 3, nanos: 250_000_000 };
  const timer = { $case: 'timer' as const, value: { name: 'soon', due, payload: added(7), cover: processCover } };
  const nothing = resultOf(await ask(attachment, processWork({ trigger: timer })), 'processManager');
  assert.deepEqual(nothing, {
    processEvents: undefined,
    commands: [],
    facts: [],
    timers: [],
    cancelledTimers: [],
    ended: false,
  });
  const value = { command: { cover, pages: [{ command: added(1) }] }, rejection: { code: 'NO' }, component: 'rounds' };
  await ask(attachment, processWork({ trigger: { $case: 'rejection', value } }));
  const [first, second] = seen;
  assert.deepEqual(first, { kind: 'timer', name: 'soon', due: new Date(3_250), payload: added(7) });
  assert.ok(second?.kind === 'rejection');
  const { notification } = second;
  assert.deepEqual([notification.rejection.code, notification.command.pages[0]!.command], ['NO', added(1)]);
});

test('a process with a snapshot begins there, and makes one when it is wanted', async () => {
  const attachment = await attached(
    rounds({
      snapshot: { version: 1, encode: (state) => packJson('Sum', state), decode: amountOf },
      handle: (state) => ({ events: [added(state)] }),
    }),
  );
  const step = resultOf(
    await ask(
      attachment,
      processWork({
        trigger: { $case: 'events', value: book(page(0, added(1))) },
        processState: {
          cover: processCover,
          snapshot: { sequence: 8, state: packJson('Sum', 20) },
          pages: [page(9, added(1))],
        },
        snapshotWanted: true,
      }),
    ),
    'processManager',
  );
  const { snapshot, pages } = step.processEvents!;
  assert.deepEqual([pages[0]!.sequence, amountOf(pages[0]!.event!)], [10, 21]);
  assert.deepEqual([snapshot!.sequence, amountOf(snapshot!.state!), snapshot!.schemaVersion], [10, 42, 1]);
});

test('an upcaster returns as many pages, with today’s events', async () => {
  const attachment = await attached({
    upcasters: [{ domain: 'counter', upcast: (event) => (amountOf(event) === 1 ? added(100) : event) }],
  });
  const request = { $case: 'upcast' as const, value: { events: book(page(4, added(1)), page(5, added(2))) } };
  const { pages } = resultOf(await ask(attachment, { workId: 'u', component: 'counter', request }), 'upcast');
  assert.deepEqual(
    pages.map(({ sequence, event }) => [sequence, amountOf(event!)]),
    [
      [4, 100],
      [5, 2],
    ],
  );
});

test('a failing handler fails its own item, and the error is told', async () => {
  const attachment = await attached(
    saga(async (event) => {
      if (amountOf(event) === 13) throw new Error('the handler does not like 13');
    }),
  );
  const bad = resultOf(await ask(attachment, sagaWork(page(0, added(13)))), 'failure');
  assert.deepEqual(bad, { message: 'the handler does not like 13', overloaded: false });
  assert.ok(events.some((event) => event.type === 'failed' && event.work.component === 'echo'));
  resultOf(await ask(attachment, sagaWork(page(1, added(1)))), 'saga');
});

test('a handler that is short of something does not have the attempt counted', async () => {
  daemon.execute = () => {
    throw daybookError(8, 'OVERLOADED');
  };
  const attachment = await attached(
    saga(async (event, context) => {
      if (amountOf(event) === 1) throw new Overloaded('the database is away');
      await context.client.execute({ domain: 'other', root, payload: event });
    }),
  );
  const own = resultOf(await ask(attachment, sagaWork(page(0, added(1)))), 'failure');
  assert.deepEqual(own, { message: 'the database is away', overloaded: true });
  assert.equal(resultOf(await ask(attachment, sagaWork(page(0, added(2)))), 'failure').overloaded, true);
});

test('work for nobody, without an event, or with a broken history fails alone', async () => {
  const attachment = await attached(rounds({}));
  assert.match(resultOf(await ask(attachment, sagaWork(page(0, added(1)))), 'failure').message, /no saga 'echo'/);
  const holes = { cover: processCover, pages: [page(1, added(1))] };
  const trigger = { $case: 'events' as const, value: book(page(0, added(1))) };
  for (const [request, message] of [
    [{ trigger, processState: holes }, /goes on with event 1, expected 0/],
    [{ trigger: { $case: 'events' as const, value: book() } }, /expected one event, found 0/],
    [{}, /no trigger/],
  ] as const) {
    assert.match(resultOf(await ask(attachment, processWork(request)), 'failure').message, message);
  }
});

test('a reply that nobody could read or write fails alone', async () => {
  daemon.welcome = (attachment) => attachment.welcome({ messageBytes: 10_000 });
  const attachment = await attached(
    projector((pages) => {
      const amount = amountOf(pages[0]!.event);
      if (amount === 1) return [{ payload: packJson('Row', 'x'.repeat(20_000)) }];
      if (amount === 2) return [{ payload: { typeUrl: 'x/y', value: 'no bytes' } as unknown as Any }];
      return [{ payload: packJson('Row', 1) }];
    }),
  );
  const asked = (amount: number) => ask(attachment, projectorWork({ events: book(page(0, added(amount))) }));
  assert.match(resultOf(await asked(1), 'failure').message, /about 20\d\d\d bytes, and the daemon takes 10000/);
  assert.match(resultOf(await asked(2), 'failure').message, /cannot be sent/);
  assert.equal(resultOf(await asked(3), 'projector').projections.length, 1);
});

test('large replies are spread over several messages', async () => {
  daemon.welcome = (attachment) => attachment.welcome({ messageBytes: 10_000 });
  const attachment = await attached(projector(() => [{ payload: packJson('Row', 'x'.repeat(6_000)) }]));
  attachment.send({ work: ['a', 'b'].map((id) => projectorWork({ events: book(page(0, added(1))) }, id)) });
  assert.deepEqual([(await attachment.reply()).workId, (await attachment.reply()).workId], ['a', 'b']);
});

test('Cancel aborts the signal of a reactor and the calls that it makes', async () => {
  const called = Promise.withResolvers<void>();
  daemon.execute = () => {
    called.resolve();
    return new Promise(() => {});
  };
  const attachment = await attached(
    saga(async (event, { client }) => void (await client.execute({ domain: 'other', root, payload: event }))),
  );
  attachment.send({ work: [sagaWork(page(0, added(1)))] });
  await called.promise;
  attachment.send({ cancels: [{ workId: 'w1' }] });
  resultOf(await attachment.reply(), 'cancelled');
});

test('commands from inside a reactor carry its work id, correlation id and tenant', async () => {
  const inner = Promise.withResolvers<unknown>();
  daemon.execute = (sent) => {
    inner.resolve([sent.workId, sent.cover!.correlationId, sent.cover!.tenant]);
    return responseTo(sent);
  };
  const attachment = await attached(
    projector(async (_pages, { client }) => void (await client.execute({ domain: 'other', root, payload: added(1) }))),
  );
  await ask(attachment, projectorWork({ events: book(page(0, added(1))) }, 'w9'));
  assert.deepEqual(await inner.promise, ['w9', 'c-1', 't']);
});

test('Drain: what a reactor has in hand is answered, then the host leaves and attaches again', async () => {
  const slow = Promise.withResolvers<void>();
  const first = await attached(projector(() => slow.promise));
  first.send({ work: [projectorWork({ events: book(page(0, added(1))) })] });
  first.send({ drain: {} });
  slow.resolve();
  resultOf(await first.reply(), 'projector');
  await first.closedByHost;
  first.call.end();
  await daemon.attachments.take();
});

test('close answers what reactors have in hand', async () => {
  const [begun, slow] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const attachment = await attached(
    saga(() => {
      begun.resolve();
      return slow.promise;
    }),
  );
  attachment.send({ work: [sagaWork(page(0, added(1)))] });
  await begun.promise;
  const closed = host!.close();
  assert.ok((await attachment.messages.take()).drain);
  slow.resolve();
  resultOf(await attachment.reply(), 'saga');
  await attachment.closedByHost;
  attachment.call.end();
  await closed;
});
