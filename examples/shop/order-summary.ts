// The read model of orders: one row for each, under the order's own key.

import { type Any, foldProjector, pack, typeName, unpack } from '@daybook/client';
import {
  ItemAdded,
  OrderCancelled,
  OrderConfirmed,
  OrderPaid,
  OrderPlaced,
  OrderSummary,
  RefundDue,
} from './gen/shop/v1/shop.ts';

const EMPTY: OrderSummary = {
  orderNo: '',
  customer: '',
  status: '',
  items: 0,
  totalPence: 0,
  reason: '',
  refundDuePence: 0,
};

export function evolve(row: OrderSummary, event: Any): OrderSummary {
  switch (typeName(event)) {
    case OrderPlaced.$type:
      return { ...row, ...unpack(OrderPlaced, event), status: 'open' };
    case ItemAdded.$type: {
      const { quantity, unitPence } = unpack(ItemAdded, event);
      return { ...row, items: row.items + quantity, totalPence: row.totalPence + quantity * unitPence };
    }
    case OrderConfirmed.$type:
      return { ...row, status: 'confirmed' };
    case OrderPaid.$type:
      return { ...row, status: 'paid' };
    case OrderCancelled.$type:
      return { ...row, status: 'cancelled', reason: unpack(OrderCancelled, event).reason };
    case RefundDue.$type:
      return { ...row, refundDuePence: unpack(RefundDue, event).amountPence };
    // An event that came after this version of the shop: nothing to show of it.
    default:
      return row;
  }
}

export const orderSummary = foldProjector<OrderSummary>({
  name: 'order-summary',
  domains: ['order'],
  initial: () => EMPTY,
  evolve,
  encode: (row) => pack(OrderSummary, row),
  decode: (row) => unpack(OrderSummary, row),
});
