import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Any, pack, rootOf } from '@daybook/client';
import {
  ReceiveStock,
  ReleaseStock,
  ReserveStock,
  StockReceived,
  StockReleased,
  StockReserved,
} from '../gen/shop/v1/shop.ts';
import { decide, evolve, inventory, type Stock } from '../inventory.ts';
import { refuses } from './support.ts';

const order = rootOf('A-1');
const other = rootOf('A-2');
const received = pack(StockReceived, { sku: 'TEA-01', quantity: 5 });
const reserve = (quantity: number, of = order) =>
  pack(ReserveStock, { order: of, orderNo: 'A-1', quantity, sku: 'TEA-01' });
const reserved = (quantity: number, of = order) => pack(StockReserved, { order: of, orderNo: 'A-1', quantity });
const release = pack(ReleaseStock, { order, orderNo: 'A-1' });
const released = (quantity: number) => pack(StockReleased, { order, orderNo: 'A-1', quantity });

function after(...events: Any[]): Stock {
  return events.reduce(evolve, inventory.initial());
}

test('stock is received and adds up', () => {
  const receive = pack(ReceiveStock, { sku: 'TEA-01', quantity: 5 });
  assert.deepEqual(decide(after(), receive), [received]);
  const { sku, onHand } = after(received, received);
  assert.deepEqual([sku, onHand], ['TEA-01', 10]);
  refuses(() => decide(after(), pack(ReceiveStock, { sku: 'TEA-01', quantity: 0 })), 'INVALID_QUANTITY', 'invalid');
});

test('what is reserved for one order is not there for another', () => {
  assert.deepEqual(decide(after(received), reserve(5)), [reserved(5)]);
  refuses(() => decide(after(received), reserve(6)), 'OUT_OF_STOCK');
  refuses(() => decide(after(received, reserved(4, other)), reserve(2)), 'OUT_OF_STOCK');
  refuses(() => decide(after(), reserve(1)), 'OUT_OF_STOCK');
  refuses(() => decide(after(received), reserve(0)), 'INVALID_QUANTITY', 'invalid');
});

test('asked twice for one order is asked once, also after its release', () => {
  assert.deepEqual(decide(after(received, reserved(3)), reserve(3)), []);
  assert.deepEqual(decide(after(received, reserved(3), released(3)), reserve(3)), []);
});

test('what was reserved is released, once; what was not is nothing', () => {
  assert.deepEqual(decide(after(received, reserved(3)), release), [released(3)]);
  assert.deepEqual(decide(after(received, reserved(3), released(3)), release), []);
  assert.deepEqual(decide(after(received, reserved(3, other)), release), []);
  assert.equal(after(received, reserved(3), released(3)).reserved, 0);
});

test('a decision leaves the stock as it is, so there is one at a time', () => {
  refuses(
    () => inventory.decide(after(received), [reserve(1), reserve(1, other)], {} as never),
    'ONE_AT_A_TIME',
    'invalid',
  );
  assert.deepEqual(inventory.decide(after(received), [reserve(1)], {} as never), [reserved(1)]);
});

test('what it cannot read is a fault, not a decision', () => {
  assert.throws(() => decide(after(), received), /expected a command to the stock/);
  assert.throws(() => evolve(after(), release), /expected an event of the stock/);
});
