// The parts of the shop together, in a thousand orders of events: whatever crosses, every order ends well.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pack, rootOf, typeName } from '@daybook/client';
import {
  AddItem,
  ConfirmOrder,
  OrderConfirmed,
  PaymentReceived,
  PlaceOrder,
  ReceivePayment,
  ReceiveStock,
} from '../gen/shop/v1/shop.ts';
import { inventory, stockRoot } from '../inventory.ts';
import { orders } from '../order.ts';
import { SmallEngine } from './small-engine.ts';

const SKUS = ['TEA-01', 'CUP-07'];
const ORDERS = ['A-1', 'A-2', 'A-3'];

test('every confirmed order ends paid with its stock reserved, or cancelled with all of it released', () => {
  const outcomes = new Set<string>();
  for (let seed = 1; seed <= 1_000; seed++) {
    const random = generator(seed);
    const shop = play(random);
    for (const orderNo of ORDERS) outcomes.add(check(shop, orderNo, `seed ${seed}, ${orderNo}`));
    for (const sku of SKUS) {
      const stock = shop.state(inventory, stockRoot(sku));
      assert.ok(stock.reserved >= 0 && stock.reserved <= stock.onHand, `seed ${seed}, ${sku}`);
    }
  }
  // Money crossed a cancellation in some of them: else the thousand would prove little.
  assert.deepEqual([...outcomes].sort(), ['cancelled', 'cancelled with a refund', 'paid']);
});

function play(random: () => number): SmallEngine {
  const shop = new SmallEngine();
  for (const sku of SKUS) {
    const payload = pack(ReceiveStock, { sku, quantity: 4 });
    shop.execute({ domain: 'inventory', root: stockRoot(sku), payload });
  }
  const clients = ORDERS.flatMap((orderNo) => [() => confirm(shop, orderNo, random), () => pay(shop, orderNo)]);
  // Customers pay when they like, some more than once.
  clients.push(...ORDERS.map((orderNo) => () => pay(shop, orderNo)));
  while (clients.length > 0) {
    if (random() < 0.3) clients.splice(Math.floor(random() * clients.length), 1)[0]!();
    else shop.step(random);
  }
  while (shop.step(random));
  return shop;
}

function confirm(shop: SmallEngine, orderNo: string, random: () => number): void {
  const items = SKUS.map((sku) =>
    pack(AddItem, { sku, name: sku, quantity: 1 + Math.floor(random() * 3), unitPence: 100 }),
  );
  const payload = [pack(PlaceOrder, { orderNo, customer: 'Ada' }), ...items, pack(ConfirmOrder, {})];
  assert.ok(shop.execute({ domain: 'order', root: rootOf(orderNo), payload }));
}

function pay(shop: SmallEngine, orderNo: string): void {
  shop.execute({ domain: 'payment', root: rootOf(orderNo), payload: pack(ReceivePayment, { reference: 'bank' }) });
}

function check(shop: SmallEngine, orderNo: string, where: string): string {
  const root = rootOf(orderNo);
  const order = shop.state(orders, root);
  const key = Buffer.from(root).toString('hex');
  const has = (domain: string, type: { $type: string }) =>
    shop.events(domain, root).some((event) => typeName(event) === type.$type);
  assert.ok(has('order', OrderConfirmed), where);
  assert.ok(order.status === 'paid' || order.status === 'cancelled', `${where}: ${order.status}`);
  assert.ok(shop.processes.get(key)!.ended, `${where}: the process ended`);
  for (const sku of SKUS) {
    const wanted = order.lines.find((line) => line.sku === sku)!.quantity;
    const reserved = shop.state(inventory, stockRoot(sku)).orders.get(key) ?? 0;
    assert.equal(reserved, order.status === 'paid' ? wanted : 0, `${where}: ${sku}`);
  }
  // Whoever paid has the goods or gets the money back.
  const received = has('payment', PaymentReceived);
  assert.equal(received, order.status === 'paid' || order.refundDue, `${where}: the money`);
  return order.refundDue ? 'cancelled with a refund' : order.status;
}

/** Numbers that look random, the same for the same seed: mulberry32. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
