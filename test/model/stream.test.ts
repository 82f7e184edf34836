import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { hex, sameBytes, streamText, uuidText } from '../../src/model/stream.ts';

const key = fc.record({
  tenant: fc.stringMatching(/^[!-.0-~]{0,10}$/),
  domain: fc.stringMatching(/^[a-z][a-z0-9_-]{0,10}$/),
  root: fc.uint8Array({ minLength: 16, maxLength: 16 }),
});

test('the texts of streams, roots and bytes', () => {
  const root = new Uint8Array(Buffer.from('0190163d8694739baea5966c26f8ad91', 'hex'));
  assert.equal(uuidText(root), '0190163d-8694-739b-aea5-966c26f8ad91');
  assert.equal(streamText({ tenant: '', domain: 'order', root }), '/order/0190163d8694739baea5966c26f8ad91');
  assert.equal(streamText({ tenant: 'acme', domain: 'a-b', root }), `acme/a-b/${hex(root)}`);
  assert.equal(hex(new Uint8Array([0, 15, 255])), '000fff');
  assert.equal(hex(new Uint8Array()), '');
});

test('hex says the same as Buffer', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 40, size: 'max' }),
      (bytes) => hex(bytes) === Buffer.from(bytes).toString('hex'),
    ),
  );
});

test('different streams have different texts', () => {
  fc.assert(
    fc.property(key, key, (a, b) => {
      const same = a.tenant === b.tenant && a.domain === b.domain && sameBytes(a.root, b.root);
      return (streamText(a) === streamText(b)) === same;
    }),
  );
});

test('sameBytes compares content, and views by what they show', () => {
  assert(sameBytes(new Uint8Array([1, 2, 3, 4]).subarray(1, 3), new Uint8Array([2, 3])));
  assert(!sameBytes(new Uint8Array([1, 2]), new Uint8Array([1, 2, 3])));
  fc.assert(fc.property(fc.uint8Array(), fc.uint8Array(), (a, b) => sameBytes(a, b) === (Buffer.compare(a, b) === 0)));
});
