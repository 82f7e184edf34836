import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { timeText, toDuration, toMicros, toTimestamp } from '../../src/model/time.ts';

test('microseconds survive the way to a timestamp and back, as long as numbers are exact', () => {
  fc.assert(
    fc.property(fc.maxSafeInteger(), (micros) => {
      const stamp = toTimestamp(micros);
      assert.equal(toMicros(stamp), micros);
      // As google.protobuf.Timestamp demands, before 1970 too.
      assert(Number.isSafeInteger(stamp.seconds));
      assert(Number.isInteger(stamp.nanos) && stamp.nanos >= 0 && stamp.nanos < 1e9);
    }),
    { examples: [[-1], [0], [-1_000_000], [Number.MAX_SAFE_INTEGER], [Number.MIN_SAFE_INTEGER]] },
  );
});

test('digits below a microsecond are cut off, so that later times are never earlier', () => {
  assert.equal(toMicros({ seconds: 1, nanos: 1999 }), 1_000_001);
  assert.equal(toMicros({ seconds: -1, nanos: 999_999_999 }), -1);
  const nanos = fc.nat({ max: 999_999_999 });
  fc.assert(
    fc.property(fc.nat({ max: 8e9 }), nanos, nanos, (seconds, a, b) => {
      const sooner = { seconds, nanos: Math.min(a, b) };
      const later = { seconds, nanos: Math.max(a, b) };
      assert(toMicros(sooner) <= toMicros(later));
    }),
  );
});

test('times for people have six digits', () => {
  assert.equal(timeText(0), '1970-01-01T00:00:00.000000Z');
  assert.equal(timeText(1_769_860_800_000_001), '2026-01-31T12:00:00.000001Z');
  assert.equal(timeText(-1), '1969-12-31T23:59:59.999999Z');
  fc.assert(
    fc.property(fc.integer({ min: -62e15, max: 8e15 }), (micros) => {
      const text = timeText(micros);
      assert.match(text, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
      assert.equal(Date.parse(`${text.slice(0, -4)}Z`) * 1000 + Number(text.slice(-4, -1)), micros);
    }),
  );
});

test('spans are whole microseconds', () => {
  assert.deepEqual(toDuration(0), { seconds: 0, nanos: 0 });
  assert.deepEqual(toDuration(1500.0004), { seconds: 1, nanos: 500_000_000 });
  assert.deepEqual(toDuration(999.9999), { seconds: 1, nanos: 0 });
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1e12, noNaN: true }), (ms) => {
      const { seconds, nanos } = toDuration(ms);
      assert(Number.isSafeInteger(seconds) && Number.isInteger(nanos) && nanos >= 0 && nanos < 1e9);
      assert(Math.abs(seconds * 1000 + nanos / 1e6 - ms) <= 0.001 + ms * Number.EPSILON * 4);
    }),
  );
});
