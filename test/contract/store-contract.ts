// What every store must do, as a user of src/store.ts sees it. Each test uses streams, tenants and keys of its own, so that
// the suite can run against a store that others use too, and counts positions from where the log stands.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { type EventBook, type EventPage, pageBytes } from '../../src/model/book.ts';
import { type LogFilter, matches } from '../../src/model/filter.ts';
import { type StreamKey, sameBytes, streamText } from '../../src/model/stream.ts';
import { toMicros, toTimestamp } from '../../src/model/time.ts';
import type {
  Expectation,
  ListedOutcome,
  OutcomeKey,
  Store,
  StoredOutcome,
  Unit,
  UnitResult,
} from '../../src/store.ts';
import {
  ANY,
  append,
  EXISTS,
  exactly,
  freshKey,
  freshStream,
  freshTenant,
  MANY,
  NO_STREAM,
  outcome,
  page,
  snapshot,
  unit,
  writing,
} from '../support/store-units.ts';

const ALL = { from: 0, maxBytes: 1 << 30 };
const OPEN = { from: 0, snapshotVersion: 1, outcomeKey: undefined, maxBytes: 1 << 30 };

export interface StoreContractOptions {
  /** How many random histories each property tries. */
  runs?: number;
}

export function storeContract(name: string, open: () => Promise<Store>, options: StoreContractOptions = {}): void {
  const { runs = 50 } = options;

  describe(`${name}: the store contract`, () => {
    let store: Store;
    before(async () => {
      store = await open();
    });
    after(() => store.close());

    const commit = async (one: Unit): Promise<UnitResult> => (await store.commit([one]))[0]!;
    const committed = async (one: Unit) => {
      const result = await commit(one);
      assert(result.kind === 'committed', `the unit ended as ${result.kind}`);
      return result;
    };
    const conflict = async (one: Unit, expected: Expectation, actual: number) => {
      const before = await store.head();
      const result = await commit(one);
      assert(result.kind === 'conflict', `the unit ended as ${result.kind}`);
      assert.deepEqual(result.expected, expected);
      assert.equal(result.actual, actual);
      assert.equal((await store.head()).position, before.position, 'nothing was stored');
      return result;
    };
    const duplicate = async (one: Unit) => {
      const before = await store.head();
      const result = await commit(one);
      assert(result.kind === 'duplicate', `the unit ended as ${result.kind}`);
      assert.equal((await store.head()).position, before.position, 'nothing was stored');
      return result;
    };
    const internal = async (...units: Unit[]) => {
      const before = await store.head();
      await assert.rejects(store.commit(units), { name: 'DaybookError', reason: 'INTERNAL' });
      assert.equal((await store.head()).position, before.position, 'nothing was stored');
    };
    const lengthOf = async (stream: StreamKey) => (await store.readStream(stream, ALL)).nextSequence;
    const readAll = async (after: number, filter: LogFilter = {}, to?: number) => {
      const books: EventBook[] = [];
      const end = to ?? (await store.head()).position;
      for (let at = after; at < end; ) {
        const read = await store.readLog({ after: at, to: end, filter, ...MANY });
        books.push(...read.books);
        assert(read.through > at, 'a read moves on');
        at = read.through;
      }
      return books;
    };

    describe('units', () => {
      test('an event gets sequence, position and unit id, and keeps everything else', async () => {
        const stream = freshStream({ tenant: freshTenant() });
        const sent = page({ metadata: { traceparent: '00-1-2-03' } });
        const before = await store.head();
        const one = writing(stream, NO_STREAM, [sent]);
        const result = await committed(one);
        assert.deepEqual(result, { kind: 'committed', position: before.position + 1, sequences: [0] });
        const { pages, nextSequence } = await store.readStream(stream, ALL);
        assert.equal(nextSequence, 1);
        assertPages(pages, [{ ...sent, sequence: 0, position: result.position, unitId: one.unitId }]);
        const head = await store.head();
        assert.equal(head.position, result.position);
        assertBytes(head.unitId, one.unitId);
      });

      test('the caller’s pages are not changed, and what was stored does not follow them', async () => {
        const stream = freshStream();
        // Of a Buffer, slice() would be a view.
        const sent = page({ value: Buffer.of(1, 2, 3) });
        await committed(writing(stream, ANY, [sent]));
        assert.equal(sent.position, 0);
        assert.equal(sent.unitId.length, 0);
        sent.event!.value[0] = 9;
        const first = (await store.readStream(stream, ALL)).pages[0]!;
        assertBytes(first.event!.value, Uint8Array.of(1, 2, 3));
        first.metadata = { changed: 'yes' };
        first.sequence = 7;
        assert.equal((await store.readStream(stream, ALL)).pages[0]!.sequence, 0, 'nor what was handed out');
      });

      test('trap 4: no stream, exists, any and a number are four expectations', async () => {
        const holding: [Expectation, number[]][] = [
          [NO_STREAM, [0]],
          [EXISTS, [1, 3]],
          [ANY, [0, 1, 3]],
          [exactly(0), [0]],
          [exactly(1), [1]],
          [exactly(3), [3]],
        ];
        for (const [expect, lengths] of holding) {
          for (const length of [0, 1, 3]) {
            const written = freshStream();
            const watched = freshStream();
            if (length > 0) await committed(writing(written, ANY, length));
            if (length > 0) await committed(writing(watched, ANY, length));
            const watching = unit({
              appends: [append(freshStream(), ANY)],
              expectations: [{ stream: watched, expect }],
            });
            if (lengths.includes(length)) {
              assert.deepEqual((await committed(writing(written, expect))).sequences, [length]);
              await committed(watching);
            } else {
              await conflict(writing(written, expect), expect, length);
              assert.equal(await lengthOf(written), length);
              await conflict(watching, expect, length);
            }
          }
        }
      });

      test('two writers of one stream: one wins, the other learns the next sequence', async () => {
        const stream = freshStream();
        for (const expect of [NO_STREAM, exactly(1), exactly(2)]) {
          const results = (
            await Promise.all(Array.from({ length: 8 }, () => store.commit([writing(stream, expect)])))
          ).flat();
          assert.equal(results.filter(({ kind }) => kind === 'committed').length, 1);
          const losers = results.filter((result) => result.kind === 'conflict');
          assert.equal(losers.length, 7);
          const next = await lengthOf(stream);
          for (const loser of losers) assert.equal(loser.actual, next);
        }
        assert.equal(await lengthOf(stream), 3);
      });

      test('trap 4: any never fails, however many write at once', async () => {
        const stream = freshStream();
        const results = await Promise.all(Array.from({ length: 20 }, () => store.commit([writing(stream, ANY, 2)])));
        assert(results.flat().every(({ kind }) => kind === 'committed'));
        assert.equal(await lengthOf(stream), 40);
      });

      test('trap 5: an expectation on a stream that the unit does not write guards it, also without events', async () => {
        const watched = freshStream();
        const key = freshKey();
        await committed(writing(watched, NO_STREAM, 2));
        const guard = { stream: watched, expect: exactly(1) };
        const stale = unit({ expectations: [guard], outcomes: [outcome(key)] });
        const result = await conflict(stale, exactly(1), 2);
        assert.equal(streamText(result.stream), streamText(watched));
        assert.equal(await store.readOutcome(key), undefined, 'trap 43: a stale rejection is not recorded');
        await committed(unit({ ...stale, expectations: [{ stream: watched, expect: exactly(2) }] }));
      });

      test('several streams in one unit: all or nothing, each with its own sequences', async () => {
        const [a, b, c] = [freshStream(), freshStream({ domain: 'stock' }), freshStream()];
        await committed(writing(b, NO_STREAM, 5));
        const key = freshKey();
        await conflict(
          unit({
            appends: [append(a, NO_STREAM), append(b, exactly(4)), append(c, NO_STREAM)],
            snapshots: [{ stream: b, snapshot: snapshot(4) }],
            outcomes: [outcome(key)],
          }),
          exactly(4),
          5,
        );
        assert.equal((await lengthOf(a)) + (await lengthOf(c)), 0);
        assert.equal(await store.readSnapshot(b, 1, 100), undefined);
        assert.equal(await store.readOutcome(key), undefined);
        const result = await committed(
          unit({ appends: [append(a, NO_STREAM, 2), append(b, exactly(5), 3), append(c, NO_STREAM)] }),
        );
        assert.deepEqual(result.sequences, [0, 5, 0]);
        const positions = async (stream: StreamKey, from: number) =>
          (await store.readStream(stream, { ...ALL, from })).pages.map(({ position }) => position - result.position);
        assert.deepEqual(await positions(a, 0), [0, 1]);
        assert.deepEqual(await positions(b, 5), [2, 3, 4]);
        assert.deepEqual(await positions(c, 0), [5]);
      });

      test('outcomes inside one batch are independent, and later units see earlier ones', async () => {
        const [a, b] = [freshStream(), freshStream()];
        const key = freshKey();
        const first = unit({ appends: [append(a, NO_STREAM, 2)], outcomes: [outcome(key)] });
        const results = await store.commit([
          first,
          writing(a, NO_STREAM),
          writing(b, NO_STREAM),
          unit({ appends: [append(b, exactly(1))], outcomes: [outcome(key)] }),
          writing(a, exactly(2)),
          unit({ expectations: [{ stream: b, expect: exactly(1) }] }),
          first,
        ]);
        const kinds = results.map(({ kind }) => kind);
        assert.deepEqual(kinds, [
          'committed',
          'conflict',
          'committed',
          'duplicate',
          'committed',
          'committed',
          'committed',
        ]);
        const at = results.map((result) => (result.kind === 'committed' ? result.position : 0));
        assert.deepEqual([at[2]! - at[0]!, at[4]! - at[0]!, at[5]! - at[0]!, at[6]! - at[0]!], [2, 3, 3, 0]);
        assert.equal(await lengthOf(a), 3);
        assert.equal(await lengthOf(b), 1);
      });

      test('a unit without anything is committed at the end of the log', async () => {
        const { position } = await store.head();
        assert.deepEqual(await commit(unit()), { kind: 'committed', position, sequences: [] });
        assert.deepEqual(await store.commit([]), []);
      });

      test('trap 50: what the store cannot hold refuses the whole call, and nothing of it is stored', async () => {
        const good = freshStream({ tenant: freshTenant() });
        const bad: [string, Unit][] = [
          ['a NUL in a type', writing(freshStream(), ANY, [page({ type: 'a\0b' })])],
          ['a NUL in a correlation', unit({ appends: [{ ...append(freshStream(), ANY), correlationId: 'a\0' }] })],
          ['half a character', writing(freshStream(), ANY, [page({ type: 'a\ud800' })])],
          ['no event', writing(freshStream(), ANY, [{ ...page(), event: undefined }])],
          ['no time', writing(freshStream(), ANY, [{ ...page(), createdAt: undefined }])],
          ['no pages', writing(freshStream(), ANY, 0)],
          ['a short root', writing(freshStream({ root: new Uint8Array(15) }), ANY)],
          ['a short unit id', { ...writing(freshStream(), ANY), unitId: new Uint8Array(3) }],
          ['a stream twice', unit({ appends: [append(good, ANY), append(good, ANY)] })],
          ['a snapshot of the future', unit({ snapshots: [{ stream: good, snapshot: snapshot(1) }] })],
          ['a snapshot of nothing', unit({ snapshots: [{ stream: freshStream(), snapshot: snapshot(0) }] })],
        ];
        const key = freshKey();
        bad.push(['a key twice', unit({ outcomes: [outcome(key), outcome(key)] })]);
        for (const [what, one] of bad) {
          const kept = outcome(freshKey());
          await internal(unit({ appends: [append(good, NO_STREAM)], outcomes: [kept] }), one);
          assert.equal(await lengthOf(good), 0, what);
          assert.equal(await store.readOutcome(kept), undefined, what);
        }
        assert.equal(await store.readOutcome(key), undefined);
        assert.deepEqual(await store.listStreams({ tenant: good.tenant, limit: 9 }), []);
        const { position } = await store.head();
        const next = await committed(writing(good, NO_STREAM));
        assert.equal(next.position, position + 1, 'what was taken back leaves no gap');
        assert.equal((await store.listStreams({ tenant: good.tenant, limit: 9 }))[0]!.nextSequence, 1);
      });
    });

    describe('a unit that is sent again', () => {
      const repeats: [string, (stream: StreamKey) => Unit][] = [
        ['expecting a number', (stream) => writing(stream, exactly(2), 2)],
        ['expecting anything', (stream) => writing(stream, ANY, 2)],
        ['expecting a stream', (stream) => writing(stream, EXISTS, 2)],
        ['expecting none', () => writing(freshStream(), NO_STREAM, 2)],
        [
          'with two streams',
          (stream) => unit({ appends: [append(freshStream(), ANY, 3), append(stream, exactly(2))] }),
        ],
        ['with an outcome', (stream) => unit({ appends: [append(stream, ANY)], outcomes: [outcome(freshKey())] })],
        [
          'with an expectation that no longer holds',
          (stream) =>
            unit({
              appends: [append(stream, ANY)],
              expectations: [{ stream: freshStream(), expect: NO_STREAM }],
            }),
        ],
      ];
      for (const [what, make] of repeats) {
        test(`trap 8: ${what}: committed where it was the first time, stored once`, async () => {
          const stream = freshStream();
          await committed(writing(stream, NO_STREAM, 2));
          const one = make(stream);
          const first = await committed(one);
          await committed(writing(one.appends[0]!.stream, ANY, 3));
          for (const { stream: watched } of one.expectations) await committed(writing(watched, ANY));
          const before = await store.head();
          assert.deepEqual(await committed(one), first);
          assert.deepEqual(await store.commit([one, one]), [first, first]);
          assert.deepEqual(await store.head(), before);
        });
      }

      test('trap 44: a conflict with another unit’s event at that sequence stays a conflict', async () => {
        const stream = freshStream();
        await committed(writing(stream, NO_STREAM));
        await conflict(writing(stream, NO_STREAM), NO_STREAM, 1);
        await conflict(writing(stream, exactly(0)), exactly(0), 1);
        await conflict(writing(stream, exactly(7)), exactly(7), 1);
      });

      test('a unit with nothing but an outcome', async () => {
        const one = unit({ outcomes: [outcome(freshKey())] });
        const first = await committed(one);
        await committed(writing(freshStream(), ANY));
        assert.deepEqual(await committed(one), first);
      });
    });

    describe('outcomes', () => {
      test('a known key is a duplicate with the first outcome, before any conflict', async () => {
        const stream = freshStream();
        const key = freshKey();
        const remembered = outcome(key, { body: new Uint8Array(70_000).fill(7) });
        const first = unit({ appends: [append(stream, NO_STREAM, 2)], outcomes: [outcome(freshKey()), remembered] });
        const { position } = await committed(first);
        const second = unit({ appends: [append(stream, NO_STREAM)], outcomes: [outcome(freshKey()), outcome(key)] });
        const result = await duplicate(second);
        assert.equal(result.index, 1);
        assertOutcome(result.outcome, { ...remembered, unitId: first.unitId, position });
        assertOutcome((await store.readOutcome(key))!, { ...remembered, unitId: first.unitId, position });
        assert.equal(await store.readOutcome(second.outcomes[0]!), undefined, 'nothing of a duplicate is stored');
      });

      test('trap 24: a rejection has no events and is remembered all the same', async () => {
        const stream = freshStream();
        const key = freshKey();
        await committed(writing(stream, NO_STREAM));
        const { position } = await store.head();
        const rejection = unit({ expectations: [{ stream, expect: exactly(1) }], outcomes: [outcome(key)] });
        assert.equal((await committed(rejection)).position, position);
        await committed(writing(stream, ANY));
        const result = await duplicate(unit({ appends: [append(stream, ANY)], outcomes: [outcome(key)] }));
        assertOutcome(result.outcome, { ...rejection.outcomes[0]!, unitId: rejection.unitId, position });
      });

      test('tenants and kinds never meet', async () => {
        const key = freshKey({ tenant: 'a' });
        await committed(unit({ outcomes: [outcome(key)] }));
        for (const other of [
          { ...key, tenant: 'b' },
          { ...key, kind: 'fact' as const },
          { ...key, kind: 'reaction' as const },
        ]) {
          assert.equal(await store.readOutcome(other), undefined);
          await committed(unit({ outcomes: [outcome(other)] }));
        }
        await duplicate(unit({ outcomes: [outcome(key)] }));
      });

      test('one key from many callers at once takes effect once', async () => {
        const stream = freshStream();
        const key = freshKey();
        const results = await Promise.all(
          Array.from({ length: 10 }, () =>
            store.commit([unit({ appends: [append(stream, ANY)], outcomes: [outcome(key)] })]),
          ),
        );
        assert.equal(results.flat().filter(({ kind }) => kind === 'committed').length, 1);
        assert.equal(results.flat().filter(({ kind }) => kind === 'duplicate').length, 9);
        assert.equal(await lengthOf(stream), 1);
      });

      test('expired ones are forgotten when told so, at most so many, the others stay', async () => {
        const far = -1_000_000_000_000_000; // Long before the expiry that any other test chose.
        const keys = Array.from({ length: 5 }, () => freshKey());
        const expiries = [far, far + 1, far + 2, far + 3, undefined];
        for (const [i, key] of keys.entries()) {
          await committed(unit({ outcomes: [outcome(key, { expiresAtMicros: expiries[i] })] }));
        }
        const known = async () =>
          (await Promise.all(keys.map((key) => store.readOutcome(key)))).map((o) => o !== undefined);
        assert.equal(await store.expireOutcomes(far, 10), 0, 'not before its time');
        assert.equal(await store.expireOutcomes(far + 3, 2), 2);
        assert.equal(await store.expireOutcomes(far + 3, 2), 1);
        assert.deepEqual(await known(), [false, false, false, true, true]);
        await committed(unit({ outcomes: [outcome(keys[0]!)] }));
        await duplicate(unit({ outcomes: [outcome(keys[4]!)] }));
      });
    });

    describe('outcomes with a correlation id', () => {
      const listed = async (tenant: string, correlationId: string, limit = 100) => {
        const all: ListedOutcome[] = [];
        for (let after: ListedOutcome | undefined; ; ) {
          const part = await store.listOutcomes({ tenant, correlationId, ...(after && { after }), limit });
          assert(part.length <= limit);
          all.push(...part);
          if (part.length < limit) return all;
          after = part.at(-1)!;
        }
      };

      test('are listed in order of positions, kinds and keys, page by page', async () => {
        const tenant = freshTenant();
        const correlationId = randomUUID();
        const key = (kind: OutcomeKey['kind'], key: string) => freshKey({ tenant, kind, key });
        const keys = [key('reaction', 'b'), key('client', '\u{1f4b6}'), key('fact', 'a'), key('client', '\uffee')];
        const [first, second] = [unit(), unit({ appends: [append(freshStream(), ANY)] })];
        first.outcomes = keys.map((one) => outcome(one, { correlationId }));
        second.outcomes = [outcome(key('client', 'later'), { correlationId, expiresAtMicros: 5 })];
        const { position } = await committed(first);
        await committed(writing(freshStream(), ANY));
        const later = await committed(second);
        const texts = ['client \uffee', 'client \u{1f4b6}', 'fact a', 'reaction b', 'client later'];
        for (const limit of [1, 2, 5, 100]) {
          const all = await listed(tenant, correlationId, limit);
          assert.deepEqual(
            all.map(({ kind, key }) => `${kind} ${key}`),
            texts,
          );
        }
        const all = await listed(tenant, correlationId);
        for (const { hash, body, ...key } of [...first.outcomes, ...second.outcomes]) {
          const found = all.find((one) => one.kind === key.kind && one.key === key.key)!;
          const [unit, at] = key.key === 'later' ? [second, later.position] : [first, position];
          assertOutcome(found, { hash, body, unitId: unit.unitId, position: at });
          assert.equal(found.tenant, tenant);
        }
        await store.expireOutcomes(6, 100_000);
        assert.equal((await listed(tenant, correlationId)).length, 4, 'what is forgotten is not listed');
      });

      test('are listed for their tenant and id alone; without an id they are not listed, and are known all the same', async () => {
        const [tenant, other] = [freshTenant(), freshTenant()];
        const [correlationId, another] = [randomUUID(), randomUUID()];
        const plain = outcome(freshKey({ tenant }));
        const mine = outcome(freshKey({ tenant }), { correlationId });
        await committed(unit({ outcomes: [plain, mine] }));
        await committed(unit({ outcomes: [outcome(freshKey({ tenant }), { correlationId: another })] }));
        await committed(unit({ outcomes: [outcome(freshKey({ tenant: other }), { correlationId })] }));
        const all = await listed(tenant, correlationId);
        assert.deepEqual(
          all.map(({ key }) => key),
          [mine.key],
        );
        assert.deepEqual(await listed(tenant, ''), []);
        assert(await store.readOutcome(plain));
      });
    });

    describe('what is stored comes back', () => {
      const values: [string, Uint8Array][] = [
        ['empty', new Uint8Array(0)],
        ['NUL bytes', Uint8Array.of(0, 0, 1, 0, 255, 0)],
        ['1 MiB', new Uint8Array(1 << 20).map((_, i) => (i * 2654435761) >>> 13)],
        ['a view into a larger buffer', new Uint8Array(1 << 16).fill(5).subarray(100, 140)],
        ['64 KiB, where a message changes its form', new Uint8Array(1 << 16).fill(6)],
      ];
      test('trap 11: payloads are bytes and stay bytes', async () => {
        const stream = freshStream();
        const sent = values.map(([, value]) => page({ value }));
        await committed(writing(stream, ANY, [...sent, page()]));
        const { pages } = await store.readStream(stream, ALL);
        for (const [i, [what, value]] of values.entries()) assertBytes(pages[i]!.event!.value, value, what);
        assert.equal(pages.length, values.length + 1);
      });

      test('metadata, origins and times of every shape', async () => {
        const stream = freshStream({ tenant: freshTenant() });
        const source = freshStream({ tenant: 'other' });
        const cover = { root: { value: source.root }, domain: 'stock', correlationId: 'c', tenant: 'other' };
        const origin = {
          component: '',
          source: undefined,
          sourceSequence: 0,
          sourcePosition: 0,
          logId: '',
          index: 0,
          depth: 0,
          externalSource: '',
          externalId: '',
          commands: [],
        };
        const sent = [
          page({
            metadata: { 'ключ €': '💶 "quoted" \\ \n\t', '': '', empty: '', 10: 'ten', nul: 'a\0b', half: '\ud800' },
          }),
          page({ metadata: Object.fromEntries([['__proto__', 'x']]) }),
          page({ origin }),
          page({ origin: { ...origin, source: cover, component: 'fulfilment', sourceSequence: 4_294_967_295 } }),
          page({ origin: { ...origin, source: { ...cover, root: undefined } } }),
          page({ origin: { ...origin, commands: ['shop.v1.PlaceOrder', 'shop.v1.AddItem'] } }),
          page({ origin: { ...origin, sourcePosition: Number.MAX_SAFE_INTEGER, logId: 'l', index: 3, depth: 1000 } }),
          page({ origin: { ...origin, externalSource: 'stripe', externalId: 'evt_1É"\u0001' } }),
          page({ occurredAt: { seconds: -1, nanos: 999_999_000 } }),
          page({ createdAt: toTimestamp(1_799_999_999_999_999), occurredAt: { seconds: 0, nanos: 0 } }),
        ];
        const one = writing(stream, ANY, sent);
        const { position } = await committed(one);
        const { pages } = await store.readStream(stream, ALL);
        assertPages(
          pages,
          sent.map((p, i) => ({ ...p, sequence: i, position: position + i, unitId: one.unitId })),
        );
        const [book] = await readAll(position - 1, { tenant: stream.tenant });
        assertPages(book!.pages, pages);
      });

      test('times are kept to the microsecond', async () => {
        const stream = freshStream();
        await committed(writing(stream, ANY, [page({ createdAt: { seconds: 5, nanos: 1_999 } })]));
        const opening = await store.openStream(stream, OPEN);
        assert.deepEqual(opening.pages[0]!.createdAt, { seconds: 5, nanos: 1_000 });
        assert.equal(opening.lastCreatedAtMicros, 5_000_001);
      });

      test('domains, tenants and type names that resemble each other stay apart', async () => {
        const root = freshStream().root;
        const tenant = freshTenant();
        const streams = [
          { tenant, domain: 'a', root },
          { tenant, domain: 'a-b', root },
          { tenant: `${tenant}-b`, domain: 'a', root },
          { tenant: '', domain: 'a', root },
        ];
        for (const [i, stream] of streams.entries()) await committed(writing(stream, NO_STREAM, i + 1));
        for (const [i, stream] of streams.entries()) assert.equal(await lengthOf(stream), i + 1);
      });
    });

    describe('reading a stream', () => {
      test('one that does not exist is empty', async () => {
        assert.deepEqual(await store.readStream(freshStream(), ALL), { pages: [], nextSequence: 0 });
        assert.deepEqual(await store.openStream(freshStream(), OPEN), {
          pages: [],
          nextSequence: 0,
          snapshot: undefined,
          snapshotNext: 0,
          from: 0,
          lastCreatedAtMicros: 0,
          outcome: undefined,
        });
      });

      test('ranges include both ends, and stop where the stream does', async () => {
        const stream = freshStream();
        await committed(writing(stream, ANY, 10));
        const read = async (from: number, to?: number) => {
          const range = to === undefined ? { ...ALL, from } : { ...ALL, from, to };
          const { pages, nextSequence } = await store.readStream(stream, range);
          assert.equal(nextSequence, 10);
          return pages.map(({ sequence }) => sequence);
        };
        assert.deepEqual(await read(7), [7, 8, 9]);
        assert.deepEqual(await read(2, 4), [2, 3, 4]);
        assert.deepEqual(await read(3, 3), [3]);
        assert.deepEqual(await read(8, 100), [8, 9]);
        assert.deepEqual(await read(10), []);
        assert.deepEqual(await read(4, 3), []);
      });

      test('a limit of bytes stops before it is exceeded, but never before the first page', async () => {
        const stream = freshStream();
        const sent = Array.from({ length: 6 }, () => page({ value: new Uint8Array(1000) }));
        await committed(writing(stream, ANY, sent));
        const cost = pageBytes(sent[0]!);
        for (const [maxBytes, count] of [
          [1, 1],
          [cost, 1],
          [2 * cost - 1, 1],
          [2 * cost, 2],
          [6 * cost, 6],
        ] as const) {
          assert.equal((await store.readStream(stream, { from: 0, maxBytes })).pages.length, count);
          assert.equal((await store.openStream(stream, { ...OPEN, maxBytes })).pages.length, count);
        }
        const { pages } = await store.readStream(stream, { from: 4, maxBytes: 1 });
        assert.deepEqual(
          pages.map(({ sequence }) => sequence),
          [4],
        );
      });

      test('opening: a snapshot of the wanted version, and what follows it', async () => {
        const stream = freshStream();
        const kept = snapshot(5, { schemaVersion: 2 });
        await committed(writing(stream, ANY, 8));
        await committed(unit({ snapshots: [{ stream, snapshot: kept }] }));
        const open = async (from: number, snapshotVersion: number | undefined) => {
          const opening = await store.openStream(stream, { ...OPEN, from, snapshotVersion });
          assert.equal(opening.nextSequence, 8);
          const pages = opening.pages.map(({ sequence }) => sequence);
          return [opening.snapshot?.sequence, opening.snapshotNext, opening.from, pages.join()];
        };
        assert.deepEqual(await open(0, 2), [5, 6, 6, '6,7']);
        assert.deepEqual(await open(0, 1), [undefined, 0, 0, '0,1,2,3,4,5,6,7']);
        assert.deepEqual(await open(0, undefined), [undefined, 0, 0, '0,1,2,3,4,5,6,7']);
        assert.deepEqual(await open(3, 2), [undefined, 6, 3, '3,4,5,6,7']);
        assert.deepEqual(await open(8, 2), [undefined, 6, 8, '']);
        const { snapshot: found } = await store.openStream(stream, { ...OPEN, snapshotVersion: 2 });
        assert.deepEqual({ ...found, state: undefined }, { ...kept, state: undefined });
        assertBytes(found!.state!.value, kept.state!.value);
      });

      test('opening: the outcome under a key, with or without a stream', async () => {
        const stream = freshStream();
        const key = freshKey();
        assert.equal((await store.openStream(stream, { ...OPEN, outcomeKey: key })).outcome, undefined);
        const rejection = unit({ outcomes: [outcome(key)] });
        const { position } = await committed(rejection);
        const expected = { ...rejection.outcomes[0]!, unitId: rejection.unitId, position };
        assertOutcome((await store.openStream(stream, { ...OPEN, outcomeKey: key })).outcome!, expected);
        await committed(writing(stream, ANY));
        assertOutcome((await store.openStream(stream, { ...OPEN, outcomeKey: key })).outcome!, expected);
      });

      test('a read sees what was committed before it began', async () => {
        const stream = freshStream();
        for (let n = 0; n < 20; n++) {
          await committed(writing(stream, exactly(n)));
          const [read, opened, head] = await Promise.all([
            store.readStream(stream, { ...ALL, from: n }),
            store.openStream(stream, OPEN),
            store.head(),
          ]);
          assert.equal(read.pages.length, 1);
          assert.equal(opened.nextSequence, n + 1);
          assert.equal(head.position, read.pages[0]!.position);
        }
      });
    });

    describe('snapshots', () => {
      const sequences = async (stream: StreamKey) => {
        const tenant = stream.tenant;
        const all = await listAllSnapshots(store, tenant);
        return all.map(({ schemaVersion, sequence }) => `${schemaVersion}:${sequence}`);
      };
      const put = (stream: StreamKey, ...all: ReturnType<typeof snapshot>[]) =>
        committed(unit({ snapshots: all.map((one) => ({ stream, snapshot: one })) }));

      test('the latest replaces older ones of its version, kept ones stay', async () => {
        const stream = freshStream({ tenant: freshTenant() });
        await committed(writing(stream, ANY, 50));
        await put(stream, snapshot(5));
        await put(stream, snapshot(10, { retention: 1 }));
        assert.deepEqual(await sequences(stream), ['1:10'], 'a kept one replaces the latest too');
        await put(stream, snapshot(15), snapshot(20));
        await put(stream, snapshot(7, { schemaVersion: 2 }));
        assert.deepEqual(await sequences(stream), ['1:10', '1:20', '2:7']);
        await put(stream, snapshot(30, { schemaVersion: 2 }));
        assert.deepEqual(await sequences(stream), ['1:10', '1:20', '2:30']);
      });

      test('one that comes late changes nothing, unless it is to be kept', async () => {
        const stream = freshStream({ tenant: freshTenant() });
        await committed(writing(stream, ANY, 50));
        await put(stream, snapshot(20));
        await put(stream, snapshot(10));
        await put(stream, snapshot(12, { retention: 1 }));
        assert.deepEqual(await sequences(stream), ['1:12', '1:20']);
      });

      test('the same sequence again: the newer state, and kept stays kept', async () => {
        const stream = freshStream({ tenant: freshTenant() });
        await committed(writing(stream, ANY, 50));
        await put(stream, snapshot(20, { retention: 1 }));
        const again = snapshot(20);
        await put(stream, again);
        await put(stream, snapshot(30));
        assert.deepEqual(await sequences(stream), ['1:20', '1:30']);
        assertBytes((await store.readSnapshot(stream, 1, 20))!.state!.value, again.state!.value);
      });

      test('reading: the newest of the version at or before a sequence', async () => {
        const stream = freshStream();
        await committed(writing(stream, ANY, 50));
        for (const sequence of [10, 20, 30]) await put(stream, snapshot(sequence, { retention: 1 }));
        const read = async (version: number, at: number) => (await store.readSnapshot(stream, version, at))?.sequence;
        assert.equal(await read(1, 100), 30);
        assert.equal(await read(1, 30), 30);
        assert.equal(await read(1, 29), 20);
        assert.equal(await read(1, 10), 10);
        assert.equal(await read(1, 9), undefined);
        assert.equal(await read(2, 100), undefined);
        assert.equal(await store.readSnapshot(freshStream(), 1, 100), undefined);
      });

      test('in the unit of the events that it includes', async () => {
        const stream = freshStream();
        const one = unit({ appends: [append(stream, NO_STREAM, 3)], snapshots: [{ stream, snapshot: snapshot(2) }] });
        await committed(one);
        const opening = await store.openStream(stream, OPEN);
        assert.equal(opening.snapshot!.sequence, 2);
        assert.deepEqual(opening.pages, []);
      });
    });

    describe('reading the log', () => {
      test('trap 1: positions are gapless and in commit order, however many commit at once', async () => {
        const before = await store.head();
        const seen: number[] = [];
        let done = false;
        const tail = (async () => {
          for (let after = before.position; !done || after < (await store.head()).position; ) {
            const read = await store.readLog({ after, filter: {}, ...MANY });
            for (const book of read.books) seen.push(...book.pages.map(({ position }) => position));
            after = read.through;
          }
        })();
        const batches = Array.from({ length: 30 }, (_, i) =>
          store.commit(Array.from({ length: 1 + (i % 4) }, () => writing(freshStream(), ANY, 1 + (i % 3)))),
        );
        const results = (await Promise.all(batches)).flat();
        done = true;
        await tail;
        const { position } = await store.head();
        assert.equal(seen.length, position - before.position);
        assert(seen.every((at, i) => at === before.position + 1 + i));
        const starts = results.map((result) => (result.kind === 'committed' ? result.position : 0));
        assert.deepEqual(
          starts,
          starts.toSorted((a, b) => a - b),
        );
      });

      test('a book is exactly what one unit wrote to one stream, never merged, never split', async () => {
        const tenant = freshTenant();
        const [a, b] = [freshStream({ tenant }), freshStream({ tenant })];
        const units = [
          writing(a, ANY, 2),
          writing(a, ANY, 3),
          unit({ appends: [append(b, ANY, 2), append(a, ANY, 1)] }),
          writing(a, ANY, 1),
        ];
        const { position: before } = await store.head();
        await store.commit(units);
        const books = await readAll(before, { tenant });
        assert.deepEqual(
          books.map(({ pages, nextSequence }) => [pages.length, nextSequence]),
          [
            [2, 2],
            [3, 5],
            [2, 2],
            [1, 6],
            [1, 7],
          ],
        );
        assert.deepEqual(books[2]!.cover, {
          root: { value: b.root },
          domain: 'order',
          correlationId: units[2]!.appends[0]!.correlationId,
          tenant,
        });
        assertBytes(books[2]!.pages[0]!.unitId, units[2]!.unitId);
        assert.equal(books[2]!.snapshot, undefined);
        for (let maxEvents = 1; maxEvents <= 9; maxEvents++) {
          const parts: EventBook[] = [];
          for (let after = before; after < before + 9; ) {
            const read = await store.readLog({ after, to: before + 9, filter: {}, maxEvents, maxBytes: 1 << 30 });
            assert.equal(read.books.at(-1)!.pages.at(-1)!.position, read.through, 'no book crosses the end');
            parts.push(...read.books);
            after = read.through;
          }
          assert.deepEqual(parts, books);
        }
      });

      test('trap 18: through moves when nothing matches', async () => {
        const { position: before } = await store.head();
        for (let i = 0; i < 5; i++) await store.commit([writing(freshStream(), ANY, 4)]);
        const filter = { tenant: freshTenant() };
        let through = before;
        for (let steps = 0; through < before + 20; steps++) {
          const read = await store.readLog({ after: through, to: before + 20, filter, maxEvents: 6, maxBytes: 1 });
          assert.equal(read.books.length, 0);
          assert(read.through > through && steps < 5);
          through = read.through;
        }
        const correlated = await store.readLog({ after: before, filter: { correlationId: 'nobody' }, ...MANY });
        assert.deepEqual(correlated, { books: [], through: (await store.head()).position });
      });

      test('the end of the log, and beyond it', async () => {
        const { position } = await store.head();
        assert.deepEqual(await store.readLog({ after: position, filter: {}, ...MANY }), {
          books: [],
          through: position,
        });
        const beyond = { after: position + 5, filter: {}, ...MANY };
        assert.deepEqual(await store.readLog(beyond), { books: [], through: position + 5 });
      });

      test('a limit of bytes leaves a book for the next read, but never the first one', async () => {
        const tenant = freshTenant();
        const { position: before } = await store.head();
        const pages = () => [page({ value: new Uint8Array(500) }), page({ value: new Uint8Array(500) })];
        const cost = 2 * pageBytes(pages()[0]!);
        for (let i = 0; i < 4; i++) await committed(writing(freshStream({ tenant }), ANY, pages()));
        for (const [maxBytes, count] of [
          [1, 1],
          [cost, 1],
          [2 * cost - 1, 1],
          [2 * cost, 2],
          [9 * cost, 4],
        ] as const) {
          const read = await store.readLog({ after: before, filter: { tenant }, maxEvents: 100, maxBytes });
          assert.equal(read.books.length, count);
          assert.equal(read.through, before + 2 * count);
        }
      });

      test('a book in which after or to lies comes with the wanted pages', async () => {
        const stream = freshStream();
        const { position } = await committed(writing(stream, ANY, 5));
        const { books, through } = await store.readLog({ after: position, to: position + 2, filter: {}, ...MANY });
        assert.equal(through, position + 2);
        assert.deepEqual(
          books.map(({ pages }) => pages.map(({ sequence }) => sequence)),
          [[1, 2]],
        );
        assert.equal(books[0]!.nextSequence, 3);
      });

      test('trap 26: filters match whole names, and a book whole when one of its events does', async () => {
        const tenant = freshTenant();
        const order = freshStream({ tenant });
        const stock = freshStream({ tenant, domain: 'stock' });
        const { position: before } = await store.head();
        const first = writing(order, ANY, [page({ type: 'shop.v1.OrderCreated' }), page({ type: 'shop.v1.Paid' })]);
        await store.commit([first, writing(stock, ANY, [page({ type: 'Created' })])]);
        const count = async (filter: LogFilter) => {
          const books = await readAll(before, { tenant, ...filter });
          return books.map(({ cover, pages }) => `${cover!.domain}:${pages.length}`).join();
        };
        assert.equal(await count({}), 'order:2,stock:1');
        assert.equal(await count({ types: ['Created'] }), 'stock:1');
        assert.equal(await count({ types: ['shop.v1.Paid'] }), 'order:2');
        assert.equal(await count({ types: ['OrderCreated'] }), '');
        assert.equal(await count({ types: [] }), '');
        assert.equal(await count({ domains: ['stock', 'nothing'] }), 'stock:1');
        assert.equal(await count({ domains: [] }), '');
        const { correlationId } = first.appends[0]!;
        assert.equal(await count({ correlationId }), 'order:2');
        assert.equal(await count({ correlationId, domains: ['stock'] }), '');
      });

      test('by correlation: across streams, in parts that never split a book', async () => {
        const correlationId = `c-${freshTenant()}`;
        const { position: before } = await store.head();
        for (let i = 0; i < 6; i++) {
          const mine = { ...append(freshStream(), ANY, 2), correlationId };
          await store.commit([unit({ appends: [mine, append(freshStream(), ANY, 3)] }), writing(freshStream(), ANY)]);
        }
        const whole = await readAll(before, { correlationId });
        assert.equal(whole.length, 6);
        const parts: EventBook[] = [];
        for (let after = before, steps = 0; after < before + 36; steps++) {
          const read = await store.readLog({
            after,
            to: before + 36,
            filter: { correlationId },
            maxEvents: 3,
            maxBytes: 1 << 20,
          });
          parts.push(...read.books);
          assert(read.through > after && steps < 20);
          after = read.through;
        }
        assert.deepEqual(parts, whole);
        const tight = await store.readLog({ after: before, filter: { correlationId }, maxEvents: 99, maxBytes: 1 });
        assert.equal(tight.books.length, 1);
        const next = await store.readLog({
          after: tight.through,
          filter: { correlationId },
          maxEvents: 99,
          maxBytes: 1,
        });
        assert.deepEqual(next.books, [whole[1]]);
      });
    });

    describe('the log since a time', () => {
      /** A time that the log has not reached. */
      const beyond = async () => {
        const { position } = await store.head();
        let time = 2_000_000_000_000_000;
        while ((await store.positionBefore(time)) < position) time += 1_000_000_000_000;
        return time;
      };
      const recorded = async (...times: number[]) => {
        const pages = times.map((time) => page({ createdAt: toTimestamp(time) }));
        return (await committed(writing(freshStream(), ANY, pages))).position;
      };

      test('begins after the position before the first event of that time or later; ties share it', async () => {
        const t = await beyond();
        const first = await recorded(t);
        await recorded(t + 10, t + 10, t + 20);
        const end = (await store.head()).position;
        assert.equal(await store.positionBefore(t - 1), first - 1);
        assert.equal(await store.positionBefore(t), first - 1);
        assert.equal(await store.positionBefore(t + 1), first);
        assert.equal(await store.positionBefore(t + 10), first);
        assert.equal(await store.positionBefore(t + 11), first + 2);
        assert.equal(await store.positionBefore(t + 20), first + 2);
        assert.equal(await store.positionBefore(t + 21), end, 'nothing is that late');
        assert.equal(await store.positionBefore(Number.MAX_SAFE_INTEGER), end);
        assert.equal(await store.positionBefore(Number.MIN_SAFE_INTEGER), 0, 'everything is later');
      });

      test('clocks that differ: later events with earlier times move nothing', async () => {
        const t = await beyond();
        const first = await recorded(t);
        for (const skewed of [t + 50, t - 30, t + 40, t + 60, t - 900]) await recorded(skewed);
        assert.equal(await store.positionBefore(t - 30), first - 1);
        assert.equal(await store.positionBefore(t + 40), first);
        assert.equal(await store.positionBefore(t + 50), first);
        assert.equal(await store.positionBefore(t + 51), first + 3);
        assert.equal(await store.positionBefore(t + 61), first + 5);
      });

      test('the same as looking at every event, over thousands of them', async () => {
        const t = await beyond();
        const { position } = await store.head();
        const times = Array.from({ length: 5000 }, (_, i) => t + i * 10 + ((i * 7919) % 1000) - 500);
        for (let i = 0; i < times.length; i += 500) await recorded(...times.slice(i, i + 500));
        for (let i = 0; i < 300; i++) {
          const asked = t + 500 + ((i * 104_729) % 51_000);
          const index = times.findIndex((time) => time >= asked);
          const expected = position + (index < 0 ? times.length : index);
          assert.equal(await store.positionBefore(asked), expected, `at ${asked - t}`);
        }
      });
    });

    describe('lists', () => {
      test('streams in order of tenant, domain and root, page by page', async () => {
        const tenant = freshTenant();
        const streams = [`${tenant}-a`, tenant].flatMap((t) =>
          ['a', 'a-b', 'b'].flatMap((domain) => Array.from({ length: 3 }, () => freshStream({ tenant: t, domain }))),
        );
        for (const stream of streams) await committed(writing(stream, NO_STREAM, 2));
        const order = streams.toSorted(
          (a, b) =>
            Number(a.tenant > b.tenant) - Number(a.tenant < b.tenant) ||
            Number(a.domain > b.domain) - Number(a.domain < b.domain) ||
            Buffer.compare(a.root, b.root),
        );
        const list = async (filter: { tenant?: string; domain?: string }) => {
          const all: string[] = [];
          for (let after: StreamKey | undefined; ; ) {
            const part = await store.listStreams({ ...filter, ...(after && { after }), limit: 2 });
            for (const head of part) {
              assert.equal(head.nextSequence > 0, true);
              if (head.stream.tenant.startsWith(tenant)) all.push(streamText(head.stream));
            }
            if (part.length < 2) return all;
            after = part.at(-1)!.stream;
          }
        };
        const expected = (keep: (stream: StreamKey) => boolean) => order.filter(keep).map(streamText);
        assert.deepEqual(
          await list({ tenant }),
          expected((s) => s.tenant === tenant),
        );
        assert.deepEqual(
          await list({ tenant, domain: 'a' }),
          expected((s) => s.tenant === tenant && s.domain === 'a'),
        );
        assert.deepEqual(
          await list({ domain: 'a-b' }),
          expected((s) => s.domain === 'a-b'),
        );
        assert.deepEqual(
          await list({}),
          expected(() => true),
        );
        assert.deepEqual(await list({ tenant, domain: 'zzz' }), []);
        const [first, last] = [order[0]!, order.at(-1)!];
        const from = async (after: StreamKey, filter: { tenant?: string; domain?: string }) =>
          (await store.listStreams({ ...filter, after, limit: 100 })).map(({ stream }) => streamText(stream));
        assert.deepEqual(await from(last, { tenant }), [], 'after everything that matches');
        assert.deepEqual(
          await from(first, { tenant: last.tenant, domain: 'b' }),
          expected((s) => s.tenant === last.tenant && s.domain === 'b'),
          'after something before all that matches',
        );
      });

      test('snapshots in order of streams, versions and sequences, page by page', async () => {
        const tenant = freshTenant();
        const streams = Array.from({ length: 3 }, () => freshStream({ tenant }));
        for (const stream of streams) {
          await committed(writing(stream, NO_STREAM, 20));
          const kept = [
            [2, 3],
            [1, 4],
            [1, 2],
            [10, 0],
          ].map(([schemaVersion, sequence]) => snapshot(sequence!, { schemaVersion: schemaVersion!, retention: 1 }));
          await committed(unit({ snapshots: kept.map((one) => ({ stream, snapshot: one })) }));
        }
        const expected = streams
          .toSorted((a, b) => Buffer.compare(a.root, b.root))
          .flatMap((stream) => ['1:2', '1:4', '2:3', '10:0'].map((text) => `${streamText(stream)} ${text}`));
        for (const limit of [1, 3, 100]) {
          const all = await listAllSnapshots(store, tenant, limit);
          assert.deepEqual(
            all.map((s) => `${streamText(s.stream)} ${s.schemaVersion}:${s.sequence}`),
            expected,
          );
        }
      });
    });

    test('the log says who it is, and says it again', async () => {
      const head = await store.head();
      assert.match(head.logId, /^[0-9a-f-]{36}$/);
      assert.match(head.incarnation, /^[0-9a-f-]{36}$/);
      assert.notEqual(store.description, '');
      assert.deepEqual(await store.head(), head);
    });

    test('property: any history of batches ends as a simple model says', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(fc.array(plannedUnit(), { maxLength: 6 }), { maxLength: 8 }), async (batches) => {
          await runAgainstModel(store, batches);
        }),
        { numRuns: runs },
      );
    });
  });
}

interface PlannedUnit {
  appends: { stream: number; expect: PlannedExpectation; types: number[] }[];
  watch: { stream: number; expect: PlannedExpectation } | undefined;
  key: number | undefined;
  /** Send the n-th unit that was sent before once more instead. */
  again: number | undefined;
}

/** A number is what the stream has, plus it. */
type PlannedExpectation = 'no-stream' | 'exists' | 'any' | -1 | 0 | 1;

function plannedUnit(): fc.Arbitrary<PlannedUnit> {
  const expect = fc.constantFrom<PlannedExpectation>('no-stream', 'exists', 'any', -1, 0, 0, 0, 0, 1);
  const stream = fc.nat({ max: 3 });
  const types = fc.array(fc.nat({ max: 2 }), { minLength: 1, maxLength: 4 });
  return fc.record({
    appends: fc.uniqueArray(fc.record({ stream, expect, types }), { maxLength: 3, selector: (a) => a.stream }),
    watch: fc.option(fc.record({ stream, expect }), { nil: undefined, freq: 4 }),
    key: fc.option(fc.nat({ max: 8 }), { nil: undefined }),
    again: fc.option(fc.nat({ max: 10 }), { nil: undefined, freq: 8 }),
  });
}

/** Plays the batches to the store and to the shortest description of what should happen, and compares. */
async function runAgainstModel(store: Store, batches: PlannedUnit[][]): Promise<void> {
  const tenant = freshTenant();
  const streams = Array.from({ length: 4 }, () => freshStream({ tenant }));
  const lengths = [0, 0, 0, 0];
  const keys = new Map<number, Unit>();
  const sent: Unit[] = [];
  const stored = new Map<Unit, UnitResult>();
  const start = (await store.head()).position;
  let end = start;
  const books: { unit: Unit; stream: number; pages: number; next: number }[] = [];

  for (const batch of batches) {
    const ahead = [...lengths];
    const units = batch.map(({ appends, watch, key, again }) => {
      if (again !== undefined && sent.length > 0) return sent[again % sent.length]!;
      const expectation = (number: number, expect: PlannedExpectation): Expectation =>
        typeof expect === 'number' ? exactly(Math.max(0, ahead[number]! + expect)) : { kind: expect };
      const one = unit({
        appends: appends.map(({ stream, expect, types }) =>
          append(
            streams[stream]!,
            expectation(stream, expect),
            types.map((type) => page({ type: `test.T${type}` })),
          ),
        ),
        expectations: watch
          ? [{ stream: streams[watch.stream]!, expect: expectation(watch.stream, watch.expect) }]
          : [],
        outcomes: key === undefined ? [] : [outcome(freshKey({ tenant, key: `${key}` }))],
      });
      for (const { stream, types } of appends) ahead[stream]! += types.length;
      sent.push(one);
      return one;
    });
    const results = await store.commit(units);
    assert.equal(results.length, units.length);
    for (const [i, one] of units.entries()) {
      const result = results[i]!;
      const numberOf = (stream: StreamKey) => streams.findIndex((other) => sameBytes(other.root, stream.root));
      const holds = ({ stream, expect }: { stream: StreamKey; expect: Expectation }) => {
        const length = lengths[numberOf(stream)]!;
        if (expect.kind === 'exactly') return length === expect.nextSequence;
        return expect.kind === 'any' || (expect.kind === 'exists') === length > 0;
      };
      const known = one.outcomes.find((o) => keys.has(Number(o.key)));
      const repeated = stored.get(one);
      if (repeated !== undefined && (one.appends.length > 0 || one.outcomes.length > 0)) {
        assert.deepEqual(result, repeated);
        continue;
      }
      if (known !== undefined) {
        assert(result.kind === 'duplicate');
        assertBytes(result.outcome.unitId, keys.get(Number(known.key))!.unitId);
        continue;
      }
      const failed = [...one.appends, ...one.expectations].find((e) => !holds(e));
      if (failed !== undefined) {
        const actual = lengths[numberOf(failed.stream)]!;
        assert.deepEqual(result, { kind: 'conflict', stream: failed.stream, expected: failed.expect, actual });
        continue;
      }
      const sequences = one.appends.map(({ stream }) => lengths[numberOf(stream)]!);
      const position = one.appends.length === 0 ? end : end + 1;
      assert.deepEqual(result, { kind: 'committed', position, sequences });
      stored.set(one, result);
      for (const o of one.outcomes) keys.set(Number(o.key), one);
      for (const { stream, pages } of one.appends) {
        const number = numberOf(stream);
        lengths[number]! += pages.length;
        end += pages.length;
        books.push({ unit: one, stream: number, pages: pages.length, next: lengths[number]! });
      }
    }
  }

  assert.equal((await store.head()).position, end);
  const read = await store.readLog({ after: start, filter: { tenant }, ...MANY });
  assert.equal(read.through, end);
  assert.deepEqual(
    read.books.map(({ cover, pages, nextSequence }) => [
      Buffer.from(pages[0]!.unitId).toString('hex'),
      Buffer.from(cover!.root!.value).toString('hex'),
      pages.length,
      nextSequence,
    ]),
    books.map((book) => [
      Buffer.from(book.unit.unitId).toString('hex'),
      Buffer.from(streams[book.stream]!.root).toString('hex'),
      book.pages,
      book.next,
    ]),
  );
  assert.deepEqual(
    read.books.flatMap(({ pages }) => pages.map(({ position }) => position)),
    Array.from({ length: end - start }, (_, i) => start + 1 + i),
  );
  for (const filter of [{ types: ['test.T1'] }, { types: ['test.T0', 'test.T2'], domains: ['order'] }]) {
    const some = await store.readLog({ after: start, filter: { tenant, ...filter }, ...MANY });
    assert.deepEqual(
      some.books,
      read.books.filter((book) => matches(filter, book)),
    );
  }
  for (const [number, stream] of streams.entries()) {
    const { pages, nextSequence } = await store.readStream(stream, ALL);
    assert.equal(nextSequence, lengths[number]);
    assert.deepEqual(
      pages.map(({ sequence }) => sequence),
      Array.from({ length: nextSequence }, (_, i) => i),
    );
  }
}

async function listAllSnapshots(store: Store, tenant: string, limit = 2) {
  const all: Awaited<ReturnType<Store['listSnapshots']>> = [];
  for (let list: Parameters<Store['listSnapshots']>[0] = { limit }; ; ) {
    const part = await store.listSnapshots(list);
    all.push(...part);
    if (part.length < limit) return all.filter(({ stream }) => stream.tenant === tenant);
    list = { after: part.at(-1)!, limit };
  }
}

function assertBytes(actual: Uint8Array, expected: Uint8Array, message?: string): void {
  assert(sameBytes(actual, expected), message ?? `${actual.length} bytes are not the expected ${expected.length}`);
}

function assertOutcome(actual: StoredOutcome, expected: StoredOutcome): void {
  assertBytes(actual.hash, expected.hash);
  assertBytes(actual.body, expected.body);
  assertBytes(actual.unitId, expected.unitId);
  assert.equal(actual.position, expected.position);
}

function assertPages(actual: readonly EventPage[], expected: readonly EventPage[]): void {
  assert.equal(actual.length, expected.length);
  for (const [i, page] of expected.entries()) {
    const found = actual[i]!;
    assertBytes(found.event!.value, page.event!.value, `payload ${i}`);
    assertBytes(found.unitId, page.unitId, `unit id ${i}`);
    assert.equal(found.event!.typeUrl, page.event!.typeUrl);
    assert.equal(toMicros(found.createdAt!), toMicros(page.createdAt!));
    assert.deepEqual(found.occurredAt, page.occurredAt);
    assert.equal(found.sequence, page.sequence);
    assert.equal(found.position, page.position);
    assert.deepEqual({ ...found.metadata }, { ...page.metadata });
    assert.deepEqual(found.origin, page.origin);
  }
}
