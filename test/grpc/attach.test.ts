import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ServiceError } from '@grpc/grpc-js';
import type { CoordinatorMessage, Reply } from '../../src/gen/daybook/v1/component.ts';
import type { PipelinedCommands, PipelinedResults } from '../../src/gen/daybook/v1/gateway.ts';
import { EventBook } from '../../src/gen/daybook/v1/types.ts';
import type { CommandResponse } from '../../src/model/book.ts';
import { openMemory } from '../../src/stores/memory.ts';
import { any, command, eventBook, newRoot, textOf } from '../support/books.ts';
import { detailsOf, type TestClient, type TestHost, testDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { failsWith } from '../support/failures.ts';
import { commandOf, eventsReply, hello, hostAccount, introduce, nextWork } from '../support/hosting.ts';
import { page, writing } from '../support/store-units.ts';

function execute(client: TestClient, book: ReturnType<typeof command>, deadlineMs?: number): Promise<CommandResponse> {
  return client.unary('gateway.execute', book, deadlineMs === undefined ? {} : { deadlineMs });
}

/** Sends many commands for one aggregate through one stream, to build a history fast. */
async function fill(
  client: TestClient,
  root: Uint8Array,
  commands: number,
  pagesEach: number,
  payload: string,
): Promise<void> {
  const stream = client.duplex<PipelinedCommands, PipelinedResults>('gateway.executePipelined');
  let answered = 0;
  const done = new Promise<void>((resolve, reject) => {
    stream.on('data', ({ results }: PipelinedResults) => {
      for (const { result } of results) {
        if (result?.$case === 'error') reject(new Error(result.value.message));
        if (++answered === commands) resolve();
      }
    });
    stream.on('error', reject);
  });
  for (let i = 0; i < commands; i++) {
    const book = command(
      root,
      Array.from({ length: pagesEach }, () => any('Deposit', payload)),
    );
    stream.write({ commands: [{ id: i + 1, command: book, syncMode: 0, waitTimeout: undefined, timeoutMs: 0 }] });
  }
  await done;
  stream.end();
}

test('a host gets the history with each command, and its events come back stamped', async () => {
  await using daemon = await testDaemon();
  const client = daemon.client();
  const host = client.attach();
  await introduce(host);
  const root = newRoot();
  for (const i of [0, 1, 2]) {
    const answer = execute(client, command(root, any('Deposit', String(i))));
    const work = await nextWork(host);
    const contextual = commandOf(work);
    assert.deepEqual(
      contextual.events!.pages.map((page) => page.sequence),
      [0, 1, 2].slice(0, i),
    );
    assert.equal(contextual.events!.nextSequence, i);
    assert.equal(contextual.baseSequence, 0);
    assert.equal(contextual.workId, work.workId);
    assert.equal(work.component, 'account');
    assert.ok(work.timeoutMs > 0);
    host.send({ replies: [eventsReply(work.workId, eventBook([any('Deposited', String(i))]))] });
    assert.equal((await answer).events!.pages[0]!.sequence, i);
  }
});

test('a host that keeps state gets only what it was not sent before, its own events included', async () => {
  await using daemon = await testDaemon();
  const client = daemon.client();
  const host = client.attach();
  await introduce(host, { keepsState: true });
  const root = newRoot();
  const sent: [number, number[]][] = [];
  for (const i of [0, 1, 2]) {
    const answer = execute(client, command(root, any('Deposit', String(i))));
    const work = await nextWork(host);
    const contextual = commandOf(work);
    sent.push([contextual.baseSequence, contextual.events!.pages.map((page) => page.sequence)]);
    host.send({ replies: [eventsReply(work.workId, eventBook([any('Deposited', String(i))]))] });
    await answer;
  }
  assert.deepEqual(sent, [
    [0, []],
    [0, [0]],
    [1, [1]],
  ]);
});

test("trap 49: a host folds only what it was sent: a reply that lost its race comes back as the winner's events", async () => {
  await using daemon = await testDaemon();
  const client = daemon.client();
  const host = client.attach();
  await introduce(host, { keepsState: true });
  const root = newRoot();
  const first = execute(client, command(root, any('Deposit', '1')));
  const work = await nextWork(host);
  // A reply that breaks the contract is not stored, so it must not come back either.
  host.send({
    replies: [
      eventsReply(work.workId, {
        ...eventBook([any('Deposited', '1')]),
        cover: { domain: 'other', correlationId: '', tenant: '', root: undefined },
      }),
    ],
  });
  await assert.rejects(first, failsWith('COMPONENT_FAULT', { component: 'account' }));
  const notice = await eventually('the notice', () => host.messages.flatMap(({ notices }) => notices)[0]);
  assert.equal(notice.reason, 'COMPONENT_FAULT');
  assert.equal(notice.workId, work.workId);
  const second = execute(client, command(root, any('Deposit', '2')));
  const again = await nextWork(host);
  assert.deepEqual(commandOf(again).events!.pages, []);
  host.send({ replies: [eventsReply(again.workId, eventBook([any('Deposited', '2')]))] });
  await second;
});

test('10,000 events: the bytes for the next command do not depend on them, and a restarted host asks once', async () => {
  await using daemon = await testDaemon();
  const client = daemon.client();
  const host = client.attach();
  await hostAccount(host, { keepsState: true });
  const root = newRoot();
  const frames: CoordinatorMessage[] = [];
  const listen = (to: TestHost) => {
    const answer = to.onMessage!;
    to.onMessage = (message) => {
      frames.push(message);
      answer(message);
    };
  };
  listen(host);
  const pagesSent = () =>
    frames
      .flatMap(({ work, history }) => [
        ...work.map((w) => commandOf(w).events!.pages.length),
        ...history.map((h) => h.events!.pages.length),
      ])
      .reduce((a, b) => a + b, 0);

  await execute(client, command(root, any('Deposit', '1')));
  frames.length = 0;
  await execute(client, command(root, any('Deposit', '1')));
  const early = pagesSent();
  await fill(client, root, 100, 100, '1');
  await execute(client, command(root, any('Deposit', '1')));
  frames.length = 0;
  await execute(client, command(root, any('Deposit', '1')));
  assert.equal(pagesSent(), early);

  // A new process: it holds nothing, and Daybook knows that it does.
  host.stream.cancel();
  await host.whenEnded();
  const restarted = client.attach();
  await hostAccount(restarted, { keepsState: true });
  listen(restarted);
  frames.length = 0;
  const answer = await eventually('the old host to be gone', () =>
    execute(client, command(root, any('Withdraw', '10004'))).catch(() => undefined),
  );
  assert.equal(answer.events!.pages[0]!.sequence, 10_004);
  assert.equal(pagesSent(), 10_004);
  frames.length = 0;
  await execute(client, command(root, any('Deposit', '1')));
  assert.equal(pagesSent(), 1);
});

test('a host that lost its state answers NeedHistory and gets it once, whole', async () => {
  await using daemon = await testDaemon();
  const client = daemon.client();
  const host = client.attach();
  await introduce(host, { keepsState: true });
  const root = newRoot();
  for (const amount of ['1', '2']) {
    const answer = execute(client, command(root, any('Deposit', amount)));
    const { workId } = await nextWork(host);
    host.send({ replies: [eventsReply(workId, eventBook([any('Deposited', amount)]))] });
    await answer;
  }
  const third = execute(client, command(root, any('Deposit', '3')));
  const { workId } = await nextWork(host);
  host.send({ replies: [{ workId, result: { $case: 'needHistory', value: {} } }] });
  const again = await nextWork(host);
  assert.equal(again.workId, workId);
  assert.equal(commandOf(again).baseSequence, 0);
  assert.deepEqual(
    commandOf(again).events!.pages.map((page) => textOf(page.event)),
    ['1', '2'],
  );
  // Asking again after everything was sent is a fault, not a loop.
  host.send({ replies: [{ workId, result: { $case: 'needHistory', value: {} } }] });
  await assert.rejects(third, failsWith('COMPONENT_FAULT'));
});

test('a history of 20 MB arrives in chunks of at most 1 MiB, in order, before its work', async () => {
  await using daemon = await testDaemon();
  const client = daemon.client();
  const filler = client.attach();
  await introduce(filler);
  filler.onMessage = ({ work }) => {
    filler.messages.length = 0;
    if (work.length > 0) {
      filler.send({
        replies: work.map(({ workId }) =>
          eventsReply(workId, eventBook(Array.from({ length: 4 }, () => any('Deposited', '1'.padStart(200_000, '0'))))),
        ),
      });
    }
  };
  const root = newRoot();
  for (let i = 0; i < 26; i++) await execute(client, command(root, any('Deposit', '1')));
  filler.stream.cancel();
  await filler.whenEnded();

  const host = client.attach();
  await introduce(host, { keepsState: true });
  const answer = eventually('the filler to be gone', () =>
    execute(client, command(root, any('Deposit', '1'))).catch(() => undefined),
  );
  let next = 0;
  let bytes = 0;
  let chunks = 0;
  for (;;) {
    const message = await host.next();
    for (const chunk of message.history) {
      const size = chunk.events!.pages.reduce((sum, page) => sum + page.event!.value.length, 0);
      assert.ok(size <= 1 << 20, `${size}`);
      assert.equal(chunk.first, chunks === 0);
      for (const page of chunk.events!.pages) assert.equal(page.sequence, next++);
      bytes += size;
      chunks++;
    }
    const [work] = message.work;
    if (work === undefined) continue;
    assert.equal(next, 104);
    assert.ok(bytes > 20_000_000 && chunks >= 20, `${bytes} bytes in ${chunks} chunks`);
    assert.equal(commandOf(work).baseSequence, 0);
    assert.deepEqual(commandOf(work).events!.pages, []);
    host.send({ replies: [eventsReply(work.workId, eventBook([any('Deposited', '1')]))] });
    break;
  }
  assert.equal((await answer).events!.pages[0]!.sequence, 104);
});

test('trap 57: a component with one credit that calls the gateway while it handles a command does not deadlock', async () => {
  await using daemon = await testDaemon();
  const client = daemon.client();
  const host = client.attach();
  await introduce(host, { credits: { items: 1, bytes: 1 } });
  const outer = execute(client, command(newRoot(), any('Deposit', '1')));
  const outerWork = await nextWork(host);
  const waiting = execute(client, command(newRoot(), any('Deposit', '2')));
  const inner = execute(client, command(newRoot(), any('Deposit', '3'), { workId: outerWork.workId }));
  const innerWork = await nextWork(host);
  assert.equal(textOf(commandOf(innerWork).command!.pages[0]!.command), '3');
  host.send({ replies: [eventsReply(innerWork.workId, eventBook([any('Deposited', '3')]))] });
  await inner;
  host.send({ replies: [eventsReply(outerWork.workId, eventBook([any('Deposited', '1')]))] });
  await outer;
  // Only now is the credit free for a stranger.
  const last = await nextWork(host);
  assert.equal(textOf(commandOf(last).command!.pages[0]!.command), '2');
  host.send({ replies: [eventsReply(last.workId, eventBook([any('Deposited', '2')]))] });
  await waiting;
});

test('REENTRANT: a call for its own root from inside work', async () => {
  await using daemon = await testDaemon();
  const client = daemon.client();
  const host = client.attach();
  await introduce(host);
  const root = newRoot();
  const outer = execute(client, command(root, any('Deposit', '1')));
  const { workId } = await nextWork(host);
  await assert.rejects(execute(client, command(root, any('Deposit', '2'), { workId })), failsWith('REENTRANT'));
  host.send({ replies: [eventsReply(workId, eventBook([]))] });
  await outer;
});

test('credits bound what is in hand, and several items travel in one message', async () => {
  await using daemon = await testDaemon();
  const client = daemon.client();
  const host = client.attach();
  await introduce(host, { credits: { items: 4, bytes: 0 } });
  const stream = client.duplex<PipelinedCommands, PipelinedResults>('gateway.executePipelined');
  const answered: number[] = [];
  stream.on('data', ({ results }: PipelinedResults) => answered.push(...results.map(({ id }) => id)));
  stream.write({
    commands: Array.from({ length: 10 }, (_, i) => ({
      id: i + 1,
      command: command(newRoot(), any('Deposit', String(i))),
      syncMode: 0 as const,
      waitTimeout: undefined,
      timeoutMs: 0,
    })),
  });
  const sizes: number[] = [];
  while (sizes.reduce((a, b) => a + b, 0) < 10) {
    const { work } = await host.next();
    if (work.length === 0) continue;
    sizes.push(work.length);
    host.send({ replies: work.map(({ workId }) => eventsReply(workId, eventBook([any('Deposited', '1')]))) });
  }
  assert.deepEqual(sizes, [4, 4, 2]);
  await eventually('all answers', () => answered.length === 10);
  stream.end();
});

test('a deadline that passes: COMPONENT_TIMEOUT, Cancel to the host, and the next work for that root after its end', async () => {
  await using daemon = await testDaemon({ env: { DAYBOOK__LIMITS__COMPONENT_TIMEOUT_MS: '100' } });
  const client = daemon.client();
  const host = client.attach();
  await introduce(host);
  const root = newRoot();
  const first = execute(client, command(root, any('Deposit', '1')));
  const slow = await nextWork(host);
  await assert.rejects(first, failsWith('COMPONENT_TIMEOUT', { component: 'account', timeout_ms: '100' }));
  const cancel = await eventually('Cancel', () => host.messages.flatMap(({ cancels }) => cancels)[0]);
  assert.equal(cancel.workId, slow.workId);
  host.messages.length = 0;

  const second = execute(client, command(root, any('Deposit', '2')));
  const other = execute(client, command(newRoot(), any('Deposit', '3')));
  const free = await nextWork(host);
  assert.equal(textOf(commandOf(free).command!.pages[0]!.command), '3');
  host.send({ replies: [eventsReply(free.workId, eventBook([]))] });
  await other;
  // The late reply is dropped and not stored; then the aggregate is free.
  host.send({ replies: [eventsReply(slow.workId, eventBook([any('Deposited', 'late')]))] });
  const next = await nextWork(host);
  assert.deepEqual(commandOf(next).events!.pages, []);
  host.send({ replies: [eventsReply(next.workId, eventBook([any('Deposited', '2')]))] });
  assert.equal((await second).events!.pages[0]!.sequence, 0);
});

test('a component that dies with work in hand: COMPONENT_UNAVAILABLE, nothing stored, and another process takes over', async () => {
  await using daemon = await testDaemon();
  const client = daemon.client();
  const dying = daemon.client().attach();
  await introduce(dying);
  const answer = execute(client, command(newRoot(), any('Deposit', '1')));
  await nextWork(dying);
  dying.stream.cancel();
  await assert.rejects(answer, failsWith('COMPONENT_UNAVAILABLE', { component: 'account' }));
  await assert.rejects(execute(client, command(newRoot(), any('Deposit', '1'))), failsWith('COMPONENT_UNAVAILABLE'));
  const host = client.attach();
  await hostAccount(host);
  assert.equal((await execute(client, command(newRoot(), any('Deposit', '1')))).position, 1);
});

test('several processes for one domain: an aggregate stays with one, and both are used', async () => {
  await using daemon = await testDaemon();
  const client = daemon.client();
  const hosts = [client.attach(), client.attach()];
  const seen = hosts.map(() => new Set<string>());
  for (const [i, host] of hosts.entries()) {
    await hostAccount(host, { keepsState: true });
    const answer = host.onMessage!;
    host.onMessage = (message) => {
      for (const work of message.work)
        seen[i]!.add(Buffer.from(commandOf(work).command!.cover!.root!.value).toString('hex'));
      answer(message);
    };
  }
  const roots = Array.from({ length: 50 }, newRoot);
  for (let round = 0; round < 3; round++)
    await Promise.all(roots.map((root) => execute(client, command(root, any('Deposit', '1')))));
  assert.equal(seen[0]!.size + seen[1]!.size, 50);
  assert.ok(seen[0]!.size > 5 && seen[1]!.size > 5);
  // One leaves in peace: its aggregates move, with all that they did.
  hosts[0]!.send({ drain: { timeout: undefined } });
  await Promise.all(roots.map((root) => execute(client, command(root, any('Withdraw', '3')))));
});

test('a host that drains gets no more work, and finishes what it has', async () => {
  await using daemon = await testDaemon();
  const client = daemon.client();
  const host = client.attach();
  await introduce(host);
  const answer = execute(client, command(newRoot(), any('Deposit', '1')));
  const { workId } = await nextWork(host);
  host.send({ drain: { timeout: undefined } });
  await eventually('no host', () =>
    execute(client, command(newRoot(), any('Deposit', '1')), 500).then(
      () => false,
      (error) => detailsOf(error).reason === 'COMPONENT_UNAVAILABLE',
    ),
  );
  host.send({ replies: [eventsReply(workId, eventBook([any('Deposited', '1')]))] });
  await answer;
});

test('trap 27: a broken item fails alone and is told; the stream goes on', async () => {
  await using daemon = await testDaemon();
  const client = daemon.client();
  const host = client.attach();
  await introduce(host);
  // Replies that answer nothing, of the wrong kind, and without a result.
  host.send({ replies: [eventsReply('nobody-1', eventBook([]))] });
  const unknown = await eventually('a notice', () => host.messages.flatMap(({ notices }) => notices)[0]);
  assert.deepEqual([unknown.workId, unknown.reason], ['nobody-1', 'UNKNOWN_WORK']);
  const unusable: Reply['result'][] = [
    undefined,
    { $case: 'saga', value: { commands: [], events: [] } },
    { $case: 'command', value: { result: undefined } },
  ];
  for (const result of unusable) {
    const answer = execute(client, command(newRoot(), any('Deposit', '1')));
    const { workId } = await nextWork(host);
    host.send({ replies: [{ workId, result }] });
    await assert.rejects(answer, failsWith('COMPONENT_FAULT'));
  }
  // A handler's own failure, and a reply that came twice.
  const failing = execute(client, command(newRoot(), any('Deposit', '1')));
  const { workId: failed } = await nextWork(host);
  host.send({
    replies: [{ workId: failed, result: { $case: 'failure', value: { message: 'no database', overloaded: false } } }],
  });
  await assert.rejects(failing, /no database/);
  const good = execute(client, command(newRoot(), any('Deposit', '1')));
  const { workId } = await nextWork(host);
  host.send({
    replies: [
      eventsReply(workId, eventBook([any('Deposited', '1')])),
      eventsReply(workId, eventBook([any('Deposited', '1')])),
    ],
  });
  assert.equal((await good).position, 1);
});

test('an overloaded host: OVERLOADED', async () => {
  await using daemon = await testDaemon();
  const client = daemon.client();
  const host = client.attach();
  await introduce(host);
  const answer = execute(client, command(newRoot(), any('Deposit', '1')));
  const { workId } = await nextWork(host);
  host.send({ replies: [{ workId, result: { $case: 'failure', value: { message: 'busy', overloaded: true } } }] });
  await assert.rejects(answer, failsWith('OVERLOADED', { limit: 'component' }));
});

test('the order of the attach stream: Hello first, once, and acceptable', async () => {
  await using daemon = await testDaemon({ env: { DAYBOOK__DOMAINS: '[account, ledger]' } });
  const client = daemon.client();
  const broken: [string, (host: TestHost) => void, string, string][] = [
    [
      'a reply before Hello',
      (host) => host.send({ replies: [eventsReply('x', eventBook([]))] }),
      'INVALID_ARGUMENT',
      'hello',
    ],
    ['an empty message first', (host) => host.send({}), 'INVALID_ARGUMENT', 'hello'],
    [
      'another protocol',
      (host) => host.send({ hello: hello([{}], { protocolVersion: 9 }) }),
      'INVALID_ARGUMENT',
      'hello.protocol_version',
    ],
    ['nothing hosted', (host) => host.send({ hello: hello([]) }), 'INVALID_ARGUMENT', 'hello'],
    [
      'a bad domain',
      (host) => host.send({ hello: hello([{ domain: 'Account' }]) }),
      'INVALID_ARGUMENT',
      'hello.aggregates.domain',
    ],
    ['a domain twice', (host) => host.send({ hello: hello([{}, {}]) }), 'INVALID_ARGUMENT', 'hello.aggregates.domain'],
    [
      'a domain that is not owned',
      (host) => host.send({ hello: hello([{ domain: 'other' }]) }),
      'INVALID_ARGUMENT',
      'hello.aggregates.domain',
    ],
    [
      'Hello twice',
      (host) => {
        host.send({ hello: hello([{}]) });
        host.send({ hello: hello([{}]) });
      },
      'INVALID_ARGUMENT',
      'hello',
    ],
  ];
  for (const [name, act, reason, field] of broken) {
    const host = client.attach();
    act(host);
    const { error } = await host.whenEnded();
    assert.ok(error !== undefined, name);
    assert.equal(detailsOf(error).reason, reason, name);
    assert.equal(detailsOf(error).metadata.field, field, name);
  }
  // Nobody is left over from those attempts.
  await assert.rejects(execute(client, command(newRoot(), any('Deposit', '1'))), failsWith('COMPONENT_UNAVAILABLE'));
});

test('a stopping daemon tells its components, finishes their work and ends their streams', async () => {
  await using daemon = await testDaemon();
  const client = daemon.client();
  const host = client.attach();
  await introduce(host);
  const answer = execute(client, command(newRoot(), any('Deposit', '1')));
  const { workId } = await nextWork(host);
  const stopped = daemon.daemon.stop();
  await assert.rejects(
    execute(daemon.client(), command(newRoot(), any('Deposit', '1'))),
    (error: ServiceError) => error.code === 14,
  );
  host.send({ replies: [eventsReply(workId, eventBook([any('Deposited', '1')]))] });
  assert.equal((await answer).position, 1);
  await eventually('Drain', () => host.messages.some(({ drain }) => drain !== undefined));
  host.stream.end();
  await stopped;
});

test('trap 27: a history that is mostly metadata is chunked by its real size, and the stream goes on', async () => {
  const store = openMemory({
    logId: '00000000-0000-7000-8000-00000000000a',
    incarnation: '00000000-0000-7000-8000-00000000000b',
  });
  const root = newRoot();
  const stream = { tenant: '', domain: 'account', root };
  for (let i = 0; i < 24; i++) {
    const metadata = { note: 'é'.repeat(8000) };
    const pages = Array.from({ length: 100 }, () => page({ event: any('Deposited', '1'), metadata }));
    await store.commit([writing(stream, { kind: 'any' }, pages)]);
  }
  await using daemon = await testDaemon({ store });
  const client = daemon.client();
  const host = client.attach();
  await introduce(host, { keepsState: true });
  const answer = execute(client, command(root, any('Deposit', '1')));
  let pages = 0;
  for (;;) {
    const message = await host.next();
    for (const { events } of message.history) {
      const size = EventBook.encode(events!).finish().length;
      assert.ok(size <= 1.1 * (1 << 20), `${size}`);
      pages += events!.pages.length;
    }
    const [work] = message.work;
    if (work === undefined) continue;
    assert.equal(pages, 2400);
    host.send({ replies: [eventsReply(work.workId, eventBook([]))] });
    break;
  }
  await answer;
  const query = {
    cover: { root: { value: root }, domain: 'account', correlationId: '', tenant: '' },
    selection: undefined,
    consistencyToken: '',
  };
  await assert.rejects(client.unary('query.getEventBook', query), failsWith('TOO_LARGE'));
  const books = await client.serverStream<EventBook>('query.getEvents', query).toArray();
  assert.equal(books.flatMap((book: EventBook) => book.pages).length, 2400);
});

test('an attached host gets the snapshot of its own schema version and the pages after it, and no other version', async () => {
  await using daemon = await testDaemon({ env: { DAYBOOK__LIMITS__SNAPSHOT_AFTER_PAGES: '3' } });
  const client = daemon.client();
  const root = newRoot();
  const deposit = () => execute(client, command(root, any('Deposit', '1')));
  const first = client.attach();
  await introduce(first, { snapshotSchemaVersion: 1 });
  const wanted: boolean[] = [];
  for (let i = 0; i < 5; i++) {
    const answer = deposit();
    const work = await nextWork(first);
    const { snapshotWanted } = commandOf(work);
    wanted.push(snapshotWanted);
    const book = eventBook([any('Deposited', '1')]);
    // Its state includes the event of the same reply.
    if (snapshotWanted)
      book.snapshot = { sequence: 0, state: any('State', String(i + 1)), retention: 0, schemaVersion: 1 };
    first.send({ replies: [eventsReply(work.workId, book)] });
    await answer;
  }
  assert.deepEqual(wanted, [false, false, false, true, false]);

  const historyFor = async (snapshotSchemaVersion: number) => {
    const host = client.attach();
    await introduce(host, { snapshotSchemaVersion });
    const answer = deposit();
    const work = await nextWork(host);
    const { events } = commandOf(work);
    host.send({ replies: [eventsReply(work.workId, eventBook([]))] });
    await answer;
    host.stream.cancel();
    await host.whenEnded();
    await eventually('the host to be gone', () =>
      execute(client, command(newRoot(), any('Touch')), 300).then(
        () => false,
        (error) => detailsOf(error).reason === 'COMPONENT_UNAVAILABLE',
      ),
    );
    return [events!.snapshot?.sequence, events!.pages.map(({ sequence }) => sequence)];
  };
  first.stream.cancel();
  await first.whenEnded();
  await eventually('the first to be gone', () =>
    deposit().then(
      () => false,
      () => true,
    ),
  );
  assert.deepEqual(await historyFor(1), [3, [4]]);
  assert.deepEqual(await historyFor(2), [undefined, [0, 1, 2, 3, 4]]);
});
