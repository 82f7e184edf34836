// An account of the first version wrote `Paid` with pence as text; today it is `Deposited`. The upcaster renames and reshapes.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import type { UpcasterHosting, UpcastResponse } from '../../src/gen/daybook/v1/component.ts';
import type { ReadLogResponse } from '../../src/gen/daybook/v1/query.ts';
import type { CommandResponse, EventBook, EventPage } from '../../src/model/book.ts';
import type { Store } from '../../src/store.ts';
import { openMemory } from '../../src/stores/memory.ts';
import { exportLog } from '../../src/transfer/export.ts';
import { importLog } from '../../src/transfer/import.ts';
import { any, command, eventBook, newRoot, textOf, typeOf } from '../support/books.ts';
import { type TestClient, type TestHost, testDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { failsWith } from '../support/failures.ts';
import { eventsReply, hello, hostAccount } from '../support/hosting.ts';
import { page, writing } from '../support/store-units.ts';

const HOSTING: UpcasterHosting = { domain: 'account', types: ['account.Paid'], credits: undefined };

async function oldLog(root: Uint8Array): Promise<Store> {
  const store = openMemory({
    logId: '00000000-0000-7000-8000-00000000000a',
    incarnation: '00000000-0000-7000-8000-00000000000b',
  });
  const stream = { tenant: '', domain: 'account', root };
  const unit = writing(stream, { kind: 'no-stream' }, [
    page({ event: any('Paid', '500') }),
    page({ event: any('Paid', '250') }),
  ]);
  await store.commit([{ ...unit, appends: [{ ...unit.appends[0]!, correlationId: 'old' }] }]);
  return store;
}

function upcasted(old: EventPage): EventPage {
  return typeOf(old.event) === 'Paid'
    ? { ...old, event: any('Deposited', String(Number(textOf(old.event)) / 100)) }
    : old;
}

/** Attaches as the upcaster only. */
async function hostUpcaster(
  host: TestHost,
  answer = (pages: EventPage[]): EventPage[] => pages.map(upcasted),
  types = HOSTING.types,
): Promise<{ requests: number }> {
  const seen = { requests: 0 };
  host.onMessage = (message) => {
    for (const work of message.work) {
      if (work.request?.$case !== 'upcast') continue;
      seen.requests++;
      const value: UpcastResponse = { pages: answer(work.request.value.events!.pages) };
      host.send({ replies: [{ workId: work.workId, result: { $case: 'upcast', value } }] });
    }
  };
  host.send({ hello: hello([], { upcasters: [{ ...HOSTING, types }] }) });
  await eventually('Welcome', () => host.messages.some(({ welcome }) => welcome !== undefined));
  return seen;
}

function query(root: Uint8Array) {
  return {
    cover: { root: { value: root }, domain: 'account', correlationId: '', tenant: '' },
    selection: undefined,
    consistencyToken: '',
  };
}

const shown = (pages: EventPage[]) => pages.map(({ event }) => `${typeOf(event)} ${textOf(event)}`);

function readLog(client: TestClient, request: object): Promise<ReadLogResponse[]> {
  const whole = {
    start: undefined,
    tenant: '',
    allTenants: false,
    domains: [],
    types: [],
    correlationId: '',
    follow: false,
    limit: 0,
  };
  return client.serverStream<ReadLogResponse>('query.readLog', { ...whole, ...request }).toArray();
}

test('an old event renamed and reshaped: commands, queries and streams see the new shape, the stored bytes stay', async () => {
  const root = newRoot();
  const store = await oldLog(root);
  const storedHash = async () => {
    const { books } = await store.readLog({ after: 0, to: 2, filter: {}, maxEvents: 10, maxBytes: 1 << 20 });
    return createHash('sha256').update(JSON.stringify(books)).digest('hex');
  };
  const hash = await storedHash();
  await using daemon = await testDaemon({ store });
  const client = daemon.client();
  await hostAccount(client.attach());
  const upcaster = await hostUpcaster(client.attach());

  // The command sees a balance of 7.
  await assert.rejects(client.unary('gateway.execute', command(root, any('Withdraw', '8'))), failsWith('REJECTED'));
  const withdrawn = await client.unary<CommandResponse>(
    'gateway.execute',
    command(root, any('Withdraw', '7.5'), { correlationId: 'new' }),
  );
  assert.equal(withdrawn.events!.pages[0]!.sequence, 2);
  const requests = upcaster.requests;
  await assert.rejects(client.unary('gateway.execute', command(root, any('Withdraw', '1'))), failsWith('REJECTED'));
  assert.equal(upcaster.requests, requests, 'kept with the history');

  const expected = ['Deposited 5', 'Deposited 2.5', 'Withdrawn 7.5'];
  assert.deepEqual(shown((await client.unary<EventBook>('query.getEventBook', query(root))).pages), expected);
  const byLog = (responses: ReadLogResponse[]) =>
    shown(responses.flatMap(({ books }) => books.flatMap(({ pages }) => pages)));
  assert.deepEqual(byLog(await readLog(client, {})), expected);
  // Filters speak of today's types.
  assert.deepEqual(byLog(await readLog(client, { types: ['account.Deposited'] })), expected.slice(0, 2));
  assert.deepEqual(byLog(await readLog(client, { types: ['account.Paid'] })), []);
  assert.deepEqual(byLog(await readLog(client, { correlationId: 'old' })), expected.slice(0, 2));
  const dry = await client.unary<{ result: { $case: string } }>('business.dryRun', {
    command: command(root, any('Withdraw', '7')),
    asOf: { point: { $case: 'asOfSequence', value: 1 } },
  });
  assert.equal(dry.result.$case, 'events');
  assert.equal(await storedHash(), hash);
});

test("a live stream shows today's shape of what an old process still writes", async () => {
  const root = newRoot();
  await using daemon = await testDaemon();
  const client = daemon.client();
  const old = client.attach();
  old.onMessage = ({ work }) => {
    for (const { workId } of work) old.send({ replies: [eventsReply(workId, eventBook([any('Paid', '500')]))] });
  };
  old.send({ hello: hello([{}]) });
  await eventually('Welcome', () => old.messages.length > 0);
  await hostUpcaster(client.attach());
  const books: EventBook[] = [];
  const stream = client.serverStream<EventBook>('stream.subscribe', {
    tenant: '',
    correlationId: '',
    domains: [],
    types: ['account.Deposited'],
    after: '',
  });
  stream.on('data', (book: EventBook) => books.push(book));
  stream.on('error', () => {});
  await eventually('the stream to begin', async () => {
    await client.unary('gateway.execute', command(root, any('Deposit', '5')));
    return books.length > 0;
  });
  assert.deepEqual(shown(books[0]!.pages), ['Deposited 5']);
});

test('a reply of the upcaster that breaks the contract: COMPONENT_FAULT, and nobody gets the old shape instead', async () => {
  const broken: [string, (pages: EventPage[]) => EventPage[]][] = [
    ['too few', (pages) => pages.slice(1)],
    ['too many', (pages) => [...pages, ...pages]],
    ['another order', (pages) => pages.toReversed()],
    ['no event', (pages) => pages.map((old) => ({ ...old, event: undefined }))],
  ];
  for (const [name, answer] of broken) {
    const root = newRoot();
    await using daemon = await testDaemon({ store: await oldLog(root) });
    const client = daemon.client();
    await hostAccount(client.attach());
    await hostUpcaster(client.attach(), answer);
    await assert.rejects(
      client.unary('gateway.execute', command(root, any('Deposit', '1'))),
      failsWith('COMPONENT_FAULT', { component: 'account' }),
      name,
    );
    await assert.rejects(client.unary('query.getEventBook', query(root)), failsWith('COMPONENT_FAULT'), name);
  }
});

test("only events may change: everything else of a page is the history's", async () => {
  const root = newRoot();
  await using daemon = await testDaemon({ store: await oldLog(root) });
  const client = daemon.client();
  await hostUpcaster(client.attach(), (pages) =>
    pages.map((old) => ({ ...upcasted(old), position: 99, metadata: { a: 'b' }, createdAt: undefined })),
  );
  const { pages } = await client.unary<EventBook>('query.getEventBook', query(root));
  assert.deepEqual(
    pages.map(({ position, metadata, createdAt }) => [position, metadata, createdAt?.seconds]),
    [
      [1, {}, 1_700_000_000],
      [2, {}, 1_700_000_000],
    ],
  );
});

test('an upcaster that went away, or is named in the configuration and is not there yet: COMPONENT_UNAVAILABLE', async () => {
  const root = newRoot();
  await using daemon = await testDaemon({ store: await oldLog(root), env: { DAYBOOK__UPCASTED_DOMAINS: '[account]' } });
  const client = daemon.client();
  await assert.rejects(
    client.unary('query.getEventBook', query(root)),
    failsWith('COMPONENT_UNAVAILABLE', { component: 'account' }),
  );
  const host = client.attach();
  await hostUpcaster(host);
  assert.deepEqual(shown((await client.unary<EventBook>('query.getEventBook', query(root))).pages), [
    'Deposited 5',
    'Deposited 2.5',
  ]);
  host.stream.cancel();
  await host.whenEnded();
  await eventually('the upcaster to be gone', () =>
    client.unary('query.getEventBook', query(root)).then(
      () => false,
      (error) => failsWith('COMPONENT_UNAVAILABLE')(error),
    ),
  );
});

test('a newer upcaster takes over, and histories that were kept are read again', async () => {
  const root = newRoot();
  await using daemon = await testDaemon({ store: await oldLog(root) });
  const client = daemon.client();
  await hostAccount(client.attach());
  await hostUpcaster(client.attach());
  await assert.rejects(client.unary('gateway.execute', command(root, any('Withdraw', '9'))), failsWith('REJECTED'));
  await hostUpcaster(client.attach(), (pages) =>
    pages.map((old) => ({ ...old, event: any('Deposited', textOf(old.event)) })),
  );
  await client.unary('gateway.execute', command(root, any('Withdraw', '750')));
});

test('an old log that was exported and imported elsewhere is seen in the new shape too, and stays as it was', async () => {
  const root = newRoot();
  const old = await oldLog(root);
  const moved = openMemory({
    logId: '00000000-0000-7000-8000-00000000000c',
    incarnation: '00000000-0000-7000-8000-00000000000d',
  });
  async function* lines() {
    for await (const { text } of exportLog(old)) yield Buffer.from(text);
  }
  await importLog(moved, lines());
  const { books } = await moved.readLog({ after: 0, filter: {}, maxEvents: 10, maxBytes: 1 << 20 });
  assert.deepEqual(shown(books.flatMap(({ pages }) => pages)), ['Paid 500', 'Paid 250']);
  await using daemon = await testDaemon({ store: moved });
  const client = daemon.client();
  await hostUpcaster(client.attach());
  const { pages } = await client.unary<EventBook>('query.getEventBook', query(root));
  assert.deepEqual(shown(pages), ['Deposited 5', 'Deposited 2.5']);
});
