import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  metadataBytes,
  NO_ORIGIN,
  pageBytes,
  payloadBytes,
  SNAPSHOT_KEEP,
  SNAPSHOT_LATEST,
  typeName,
  utf8Length,
} from '../../src/model/book.ts';
import { any, eventPage } from '../support/books.ts';

test('the length in UTF-8 is that of the bytes', () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 40 });
  fc.assert(
    fc.property(text, (given) => assert.equal(utf8Length(given), Buffer.byteLength(given))),
    { examples: [['\x7f'], ['\x80'], ['\u07ff'], ['\u0800'], ['\ud7ff'], ['\ue000'], ['\uffff'], ['💥💥']] },
  );
});

test('the name in a type URL follows its last slash', () => {
  assert.equal(typeName('type.example.com/shop.v1.OrderPlaced'), 'shop.v1.OrderPlaced');
  assert.equal(typeName('a/b/c'), 'c');
  assert.equal(typeName('plain'), 'plain');
});

test('the numbers of retentions are those of the wire', () => {
  assert.deepEqual([SNAPSHOT_LATEST, SNAPSHOT_KEEP], [0, 1]);
});

describe('what a page costs', () => {
  const bare = { ...eventPage(any('Deposit', '1')), event: undefined };

  test('a constant, and every byte of its payload and type', () => {
    assert.equal(pageBytes(bare), 128);
    const payload = any('Deposit', '12345');
    assert.equal(payloadBytes(payload), 64 + 5 + payload.typeUrl.length);
    assert.equal(pageBytes({ ...bare, event: payload }), 64 + payloadBytes(payload));
  });

  test('metadata in UTF-8, with what an entry costs', () => {
    assert.equal(metadataBytes({}), 0);
    assert.equal(metadataBytes({ a: 'xyz', ü: '💥' }), 4 + 1 + 3 + 4 + 2 + 4);
    assert.equal(pageBytes({ ...bare, metadata: { a: 'xyz' } }), 128 + 8);
  });

  test('its origin: each text, each command, and a source', () => {
    const origin = { ...NO_ORIGIN, component: 'a', logId: 'bb', externalSource: 'ccc', externalId: 'dddd' };
    assert.equal(pageBytes({ ...bare, origin }), 128 + 10);
    assert.equal(pageBytes({ ...bare, origin: { ...origin, commands: ['x', 'yz'] } }), 128 + 10 + 3 + 4);
    const source = { root: undefined, domain: 'order', correlationId: '', tenant: '' };
    assert.equal(pageBytes({ ...bare, origin: { ...origin, source } }), 128 + 10 + 256);
  });
});
