import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Cover } from '../src/gen/daybook/v1/types.ts';
import {
  pack,
  packJson,
  RejectionNotification,
  rootOf,
  typeName,
  unpack,
  unpackJson,
  uuidBytes,
  uuidText,
  uuidv7,
} from '../src/index.ts';

test('a packed message unpacks as the same type only', () => {
  const type = { ...Cover, $type: 'daybook.v1.Cover' };
  const cover = Cover.fromPartial({ domain: 'order' });
  const payload = pack(type, cover);
  assert.equal(payload.typeUrl, 'type.googleapis.com/daybook.v1.Cover');
  assert.equal(typeName(payload), 'daybook.v1.Cover');
  assert.deepEqual(unpack(type, payload), cover);
  assert.throws(
    () => unpack({ ...type, $type: 'daybook.v1.UUID' }, payload),
    /expected a payload of type daybook.v1.UUID/,
  );
});

test('JSON payloads carry their own type name', () => {
  const payload = packJson('shop.OrderPlaced', { customer: 'Ada', items: [1, 2] });
  assert.deepEqual(unpackJson(payload), { type: 'shop.OrderPlaced', value: { customer: 'Ada', items: [1, 2] } });
  assert.throws(() => unpackJson({ typeUrl: 'x/y', value: new Uint8Array() }), /expected a JSON payload, found y/);
});

test('a root made from a name is a UUIDv5, always the same', () => {
  // RFC 9562, appendix A.4.
  const dns = uuidBytes('6ba7b810-9dad-11d1-80b4-00c04fd430c8');
  assert.equal(uuidText(rootOf('www.example.com', dns)), '2ed6657d-e927-568b-95e1-2665a8aea6a2');
  // The test vector for the clients of all languages.
  assert.equal(uuidText(rootOf('order 1001')), '4b2eca57-5600-5b73-b957-5f6d3ee1080f');
  assert.notDeepEqual(rootOf('order 1001'), rootOf('order 1002'));
});

test('fresh ids are UUIDv7 and in order', () => {
  const ids = Array.from({ length: 10_000 }, () => uuidText(uuidv7()));
  assert.deepEqual(ids, [...new Set(ids)].sort());
  assert.match(ids[0]!, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});

test('text that is no UUID is refused', () => {
  assert.throws(() => uuidBytes('order-1'), /expected a UUID/);
});

test('a notification of a rejection is read like a message of your own', () => {
  const command = { cover: undefined, pages: [], origin: undefined, idempotencyKey: '', metadata: {}, workId: '' };
  const rejection = { kind: 2 as const, code: 'OUT_OF_STOCK', message: 'no', details: undefined, page: 0 };
  const source = Cover.fromPartial({ domain: 'order' });
  const told = { command, rejection, component: 'fulfilment', source, sourceSequence: 3, sourcePosition: 8 };
  const payload = pack(RejectionNotification, told);
  assert.equal(typeName(payload), RejectionNotification.$type);
  assert.deepEqual(unpack(RejectionNotification, payload), told);
  const empty = { ...payload, value: new Uint8Array() };
  assert.throws(() => unpack(RejectionNotification, empty), /names no command/);
});
