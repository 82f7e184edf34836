import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ClientReadableStream, ServiceError } from '@grpc/grpc-js';
import type {
  PipelinedCommand,
  PipelinedCommands,
  PipelinedResult,
  PipelinedResults,
} from '../../src/gen/daybook/v1/gateway.ts';
import type { CommandBook, CommandResponse, EventBook } from '../../src/model/book.ts';
import { any, command, newRoot, textOf } from '../support/books.ts';
import { detailsOf, type TestClient, type TestDaemon, testDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { failsWith } from '../support/failures.ts';
import { hostAccount } from '../support/hosting.ts';

/** A daemon with the account attached, and a client. */
async function open(
  env: Record<string, string> = {},
): Promise<AsyncDisposable & { client: TestClient; daemon: TestDaemon }> {
  const daemon = await testDaemon({ env });
  const host = daemon.client().attach();
  await hostAccount(host);
  return { daemon, client: daemon.client(), [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose]() };
}

function collect(stream: ClientReadableStream<EventBook>): {
  books: EventBook[];
  ended: Promise<ServiceError | undefined>;
} {
  const books: EventBook[] = [];
  stream.on('data', (book: EventBook) => books.push(book));
  const ended = new Promise<ServiceError | undefined>((resolve) => {
    stream.on('error', resolve);
    stream.on('end', () => setImmediate(() => resolve(undefined)));
  });
  return { books, ended };
}

function amounts(books: EventBook[]): string[] {
  return books.flatMap((book) => book.pages.map((page) => textOf(page.event)));
}

test("ExecuteStream: the command's own book, then every later one with its correlation id, and no other", async () => {
  await using opened = await open();
  const { client } = opened;
  const [a, b] = [newRoot(), newRoot()];
  await client.unary('gateway.execute', command(a, any('Deposit', 'before'.length.toString()), { correlationId: 'c' }));
  const stream = client.serverStream<EventBook>(
    'gateway.executeStream',
    command(a, any('Deposit', '1'), { correlationId: 'c' }),
  );
  const { books } = collect(stream);
  await eventually('the own book', () => books.length === 1);
  await client.unary('gateway.execute', command(b, any('Deposit', '2'), { correlationId: 'c' }));
  await client.unary('gateway.execute', command(b, any('Deposit', '3'), { correlationId: 'other' }));
  await client.unary('gateway.execute', command(b, any('Deposit', '4'), { correlationId: 'c', tenant: 'acme' }));
  await client.unary('gateway.execute', command(a, [any('Deposit', '5'), any('Deposit', '6')], { correlationId: 'c' }));
  await eventually('three books', () => books.length === 3);
  assert.deepEqual(amounts(books), ['1', '2', '5', '6']);
  assert.deepEqual(
    books.map(({ nextSequence }) => nextSequence),
    [2, 1, 4],
  );
  for (const book of books) assert.match(book.consistencyToken, /./);
});

test('ExecuteStream of a rejected command is an error; of one without events begins with an empty book', async () => {
  await using opened = await open();
  const { client } = opened;
  const root = newRoot();
  const rejected = collect(client.serverStream('gateway.executeStream', command(root, any('Withdraw', '1'))));
  failsWith('REJECTED', { code: 'INSUFFICIENT_FUNDS', kind: 'CONFLICT', page: '0' }, 9)((await rejected.ended)!);
  const { books } = collect(
    client.serverStream('gateway.executeStream', command(root, any('Touch'), { correlationId: 'c' })),
  );
  await eventually('the own book', () => books.length === 1);
  assert.deepEqual(books[0]!.pages, []);
  await client.unary('gateway.execute', command(root, any('Deposit', '1'), { correlationId: 'c' }));
  await eventually('the next book', () => books.length === 2);
});

test('streams lose nothing and repeat nothing while many write, however late they begin', async () => {
  await using opened = await open();
  const { client } = opened;
  const root = newRoot();
  const first = await client.unary<CommandResponse>(
    'gateway.execute',
    command(root, any('Deposit', '0'), { correlationId: 'c', key: 'first' }),
  );
  assert.equal(first.position, 1);
  const streams: { books: EventBook[] }[] = [];
  for (let i = 1; i <= 300; i++) {
    // The repeat of a command gives its book again, and then all that came since.
    if (i % 50 === 0) {
      streams.push(
        collect(
          client.serverStream(
            'gateway.executeStream',
            command(root, any('Deposit', '0'), { correlationId: 'c', key: 'first' }),
          ),
        ),
      );
    }
    await client.unary(
      'gateway.execute',
      command(newRoot(), any('Deposit', String(i)), { correlationId: i % 3 === 0 ? 'c' : 'other' }),
    );
  }
  const expected = ['0', ...Array.from({ length: 100 }, (_, i) => String((i + 1) * 3))];
  for (const { books } of streams) {
    await eventually('all of them', () => books.length >= expected.length);
    assert.deepEqual(amounts(books), expected);
  }
});

test('ExecuteStreamResponseCount ends after so many books, the own one included', async () => {
  await using opened = await open();
  const { client } = opened;
  const root = newRoot();
  const one = collect(
    client.serverStream('gateway.executeStreamResponseCount', {
      command: command(root, any('Deposit', '1')),
      count: 1,
    }),
  );
  assert.equal(await one.ended, undefined);
  assert.deepEqual(amounts(one.books), ['1']);
  const two = collect(
    client.serverStream('gateway.executeStreamResponseCount', {
      command: command(root, any('Deposit', '2'), { correlationId: 'c' }),
      count: 2,
    }),
  );
  await eventually('the own book', () => two.books.length === 1);
  for (const amount of ['3', '4'])
    await client.unary('gateway.execute', command(root, any('Deposit', amount), { correlationId: 'c' }));
  assert.equal(await two.ended, undefined);
  assert.deepEqual(amounts(two.books), ['2', '3']);
  for (const count of [0, -1]) {
    const refused = collect(
      client.serverStream('gateway.executeStreamResponseCount', { command: command(root, any('Deposit', '1')), count }),
    );
    failsWith('INVALID_ARGUMENT', { field: 'count' })((await refused.ended)!);
  }
});

test('ExecuteStreamResponseTime ends after the time', async () => {
  await using opened = await open();
  const { client } = opened;
  const root = newRoot();
  const timed = collect(
    client.serverStream('gateway.executeStreamResponseTime', {
      command: command(root, any('Deposit', '1'), { correlationId: 'c' }),
      timeoutMs: 300,
    }),
  );
  await eventually('the own book', () => timed.books.length === 1);
  await client.unary('gateway.execute', command(root, any('Deposit', '2'), { correlationId: 'c' }));
  assert.equal(await timed.ended, undefined);
  assert.deepEqual(amounts(timed.books), ['1', '2']);
  for (const timeoutMs of [0, 86_400_001]) {
    const refused = collect(
      client.serverStream('gateway.executeStreamResponseTime', {
        command: command(root, any('Deposit', '1')),
        timeoutMs,
      }),
    );
    failsWith('INVALID_ARGUMENT', { field: 'timeout_ms' })((await refused.ended)!);
  }
});

test('a stopping daemon ends its streams with SHUTTING_DOWN, so that nobody takes them for complete', async () => {
  const { client, daemon } = await open();
  const { books, ended } = collect(
    client.serverStream('gateway.executeStream', command(newRoot(), any('Deposit', '1'))),
  );
  await eventually('the own book', () => books.length === 1);
  const stopped = daemon.daemon.stop();
  failsWith('SHUTTING_DOWN', {}, 14)((await ended)!);
  client.close();
  await stopped;
});

test('ExecuteSync: every mode is served, and settled at once when nothing reacts', async () => {
  await using opened = await open();
  const { client } = opened;
  const sync = (syncMode: number, waitTimeout?: { seconds: number; nanos: number }) =>
    client.unary<CommandResponse>('gateway.executeSync', {
      command: command(newRoot(), any('Deposit', '1')),
      syncMode,
      waitTimeout,
    });
  for (const mode of [0, 1, 2]) assert.equal((await sync(mode)).settled, true);
  for (const seconds of [-1, 90_000]) {
    await assert.rejects(sync(1, { seconds, nanos: 0 }), failsWith('INVALID_ARGUMENT', { field: 'wait_timeout' }));
  }
  await assert.rejects(sync(7), failsWith('INVALID_ARGUMENT', { field: 'sync_mode' }));
  await assert.rejects(
    client.unary('gateway.executeSync', { command: undefined, syncMode: 0, waitTimeout: undefined }),
    failsWith('INVALID_ARGUMENT', { field: 'command' }),
  );
});

test('the trace context of a call reaches its events, whichever call it is', async () => {
  await using opened = await open();
  const { client } = opened;
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  const metadata = { traceparent };
  const deposit = () => command(newRoot(), any('Deposit', '1'));
  const wrapped = () => ({ command: deposit(), syncMode: 0, waitTimeout: undefined });
  const events = [
    (await client.unary<CommandResponse>('gateway.execute', deposit(), { metadata })).events!,
    (await client.unary<CommandResponse>('gateway.executeSync', wrapped(), { metadata })).events!,
    (await client.unary<CommandResponse>('business.handle', wrapped(), { metadata })).events!,
    ...(await client
      .serverStream<EventBook>('gateway.executeStreamResponseCount', { command: deposit(), count: 1 }, metadata)
      .toArray()),
  ];
  assert.deepEqual(
    events.map(({ pages }) => pages[0]!.metadata.traceparent),
    [traceparent, traceparent, traceparent, traceparent],
  );
  const own = deposit();
  own.metadata.traceparent = 'mine';
  const kept = await client.unary<CommandResponse>('gateway.execute', own, { metadata });
  assert.equal(kept.events!.pages[0]!.metadata.traceparent, 'mine');
});

/** A pipelined stream as a client sees it. */
function pipeline(client: TestClient) {
  const stream = client.duplex<PipelinedCommands, PipelinedResults>('gateway.executePipelined');
  const results: PipelinedResult[] = [];
  let messages = 0;
  stream.on('data', (message: PipelinedResults) => {
    messages++;
    results.push(...message.results);
  });
  const ended = new Promise<ServiceError | undefined>((resolve) => {
    stream.on('error', resolve);
    stream.on('end', () => setImmediate(() => resolve(undefined)));
  });
  const item = (id: number, book: CommandBook | undefined, timeoutMs = 0): PipelinedCommand => ({
    id,
    command: book,
    syncMode: 0,
    waitTimeout: undefined,
    timeoutMs,
  });
  return {
    stream,
    results,
    ended,
    item,
    messages: () => messages,
    byId: (id: number) => results.find((result) => result.id === id)?.result,
  };
}

test('ExecutePipelined: each command has its own outcome, in order per aggregate, several per message', async () => {
  await using opened = await open();
  const { stream, results, ended, item, byId, messages } = pipeline(opened.client);
  const root = newRoot();
  stream.write({
    commands: [
      item(1, command(root, any('Deposit', '10'))),
      item(2, command(root, any('Withdraw', '4'))),
      item(3, command(root, any('Withdraw', '7'))),
      item(4, command(newRoot(), any('Nonsense'))),
      item(5, undefined),
      item(6, command(newRoot().subarray(1), any('Deposit', '1'))),
      item(0, command(root, any('Deposit', '1'))),
      ...Array.from({ length: 93 }, (_, i) => item(100 + i, command(newRoot(), any('Deposit', '1')))),
    ],
  });
  stream.end();
  assert.equal(await ended, undefined);
  assert.equal(results.length, 100);
  assert.ok(messages() < 20, `${messages()} messages`);
  const reasonOf = (id: number) => {
    const result = byId(id);
    return result?.$case === 'error' ? result.value.reason : result?.$case;
  };
  assert.deepEqual([1, 2, 3, 4, 5, 6, 0].map(reasonOf), [
    'response',
    'response',
    'REJECTED',
    'COMPONENT_FAULT',
    'INVALID_ARGUMENT',
    'INVALID_ARGUMENT',
    'INVALID_ARGUMENT',
  ]);
  const third = byId(3);
  assert.equal(third?.$case === 'error' && third.value.rejection?.message, 'a balance of 6 does not cover 7');
  assert.equal(third?.$case === 'error' && third.value.code, 9);
});

test('ExecutePipelined: an id in use is refused, a time that runs out ends that command alone', async () => {
  await using daemon = await testDaemon();
  const client = daemon.client();
  const host = client.attach();
  await hostAccount(host);
  const answer = host.onMessage!;
  const held: Parameters<typeof answer>[0][] = [];
  host.onMessage = (message) => held.push(message);
  const { stream, byId, item, ended } = pipeline(client);
  const root = newRoot();
  stream.write({
    commands: [item(1, command(root, any('Deposit', '1'))), item(2, command(root, any('Deposit', '2')), 50)],
  });
  const second = await eventually('the time of the second', () => byId(2));
  assert.equal(second.$case === 'error' && second.value.reason, 'COMPONENT_TIMEOUT');
  stream.write({ commands: [item(1, command(root, any('Deposit', '3')))] });
  const refused = await eventually('the refusal', () => byId(1));
  assert.equal(refused.$case === 'error' && refused.value.metadata.field, 'id');
  host.onMessage = answer;
  for (const message of held) answer(message);
  stream.end();
  assert.equal(await ended, undefined);
});

test('ExecutePipelined: what is too much is refused at once, but not what belongs to work under way', async () => {
  await using daemon = await testDaemon({ env: { DAYBOOK__LIMITS__EXECUTING_COMMANDS: '10' } });
  const client = daemon.client();
  const host = client.attach();
  await hostAccount(host);
  const answer = host.onMessage!;
  const held: Parameters<typeof answer>[0][] = [];
  host.onMessage = (message) => held.push(message);
  const { stream, results, item, byId, ended } = pipeline(client);
  const deposit = (id: number) => item(id, command(newRoot(), any('Deposit', '1')));
  // A fifth of ten is kept for what is under way.
  stream.write({ commands: Array.from({ length: 12 }, (_, i) => deposit(i + 1)) });
  await eventually('four are refused', () => results.length === 4);
  for (const id of [9, 10, 11, 12]) {
    const result = byId(id);
    assert.equal(result?.$case === 'error' && result.value.reason, 'OVERLOADED');
    assert.equal(result?.$case === 'error' && result.value.metadata.limit, 'executing_commands');
  }
  const work = () => held.flatMap((message) => message.work);
  await eventually('eight are asked', () => work().length === 8);
  const inner = deposit(13);
  inner.command!.workId = work()[0]!.workId;
  stream.write({ commands: [inner] });
  await eventually('the ninth is asked as well', () => work().length === 9);
  host.onMessage = answer;
  for (const message of held) answer(message);
  stream.end();
  assert.equal(await ended, undefined);
  assert.equal(results.filter(({ result }) => result?.$case === 'response').length, 9);
});

test('ExecutePipelined: a client that does not read its results stops being read, and memory stays bounded', async () => {
  await using opened = await open();
  const { stream, results, ended, item } = pipeline(opened.client);
  stream.pause();
  const total = 20_000;
  let sent = 0;
  const send = () => {
    while (sent < total) {
      sent++;
      if (!stream.write({ commands: [item(sent, command(newRoot(), any('Touch', 'x'.repeat(500))))] })) {
        stream.once('drain', send);
        return;
      }
    }
    stream.end();
  };
  send();
  // The client's own window fills up before everything is sent.
  await eventually('the sender to be held up', () => stream.listenerCount('drain') > 0 && sent < total);
  stream.resume();
  assert.equal(await ended, undefined);
  assert.equal(results.length, total);
  assert.ok(results.every(({ result }) => result?.$case === 'response'));
});

test('bad input: bytes that are no message, and messages over the limit, are typed errors; the daemon goes on', async () => {
  await using opened = await open();
  const { client } = opened;
  await assert.rejects(
    client.bytes('gateway.execute', Buffer.from([0xff, 0xff, 0xff])),
    failsWith('INVALID_ARGUMENT', { field: 'message' }, 3),
  );
  const large = command(newRoot(), any('Deposit', 'x'.repeat(5 << 20)));
  await assert.rejects(client.unary('gateway.execute', large), failsWith('TOO_LARGE', { limit: String(4 << 20) }, 3));
  const { stream, byId, item, ended } = pipeline(client);
  stream.write({ commands: [item(1, large)] });
  stream.write({ commands: [item(2, command(newRoot(), any('Deposit', '1')))] });
  stream.end();
  assert.equal(await ended, undefined);
  const first = byId(1);
  assert.equal(first?.$case === 'error' && first.value.reason, 'TOO_LARGE');
  assert.equal(byId(2)?.$case, 'response');
});

test('a served component that nobody can reach: COMPONENT_UNAVAILABLE; a domain that nobody serves: UNKNOWN_DOMAIN', async () => {
  await using daemon = await testDaemon({
    env: { DAYBOOK__COMPONENTS: '[{ aggregate: far, address: "127.0.0.1:1" }]' },
  });
  const client = daemon.client();
  const far = command(newRoot(), any('Deposit', '1'), { domain: 'far' });
  await assert.rejects(
    client.unary('gateway.execute', far),
    failsWith('COMPONENT_UNAVAILABLE', { component: 'far' }, 14),
  );
  const nobody = command(newRoot(), any('Deposit', '1'), { domain: 'nobody' });
  await assert.rejects(client.unary('gateway.execute', nobody), failsWith('UNKNOWN_DOMAIN', { domain: 'nobody' }, 5));
  const health = await fetch(`http://${daemon.daemon.addresses.health}/readyz`);
  assert.equal(health.status, 200);
  assert.match(((await health.json()) as { parts: Record<string, string> }).parts['component far']!, /UNAVAILABLE/);
});

test('a client without typed errors still reads a sentence', async () => {
  await using opened = await open();
  await assert.rejects(
    opened.client.unary('gateway.execute', command(newRoot(), any('Withdraw', '1'))),
    (error: ServiceError) => {
      assert.match(error.details, /a balance of 0 does not cover 1/);
      assert.deepEqual(detailsOf(error).types, ['google.rpc.ErrorInfo', 'daybook.v1.Rejection']);
      return true;
    },
  );
});
