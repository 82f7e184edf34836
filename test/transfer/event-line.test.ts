import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { NO_ORIGIN } from '../../src/model/book.ts';
import { type ExportedEvent, eventLine, readEventLine } from '../../src/transfer/event-line.ts';
import { page } from '../support/store-units.ts';

const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex, 'hex'));

const plain: ExportedEvent = {
  stream: { tenant: '', domain: 'order', root: bytes('018f3c1e000070008000000000000001') },
  correlationId: 'c-1',
  page: page({
    type: 'shop.v1.OrderPlaced',
    value: Uint8Array.of(0, 255, 10),
    sequence: 7,
    position: 5_000_000_000,
    unitId: bytes('018f3c1e0000700080000000000000ff'),
    createdAt: { seconds: 1_767_225_600, nanos: 1_000 },
  }),
  unitEvents: 1,
};

const full: ExportedEvent = {
  ...plain,
  stream: { ...plain.stream, tenant: 'a%c?me' },
  page: {
    ...plain.page,
    occurredAt: { seconds: -1, nanos: 999_999_000 },
    metadata: { 'ключ €': 'a\0b\x7f\u{1fffe}\ud800"', 10: '', ['__proto__']: 'x' },
    origin: {
      ...NO_ORIGIN,
      component: 'fulfilment',
      source: { tenant: '', domain: 'stock', root: { value: bytes(`${'00'.repeat(15)}01`) }, correlationId: 'c' },
      sourceSequence: 3,
      sourcePosition: Number.MAX_SAFE_INTEGER,
      logId: 'l',
      index: 1,
      depth: 2,
      externalSource: 'stripe',
      externalId: 'evt 1/é',
      commands: ['shop.v1.PlaceOrder'],
    },
  },
};

describe('an event as a CloudEvent', () => {
  test('is this line', () => {
    assert.deepEqual(JSON.parse(eventLine(plain)), {
      specversion: '1.0',
      id: '/order/018f3c1e-0000-7000-8000-000000000001/7',
      source: 'daybook:/order',
      type: 'shop.v1.OrderPlaced',
      subject: 'order/018f3c1e-0000-7000-8000-000000000001',
      time: '2026-01-01T00:00:00.000001Z',
      datacontenttype: 'application/protobuf',
      typeurl: 'type.googleapis.com/shop.v1.OrderPlaced',
      domain: 'order',
      root: '018f3c1e-0000-7000-8000-000000000001',
      sequence: '0000000007',
      position: '5000000000',
      unitid: '018f3c1e-0000-7000-8000-0000000000ff',
      unitevents: 1,
      correlationid: 'c-1',
      data_base64: 'AP8K',
    });
    const { origin, metadata, occurredat } = JSON.parse(eventLine(full));
    assert.equal(
      origin,
      '{"component":"fulfilment","log_id":"l","external_source":"stripe","external_id":"evt 1/é","source_sequence":3,' +
        '"source_position":9007199254740991,"index":1,"depth":2,"source":{"domain":"stock",' +
        '"root":"00000000-0000-0000-0000-000000000001","correlation_id":"c"},"commands":["shop.v1.PlaceOrder"]}',
    );
    assert.equal(metadata, '{"10":"","ключ €":"a\\u0000b\\u007f\\ud83f\\udffe\\ud800\\"","__proto__":"x"}');
    assert.equal(occurredat, '1969-12-31T23:59:59.999999Z');
  });

  test('keeps to the specification: names, and texts without what is no character', () => {
    for (const event of [plain, full]) {
      for (const [name, value] of Object.entries(JSON.parse(eventLine(event)))) {
        if (name !== 'data_base64') assert.match(name, /^[a-z0-9]{1,20}$/);
        if (typeof value === 'number') assert(Number.isInteger(value) && value < 2 ** 31, name);
        else assert.doesNotMatch(String(value), /\p{Cc}|\p{Noncharacter_Code_Point}|\p{Surrogate}/u, name);
        assert.notEqual(value, '', name);
      }
    }
  });

  test('is read as it was, and whatever the order of its attributes', () => {
    for (const event of [plain, full]) {
      const line = eventLine(event);
      assert.equal(eventLine(readEventLine(line)), line);
      const shuffled = Object.fromEntries(Object.entries(JSON.parse(line)).reverse());
      assert.equal(eventLine(readEventLine(JSON.stringify(shuffled, null, 1))), line);
      const read = readEventLine(line);
      assert.deepEqual({ ...read.page.metadata }, { ...event.page.metadata });
      assert.deepEqual(read.page.origin, event.page.origin);
      assert.deepEqual(Uint8Array.from(read.page.event!.value), event.page.event!.value);
    }
  });

  const wrong: [string, Record<string, unknown>, RegExp][] = [
    ['another version', { specversion: '0.3' }, /^specversion: expected "1.0", found "0.3"$/],
    ['an id of another event', { id: 'x' }, /^id: expected "\/order\/018f3c1e-.*\/7", found "x"$/],
    ['no unit', { unitid: undefined }, /^unitid: expected a text, found nothing$/],
    ['a unit that is no UUID', { unitid: 'ab' }, /^unitid: expected a UUID .*, found "ab"$/],
    ['a unit of nothing', { unitevents: 0 }, /^unitevents: expected a whole number from 1, found 0$/],
    ['a sequence as a number', { sequence: 7 }, /^sequence: expected a text, found 7$/],
    ['a sequence beyond 2^32', { sequence: '4294967296' }, /^sequence: expected a text of digits/],
    ['a short sequence', { sequence: '7' }, /^sequence: expected "0000000007", found "7"$/],
    ['a position with a letter', { position: 'a' }, /^position: expected a text of digits/],
    ['a time without microseconds', { time: '2026-01-01T00:00:00Z' }, /^time: expected a time as .*, found "2026/],
    ['a day that is none', { time: '2026-02-30T00:00:00.000000Z' }, /^time: expected/],
    ['another type than its URL', { type: 'shop.v1.Other' }, /^type: expected "shop.v1.OrderPlaced", found/],
    ['a type without URL', { typeurl: 'Placed' }, /type URL/],
    ['a domain in capitals', { domain: 'Order' }, /^domain: expected .*, found "Order"$/],
    ['a tenant with a slash', { tenant: 'a/b' }, /^tenant: expected/],
    ['an empty tenant', { tenant: '' }, /^tenant: expected no such attribute, found ""$/],
    ['a root in capitals', { root: '018F3C1E-0000-7000-8000-000000000001' }, /^root: expected a UUID/],
    ['a correlation with a line end', { correlationid: 'a\n' }, /^correlationid: expected/],
    ['bytes that are no base64', { data_base64: 'AB==' }, /^data_base64: expected "AA==", found "AB=="$/],
    ['no bytes', { data_base64: undefined }, /^data_base64: expected a text, found nothing$/],
    ['something else', { traceparent: '00-1' }, /^traceparent: expected no such attribute, found "00-1"$/],
    ['data beside', { data: {} }, /^data: expected no such attribute/],
    ['an origin that is no JSON', { origin: '{' }, /^origin: expected a JSON object as a text, found "\{"$/],
    ['an origin with something else', { origin: '{"who":"me"}' }, /^origin: expected "\{\}", found/],
    ['an origin with a wrong number', { origin: '{"depth":-1}' }, /^origin.depth: expected a whole number, found -1$/],
    ['an origin with a wrong text', { origin: '{"component":1}' }, /^origin.component: expected a text, found 1$/],
    ['a source that is none', { origin: '{"source":1}' }, /^origin.source: expected an object, found 1$/],
    ['commands that are none', { origin: '{"commands":"a"}' }, /^origin.commands: expected a list, found "a"$/],
    [
      'a fact with NUL in its key',
      { origin: '{"external_id":"a\\u0000"}' },
      /^origin.external_id: expected characters without NUL/,
    ],
    [
      'a fact of a source with a slash',
      { origin: '{"external_source":"a/b"}' },
      /^origin.external_source: expected a text without '\/', found "a\/b"$/,
    ],
    ['metadata with a number', { metadata: '{"a":1}' }, /^metadata: expected a text, found 1$/],
    ['metadata in a list', { metadata: '[]' }, /^metadata: expected a JSON object as a text/],
  ];
  for (const [what, change, sentence] of wrong) {
    test(`is refused with ${what}`, () => {
      const line = JSON.stringify({ ...JSON.parse(eventLine(plain)), ...change });
      assert.throws(() => readEventLine(line), { message: sentence });
    });
  }

  test('is refused when it is no object', () => {
    for (const line of ['', '1', 'null', '[]', '{', 'x'.repeat(10_000)]) {
      assert.throws(() => readEventLine(line), /^Unreadable: the line: expected a JSON object, found .{0,130}$/);
    }
  });
});
