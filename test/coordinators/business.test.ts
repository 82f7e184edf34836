import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Components } from '../../src/component.ts';
import { LIMITS, type Limits } from '../../src/config.ts';
import { Admission } from '../../src/coordinators/admission.ts';
import { completeCommand } from '../../src/coordinators/answers.ts';
import { Asking, Hosts } from '../../src/coordinators/asking.ts';
import { BusinessCoordinator } from '../../src/coordinators/business.ts';
import type { Caller } from '../../src/coordinators/caller.ts';
import { Committer } from '../../src/coordinators/committer.ts';
import { Histories } from '../../src/coordinators/histories.ts';
import { HotCache } from '../../src/coordinators/hot-cache.ts';
import { UpcastingReads } from '../../src/coordinators/upcasting.ts';
import { DaybookError, type Reason } from '../../src/errors.ts';
import type { CommandBook, EventBook } from '../../src/model/book.ts';
import type { Store, Unit } from '../../src/store.ts';
import { openMemory } from '../../src/stores/memory.ts';
import { componentsOf, InProcessAccount } from '../support/account.ts';
import { any, command, eventBook, newRoot, textOf } from '../support/books.ts';
import { type ManualRuntime, manualRuntime, settle } from '../support/clock.ts';

const DEFAULTS = Object.fromEntries(Object.entries(LIMITS).map(([name, { fallback }]) => [name, fallback])) as Limits;

interface Side {
  store: Store;
  account: InProcessAccount;
  business: BusinessCoordinator;
  admission: Admission;
  runtime: ManualRuntime;
  published: EventBook[];
  execute(command: CommandBook, caller?: Partial<Caller>): ReturnType<BusinessCoordinator['execute']>;
}

function memory(): Store {
  return openMemory({
    logId: '00000000-0000-7000-8000-000000000001',
    incarnation: '00000000-0000-7000-8000-000000000002',
  });
}

async function coordinator(
  store: Store,
  components: Components,
  runtime: ManualRuntime,
  limits: Limits,
  instance: string,
  published: EventBook[],
) {
  const reads = new UpcastingReads(store, components);
  const admission = new Admission(limits, runtime);
  const business = new BusinessCoordinator({
    admission,
    hosts: new Hosts(components, store),
    histories: new Histories(reads, new HotCache(limits), limits),
    asking: new Asking(runtime, limits, instance),
    reads,
    committer: new Committer(store, runtime, limits, (books) => {
      published.push(...books);
    }),
    runtime,
    limits,
    log: await store.head(),
  });
  return { business, admission };
}

/** One daemon's worth of coordinator; several may share a store. */
async function side(options: { store?: Store; limits?: Partial<Limits>; seed?: number } = {}): Promise<Side> {
  const store = options.store ?? memory();
  const runtime = manualRuntime(options.seed);
  const ids = options.seed ?? 1;
  const uuid = runtime.uuid;
  // Two daemons never make the same id.
  runtime.uuid = () => {
    const id = uuid();
    id[0] = ids;
    return id;
  };
  const limits: Limits = { ...DEFAULTS, ...options.limits };
  const published: EventBook[] = [];
  const account = new InProcessAccount();
  const { business, admission } = await coordinator(
    store,
    componentsOf(account),
    runtime,
    limits,
    `test${ids}`,
    published,
  );
  const execute: Side['execute'] = (book, caller = {}) => {
    completeCommand(book, runtime);
    return business.execute(book, { deadlineMs: Infinity, signal: new AbortController().signal, ...caller });
  };
  return { store, account, business, admission, runtime, published, execute };
}

function fails(reason: Reason, metadata: Record<string, string | number> = {}) {
  return (error: unknown) => {
    assert.ok(error instanceof DaybookError, String(error));
    assert.equal(error.reason, reason, error.message);
    for (const [key, value] of Object.entries(metadata)) assert.equal(error.metadata[key], value, key);
    return true;
  };
}

/** A store whose calls a test may break. */
function breakable(
  store: Store,
): Store & { commitFails: ((units: readonly Unit[]) => Promise<Error | undefined>) | undefined; commits: number } {
  const broken = Object.create(store) as ReturnType<typeof breakable>;
  broken.commits = 0;
  broken.commitFails = undefined;
  broken.commit = async (units) => {
    broken.commits++;
    const error = await broken.commitFails?.(units);
    if (error !== undefined) throw error;
    return store.commit(units);
  };
  for (const name of [
    'head',
    'openStream',
    'readStream',
    'readSnapshot',
    'readLog',
    'listStreams',
    'readOutcome',
  ] as const) {
    (broken as unknown as Record<string, unknown>)[name] = (store[name] as (...args: never[]) => unknown).bind(store);
  }
  return broken;
}

describe('a command', () => {
  test('becomes events with sequences, positions, times, the unit id and the correlation id', async () => {
    const { execute, published } = await side();
    const root = newRoot();
    const first = await execute(command(root, [any('Deposit', '5'), any('Deposit', '7')], { correlationId: 'c1' }));
    const second = await execute(command(root, any('Withdraw', '3')));
    assert.deepEqual(
      first.events!.pages.map((page) => [page.sequence, page.position, textOf(page.event)]),
      [
        [0, 1, '5'],
        [1, 2, '7'],
      ],
    );
    assert.equal(first.events!.nextSequence, 2);
    assert.equal(first.events!.cover!.correlationId, 'c1');
    assert.equal(first.position, 2);
    assert.equal(first.settled, true);
    assert.ok(first.events!.pages[0]!.createdAt!.seconds > 0);
    assert.deepEqual(first.events!.pages[0]!.unitId, first.events!.pages[1]!.unitId);
    assert.equal(second.events!.pages[0]!.sequence, 2);
    assert.match(second.events!.cover!.correlationId, /^[0-9a-f-]{36}$/);
    assert.equal(published.length, 2);
  });

  test("without events stores nothing and answers with the log's end", async () => {
    const { execute, store } = await side();
    const root = newRoot();
    await execute(command(root, any('Deposit', '5')));
    const answer = await execute(command(root, any('Touch')));
    assert.deepEqual(answer.events!.pages, []);
    assert.equal(answer.position, 1);
    assert.equal((await store.head()).position, 1);
  });

  test('of two pages of which the second is rejected stores nothing', async () => {
    const { execute, store } = await side();
    const root = newRoot();
    const both = [any('Deposit', '5'), any('Withdraw', '9')];
    await assert.rejects(execute(command(root, both)), fails('REJECTED', { code: 'INSUFFICIENT_FUNDS', page: 1 }));
    assert.equal((await store.head()).position, 0);
  });

  test('carries its metadata into its events', async () => {
    const { execute } = await side();
    const book = command(newRoot(), any('Deposit', '1'));
    book.metadata.traceparent = '00-abc-def-01';
    const answer = await execute(book);
    assert.equal(answer.events!.pages[0]!.metadata.traceparent, '00-abc-def-01');
  });

  test('is decided once with all its pages, and knows when a snapshot would help', async () => {
    const { execute, account } = await side({ limits: { snapshotAfterPages: 3 } });
    const root = newRoot();
    await execute(command(root, [any('Deposit', '1'), any('Deposit', '1')]));
    assert.equal(account.asked, 1);
    assert.equal(account.lastRequest!.snapshotWanted, false);
    await execute(command(root, any('Deposit', '1')));
    await execute(command(root, any('Deposit', '1')));
    assert.equal(account.lastRequest!.snapshotWanted, true);
  });
});

describe('sequences', () => {
  test('two commands racing with the same explicit sequence: one wins, the other gets SEQUENCE_CONFLICT', async () => {
    const { execute, store } = await side();
    const root = newRoot();
    const race = await Promise.allSettled([
      execute(command(root, any('Deposit', '1'), { sequence: 0 })),
      execute(command(root, any('Deposit', '2'), { sequence: 0 })),
    ]);
    assert.deepEqual(
      race.map(({ status }) => status),
      ['fulfilled', 'rejected'],
    );
    fails('SEQUENCE_CONFLICT', { expected: 0, actual: 1 })((race[1] as PromiseRejectedResult).reason);
    assert.equal((await store.head()).position, 1);
  });

  test('the same race over two daemons of one log', async () => {
    const store = memory();
    const [a, b] = [await side({ store, seed: 1 }), await side({ store, seed: 2 })];
    const root = newRoot();
    const race = await Promise.allSettled([
      a.execute(command(root, any('Deposit', '1'), { sequence: 0 })),
      Promise.resolve().then(() => b.execute(command(root, any('Deposit', '2'), { sequence: 0 }))),
      // Time moves so that the loser's retry delay passes.
      Promise.all([a.runtime.advance(5000), b.runtime.advance(5000)]),
    ]);
    const rejectedOnes = race.slice(0, 2).filter(({ status }) => status === 'rejected') as PromiseRejectedResult[];
    assert.equal(rejectedOnes.length, 1);
    fails('SEQUENCE_CONFLICT', { expected: 0, actual: 1 })(rejectedOnes[0]!.reason);
    assert.equal((await store.head()).position, 1);
  });

  test('without explicit sequences both succeed', async () => {
    const store = memory();
    const [a, b] = [await side({ store, seed: 1 }), await side({ store, seed: 2 })];
    const root = newRoot();
    const both = Promise.all([
      a.execute(command(root, any('Deposit', '1'))),
      b.execute(command(root, any('Deposit', '2'))),
    ]);
    await Promise.all([a.runtime.advance(5000), b.runtime.advance(5000)]);
    const answers = await both;
    assert.deepEqual(answers.map((answer) => answer.events!.pages[0]!.sequence).sort(), [0, 1]);
  });

  test('a sequence ahead is a conflict too, and the store is asked, not the cache', async () => {
    const store = memory();
    const [a, b] = [await side({ store, seed: 1 }), await side({ store, seed: 2 })];
    const root = newRoot();
    await a.execute(command(root, any('Deposit', '1')));
    await b.execute(command(root, any('Deposit', '1')));
    // a's cache ends at 1; the store is at 2, as this caller knows.
    const done = a.execute(command(root, any('Deposit', '1'), { sequence: 2 }));
    await a.runtime.advance(5000);
    assert.equal((await done).events!.pages[0]!.sequence, 2);
    await assert.rejects(
      a.execute(command(root, any('Deposit', '1'), { sequence: 9 })),
      fails('SEQUENCE_CONFLICT', { expected: 9, actual: 3 }),
    );
  });

  test('CONTENTION when others keep changing the history', async () => {
    const store = memory();
    const [a, b] = [await side({ store, seed: 1, limits: { conflictTries: 3 } }), await side({ store, seed: 2 })];
    const root = newRoot();
    a.account.before = async () => {
      await b.execute(command(root, any('Deposit', '1')));
      return undefined;
    };
    const outcome = assert.rejects(a.execute(command(root, any('Deposit', '1'))), fails('CONTENTION', { attempts: 3 }));
    await a.runtime.advance(10_000);
    await outcome;
    assert.equal(a.account.asked, 3);
  });
});

describe('idempotency keys', () => {
  test('the same key takes effect once and gets the first outcome, also on another daemon and a cold cache', async () => {
    const store = memory();
    const [a, b] = [await side({ store, seed: 1 }), await side({ store, seed: 2 })];
    const root = newRoot();
    const first = await a.execute(command(root, any('Deposit', '5'), { key: 'k', correlationId: 'c' }));
    for (const daemon of [a, b]) {
      const again = await daemon.execute(command(root, any('Deposit', '5'), { key: 'k' }));
      assert.equal(again.duplicate, true);
      assert.equal(again.position, first.position);
      assert.equal(again.events!.cover!.correlationId, 'c');
      assert.deepEqual(
        again.events!.pages.map((page) => textOf(page.event)),
        ['5'],
      );
    }
    assert.equal(b.account.asked, 0);
    assert.equal((await store.head()).position, 1);
  });

  test('a known key wins over an explicit sequence that has become stale', async () => {
    const { execute } = await side();
    const root = newRoot();
    await execute(command(root, any('Deposit', '5'), { key: 'k', sequence: 0 }));
    const again = await execute(command(root, any('Deposit', '5'), { key: 'k', sequence: 0 }));
    assert.equal(again.duplicate, true);
  });

  test('a rejection is remembered and given again, even when the domain would accept by now', async () => {
    const { execute } = await side();
    const root = newRoot();
    const withdraw = () => execute(command(root, any('Withdraw', '5'), { key: 'k' }));
    await assert.rejects(withdraw(), fails('REJECTED', { duplicate: 'false' }));
    await execute(command(root, any('Deposit', '50')));
    await assert.rejects(withdraw(), (error: DaybookError) => {
      fails('REJECTED', { duplicate: 'true', code: 'INSUFFICIENT_FUNDS' })(error);
      assert.equal(error.rejection!.message, 'a balance of 0 does not cover 5');
      return true;
    });
  });

  test('trap 24: a decision without events has its key remembered too', async () => {
    const { execute, account } = await side();
    const root = newRoot();
    await execute(command(root, any('Touch'), { key: 'k' }));
    account.before = async () => ({ kind: 'events', book: eventBook([any('Deposited', '1')]) });
    const again = await execute(command(root, any('Touch'), { key: 'k' }));
    assert.equal(again.duplicate, true);
    assert.deepEqual(again.events!.pages, []);
  });

  test('trap 8: the same key with another body is an error, not a duplicate', async () => {
    const { execute, store } = await side();
    const root = newRoot();
    await execute(command(root, any('Deposit', '5'), { key: 'k' }));
    const other = [
      command(root, any('Deposit', '6'), { key: 'k' }),
      command(newRoot(), any('Deposit', '5'), { key: 'k' }),
    ];
    for (const book of other)
      await assert.rejects(execute(book), fails('INVALID_ARGUMENT', { field: 'idempotency_key' }));
    assert.equal((await store.head()).position, 1);
  });

  test('keys are scoped by tenant', async () => {
    const { execute } = await side();
    const root = newRoot();
    await execute(command(root, any('Deposit', '5'), { key: 'k' }));
    const other = await execute(command(root, any('Deposit', '5'), { key: 'k', tenant: 'acme' }));
    assert.equal(other.duplicate, false);
    assert.equal(other.events!.pages[0]!.sequence, 0);
  });

  test('failures are never remembered', async () => {
    const { execute, account } = await side();
    const root = newRoot();
    account.before = async () => {
      throw new DaybookError('COMPONENT_UNAVAILABLE', 'gone');
    };
    await assert.rejects(execute(command(root, any('Deposit', '5'), { key: 'k' })), fails('COMPONENT_UNAVAILABLE'));
    account.before = undefined;
    assert.equal((await execute(command(root, any('Deposit', '5'), { key: 'k' }))).duplicate, false);
  });
});

describe('stale histories', () => {
  test('trap 43: a rejection decided on a stale cache is neither given nor remembered', async () => {
    const store = memory();
    const [a, b] = [await side({ store, seed: 1 }), await side({ store, seed: 2 })];
    const root = newRoot();
    // a caches a balance of 1; b makes it 101.
    await a.execute(command(root, any('Deposit', '1')));
    await b.execute(command(root, any('Deposit', '100')));
    const withdraw = a.execute(command(root, any('Withdraw', '50'), { key: 'k' }));
    await a.runtime.advance(5000);
    assert.equal((await withdraw).events!.pages[0]!.sequence, 2);
    assert.equal((await b.execute(command(root, any('Withdraw', '50'), { key: 'k' }))).duplicate, true);
  });

  test('trap 5: a decision without events on a stale history is decided again', async () => {
    const store = memory();
    const [a, b] = [await side({ store, seed: 1 }), await side({ store, seed: 2 })];
    const root = newRoot();
    await a.execute(command(root, any('Deposit', '1')));
    await b.execute(command(root, any('Deposit', '1')));
    const asked = a.account.asked;
    const touch = a.execute(command(root, any('Touch')));
    await a.runtime.advance(5000);
    await touch;
    assert.equal(a.account.asked, asked + 2);
  });
});

describe('the commit', () => {
  test('trap 8: a commit whose connection dies after it was applied is not applied twice', async () => {
    const inner = memory();
    const store = breakable(inner);
    const { execute, runtime } = await side({ store });
    let deaths = 2;
    store.commitFails = async (units) => {
      if (deaths-- === 0) {
        store.commitFails = undefined;
        return undefined;
      }
      await inner.commit(units);
      return new DaybookError('OUTCOME_UNKNOWN', 'the connection died');
    };
    const answer = execute(command(newRoot(), any('Deposit', '5'), { key: 'k' }));
    await runtime.advance(10_000);
    assert.equal((await answer).position, 1);
    assert.equal((await answer).duplicate, false);
    assert.equal((await inner.head()).position, 1);
  });

  test('a store that stays away: STORE_UNAVAILABLE when nothing was stored, OUTCOME_UNKNOWN with the key otherwise', async () => {
    const store = breakable(memory());
    const { execute, runtime } = await side({ store });
    store.commitFails = async () => new DaybookError('STORE_UNAVAILABLE', 'no connection');
    const refused = assert.rejects(
      execute(command(newRoot(), any('Deposit', '5'), { key: 'k1' })),
      fails('STORE_UNAVAILABLE'),
    );
    await runtime.advance(60_000);
    await refused;
    let first = true;
    store.commitFails = async () => {
      const reason = first ? 'OUTCOME_UNKNOWN' : 'STORE_UNAVAILABLE';
      first = false;
      return new DaybookError(reason, 'no connection');
    };
    const unknown = assert.rejects(
      execute(command(newRoot(), any('Deposit', '5'), { key: 'k2' })),
      fails('OUTCOME_UNKNOWN', { idempotency_key: 'k2' }),
    );
    await runtime.advance(60_000);
    await unknown;
    assert.equal((await store.head()).position, 0);
  });

  test('trap 50: one unit with a value that the store cannot hold does not fail its neighbours in the batch', async () => {
    const store = breakable(memory());
    const { execute } = await side({ store });
    store.commitFails = async (units) => {
      const bad = units.some((unit) =>
        unit.appends.some((append) => append.pages.some((page) => textOf(page.event) === '13')),
      );
      return bad ? new Error('invalid byte sequence') : undefined;
    };
    const amounts = Array.from({ length: 40 }, (_, i) => i);
    const outcomes = await Promise.allSettled(
      amounts.map((amount) => execute(command(newRoot(), any('Deposit', String(amount))))),
    );
    assert.deepEqual(
      outcomes.flatMap(({ status }, i) => (status === 'rejected' ? [i] : [])),
      [13],
    );
    fails('INTERNAL')((outcomes[13] as PromiseRejectedResult).reason);
    assert.equal((await store.head()).position, 39);
  });

  test('units that wait while a commit is under way share the next one', async () => {
    const store = breakable(memory());
    const { execute } = await side({ store });
    let release: () => void = () => {};
    store.commitFails = () => new Promise((resolve) => (release = () => resolve(undefined)));
    const first = execute(command(newRoot(), any('Deposit', '1')));
    await settle();
    const others = Array.from({ length: 31 }, () => execute(command(newRoot(), any('Deposit', '1'))));
    await settle();
    store.commitFails = undefined;
    release();
    await Promise.all([first, ...others]);
    assert.equal(store.commits, 2);
  });

  test('times never decrease within a stream, even when the clock does', async () => {
    const { execute, runtime } = await side();
    const root = newRoot();
    const first = await execute(command(root, any('Deposit', '1')));
    const now = runtime.nowMicros;
    runtime.nowMicros = () => now() - 60_000_000;
    const second = await execute(command(root, any('Deposit', '1')));
    assert.deepEqual(second.events!.pages[0]!.createdAt, first.events!.pages[0]!.createdAt);
  });
});

describe('a reply that breaks the contract is COMPONENT_FAULT and stores nothing:', () => {
  const faults: [string, () => EventBook][] = [
    [
      'trap 35: another aggregate',
      () => ({
        ...eventBook([any('X')]),
        cover: { root: { value: newRoot() }, domain: '', correlationId: '', tenant: '' },
      }),
    ],
    [
      'another domain',
      () => ({ ...eventBook([any('X')]), cover: { root: undefined, domain: 'other', correlationId: '', tenant: '' } }),
    ],
    [
      'another tenant',
      () => ({ ...eventBook([any('X')]), cover: { root: undefined, domain: '', correlationId: '', tenant: 'acme' } }),
    ],
    [
      'a page without an event',
      () => ({ ...eventBook([]), pages: [{ ...eventBook([any('X')]).pages[0]!, event: undefined }] }),
    ],
    ['an event without a type', () => eventBook([{ typeUrl: '', value: new Uint8Array() }])],
    ['too many events', () => eventBook(Array.from({ length: 1001 }, () => any('X')))],
    ['an event over the limit', () => eventBook([any('X', 'x'.repeat(300_000))])],
    ['too many bytes', () => eventBook(Array.from({ length: 9 }, () => any('X', 'x'.repeat(200_000))))],
    [
      'a NUL in metadata',
      () => ({ ...eventBook([]), pages: [{ ...eventBook([any('X')]).pages[0]!, metadata: { a: '\0' } }] }),
    ],
    [
      'a snapshot of nothing',
      () => ({ ...eventBook([]), snapshot: { sequence: 0, state: any('S'), retention: 0, schemaVersion: 0 } }),
    ],
  ];
  for (const [name, reply] of faults) {
    test(name, async () => {
      const { execute, account, store } = await side();
      const complaints: string[] = [];
      account.before = async () => ({
        kind: 'events',
        book: reply(),
        complain: (sentence) => complaints.push(sentence),
      });
      await assert.rejects(
        execute(command(newRoot(), any('Deposit', '1'))),
        fails('COMPONENT_FAULT', { component: 'account' }),
      );
      assert.equal((await store.head()).position, 0);
      assert.equal(complaints.length, 1);
    });
  }
});

describe('bad commands are refused before anything else:', () => {
  const root = newRoot();
  const cases: [string, CommandBook, Reason, string][] = [
    ['an empty cover', { ...command(root, any('Deposit')), cover: undefined }, 'INVALID_ARGUMENT', 'cover'],
    ['a root of 15 bytes', command(root.subarray(1), any('Deposit')), 'INVALID_ARGUMENT', 'cover.root'],
    [
      'no root',
      {
        ...command(root, any('Deposit')),
        cover: { root: undefined, domain: 'account', correlationId: '', tenant: '' },
      },
      'INVALID_ARGUMENT',
      'cover.root',
    ],
    ['a bad domain', command(root, any('Deposit'), { domain: 'Account' }), 'INVALID_ARGUMENT', 'cover.domain'],
    ['a tenant with a slash', command(root, any('Deposit'), { tenant: 'a/b' }), 'INVALID_ARGUMENT', 'cover.tenant'],
    [
      'a correlation id that is too long',
      command(root, any('Deposit'), { correlationId: 'x'.repeat(129) }),
      'INVALID_ARGUMENT',
      'cover.correlation_id',
    ],
    ['a NUL in the key', command(root, any('Deposit'), { key: 'a\0b' }), 'INVALID_ARGUMENT', 'idempotency_key'],
    [
      'a NUL in the metadata',
      { ...command(root, any('Deposit')), metadata: { a: 'b\0' } },
      'INVALID_ARGUMENT',
      'metadata',
    ],
    ['no pages', command(root, []), 'INVALID_ARGUMENT', 'pages'],
    [
      '101 pages',
      command(
        root,
        Array.from({ length: 101 }, () => any('Deposit')),
      ),
      'INVALID_ARGUMENT',
      'pages',
    ],
    [
      'a page without a command',
      { ...command(root, []), pages: [{ command: undefined }] },
      'INVALID_ARGUMENT',
      'pages[0].command',
    ],
    [
      'a type URL without a type',
      command(root, { typeUrl: 'type.test/', value: new Uint8Array() }),
      'INVALID_ARGUMENT',
      'pages[0].command.type_url',
    ],
    [
      'a NUL in the type URL',
      command(root, { typeUrl: 'type.test/a\0b', value: new Uint8Array() }),
      'INVALID_ARGUMENT',
      'pages[0].command.type_url',
    ],
    [
      'a sequence on the second page',
      { ...command(root, []), pages: [{ command: any('Deposit') }, { command: any('Deposit'), sequence: 1 }] },
      'INVALID_ARGUMENT',
      'pages[1].sequence',
    ],
    ['a payload over the limit', command(root, any('Deposit', 'x'.repeat(262_145))), 'TOO_LARGE', 'pages[0].command'],
  ];
  for (const [name, book, reason, field] of cases) {
    test(name, async () => {
      const { execute, account } = await side();
      await assert.rejects(execute(book), fails(reason, { field }));
      assert.equal(account.asked, 0);
    });
  }

  test('a domain that nobody ever served is UNKNOWN_DOMAIN; one that has events is COMPONENT_UNAVAILABLE', async () => {
    const store = memory();
    const first = await side({ store });
    await assert.rejects(
      first.execute(command(root, any('X'), { domain: 'nobody' })),
      fails('UNKNOWN_DOMAIN', { domain: 'nobody' }),
    );
    await first.execute(command(root, any('Deposit', '1')));
    const { business } = await coordinator(store, componentsOf(), first.runtime, DEFAULTS, 'cold', []);
    const caller = { deadlineMs: Infinity, signal: new AbortController().signal };
    await assert.rejects(
      business.execute(command(root, any('Deposit', '1')), caller),
      fails('COMPONENT_UNAVAILABLE', { component: 'account' }),
    );
  });
});

describe('limits', () => {
  /** Holds every decision up until the test lets go. */
  function barrier(account: InProcessAccount): () => void {
    let open: () => void = () => {};
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    account.before = () => opened.then(() => undefined);
    return open;
  }

  test('commands for one root are executed in the order of their arrival', async () => {
    const { execute, account } = await side();
    const open = barrier(account);
    const root = newRoot();
    const answers = Array.from({ length: 20 }, (_, i) => execute(command(root, any('Deposit', String(i)))));
    await settle();
    open();
    const sequences = (await Promise.all(answers)).map(
      (answer) => Number(textOf(answer.events!.pages[0]!.event)) - answer.events!.pages[0]!.sequence,
    );
    assert.deepEqual(new Set(sequences), new Set([0]));
  });

  test('too many for one root: OVERLOADED names the limit, and the others are served', async () => {
    const { execute, account } = await side({ limits: { perRootCommands: 2 } });
    const open = barrier(account);
    const root = newRoot();
    const answers = [1, 2, 3].map(() => execute(command(root, any('Deposit', '1'))));
    await settle();
    await assert.rejects(
      execute(command(root, any('Deposit', '1'))),
      fails('OVERLOADED', { limit: 'per_root_commands' }),
    );
    open();
    await Promise.all(answers);
  });

  test('too many at once: OVERLOADED, with a fifth kept for calls from inside work', async () => {
    const { execute, account } = await side({ limits: { executingCommands: 10 } });
    const open = barrier(account);
    const answers = Array.from({ length: 8 }, () => execute(command(newRoot(), any('Deposit', '1'))));
    await settle();
    await assert.rejects(
      execute(command(newRoot(), any('Deposit', '1'))),
      fails('OVERLOADED', { limit: 'executing_commands' }),
    );
    const inside = execute(command(newRoot(), any('Deposit', '1'), { workId: account.lastRequest!.workId }));
    await settle();
    open();
    await Promise.all([...answers, inside]);
  });

  test('too many bytes at once: OVERLOADED', async () => {
    const { execute, account } = await side({ limits: { executingBytes: 1000 } });
    const open = barrier(account);
    const answer = execute(command(newRoot(), any('Touch', 'x'.repeat(500))));
    await settle();
    await assert.rejects(
      execute(command(newRoot(), any('Touch', 'x'.repeat(500)))),
      fails('OVERLOADED', { limit: 'executing_bytes' }),
    );
    open();
    await answer;
  });

  test('a caller that goes away while it waits for its turn gives its place up', async () => {
    const { execute, account } = await side();
    const open = barrier(account);
    const root = newRoot();
    const first = execute(command(root, any('Deposit', '1')));
    const controller = new AbortController();
    const second = assert.rejects(
      execute(command(root, any('Deposit', '1')), { signal: controller.signal }),
      /went away/,
    );
    await settle();
    controller.abort(new Error('went away'));
    await second;
    open();
    await first;
    assert.equal((await execute(command(root, any('Deposit', '1')))).events!.pages[0]!.sequence, 1);
  });

  test('a draining daemon refuses new commands and finishes those under way', async () => {
    const { execute, account, admission } = await side();
    const open = barrier(account);
    const under = execute(command(newRoot(), any('Deposit', '1')));
    await settle();
    const drained = admission.drain();
    await assert.rejects(execute(command(newRoot(), any('Deposit', '1'))), fails('SHUTTING_DOWN'));
    open();
    await under;
    await drained;
  });
});

describe('calls from inside work', () => {
  test('trap 57: for the same root fail at once with REENTRANT', async () => {
    const { execute, account } = await side();
    const root = newRoot();
    account.before = async ({ workId }) => {
      account.before = undefined;
      await assert.rejects(execute(command(root, any('Deposit', '1'), { workId })), fails('REENTRANT'));
      return undefined;
    };
    await execute(command(root, any('Deposit', '1')));
  });

  test('for a root that waits for this one, through others, fail at once with REENTRANT', async () => {
    const { execute, account } = await side();
    const [a, b] = [newRoot(), newRoot()];
    const hexOf = (root: Uint8Array) => Buffer.from(root).toString('hex');
    const started: string[] = [];
    let reentrant = 0;
    // Both decide at the same time, and each calls the other.
    account.before = async ({ workId, stream }) => {
      started.push(hexOf(stream.root));
      while (started.length < 2) await settle();
      const other = hexOf(stream.root) === hexOf(a) ? b : a;
      await execute(command(other, any('Touch'), { workId })).catch((error) => {
        fails('REENTRANT')(error);
        reentrant++;
      });
      return undefined;
    };
    const both = Promise.all([execute(command(a, any('Deposit', '1'))), execute(command(b, any('Deposit', '1')))]);
    await settle();
    account.before = undefined;
    await both;
    assert.equal(reentrant, 1);
  });

  test('for another root are executed', async () => {
    const { execute, account } = await side();
    const other = newRoot();
    account.before = async ({ workId }) => {
      account.before = undefined;
      await execute(command(other, any('Deposit', '2'), { workId }));
      return undefined;
    };
    const answer = await execute(command(newRoot(), any('Deposit', '1')));
    assert.equal(answer.position, 2);
  });
});
