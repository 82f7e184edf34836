import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Any, type MessageType, type Projector, pack, rootOf, unpack } from '@daybook/client';
import {
  ItemAdded,
  OrderCancelled,
  OrderConfirmed,
  OrderPaid,
  OrderPlaced,
  OrderSummary,
  RefundDue,
  StockLevel,
  StockReceived,
  StockReleased,
  StockReserved,
} from '../gen/shop/v1/shop.ts';
import { orderSummary } from '../order-summary.ts';
import { stockLevels } from '../stock-levels.ts';

/** The row after events, handed over one by one. */
function row<T>(projector: Projector, type: MessageType<T>, events: Any[]): T {
  let current: unknown;
  for (const [sequence, event] of events.entries()) {
    const context = { current, delivery: { dryRun: false } };
    const [made] = projector.project([{ sequence, event } as never], context as never) as { payload: Any }[];
    current = { sequence, projection: made!.payload, deleted: false };
  }
  return unpack(type, (current as { projection: Any }).projection);
}

const placed = pack(OrderPlaced, { orderNo: 'A-1', customer: 'Ada' });
const added = pack(ItemAdded, { sku: 'TEA-01', name: 'Teapot', quantity: 2, unitPence: 2450 });
const confirmed = pack(OrderConfirmed, { totalPence: 4900, lines: [], orderNo: 'A-1' });
const cancelled = pack(OrderCancelled, { reason: 'out of stock', lines: [], orderNo: 'A-1' });

test('the summary of an order follows its events', () => {
  const summary = (...events: Any[]) => row(orderSummary, OrderSummary, events);
  const open = { orderNo: 'A-1', customer: 'Ada', items: 0, totalPence: 0, reason: '', refundDuePence: 0 };
  assert.deepEqual(summary(placed), { ...open, status: 'open' });
  const full = { ...open, items: 4, totalPence: 9800 };
  assert.deepEqual(summary(placed, added, added, confirmed), { ...full, status: 'confirmed' });
  const paid = [placed, added, added, confirmed, pack(OrderPaid, {})];
  assert.deepEqual(summary(...paid), { ...full, status: 'paid' });
  assert.deepEqual(summary(...paid, cancelled, pack(RefundDue, { amountPence: 9800 })), {
    ...full,
    status: 'cancelled',
    reason: 'out of stock',
    refundDuePence: 9800,
  });
});

test('an event that it does not know changes nothing', () => {
  assert.equal(
    row(orderSummary, OrderSummary, [placed, { typeUrl: 'x/shop.v2.New', value: new Uint8Array() }]).status,
    'open',
  );
});

test('stock levels tell what is on hand and what of it is reserved', () => {
  const level = (...events: Any[]) => row(stockLevels, StockLevel, events);
  const received = pack(StockReceived, { sku: 'TEA-01', quantity: 5 });
  const order = { order: rootOf('A-1'), orderNo: 'A-1', quantity: 3 };
  const reserved = pack(StockReserved, order);
  assert.deepEqual(level(received, received), { sku: 'TEA-01', onHand: 10, reserved: 0 });
  assert.deepEqual(level(received, reserved), { sku: 'TEA-01', onHand: 5, reserved: 3 });
  assert.deepEqual(level(received, reserved, pack(StockReleased, order)), { sku: 'TEA-01', onHand: 5, reserved: 0 });
});
