import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { HotCache, type HotHistory, keptBytes } from '../../src/coordinators/hot-cache.ts';
import { type EventPage, payloadBytes, type Snapshot } from '../../src/model/book.ts';
import { any, eventPage } from '../support/books.ts';

const TYPE = any('Deposited').typeUrl;
const PAYLOAD_BYTES = 1000;
const PAGE = keptBytes(page(0));
const ROOMY = { hotCacheBytes: 1 << 20, hotCacheAggregateBytes: 1 << 20 };

function page(sequence: number, value: Uint8Array = new Uint8Array(PAYLOAD_BYTES)): EventPage {
  return { ...eventPage({ typeUrl: TYPE, value }), sequence, unitId: new Uint8Array(16) };
}

function pages(from: number, count: number): EventPage[] {
  return Array.from({ length: count }, (_, i) => page(from + i));
}

function snapshot(sequence: number, value: Uint8Array = new Uint8Array(10)): Snapshot {
  return { sequence, state: { typeUrl: TYPE, value }, retention: 0, schemaVersion: 1 };
}

function history(count: number, parts: Partial<HotHistory> = {}): HotHistory {
  return {
    nextSequence: count,
    lastCreatedAtMicros: 0,
    snapshot: undefined,
    snapshotNext: 0,
    from: 0,
    pages: pages(0, count),
    ...parts,
  };
}

function sequences(hot: HotHistory | undefined): number[] {
  return hot!.pages.map(({ sequence }) => sequence);
}

/** What must be true of every entry, whatever happened. */
function checkEntry(hot: HotHistory): void {
  assert.equal(hot.from + hot.pages.length, hot.nextSequence);
  for (const [i, { sequence }] of hot.pages.entries()) assert.equal(sequence, hot.from + i);
}

describe('bounds', () => {
  test('those used least recently go first', () => {
    const cache = new HotCache({ ...ROOMY, hotCacheBytes: 4 * (PAGE + 600) });
    for (const text of ['a', 'b', 'c', 'd']) cache.put(text, history(1));
    cache.get('a');
    cache.put('e', history(1));
    assert.equal(cache.get('b'), undefined);
    for (const text of ['a', 'c', 'd', 'e']) assert(cache.get(text) !== undefined, text);
    assert.equal(cache.size, 4);
  });

  test('one that grows pushes others out, and itself when it is all that is left', () => {
    const cache = new HotCache({ ...ROOMY, hotCacheBytes: 4 * PAGE });
    cache.put('a', history(1));
    cache.put('b', history(1));
    cache.extend('b', pages(1, 2), 1);
    assert.equal(cache.get('a'), undefined);
    assert.deepEqual(sequences(cache.get('b')), [0, 1, 2]);
    cache.extend('b', pages(3, 3), 1);
    assert.deepEqual([cache.size, cache.bytes], [0, 0]);
  });

  test('an aggregate beyond its limit keeps its end only', () => {
    const cache = new HotCache({ ...ROOMY, hotCacheAggregateBytes: 10 * PAGE });
    cache.put('a', history(4, { snapshot: snapshot(1), snapshotNext: 2 }));
    cache.extend('a', pages(4, 7), 1);
    const hot = cache.get('a')!;
    checkEntry(hot);
    assert.equal(hot.nextSequence, 11);
    assert(hot.from > 4 && hot.pages.length > 0);
    assert(cache.bytes <= 5 * PAGE);
    // Without the pages that follow it a snapshot means nothing; that there is one is remembered.
    assert.deepEqual([hot.snapshot, hot.snapshotNext], [undefined, 2]);
  });

  test('0 keeps nothing, and what was put is still there for the one who put it', () => {
    const none = new HotCache({ ...ROOMY, hotCacheBytes: 0 });
    assert.deepEqual(sequences(none.put('a', history(2))), [0, 1]);
    assert.deepEqual([none.size, none.bytes, none.get('a')], [0, 0, undefined]);
    const heads = new HotCache({ ...ROOMY, hotCacheAggregateBytes: 0 });
    heads.put('a', history(2));
    checkEntry(heads.get('a')!);
    assert.deepEqual([heads.get('a')!.nextSequence, sequences(heads.get('a'))], [2, []]);
  });

  test('whatever happens, the bytes are those of the entries, and within the limit', () => {
    const names = ['a', 'b', 'c', 'd', 'e'];
    const step = fc.record({
      text: fc.constantFrom(...names),
      what: fc.constantFrom('put', 'extend', 'snapshot', 'get', 'forget', 'gap'),
      count: fc.nat({ max: 6 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
        const cache = new HotCache({ hotCacheBytes: 12 * PAGE, hotCacheAggregateBytes: 6 * PAGE });
        for (const { text, what, count } of steps) {
          const next = cache.get(text)?.nextSequence ?? 0;
          const state = snapshot(next + count - 1, new Uint8Array(100 * count));
          if (what === 'put') cache.put(text, history(count));
          else if (what === 'extend') cache.extend(text, pages(next, count), 1);
          else if (what === 'snapshot') cache.extend(text, pages(next, count), 1, state);
          else if (what === 'gap') cache.extend(text, pages(next + 1, 1), 1);
          else if (what === 'forget') cache.forget(text);
          assert(cache.bytes <= 12 * PAGE);
          let bytes = 0;
          for (const name of names) {
            const hot = cache.get(name);
            if (hot === undefined) continue;
            checkEntry(hot);
            bytes += 512 + (hot.snapshot === undefined ? 0 : payloadBytes(hot.snapshot.state));
            for (const kept of hot.pages) bytes += keptBytes(kept);
          }
          assert.equal(cache.bytes, bytes);
        }
        const count = cache.size;
        assert.equal(cache.flush(), count);
        assert.deepEqual([cache.size, cache.bytes], [0, 0]);
      }),
    );
  });
});

describe('what was committed', () => {
  test('extends an entry, and one that is gone stays gone', () => {
    const cache = new HotCache(ROOMY);
    cache.put('a', history(1));
    cache.extend('a', pages(1, 2), 77);
    assert.deepEqual(sequences(cache.get('a')), [0, 1, 2]);
    assert.equal(cache.get('a')!.lastCreatedAtMicros, 77);
    cache.extend('b', pages(0, 1), 1);
    assert.equal(cache.get('b'), undefined);
  });

  test('behind a gap makes the entry worthless', () => {
    const cache = new HotCache(ROOMY);
    cache.put('a', history(1));
    cache.extend('a', pages(2, 1), 1);
    assert.deepEqual([cache.get('a'), cache.bytes], [undefined, 0]);
  });

  test('extends an entry that holds only the end', () => {
    const cache = new HotCache(ROOMY);
    cache.put('a', history(5, { from: 5, pages: [] }));
    cache.extend('a', pages(5, 2), 1);
    const hot = cache.get('a')!;
    checkEntry(hot);
    assert.deepEqual([hot.from, hot.nextSequence], [5, 7]);
  });

  test('what the host holds already makes room', () => {
    const cache = new HotCache(ROOMY);
    cache.put('a', history(3));
    const before = cache.bytes;
    cache.extend('a', pages(3, 2), 1, undefined, 3);
    const hot = cache.get('a')!;
    checkEntry(hot);
    assert.deepEqual(sequences(hot), [3, 4]);
    assert.equal(cache.bytes, before - PAGE);
    // What it holds beyond, and what is gone, changes nothing.
    cache.extend('a', pages(5, 1), 1, undefined, 2);
    assert.deepEqual(sequences(cache.get('a')), [3, 4, 5]);
    cache.extend('a', [], 1, undefined, 99);
    checkEntry(cache.get('a')!);
    assert.deepEqual(sequences(cache.get('a')), []);
  });

  test('a snapshot replaces the one before; pages since that one stay, for hosts that keep state', () => {
    const cache = new HotCache(ROOMY);
    cache.put('a', history(3));
    cache.extend('a', pages(3, 1), 1, snapshot(3));
    let hot = cache.get('a')!;
    assert.deepEqual([hot.snapshot!.sequence, hot.snapshotNext, sequences(hot)], [3, 4, [0, 1, 2, 3]]);
    cache.extend('a', pages(4, 2), 1, snapshot(5));
    hot = cache.get('a')!;
    checkEntry(hot);
    assert.deepEqual([hot.snapshot!.sequence, hot.snapshotNext, sequences(hot)], [5, 6, [4, 5]]);
    // One that comes without events.
    cache.extend('a', [], 1, snapshot(5, new Uint8Array(99)));
    assert.equal(cache.get('a')!.snapshot!.state!.value.length, 99);
    checkEntry(cache.get('a')!);
  });
});

describe('what is small does not pin the large frame it came in', () => {
  /** Views into one large buffer, as payloads are that came in a frame. */
  function framed(): (bytes: number) => Uint8Array {
    const frame = new Uint8Array(1 << 20).fill(7);
    let used = 0;
    return (bytes) => {
      used += bytes;
      return frame.subarray(used - bytes, used);
    };
  }

  function checkKept(hot: HotHistory): void {
    const kept = hot.pages.flatMap(({ event, unitId }) => [event!.value, unitId]);
    if (hot.snapshot !== undefined) kept.push(hot.snapshot.state!.value);
    for (const bytes of kept) {
      assert(bytes.buffer.byteLength <= 2 * bytes.length + 8192, `${bytes.buffer.byteLength} for ${bytes.length}`);
      assert(bytes.every((byte) => byte === 7));
    }
  }

  test('when it was read', () => {
    const cache = new HotCache(ROOMY);
    const take = framed();
    const read = [0, 1, 2].map((sequence) => ({ ...page(sequence, take(16)), unitId: take(16) }));
    const parts = { pages: read, snapshot: snapshot(1, take(20)), snapshotNext: 2 };
    checkKept(cache.put('a', history(3, parts)));
  });

  test('when it was committed', () => {
    const cache = new HotCache(ROOMY);
    const take = framed();
    cache.put('a', history(0));
    cache.extend('a', [{ ...page(0, take(100)), unitId: take(16) }], 1, snapshot(0, take(100)));
    checkKept(cache.get('a')!);
  });

  test('and what fills its buffer is not copied', () => {
    const cache = new HotCache(ROOMY);
    const whole = page(0);
    assert.equal(cache.put('a', history(1, { pages: [whole] })).pages[0], whole);
  });
});
