import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeToken, encodeToken } from '../../src/model/token.ts';

const token = fc.record(
  { logId: fc.uuid(), incarnation: fc.uuid(), position: fc.maxSafeNat() },
  { noNullPrototype: true },
);

test('every token comes back, up to the last position that a number can hold', () => {
  const last = { logId: randomUUID(), incarnation: randomUUID(), position: Number.MAX_SAFE_INTEGER };
  fc.assert(
    fc.property(token, (t) => assert.deepEqual(decodeToken(encodeToken(t)), t)),
    { examples: [[last]] },
  );
});

test('what is no token is undefined, and never an error', () => {
  const whole = encodeToken({ logId: randomUUID(), incarnation: randomUUID(), position: 17 });
  const nearly = [`${whole}.`, ` ${whole}`, `${whole}\n`, whole.toUpperCase(), whole.slice(1), whole.replace('.', '')];
  for (const text of ['', '.', '..', 'token', ...nearly]) {
    assert.equal(decodeToken(text), undefined, JSON.stringify(text));
  }
  // A position beyond what a number holds.
  assert.equal(decodeToken(`${randomUUID()}.${randomUUID()}.zzzzzzzzzzz`), undefined);
  fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => decodeToken(text) === undefined));
});

test('a token that was changed anywhere is another one, or none', () => {
  fc.assert(
    fc.property(token, fc.nat(), fc.string({ minLength: 1, maxLength: 1, unit: 'binary' }), (t, at, by) => {
      const text = encodeToken(t);
      const i = at % text.length;
      const changed = text.slice(0, i) + by + text.slice(i + 1);
      fc.pre(changed !== text);
      assert.notDeepEqual(decodeToken(changed), t);
    }),
  );
});
