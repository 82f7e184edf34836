import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type LogFilter, matches } from '../../src/model/filter.ts';
import { eventBook, newRoot } from '../support/books.ts';

/** Of the tenant acme, domain order, correlation c, with events of the types. */
function book(...types: string[]) {
  const cover = { root: { value: newRoot() }, domain: 'order', correlationId: 'c', tenant: 'acme' };
  return { ...eventBook(types.map((type) => ({ typeUrl: `type.test/${type}`, value: new Uint8Array() }))), cover };
}

test('absent parts match everything, present ones must all match', () => {
  const whole = { tenant: 'acme', domains: ['order'], types: ['shop.v1.OrderPlaced'], correlationId: 'c' };
  const matching: LogFilter[] = [
    {},
    { tenant: 'acme' },
    { domains: ['invoice', 'order'] },
    { types: ['shop.v1.OrderPlaced'] },
    { correlationId: 'c' },
    whole,
  ];
  const others: LogFilter[] = [
    { tenant: '' },
    { domains: ['invoice'] },
    { domains: [] },
    { types: [] },
    { types: ['shop.v1.OrderCancelled'] },
    { correlationId: 'd' },
    { ...whole, correlationId: 'd' },
  ];
  for (const filter of matching) assert(matches(filter, book('shop.v1.OrderPlaced')), JSON.stringify(filter));
  for (const filter of others) assert(!matches(filter, book('shop.v1.OrderPlaced')), JSON.stringify(filter));
});

test('trap 26: types are matched whole, never by suffix or prefix', () => {
  for (const type of [
    'Placed',
    'OrderPlaced',
    'v1.OrderPlaced',
    'shop.v1.Order',
    'type.test/shop.v1.OrderPlaced',
    '',
  ]) {
    assert(!matches({ types: [type] }, book('shop.v1.OrderPlaced')), type);
  }
});

test('a book matches when one of its events does', () => {
  assert(matches({ types: ['b'] }, book('a', 'b')));
  assert(!matches({ types: ['c'] }, book('a', 'b')));
  // Whatever the prefix of the URL is, the name is what follows the last slash.
  const other = book('x');
  other.pages[0]!.event!.typeUrl = 'https://types.example/of/shop/a';
  assert(matches({ types: ['a'] }, other));
});
