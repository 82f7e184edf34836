// Whether all is as it should be, as far as anybody can see through the API.

import { type Aggregate, type Client, rootOf, typeName } from '@daybook/client';
import { OrderConfirmed } from './gen/shop/v1/shop.ts';
import { inventory, type Stock, stockRoot } from './inventory.ts';
import { orders } from './order.ts';
import type { ReadModels } from './show.ts';

/** What is wrong, in sentences. */
export async function check(client: Client, shown: ReadModels): Promise<string[]> {
  const faults: string[] = [];
  const expect = (right: boolean, otherwise: string): void => {
    if (!right) faults.push(otherwise);
  };
  const stock = new Map<string, Stock>();
  for (const { sku, onHand, reserved } of shown.stock) {
    const { state } = await read(client, inventory, stockRoot(sku));
    stock.set(sku, state);
    expect(
      onHand === state.onHand && reserved === state.reserved,
      `${sku}: the read model does not say what the events say`,
    );
  }
  for (const { orderNo, status } of shown.orders) {
    const root = rootOf(orderNo);
    const { state: order, types } = await read(client, orders, root);
    expect(status === order.status, `${orderNo}: shown as ${status}, and it is ${order.status}`);
    if (!types.includes(OrderConfirmed.$type)) continue;
    const settled = order.status === 'paid' || order.status === 'cancelled';
    expect(settled, `${orderNo}: confirmed, and neither paid nor cancelled`);
    const key = Buffer.from(root).toString('hex');
    for (const [sku, { orders: reservations }] of stock) {
      const lines = order.lines.filter((line) => line.sku === sku);
      const wanted = order.status === 'paid' ? lines.reduce((sum, { quantity }) => sum + quantity, 0) : 0;
      const reserved = reservations.get(key) ?? 0;
      expect(reserved === wanted, `${orderNo}: ${reserved} of ${sku} are reserved, expected ${wanted}`);
    }
  }
  const { deadLetters } = await client.deadLetters.list();
  for (const { subscription, message } of deadLetters) faults.push(`not delivered: ${subscription}: ${message}`);
  const { subscriptions } = await client.control.listSubscriptions();
  for (const { name, state, parked } of subscriptions) {
    expect(state === 'running' && parked === 0, `${name}: ${state}, ${parked} parked`);
  }
  return faults;
}

/** An aggregate as its events tell it: the function that decides with it folds it here too. */
async function read<S>(
  client: Client,
  aggregate: Aggregate<S>,
  root: Uint8Array,
): Promise<{ state: S; types: string[] }> {
  const { pages } = await client.getEventBook({ domain: aggregate.domain, root, select: { from: 0 } });
  const state = pages.reduce((before, page) => aggregate.evolve(before, page.event!, page), aggregate.initial());
  return { state, types: pages.map((page) => typeName(page.event!)) };
}
