// Every way to ask about the past, against a log of 100,000 events and a plain fold of that log.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { ClientReadableStream } from '@grpc/grpc-js';
import type { DryRunResponse } from '../../src/gen/daybook/v1/coordinators.ts';
import type { AggregateRoot, ReadLogResponse } from '../../src/gen/daybook/v1/query.ts';
import type { EventBook, EventPage } from '../../src/model/book.ts';
import { toMicros, toTimestamp } from '../../src/model/time.ts';
import type { Store, Unit } from '../../src/store.ts';
import { openMemory } from '../../src/stores/memory.ts';
import { balanceOf, decideAccount } from '../support/account.ts';
import { any, command, eventPage } from '../support/books.ts';
import { type TestClient, type TestDaemon, testDaemon } from '../support/daemon.ts';
import { commandOf, introduce } from '../support/hosting.ts';
import { bytesHeld } from '../support/memory.ts';

const EVENTS = 100_000;
const ACCOUNTS = 20;
/** The first account has a history of its own: 20,000 events and two snapshots. */
const LONG = 20_000;
const START_MICROS = 1_700_000_000_000_000;
const KEPT_AT = 4_999;
const LATEST_AT = 14_999;
const VERSION = 3;

interface Known {
  root: Uint8Array;
  domain: string;
  pages: EventPage[];
}

let store: Store;
let daemon: TestDaemon;
let client: TestClient;
const accounts: Known[] = [];
/** In log order. */
const log: { account: Known; page: EventPage; correlationId: string }[] = [];

function rootOf(n: number): Uint8Array {
  const root = new Uint8Array(16).fill(7);
  root[0] = n;
  return root;
}

/** A page of the log as it will be: amounts and times follow from the position. */
function page(account: Known, position: number): EventPage {
  const made = eventPage(position % 3 === 2 ? any('Withdrawn', '1') : any('Deposited', String((position % 7) + 1)));
  // Several events share a microsecond, and there are gaps.
  made.createdAt = toTimestamp(START_MICROS + Math.floor(position / 3) * 10);
  made.sequence = account.pages.length;
  made.position = position;
  return made;
}

before(async () => {
  store = openMemory({
    logId: '00000000-0000-7000-8000-00000000000a',
    incarnation: '00000000-0000-7000-8000-00000000000b',
  });
  for (let i = 0; i < ACCOUNTS; i++)
    accounts.push({ root: rootOf(i), domain: i % 2 === 0 ? 'account' : 'savings', pages: [] });
  let units: Unit[] = [];
  for (let position = 1; position <= EVENTS; position++) {
    const account = accounts[position % 5 === 0 ? 0 : 1 + (position % (ACCOUNTS - 1))]!;
    const made = page(account, position);
    const correlationId = `c${position % 1000}`;
    const stream = { tenant: '', domain: account.domain, root: account.root };
    account.pages.push(made);
    log.push({ account, page: made, correlationId });
    const sequence = made.sequence;
    const snapshot = (retention: 0 | 1) => [
      {
        stream,
        snapshot: {
          sequence,
          state: any('State', String(balanceOf({ pages: account.pages }))),
          retention,
          schemaVersion: VERSION,
        },
      },
    ];
    const first = account === accounts[0];
    const unitId = new Uint8Array(16);
    new DataView(unitId.buffer).setUint32(0, position);
    units.push({
      unitId,
      appends: [{ stream, correlationId, expect: { kind: 'exactly', nextSequence: sequence }, pages: [made] }],
      expectations: [],
      snapshots: first && sequence === KEPT_AT ? snapshot(1) : first && sequence === LATEST_AT ? snapshot(0) : [],
      outcomes: [],
    });
    if (units.length === 500 || position === EVENTS) {
      for (const result of await store.commit(units)) assert.equal(result.kind, 'committed');
      units = [];
    }
  }
  assert.equal(accounts[0]!.pages.length, LONG);

  daemon = await testDaemon({ store });
  client = daemon.client();
  // A host that reads snapshots of this version, as the decider of DryRun.
  const host = client.attach();
  await introduce(host, { snapshotSchemaVersion: VERSION });
  const chunks = new Map<string, EventPage[]>();
  const snapshots = new Map<string, EventBook['snapshot']>();
  host.onMessage = (message) => {
    host.messages.length = 0;
    for (const chunk of message.history) {
      if (chunk.first) snapshots.set(chunk.workId, chunk.events!.snapshot);
      chunks.set(chunk.workId, [...(chunk.first ? [] : (chunks.get(chunk.workId) ?? [])), ...chunk.events!.pages]);
    }
    for (const work of message.work) {
      const { events, command: asked } = commandOf(work);
      const history = {
        snapshot: events!.snapshot ?? snapshots.get(work.workId),
        pages: [...(chunks.get(work.workId) ?? []), ...events!.pages],
      };
      const decision = decideAccount(balanceOf(history), asked!);
      const value =
        decision.kind === 'events'
          ? ({ result: { $case: 'events', value: decision.book } } as const)
          : ({ result: { $case: 'rejection', value: decision.rejection } } as const);
      host.send({ replies: [{ workId: work.workId, result: { $case: 'command', value } }] });
    }
  };
});

after(async () => {
  await daemon[Symbol.asyncDispose]();
});

function query(account: Known, selection?: object) {
  return {
    cover: { root: { value: account.root }, domain: account.domain, correlationId: '', tenant: '' },
    selection,
    consistencyToken: '',
  };
}

async function events(
  account: Known,
  selection?: object,
): Promise<{ snapshot: EventBook['snapshot']; pages: EventPage[]; books: EventBook[] }> {
  const books = await client.serverStream<EventBook>('query.getEvents', query(account, selection)).toArray();
  return { snapshot: books[0]!.snapshot, pages: books.flatMap((book) => book.pages), books };
}

/** What a client makes of an answer: the snapshot, and the pages after it. */
const fold = balanceOf;

function plainFold(account: Known, count: number): number {
  return balanceOf({ pages: account.pages.slice(0, count) });
}

const asOfSequence = (value: number) => ({ $case: 'temporal', value: { point: { $case: 'asOfSequence', value } } });
const asOfTime = (micros: number) => ({
  $case: 'temporal',
  value: { point: { $case: 'asOfTime', value: toTimestamp(micros) } },
});

function readLog(request: object): ClientReadableStream<ReadLogResponse> {
  return client.serverStream<ReadLogResponse>('query.readLog', {
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

/** A generator of the same numbers each time. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296;
  };
}

describe('100,000 events', () => {
  test('the current state: from the newest snapshot on, whose fold is that of everything', async () => {
    const { snapshot, pages, books } = await events(accounts[0]!);
    assert.equal(snapshot!.sequence, LATEST_AT);
    assert.equal(pages[0]!.sequence, LATEST_AT + 1);
    assert.equal(fold({ snapshot, pages }), plainFold(accounts[0]!, LONG));
    assert.ok(books.every((book) => book.nextSequence === LONG));
    const other = await events(accounts[3]!);
    assert.equal(other.snapshot, undefined);
    assert.equal(fold(other), plainFold(accounts[3]!, accounts[3]!.pages.length));
  });

  test('ranges and sets are those of the log, and carry no snapshot', async () => {
    const account = accounts[0]!;
    for (const [lower, upper] of [
      [0, 0],
      [0, LONG - 1],
      [KEPT_AT - 5, KEPT_AT + 5],
      [LONG - 3, LONG + 9],
      [LONG, LONG + 9],
    ] as const) {
      const { snapshot, pages } = await events(account, { $case: 'range', value: { lower, upper } });
      assert.equal(snapshot, undefined);
      assert.deepEqual(
        pages.map(({ position }) => position),
        account.pages.slice(lower, upper + 1).map(({ position }) => position),
      );
    }
    const values = [19_999, 0, 4_999, 5_000, 123, 123, 20_000];
    const { pages } = await events(account, { $case: 'sequences', value: { values } });
    assert.deepEqual(
      pages.map(({ sequence }) => sequence),
      [0, 123, 4_999, 5_000, 19_999],
    );
  });

  test('as of a sequence: a snapshot serves only when it cannot contain anything later', async () => {
    const account = accounts[0]!;
    for (const [asOf, snapshotAt] of [
      [0, undefined],
      [KEPT_AT - 1, undefined],
      [KEPT_AT, KEPT_AT],
      [LATEST_AT - 1, KEPT_AT],
      [LATEST_AT, LATEST_AT],
      [LONG - 1, LATEST_AT],
      [LONG + 100, LATEST_AT],
    ] as const) {
      const { snapshot, pages, books } = await events(account, asOfSequence(asOf));
      assert.equal(snapshot?.sequence, snapshotAt, `as of ${asOf}`);
      const count = Math.min(asOf + 1, LONG);
      assert.equal(books[0]!.nextSequence, count);
      assert.equal(fold({ snapshot, pages }), plainFold(account, count), `as of ${asOf}`);
    }
  });

  test('time travel: 200 random pairs of aggregate and time equal the fold of the events up to it', async () => {
    const next = random(1);
    const end = START_MICROS + Math.floor(EVENTS / 3) * 10;
    for (let i = 0; i < 200; i++) {
      const account = accounts[Math.floor(next() * ACCOUNTS)]!;
      const time = START_MICROS - 50 + Math.floor(next() * (end - START_MICROS + 100));
      const count = account.pages.filter(({ createdAt }) => toMicros(createdAt!) <= time).length;
      const { snapshot, pages, books } = await events(account, asOfTime(time));
      assert.equal(books[0]!.nextSequence, count);
      assert.equal(fold({ snapshot, pages }), plainFold(account, count), `pair ${i}`);
    }
  });

  test('DryRun decides as the domain would have then, and stores and streams nothing', async () => {
    const next = random(2);
    const account = accounts[0]!;
    const { position: head } = await store.head();
    const live: EventBook[] = [];
    const stream = client.serverStream<EventBook>('stream.subscribe', {
      tenant: '',
      correlationId: '',
      domains: [],
      types: [],
      after: '',
    });
    stream.on('data', (book: EventBook) => live.push(book));
    stream.on('error', () => {});
    for (let i = 0; i < 40; i++) {
      const sequence = Math.floor(next() * LONG);
      const time = toMicros(account.pages[sequence]!.createdAt!);
      const count = account.pages.filter(({ createdAt }) => toMicros(createdAt!) <= time).length;
      const point =
        i % 2 === 0 ? { $case: 'asOfSequence', value: sequence } : { $case: 'asOfTime', value: toTimestamp(time) };
      const held = i % 2 === 0 ? sequence + 1 : count;
      const balance = plainFold(account, held);
      for (const amount of [balance, balance + 1]) {
        const answer = await client.unary<DryRunResponse>('business.dryRun', {
          command: command(account.root, any('Withdraw', String(amount))),
          asOf: { point },
        });
        assert.equal(answer.nextSequence, held);
        assert.equal(answer.result!.$case, amount > balance ? 'rejection' : 'events');
        if (answer.result!.$case === 'events') assert.equal(answer.result!.value.pages[0]!.sequence, held);
      }
    }
    const now = await client.unary<DryRunResponse>('business.dryRun', {
      command: command(account.root, any('Deposit', '1')),
      asOf: undefined,
    });
    assert.equal(now.nextSequence, LONG);
    assert.equal((await store.head()).position, head);
    assert.deepEqual(live, []);
  });

  test('by correlation id: everything, over domains, grouped by aggregate', async () => {
    const books = await client
      .serverStream<EventBook>('query.getEvents', {
        cover: { root: undefined, domain: '', correlationId: 'c25', tenant: '' },
        selection: undefined,
        consistencyToken: '',
      })
      .toArray();
    const expected = new Map<string, number[]>();
    for (const { account, page: made, correlationId } of log) {
      if (correlationId !== 'c25') continue;
      const text = `${account.domain}/${account.root[0]}`;
      expected.set(text, [...(expected.get(text) ?? []), made.position]);
    }
    const found = new Map<string, number[]>();
    const order: string[] = [];
    for (const { cover, pages } of books) {
      const text = `${cover!.domain}/${cover!.root!.value[0]}`;
      if (order.at(-1) !== text) order.push(text);
      found.set(text, [...(found.get(text) ?? []), ...pages.map(({ position }: EventPage) => position)]);
    }
    assert.deepEqual(found, expected);
    assert.equal(order.length, expected.size, 'each aggregate comes once');
  });

  test('the roots of a domain, in order and in pages', async () => {
    const list = (request: object) =>
      client
        .serverStream<AggregateRoot>('query.getAggregateRoots', {
          tenant: '',
          domain: 'savings',
          after: undefined,
          limit: 0,
          ...request,
        })
        .toArray();
    const all = await list({});
    const expected = accounts
      .filter(({ domain }) => domain === 'savings')
      .map(({ root, pages }) => [root[0], pages.length]);
    assert.deepEqual(
      all.map(({ root, nextSequence }) => [root!.value[0], nextSequence]),
      expected,
    );
    const paged: AggregateRoot[] = [];
    for (;;) {
      const part = await list({ limit: 3, after: paged.at(-1)?.root });
      paged.push(...part);
      if (part.length < 3) break;
    }
    assert.deepEqual(paged, all);
    assert.deepEqual(await list({ domain: 'nobody' }), []);
  });

  test('the log from a position or a time, filtered by domain, type and correlation id', async () => {
    const positions = async (request: object): Promise<number[]> =>
      ((await readLog(request).toArray()) as ReadLogResponse[]).flatMap(({ books }) =>
        books.flatMap(({ pages }) => pages.map(({ position }) => position)),
      );
    const expected = (wanted: (entry: (typeof log)[number]) => boolean) =>
      log.filter(wanted).map((entry) => entry.page.position);
    assert.deepEqual(
      await positions({}),
      expected(() => true),
    );
    assert.deepEqual(
      await positions({
        start: { $case: 'afterPosition', value: 99_000 },
        domains: ['account'],
        types: ['account.Withdrawn'],
      }),
      expected(
        ({ account, page: { position, event } }) =>
          position > 99_000 && account.domain === 'account' && event!.typeUrl.endsWith('.Withdrawn'),
      ),
    );
    for (const time of [START_MICROS - 1, START_MICROS + 100_000, START_MICROS + 333_330]) {
      const from = { start: { $case: 'fromTime', value: toTimestamp(time) }, correlationId: 'c7' };
      assert.deepEqual(
        await positions(from),
        expected(({ page: { createdAt }, correlationId }) => correlationId === 'c7' && toMicros(createdAt!) >= time),
      );
    }
    assert.deepEqual(await positions({ start: { $case: 'fromTime', value: toTimestamp(START_MICROS + 1e9) } }), []);
  });

  test('readers that read one chunk a second cost no memory', async () => {
    const readers = Array.from({ length: 20 }, () => readLog({}));
    const iterators = readers.map((reader) => {
      reader.on('error', () => {});
      return reader[Symbol.asyncIterator]();
    });
    const samples: number[] = [];
    for (let second = 0; second < 5; second++) {
      for (const iterator of iterators) await iterator.next();
      await new Promise((resolve) => setTimeout(resolve, 1000));
      samples.push(bytesHeld());
    }
    // 20 readers of a log of about 14 MB: what they have not asked for is not in memory, and it does not become more.
    const growth = Math.max(...samples.slice(1)) - samples[0]!;
    assert.ok(growth < 8 << 20, samples.map((bytes) => `${Math.round(bytes / 1e6)} MB`).join(', '));
    for (const reader of readers) reader.cancel();
  });
});
