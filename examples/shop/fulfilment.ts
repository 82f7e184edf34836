// The saga that keeps the stock in step with the orders. It remembers nothing: the events carry all it needs.
//
// When the stock refuses a reservation, Daybook tells the order (see `giveUp` in order.ts). The order is then cancelled, and comes by here
// again, to release what was reserved for its other lines.

import { type Any, pack, type ReactionCommand, type Saga, typeName, unpack } from '@daybook/client';
import { OrderCancelled, OrderConfirmed, type OrderLine, ReleaseStock, ReserveStock } from './gen/shop/v1/shop.ts';
import { stockRoot } from './inventory.ts';

export const fulfilment: Saga = {
  name: 'fulfilment',
  domains: ['order'],
  types: [OrderConfirmed.$type, OrderCancelled.$type],
  react: (event, { root }) => react(event, root),
};

/** `order`: the root of the order that the event is about. */
export function react(event: Any, order: Uint8Array): ReactionCommand[] {
  switch (typeName(event)) {
    case OrderConfirmed.$type: {
      const { orderNo, lines } = unpack(OrderConfirmed, event);
      return [...piecesOf(lines)].map(([sku, quantity]) =>
        toStock(sku, pack(ReserveStock, { order, orderNo, quantity, sku })),
      );
    }
    // No lines: it had not been confirmed, so nothing was reserved.
    case OrderCancelled.$type: {
      const { orderNo, lines } = unpack(OrderCancelled, event);
      return [...piecesOf(lines).keys()].map((sku) => toStock(sku, pack(ReleaseStock, { order, orderNo })));
    }
    default:
      return [];
  }
}

function toStock(sku: string, payload: Any): ReactionCommand {
  return { domain: 'inventory', root: stockRoot(sku), payload };
}

/** An article may have several lines, and the stock takes one reservation for each order. */
function piecesOf(lines: readonly OrderLine[]): Map<string, number> {
  const pieces = new Map<string, number>();
  for (const { sku, quantity } of lines) pieces.set(sku, (pieces.get(sku) ?? 0) + quantity);
  return pieces;
}
