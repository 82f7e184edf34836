import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import type { Reply } from '../src/gen/daybook/v1/component.ts';
import type { EventPage } from '../src/gen/daybook/v1/types.ts';
import {
  type Aggregate,
  type AttachOptions,
  attach,
  type Host,
  type HostEvent,
  packJson,
  unpackJson,
} from '../src/index.ts';
import { add, added, amountOf, type Counter, counter, root } from './support/counter.ts';
import { type Attachment, daybookError, FakeDaemon, page, responseTo } from './support/fake-daemon.ts';

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

async function attached(aggregate: Aggregate<Counter> = counter(), more: Partial<AttachOptions> = {}) {
  host = attach({
    address: daemon.address,
    name: 'test',
    aggregates: [aggregate],
    onEvent: (event) => events.push(event),
    ...more,
  });
  const attachment = await daemon.attachments.take();
  await host.ready();
  return attachment;
}

/** A piece of work as the daemon makes it. */
function work(
  workId: string,
  amount: number,
  history: {
    base?: number;
    pages?: EventPage[];
    of?: Uint8Array;
    snapshotWanted?: boolean;
    domain?: string;
    dryRun?: boolean;
  } = {},
) {
  const cover = { root: { value: history.of ?? root }, domain: history.domain ?? 'counter', correlationId: 'c-1' };
  return {
    workId,
    timeoutMs: 30_000,
    component: cover.domain,
    request: {
      $case: 'command' as const,
      value: {
        events: { cover, pages: history.pages ?? [] },
        command: { cover, pages: [{ command: add(amount) }], idempotencyKey: `key-${workId}` },
        baseSequence: history.base ?? 0,
        snapshotWanted: history.snapshotWanted ?? false,
        dryRun: history.dryRun ?? false,
        workId,
      },
    },
  };
}

/** `[total before, amount]` of a reply with events. */
function decided(reply: Reply): unknown {
  assert.equal(reply.result?.$case, 'command');
  const { result } = reply.result.value;
  assert.equal(result?.$case, 'events');
  return unpackJson(result.value.pages[0]!.event!).value;
}

async function ask(attachment: Attachment, ...args: Parameters<typeof work>): Promise<Reply> {
  attachment.send({ work: [work(...args)] });
  return attachment.reply();
}

test('Hello declares what is hosted', async () => {
  const attachment = await attached(counter({ snapshot: snapshots(3), credits: { items: 5, bytes: 1_000 } }), {
    version: '1.2',
    descriptors: new Uint8Array([1]),
  });
  const { aggregates, name, version, protocolVersion, fileDescriptorSet } = attachment.hello!;
  assert.deepEqual(aggregates, [
    { domain: 'counter', credits: { items: 5, bytes: 1_000 }, keepsState: true, snapshotSchemaVersion: 3 },
  ]);
  assert.deepEqual([name, version, protocolVersion, fileDescriptorSet], ['test', '1.2', 1, new Uint8Array([1])]);
});

test('the state grows by the pages that Daybook sends', async () => {
  const attachment = await attached();
  assert.deepEqual(decided(await ask(attachment, 'w1', 5)), [0, 5]);
  assert.deepEqual(decided(await ask(attachment, 'w2', 1, { pages: [page(0, added(5))] })), [5, 1]);
  assert.deepEqual(decided(await ask(attachment, 'w3', 2, { base: 1, pages: [page(1, added(1))] })), [6, 2]);
  assert.deepEqual(decided(await ask(attachment, 'w4', 3, { base: 2 })), [6, 3]);
});

test('trap 49: events that were returned but never stored are not folded', async () => {
  const attachment = await attached();
  await ask(attachment, 'w1', 5, { pages: [page(0, added(1))] });
  // The 5 lost to somebody else's 100.
  assert.deepEqual(decided(await ask(attachment, 'w2', 2, { base: 1, pages: [page(1, added(100))] })), [101, 2]);
});

test('a base that is not held is answered with NeedHistory', async () => {
  const attachment = await attached();
  assert.equal((await ask(attachment, 'w1', 1, { base: 4 })).result?.$case, 'needHistory');
  await ask(attachment, 'w2', 1, { pages: [page(0, added(1))] });
  assert.equal((await ask(attachment, 'w3', 1, { base: 2, pages: [page(2, added(1))] })).result?.$case, 'needHistory');
  const whole = { pages: [page(0, added(1)), page(1, added(1)), page(2, added(1))] };
  assert.deepEqual(decided(await ask(attachment, 'w3', 1, whole)), [3, 1]);
});

test('a dry run is decided on the history that it brings, and what is held stays', async () => {
  const attachment = await attached();
  await ask(attachment, 'w1', 1, { pages: [page(0, added(5)), page(1, added(5))] });
  assert.deepEqual(decided(await ask(attachment, 'w2', 1, { dryRun: true, pages: [page(0, added(5))] })), [5, 1]);
  assert.deepEqual(decided(await ask(attachment, 'w3', 1, { base: 2 })), [10, 1]);
});

test('a long history arrives in chunks before its work', async () => {
  const attachment = await attached();
  await ask(attachment, 'w1', 1, { pages: [page(0, added(1_000))] });
  const cover = { root: { value: root }, domain: 'counter' };
  attachment.send({
    history: [{ workId: 'w2', first: true, events: { cover, pages: [page(0, added(1)), page(1, added(2))] } }],
  });
  attachment.send({
    history: [{ workId: 'w2', events: { cover, pages: [page(2, added(3))] } }],
    work: [work('w2', 9, { pages: [page(3, added(4))] })],
  });
  assert.deepEqual(decided(await attachment.reply()), [10, 9]);
  assert.deepEqual(decided(await ask(attachment, 'w3', 1, { base: 4 })), [10, 1]);
});

test('a hole in the history fails its own item, and the state is asked for again', async () => {
  const attachment = await attached();
  const reply = await ask(attachment, 'w1', 1, { pages: [page(0, added(1)), page(2, added(1))] });
  assert.equal(reply.result?.$case, 'failure');
  assert.equal((await ask(attachment, 'w2', 1, { base: 1 })).result?.$case, 'needHistory');
});

test('several works are decided at once, and their replies share a message', async () => {
  const attachment = await attached();
  const roots = [1, 2, 3].map((n) => new Uint8Array(16).fill(n));
  attachment.send({ work: roots.map((of, i) => work(`w${i}`, i, { of })) });
  const { replies } = await attachment.messages.take();
  assert.deepEqual(replies.map(decided), [
    [0, 0],
    [0, 1],
    [0, 2],
  ]);
});

test('trap 28: a slow decision does not hold up another aggregate', async () => {
  const slow = Promise.withResolvers<void>();
  const attachment = await attached(
    counter({
      async decide(state, commands) {
        if (amountOf(commands[0]!) === 1) await slow.promise;
        return [packJson('Decided', [state.total, amountOf(commands[0]!)])];
      },
    }),
  );
  attachment.send({ work: [work('slow', 1), work('quick', 2, { of: new Uint8Array(16) })] });
  assert.equal((await attachment.reply()).workId, 'quick');
  slow.resolve();
  assert.equal((await attachment.reply()).workId, 'slow');
});

test('trap 27: a failing item fails alone', async () => {
  const attachment = await attached();
  const other = new Uint8Array(16);
  attachment.send({
    work: [work('bad', 13), work('unknown', 1, { domain: 'nobody' }), work('good', 1, { of: other })],
  });
  const { replies } = await attachment.messages.take();
  assert.deepEqual(
    replies.map((reply) => reply.result?.$case),
    ['failure', 'failure', 'command'],
  );
  assert.match(JSON.stringify(replies[0]), /does not like 13/);
  assert.deepEqual(
    events.filter((event) => event.type === 'failed').map((event) => event.work.workId),
    ['bad', 'unknown'],
  );
});

test('a Rejection becomes one, with its code and kind', async () => {
  const attachment = await attached();
  const reply = await ask(attachment, 'w1', -1);
  assert.equal(reply.result?.$case, 'command');
  assert.deepEqual(reply.result.value.result, {
    $case: 'rejection',
    value: { kind: 1, code: 'NEGATIVE', message: 'expected an amount above 0', details: undefined, page: 0 },
  });
});

test('Cancel aborts the signal, and is answered', async () => {
  const attachment = await attached(
    counter({
      decide: (_state, _commands, context) =>
        new Promise((_resolve, reject) => {
          context.signal.addEventListener('abort', () => reject(context.signal.reason));
        }),
    }),
  );
  attachment.send({ work: [work('w1', 1, { pages: [page(0, added(1))] })] });
  attachment.send({ cancels: [{ workId: 'w1' }] });
  assert.equal((await attachment.reply()).result?.$case, 'cancelled');
});

test('a lost stream is opened again, and nothing is kept from before', async () => {
  const first = await attached();
  await ask(first, 'w1', 1, { pages: [page(0, added(1))] });
  daemon.stop();
  await daemon.restart();
  const second = await daemon.attachments.take();
  assert.equal((await ask(second, 'w2', 1, { base: 1 })).result?.$case, 'needHistory');
  assert.ok(events.some((event) => event.type === 'detached'));
});

test('the reply to work of a lost stream is not sent on the next one', async () => {
  const slow = Promise.withResolvers<void>();
  const first = await attached(
    counter({
      async decide(_state, commands) {
        if (amountOf(commands[0]!) === 1) await slow.promise;
        return [];
      },
    }),
  );
  first.send({ work: [work('old', 1)] });
  first.call.emit('error', daybookError(14, 'SHUTTING_DOWN'));
  const second = await daemon.attachments.take();
  slow.resolve();
  assert.equal((await ask(second, 'new', 2)).workId, 'new');
});

test('Drain: what is in hand is answered, then the host leaves and attaches again', async () => {
  const slow = Promise.withResolvers<void>();
  const first = await attached(
    counter({
      async decide() {
        await slow.promise;
        return [];
      },
    }),
  );
  first.send({ work: [work('w1', 1)] });
  first.send({ drain: {} });
  slow.resolve();
  assert.equal((await first.reply()).workId, 'w1');
  await first.closedByHost;
  first.call.end();
  await daemon.attachments.take();
});

test('close asks for no more work, answers what is in hand, and leaves', async () => {
  const slow = Promise.withResolvers<void>();
  const attachment = await attached(
    counter({
      async decide() {
        await slow.promise;
        return [];
      },
    }),
  );
  attachment.send({ work: [work('w1', 1)] });
  await attachmentHas(attachment);
  const closed = host!.close();
  assert.ok((await attachment.messages.take()).drain);
  slow.resolve();
  assert.equal((await attachment.reply()).workId, 'w1');
  await attachment.closedByHost;
  attachment.call.end();
  await closed;
  assert.equal(await host!.closed, undefined);
});

test('a declaration that is refused ends the host', async () => {
  daemon.welcome = (attachment) =>
    attachment.call.emit('error', daybookError(3, 'INVALID_ARGUMENT', { field: 'hello' }));
  host = attach({ address: daemon.address, name: 'test', aggregates: [counter()] });
  await assert.rejects(host.ready(), { name: 'DaybookError', reason: 'INVALID_ARGUMENT' });
  assert.equal((await host.closed)?.metadata.field, 'hello');
});

test('a snapshot includes the events of its reply, the kept state does not', async () => {
  const attachment = await attached(counter({ snapshot: snapshots(1), decide: () => [added(10)] }));
  const reply = await ask(attachment, 'w1', 1, { pages: [page(0, added(5))], snapshotWanted: true });
  assert.equal(reply.result?.$case, 'command');
  assert.equal(reply.result.value.result?.$case, 'events');
  const { snapshot } = reply.result.value.result.value;
  assert.equal(snapshot?.sequence, 1);
  assert.deepEqual(unpackJson(snapshot.state!).value, { total: 15 });
  const cover = { root: { value: root }, domain: 'counter' };
  // Back with it: a history that begins with the snapshot.
  const other = new Uint8Array(16);
  const next = work('w2', 1, { of: other, pages: [page(2, added(1))] });
  attachment.send({
    work: [
      {
        ...next,
        request: {
          ...next.request,
          value: {
            ...next.request.value,
            events: { cover, snapshot, pages: [page(2, added(1))] },
            snapshotWanted: true,
          },
        },
      },
    ],
  });
  const again = await attachment.reply();
  assert.match(JSON.stringify(again), /"sequence":3/);
});

test('the states used least recently are forgotten', async () => {
  const attachment = await attached(counter({ maxStates: 2 }));
  const [a, b, c] = [1, 2, 3].map((n) => new Uint8Array(16).fill(n));
  for (const each of [a!, b!, a!, c!]) await ask(attachment, 'w', 1, { of: each, pages: [page(0, added(1))] });
  const answers = [];
  for (const each of [a!, b!]) answers.push((await ask(attachment, 'w', 1, { of: each, base: 1 })).result?.$case);
  assert.deepEqual(answers, ['command', 'needHistory']);
});

test('without kept state every command brings its history', async () => {
  const attachment = await attached(counter({ keepsState: false }));
  assert.equal(attachment.hello!.aggregates[0]!.keepsState, false);
  assert.deepEqual(decided(await ask(attachment, 'w1', 1, { pages: [page(0, added(1))] })), [1, 1]);
  assert.deepEqual(decided(await ask(attachment, 'w2', 1, { pages: [page(0, added(1)), page(1, added(1))] })), [2, 1]);
});

test('a reply over the limit of the daemon fails alone', async () => {
  daemon.welcome = (attachment) => attachment.welcome({ messageBytes: 10_000 });
  const attachment = await attached(counter({ decide: () => [packJson('Big', 'x'.repeat(20_000))] }));
  const reply = await ask(attachment, 'w1', 1);
  assert.equal(reply.result?.$case, 'failure');
});

test('commands from inside a handler carry its work id, correlation id and tenant', async () => {
  const inner = Promise.withResolvers<[string, string]>();
  daemon.execute = (book) => {
    inner.resolve([book.workId, book.cover!.correlationId]);
    return responseTo(book);
  };
  const attachment = await attached(
    counter({
      async decide(_state, _commands, context) {
        await context.client.execute({ domain: 'other', root, payload: add(1) });
        return [];
      },
    }),
  );
  await ask(attachment, 'w1', 1);
  assert.deepEqual(await inner.promise, ['w1', 'c-1']);
});

function snapshots(version: number): NonNullable<Aggregate<Counter>['snapshot']> {
  return {
    version,
    encode: (state) => packJson('Counter', state),
    decode: (state) => unpackJson(state).value as Counter,
  };
}

/** The host has read everything that was sent so far: it has answered something sent later. */
async function attachmentHas(attachment: Attachment): Promise<void> {
  const reply = await ask(attachment, 'marker', 1, { domain: 'nobody' });
  assert.equal(reply.workId, 'marker');
}
