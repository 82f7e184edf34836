// The read models, as tables. Each is what a projector of the shop made of the events (order-summary.ts, stock-levels.ts).

import { type Client, unpack } from '@daybook/client';
import { OrderSummary, StockLevel } from './gen/shop/v1/shop.ts';

/** All rows of both, not before they include what the token stands for. */
export async function readModels(client: Client, consistencyToken: string) {
  const [orders, stock] = await Promise.all([
    client.projections.list({ projector: 'order-summary', consistencyToken }),
    client.projections.list({ projector: 'stock-levels', consistencyToken }),
  ]);
  const byName = (a: string, b: string): number => a.localeCompare(b);
  return {
    orders: orders.projections
      .map(({ projection }) => unpack(OrderSummary, projection!))
      .sort((a, b) => byName(a.orderNo, b.orderNo)),
    stock: stock.projections
      .map(({ projection }) => unpack(StockLevel, projection!))
      .sort((a, b) => byName(a.sku, b.sku)),
  };
}

export type ReadModels = Awaited<ReturnType<typeof readModels>>;

export function showReadModels({ orders, stock }: ReadModels): void {
  console.log('\norder   customer        status     items     total  why');
  for (const { orderNo, customer, status, items, totalPence, reason } of orders) {
    const total = `£${(totalPence / 100).toFixed(2)}`;
    console.log(
      `${orderNo.padEnd(8)}${customer.padEnd(16)}${status.padEnd(11)}${String(items).padStart(5)}${total.padStart(10)}  ${reason}`.trimEnd(),
    );
  }
  console.log('\narticle on hand  reserved');
  for (const { sku, onHand, reserved } of stock) {
    console.log(`${sku.padEnd(8)}${String(onHand).padStart(7)}${String(reserved).padStart(10)}`);
  }
}
