import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ClientDuplexStream } from '@grpc/grpc-js';
import type { Query, RecordedRejection } from '../../src/gen/daybook/v1/query.ts';
import type { EventBook } from '../../src/model/book.ts';
import { openMemory } from '../../src/stores/memory.ts';
import { any, command, newRoot, textOf } from '../support/books.ts';
import { type TestClient, testDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { failsWith } from '../support/failures.ts';
import { hostAccount } from '../support/hosting.ts';
import { page, writing } from '../support/store-units.ts';

async function open() {
  const daemon = await testDaemon();
  const client = daemon.client();
  await hostAccount(daemon.client().attach());
  const deposit = (root: Uint8Array, amount: string, options: Parameters<typeof command>[2] = {}) =>
    client.unary('gateway.execute', command(root, any('Deposit', amount), options));
  return { client, deposit, [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose]() };
}

function subscribe(client: TestClient, filter: object) {
  const stream = client.serverStream<EventBook>('stream.subscribe', {
    tenant: '',
    correlationId: '',
    domains: [],
    types: [],
    after: '',
    ...filter,
  });
  const books: EventBook[] = [];
  const ended = new Promise<unknown>((resolve) => stream.on('error', resolve));
  stream.on('data', (book: EventBook) => books.push(book));
  return { stream, books, ended };
}

const amounts = (books: EventBook[]) => books.flatMap(({ pages }) => pages.map(({ event }) => textOf(event)));

test('Subscribe sends what comes, filtered, and goes on from a token without loss or repeat', async () => {
  await using opened = await open();
  const { client, deposit } = opened;
  const first = subscribe(client, { domains: ['account'] });
  const root = newRoot();
  // Until the stream is known to be there.
  await eventually('the stream', async () => {
    await deposit(root, 'x1'.slice(1));
    return first.books.length > 0;
  });
  const seen = first.books.length;
  first.stream.cancel();
  const token = first.books.at(-1)!.consistencyToken;
  for (const amount of ['2', '3', '4']) await deposit(root, amount);
  const second = subscribe(client, { after: token });
  await deposit(root, '5');
  await eventually('the rest', () => second.books.length >= 4);
  const all = [...first.books.slice(0, seen), ...second.books].flatMap(({ pages }) =>
    pages.map(({ position }) => position),
  );
  assert.deepEqual(
    all,
    Array.from({ length: all.length }, (_, i) => all[0]! + i),
  );
  assert.deepEqual(amounts(second.books).slice(-4), ['2', '3', '4', '5']);
  const other = subscribe(client, { domains: ['nobody'] });
  const refused = subscribe(client, { after: 'nonsense' });
  failsWith('INVALID_ARGUMENT', { field: 'after' })((await refused.ended) as never);
  const empty = subscribe(client, { types: [''] });
  failsWith('INVALID_ARGUMENT', { field: 'types' })((await empty.ended) as never);
  assert.deepEqual(other.books, []);
});

test('a subscriber that does not read holds nobody up and misses nothing', async () => {
  await using opened = await open();
  const { client, deposit } = opened;
  const root = newRoot();
  await deposit(root, '0');
  const { consistencyToken: after } = await client.unary<EventBook>('query.getEventBook', {
    cover: { root: { value: root }, domain: 'account', correlationId: '', tenant: '' },
    selection: undefined,
    consistencyToken: '',
  });
  const slow = client.serverStream<EventBook>('stream.subscribe', {
    tenant: '',
    correlationId: '',
    domains: [],
    types: [],
    after,
  });
  const payload = '1'.padStart(50_000, '0');
  for (let i = 0; i < 200; i++) await deposit(root, payload);
  let next = 1;
  for await (const book of slow as AsyncIterable<EventBook>) {
    for (const { sequence } of book.pages) assert.equal(sequence, next++);
    if (next === 201) break;
  }
});

function synchronize(client: TestClient) {
  const stream: ClientDuplexStream<Query, EventBook> = client.duplex('query.synchronize');
  const books: EventBook[] = [];
  const ended = new Promise<unknown>((resolve) => stream.on('error', resolve));
  stream.on('data', (book: EventBook) => books.push(book));
  const ask = (root: Uint8Array, lower: number) =>
    stream.write({
      cover: { root: { value: root }, domain: 'account', correlationId: '', tenant: '' },
      selection: lower === 0 ? undefined : { $case: 'range', value: { lower, upper: undefined } },
      consistencyToken: '',
    });
  const of = (root: Uint8Array) =>
    books
      .filter(({ cover }) => Buffer.from(cover!.root!.value).equals(root))
      .flatMap(({ pages }) => pages.map(({ sequence }) => sequence));
  return { stream, books, ended, ask, of };
}

test('Synchronize: what is missing, then every later page of the same aggregates, once and in order, while many write', async () => {
  await using opened = await open();
  const { client, deposit } = opened;
  const roots = Array.from({ length: 5 }, newRoot);
  for (const root of roots) for (let i = 0; i < 20; i++) await deposit(root, String(i));
  const { ask, of, stream } = synchronize(client);
  let writing = true;
  const writers = roots.map(async (root) => {
    while (writing) await deposit(root, '1');
  });
  for (const [i, root] of roots.slice(0, 4).entries()) {
    ask(root, i * 5);
    await eventually('some of it', () => of(root).length > 0);
  }
  await eventually('live books', () => roots.slice(0, 4).every((root) => of(root).length > 60));
  writing = false;
  await Promise.all(writers);
  for (const [i, root] of roots.slice(0, 4).entries()) {
    const { nextSequence } = await client.unary<EventBook>('query.getEventBook', {
      cover: { root: { value: root }, domain: 'account', correlationId: '', tenant: '' },
      selection: undefined,
      consistencyToken: '',
    });
    await eventually('the last one', () => of(root).at(-1) === nextSequence - 1);
    assert.deepEqual(
      of(root),
      Array.from({ length: nextSequence - i * 5 }, (_, n) => n + i * 5),
    );
  }
  // Nobody asked for the fifth.
  assert.deepEqual(of(roots[4]!), []);
  stream.cancel();
});

test('Synchronize refuses what it cannot mean', async () => {
  await using opened = await open();
  const { stream, ended } = synchronize(opened.client);
  stream.write({
    cover: { root: { value: newRoot() }, domain: 'account', correlationId: '', tenant: '' },
    selection: { $case: 'range', value: { lower: 0, upper: 5 } },
    consistencyToken: '',
  });
  failsWith('INVALID_ARGUMENT', { field: 'selection' })((await ended) as never);
});

test('rejections are found by correlation id as long as their keys are kept', async () => {
  await using opened = await open();
  const { client } = opened;
  const root = newRoot();
  for (const [amount, key] of [
    ['1', 'k1'],
    ['2', 'k2'],
    ['3', ''],
  ] as const) {
    await client
      .unary('gateway.execute', command(root, any('Withdraw', amount), { key, correlationId: 'c' }))
      .catch(() => {});
  }
  const list = (correlationId: string) =>
    client.serverStream<RecordedRejection>('query.listRejections', { tenant: '', correlationId }).toArray();
  const found = await list('c');
  assert.deepEqual(
    found.map(({ idempotencyKey, commands, rejection }) => [idempotencyKey, commands, rejection!.code]),
    [
      ['k1', ['account.Withdraw'], 'INSUFFICIENT_FUNDS'],
      ['k2', ['account.Withdraw'], 'INSUFFICIENT_FUNDS'],
    ],
  );
  assert.deepEqual(Buffer.from(found[0]!.cover!.root!.value), Buffer.from(root));
  assert.ok(found[0]!.decidedAt!.seconds > 1_700_000_000);
  assert.deepEqual(await list('other'), []);
  await assert.rejects(list(''), failsWith('INVALID_ARGUMENT', { field: 'correlation_id' }));
});

test('events know the commands that they came from', async () => {
  await using opened = await open();
  const { client } = opened;
  const answer = await client.unary<{ events: EventBook }>(
    'gateway.execute',
    command(newRoot(), [any('Deposit', '1'), any('Touch')]),
  );
  assert.deepEqual(answer.events.pages[0]!.origin!.commands, ['account.Deposit', 'account.Touch']);
});

test('trap 22: what was committed and never published from memory reaches streams all the same, in its place', async () => {
  const store = openMemory({
    logId: '00000000-0000-7000-8000-00000000000a',
    incarnation: '00000000-0000-7000-8000-00000000000b',
  });
  await using daemon = await testDaemon({ store });
  const client = daemon.client();
  await hostAccount(client.attach());
  const { stream, books } = subscribe(client, {});
  await eventually('the stream', async () => {
    await client.unary('gateway.execute', command(newRoot(), any('Deposit', '1')));
    return books.length > 0;
  });
  // As if a process had died between its commit and the next step.
  const unit = writing({ tenant: '', domain: 'account', root: newRoot() }, { kind: 'no-stream' }, [
    page({ event: any('Deposited', '77') }),
  ]);
  await store.commit([unit]);
  await client.unary('gateway.execute', command(newRoot(), any('Deposit', '78')));
  await eventually('both', () => amounts(books).includes('78'));
  assert.deepEqual(amounts(books).slice(-2), ['77', '78']);
  stream.cancel();
});

test('trap 45: a root is free when its command is committed, however long somebody listens', async () => {
  await using opened = await open();
  const { client, deposit } = opened;
  const root = newRoot();
  const listening = client.serverStream<EventBook>('gateway.executeStream', command(root, any('Deposit', '1')));
  const seen: EventBook[] = [];
  listening.on('data', (book: EventBook) => seen.push(book));
  listening.on('error', () => {});
  await eventually('the own book', () => seen.length === 1);
  await deposit(root, '2');
  listening.cancel();
});
