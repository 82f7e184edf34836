import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { encode } from '../src/encode.ts';
import { EventPage } from '../src/gen/daybook/v1/types.ts';

/** Around the lengths at which a text is written in another way. */
const text = fc.oneof(
  fc.string({ maxLength: 140 }),
  fc.string({ unit: 'binary', maxLength: 140 }),
  fc.constantFrom(31, 32, 33, 126, 127, 128, 129).map((length) => 'x'.repeat(length)),
  fc.constantFrom(31, 32, 33, 126, 127, 128, 129).map((length) => `${'x'.repeat(length - 1)}é`),
);
const number = fc.oneof(
  fc.nat(),
  fc.constantFrom(0, 1, 127, 128, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER),
);
const page: fc.Arbitrary<EventPage> = fc.record({
  sequence: fc.nat(),
  createdAt: fc.record({
    seconds: fc.oneof(
      number,
      number.map((n) => -n),
    ),
    nanos: fc.nat(),
  }),
  event: fc.record({ typeUrl: text, value: fc.uint8Array({ maxLength: 300 }) }),
  position: number,
  origin: fc.constant(undefined),
  metadata: fc.dictionary(text, text, { maxKeys: 3 }),
  unitId: fc.uint8Array({ minLength: 16, maxLength: 16 }),
  occurredAt: fc.constant(undefined),
});

test('property: messages become the bytes that the library makes of them', () => {
  fc.assert(
    fc.property(page, (message) => {
      assert.deepEqual(encode(EventPage, message), EventPage.encode(message).finish());
    }),
    { numRuns: 2000 },
  );
});

test('what cannot be written throws, and what comes next is whole', () => {
  const good = EventPage.create({ position: 7, event: { typeUrl: 't', value: Uint8Array.of(1) } });
  const half = { ...good, position: 1.5 };
  assert.throws(() => encode(EventPage, half));
  assert.throws(() => encode(EventPage, { ...good, position: -1 }));
  assert.deepEqual(encode(EventPage, good), EventPage.encode(good).finish());
});
