import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ClientReadableStream } from '@grpc/grpc-js';
import type { ReadLogRequest, ReadLogResponse } from '../../src/gen/daybook/v1/query.ts';
import type { EventBook } from '../../src/model/book.ts';
import { any, command, newRoot, textOf } from '../support/books.ts';
import { type TestClient, testDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { failsWith } from '../support/failures.ts';
import { hostAccount } from '../support/hosting.ts';

async function open() {
  const daemon = await testDaemon();
  const client = daemon.client();
  await hostAccount(daemon.client().attach());
  const deposit = (root: Uint8Array, amount: string, options: Parameters<typeof command>[2] = {}) =>
    client.unary('gateway.execute', command(root, any('Deposit', amount), options));
  return { client, deposit, [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose]() };
}

function query(root: Uint8Array, selection?: object, consistencyToken = '') {
  return {
    cover: { root: { value: root }, domain: 'account', correlationId: '', tenant: '' },
    selection,
    consistencyToken,
  };
}

function readLog(client: TestClient, request: Partial<ReadLogRequest>): ClientReadableStream<ReadLogResponse> {
  return client.serverStream('query.readLog', {
    start: undefined,
    tenant: '',
    allTenants: false,
    domains: [],
    types: [],
    correlationId: '',
    follow: false,
    limit: 0,
    ...request,
  });
}

async function all<T>(stream: ClientReadableStream<T>): Promise<T[]> {
  return stream.toArray();
}

const sequences = (book: EventBook) => book.pages.map((page) => page.sequence);

test('GetEventBook: whole, a range, a set, as of a sequence; unknown roots are empty books', async () => {
  await using opened = await open();
  const { client, deposit } = opened;
  const root = newRoot();
  for (let i = 0; i < 10; i++) await deposit(root, String(i));
  const get = (selection?: object) => client.unary<EventBook>('query.getEventBook', query(root, selection));
  assert.deepEqual(sequences(await get()), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.deepEqual(sequences(await get({ $case: 'range', value: { lower: 3, upper: 5 } })), [3, 4, 5]);
  assert.deepEqual(sequences(await get({ $case: 'range', value: { lower: 8 } })), [8, 9]);
  assert.deepEqual(sequences(await get({ $case: 'range', value: { lower: 20, upper: 30 } })), []);
  assert.deepEqual(sequences(await get({ $case: 'sequences', value: { values: [7, 1, 99, 2, 1] } })), [1, 2, 7]);
  assert.deepEqual(
    sequences(await get({ $case: 'temporal', value: { point: { $case: 'asOfSequence', value: 2 } } })),
    [0, 1, 2],
  );
  const whole = await get();
  assert.equal(whole.nextSequence, 10);
  assert.deepEqual(
    whole.pages.map((page) => page.position),
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
  );
  const nobody = await client.unary<EventBook>('query.getEventBook', query(newRoot()));
  assert.deepEqual([nobody.pages, nobody.nextSequence], [[], 0]);
  await assert.rejects(
    get({ $case: 'range', value: { lower: 3, upper: 2 } }),
    failsWith('INVALID_ARGUMENT', { field: 'range.upper' }),
  );
  await assert.rejects(
    get({ $case: 'sequences', value: { values: Array.from({ length: 1001 }, (_, i) => i) } }),
    failsWith('INVALID_ARGUMENT', { field: 'sequences' }),
  );
});

test('a long history: TOO_LARGE from GetEventBook, chunks of at most 1 MiB from GetEvents', async () => {
  await using opened = await open();
  const { client, deposit } = opened;
  const root = newRoot();
  for (let i = 0; i < 30; i++) await deposit(root, '1'.padStart(200_000, '0'));
  await assert.rejects(
    client.unary('query.getEventBook', query(root)),
    failsWith('TOO_LARGE', { limit: String(4 << 20) }),
  );
  const books = await all(client.serverStream<EventBook>('query.getEvents', query(root)));
  assert.deepEqual(
    books.flatMap(sequences),
    Array.from({ length: 30 }, (_, i) => i),
  );
  assert.ok(books.length >= 6);
  for (const book of books) assert.ok(book.pages.reduce((sum, page) => sum + page.event!.value.length, 0) <= 1 << 20);
});

test('ReadLog: everything in order, filters, limits, positions and tokens to continue from', async () => {
  await using opened = await open();
  const { client, deposit } = opened;
  const root = newRoot();
  for (let i = 0; i < 10; i++) await deposit(root, String(i), { correlationId: i % 2 === 0 ? 'even' : 'odd' });
  await deposit(newRoot(), 'tenant'.length.toString(), { tenant: 'acme' });
  const books = (responses: ReadLogResponse[]) => responses.flatMap((response) => response.books);
  const amounts = (responses: ReadLogResponse[]) =>
    books(responses).flatMap((book) => book.pages.map((page) => textOf(page.event)));
  const everything = await all(readLog(client, {}));
  assert.deepEqual(amounts(everything), ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
  // The other tenant's event was looked at as well.
  assert.equal(everything.at(-1)!.position, 11);
  assert.equal(books(await all(readLog(client, { allTenants: true }))).length, 11);
  assert.deepEqual(amounts(await all(readLog(client, { correlationId: 'odd' }))), ['1', '3', '5', '7', '9']);
  assert.deepEqual(amounts(await all(readLog(client, { types: ['account.Deposited'], limit: 2 }))), ['0', '1']);
  assert.deepEqual(amounts(await all(readLog(client, { domains: ['other'] }))), []);
  assert.deepEqual(amounts(await all(readLog(client, { start: { $case: 'afterPosition', value: 8 } }))), ['8', '9']);
  const some = await all(readLog(client, { limit: 4 }));
  const rest = await all(readLog(client, { start: { $case: 'afterToken', value: some.at(-1)!.token } }));
  assert.deepEqual(amounts(rest), ['4', '5', '6', '7', '8', '9']);
});

test('trap 26: types are matched whole, never by suffix', async () => {
  await using opened = await open();
  const { client, deposit } = opened;
  await deposit(newRoot(), '1');
  for (const type of ['Deposited', 'count.Deposited', 'account.Deposite']) {
    const found = await all(readLog(client, { types: [type] }));
    assert.deepEqual(
      found.flatMap((response) => response.books),
      [],
      type,
    );
  }
});

test('ReadLog with follow stays and sends what comes', async () => {
  await using opened = await open();
  const { client, deposit } = opened;
  const root = newRoot();
  await deposit(root, '1');
  const stream = readLog(client, { follow: true });
  const responses: ReadLogResponse[] = [];
  stream.on('data', (response: ReadLogResponse) => responses.push(response));
  stream.on('error', () => {});
  await eventually('the past', () => responses.flatMap(({ books }) => books).length === 1);
  await deposit(root, '2');
  await eventually('the present', () => responses.flatMap(({ books }) => books).length === 2);
  assert.equal(responses.at(-1)!.position, 2);
});

test('a token of another log, or ahead of it, is refused with a sentence', async () => {
  await using opened = await open();
  const other = await open();
  const { client, deposit } = opened;
  await deposit(newRoot(), '1');
  const { consistencyToken } = await other.client.unary<EventBook>('query.getEventBook', query(newRoot()));
  await other[Symbol.asyncDispose]();
  const own = (await client.unary<EventBook>('query.getEventBook', query(newRoot()))).consistencyToken;
  for (const token of ['nonsense', consistencyToken, `${own}zz`]) {
    await assert.rejects(
      client.unary('query.getEventBook', query(newRoot(), undefined, token)),
      failsWith('INVALID_ARGUMENT', { field: 'consistency_token' }),
    );
  }
  await client.unary('query.getEventBook', query(newRoot(), undefined, own));
});

test('trap 12: a number of 64 bits that no JavaScript number holds is refused, not rounded', async () => {
  await using opened = await open();
  // ReadLogRequest { after_position = 2^60 }: field 1, varint.
  const varint = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10];
  await assert.rejects(
    opened.client.streamBytes('query.readLog', Buffer.from([0x08, ...varint])),
    failsWith('INVALID_ARGUMENT', { field: 'message' }),
  );
});
