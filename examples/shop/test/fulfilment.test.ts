import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pack, rootOf } from '@daybook/client';
import { react } from '../fulfilment.ts';
import { OrderCancelled, OrderConfirmed, OrderPaid, ReleaseStock, ReserveStock } from '../gen/shop/v1/shop.ts';

const order = rootOf('A-1');
const orderNo = 'A-1';
const lines = [
  { sku: 'TEA-01', quantity: 2, unitPence: 2450 },
  { sku: 'CUP-07', quantity: 4, unitPence: 395 },
  { sku: 'TEA-01', quantity: 1, unitPence: 2000 },
];

test('a confirmed order reserves each article once, with the pieces of all its lines', () => {
  assert.deepEqual(react(pack(OrderConfirmed, { totalPence: 1, lines, orderNo }), order), [
    {
      domain: 'inventory',
      root: rootOf('TEA-01'),
      payload: pack(ReserveStock, { order, orderNo, quantity: 3, sku: 'TEA-01' }),
    },
    {
      domain: 'inventory',
      root: rootOf('CUP-07'),
      payload: pack(ReserveStock, { order, orderNo, quantity: 4, sku: 'CUP-07' }),
    },
  ]);
});

test('a cancelled order releases each article once', () => {
  const payload = pack(ReleaseStock, { order, orderNo });
  assert.deepEqual(react(pack(OrderCancelled, { reason: 'x', lines, orderNo }), order), [
    { domain: 'inventory', root: rootOf('TEA-01'), payload },
    { domain: 'inventory', root: rootOf('CUP-07'), payload },
  ]);
});

test('an order that was never confirmed has nothing to release', () => {
  assert.deepEqual(react(pack(OrderCancelled, { reason: 'x', lines: [], orderNo: '' }), order), []);
  assert.deepEqual(react(pack(OrderPaid, {}), order), []);
});
