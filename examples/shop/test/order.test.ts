// The rules of the order, tested as they are written: history in, decision out. No daemon, no waiting.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Any, pack, typeName, unpack } from '@daybook/client';
import {
  AddItem,
  CancelOrder,
  ConfirmOrder,
  ExpireOrder,
  ItemAdded,
  MarkPaid,
  OrderCancelled,
  OrderConfirmed,
  OrderPaid,
  OrderPlaced,
  PlaceOrder,
  RefundDue,
} from '../gen/shop/v1/shop.ts';
import { decide, evolve, type Order, orders } from '../order.ts';
import { refuses as refused, rejected } from './support.ts';

const teapot = { sku: 'TEA-01', name: 'Teapot', quantity: 2, unitPence: 2450 };
const place = pack(PlaceOrder, { orderNo: 'A-1', customer: 'Ada' });
const add = pack(AddItem, teapot);
const confirm = pack(ConfirmOrder, {});
const cancel = pack(CancelOrder, { reason: 'changed my mind' });
const placed = pack(OrderPlaced, { orderNo: 'A-1', customer: 'Ada' });
const added = pack(ItemAdded, teapot);
const lines = [{ sku: 'TEA-01', quantity: 2, unitPence: 2450 }];
const confirmed = pack(OrderConfirmed, { totalPence: 4900, lines, orderNo: 'A-1' });
const cancelled = pack(OrderCancelled, { reason: 'changed my mind', lines: [], orderNo: '' });
const markPaid = pack(MarkPaid, {});
const expire = pack(ExpireOrder, {});
const paid = pack(OrderPaid, {});
const refund = pack(RefundDue, { amountPence: 4900 });
const outOfStock = rejected('OUT_OF_STOCK', 'out of stock: 2 of TEA-01 wanted, 1 there');
const calledOff = (reason: string) => pack(OrderCancelled, { reason, lines, orderNo: 'A-1' });

function after(...events: Any[]): Order {
  return events.reduce(evolve, orders.initial());
}

function refuses(order: Order, command: Any, code: string, kind: string): void {
  refused(() => decide(order, command), code, kind);
}

test('an order is placed once', () => {
  assert.deepEqual(decide(after(), place), [placed]);
  refuses(after(placed), place, 'ORDER_EXISTS', 'conflict');
});

test('an order needs a customer', () => {
  refuses(after(), pack(PlaceOrder, { orderNo: 'A-1', customer: '' }), 'NO_CUSTOMER', 'invalid');
});

test('items are added to an open order only', () => {
  assert.deepEqual(decide(after(placed), add), [added]);
  refuses(after(), add, 'ORDER_NOT_FOUND', 'not-found');
  refuses(after(placed, added, confirmed), add, 'ALREADY_CONFIRMED', 'conflict');
  refuses(after(placed, cancelled), add, 'ORDER_CANCELLED', 'conflict');
});

test('the quantity is from 1 to 99', () => {
  for (const quantity of [-1, 0, 100]) {
    refuses(after(placed), pack(AddItem, { ...teapot, quantity }), 'INVALID_QUANTITY', 'invalid');
  }
});

test('confirming fixes the total and the lines', () => {
  const [event] = decide(after(placed, added, added), confirm);
  assert.deepEqual(unpack(OrderConfirmed, event!), { totalPence: 9800, lines: [...lines, ...lines], orderNo: 'A-1' });
  refuses(after(placed), confirm, 'EMPTY_ORDER', 'conflict');
  refuses(after(placed, added, confirmed), confirm, 'ALREADY_CONFIRMED', 'conflict');
});

test('an order is cancelled until it is confirmed; twice is the same as once', () => {
  assert.deepEqual(decide(after(placed), cancel), [cancelled]);
  assert.deepEqual(decide(after(placed, cancelled), cancel), []);
  refuses(after(), cancel, 'ORDER_NOT_FOUND', 'not-found');
  refuses(after(placed, added, confirmed), cancel, 'ALREADY_CONFIRMED', 'conflict');
});

test('a confirmed order is paid once', () => {
  assert.deepEqual(decide(after(placed, added, confirmed), markPaid), [paid]);
  assert.deepEqual(decide(after(placed, added, confirmed, paid), markPaid), []);
  refuses(after(placed, added, confirmed, paid), cancel, 'ALREADY_CONFIRMED', 'conflict');
  refuses(after(placed, added), markPaid, 'NOT_CONFIRMED', 'conflict');
  refuses(after(), markPaid, 'ORDER_NOT_FOUND', 'not-found');
});

test('an order that is not paid in time is cancelled, with what may be reserved for it', () => {
  assert.deepEqual(decide(after(placed, added, confirmed), expire), [calledOff('not paid in time')]);
  assert.deepEqual(decide(after(placed, added, confirmed, calledOff('x')), expire), []);
  refuses(after(placed, added, confirmed, paid), expire, 'ALREADY_PAID', 'conflict');
  refuses(after(placed, added), expire, 'NOT_CONFIRMED', 'conflict');
});

test('an order whose stock is short is cancelled, by the first refusal of several', () => {
  const reason = 'out of stock: 2 of TEA-01 wanted, 1 there';
  assert.deepEqual(decide(after(placed, added, confirmed), outOfStock), [calledOff(reason)]);
  assert.deepEqual(decide(after(placed, added, confirmed, calledOff(reason)), outOfStock), []);
});

test('money for an order that is off goes back, once', () => {
  const reason = 'out of stock: 2 of TEA-01 wanted, 1 there';
  assert.deepEqual(decide(after(placed, added, confirmed, paid), outOfStock), [calledOff(reason), refund]);
  assert.deepEqual(decide(after(placed, added, confirmed, calledOff('x')), markPaid), [refund]);
  assert.deepEqual(decide(after(placed, added, confirmed, calledOff('x'), refund), markPaid), []);
});

test('what it cannot read is a fault, not a decision', () => {
  assert.throws(() => decide(after(), placed), /expected a command to an order, found shop.v1.OrderPlaced/);
  assert.throws(() => evolve(after(), place), /expected an event of an order, found shop.v1.PlaceOrder/);
});

test('commands that belong together are decided one after the other, all or nothing', () => {
  const together = (...commands: Any[]) => orders.decide(orders.initial(), commands, { nextSequence: 0 } as never);
  assert.deepEqual(
    (together(place, add, confirm) as Any[]).map(typeName),
    ['OrderPlaced', 'ItemAdded', 'OrderConfirmed'].map((name) => `shop.v1.${name}`),
  );
  assert.throws(() => together(place, confirm), { code: 'EMPTY_ORDER', page: 1 });
});
