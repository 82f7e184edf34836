import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { retryDelayMs } from '../../src/model/retry.ts';

test('doubles from the least to the most, then ends', () => {
  const schedule = { tries: 8, minMs: 10, maxMs: 200 };
  const delays = [1, 2, 3, 4, 5, 6, 7, 8, 9].map((failed) => retryDelayMs(schedule, failed, 0));
  assert.deepEqual(delays, [10, 20, 40, 80, 160, 200, 200, undefined, undefined]);
});

test('jitter takes away up to half, and no more', () => {
  assert.equal(retryDelayMs({ tries: 2, minMs: 10, maxMs: 10 }, 1, 0.5), 7.5);
  const schedule = fc.record({
    tries: fc.integer({ min: 1, max: 2000 }),
    minMs: fc.nat({ max: 60_000 }),
    maxMs: fc.nat({ max: 60_000 }),
  });
  const jitter = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
  fc.assert(
    fc.property(schedule, fc.integer({ min: 1, max: 2000 }), jitter, (s, failed, j) => {
      const full = retryDelayMs(s, failed, 0);
      const delay = retryDelayMs(s, failed, j);
      if (failed >= s.tries) return assert.equal(delay, undefined);
      assert(full! <= s.maxMs && (failed === 1 || full! >= retryDelayMs(s, failed - 1, 0)!));
      assert(delay! <= full! && delay! >= full! / 2);
    }),
  );
});
