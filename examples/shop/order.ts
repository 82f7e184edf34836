// The order: all of the shop's rules, and nothing else. No I/O, no clock, no Daybook: two pure functions.
//
//   evolve   what the order looks like after one more event
//   decide   which events a command leads to, or why it is refused
//
// Daybook stores the events, gives them back in order, and asks again when somebody else was faster.

import { type Aggregate, type Any, oneByOne, pack, Rejection, typeName, unpack } from '@daybook/client';
import {
  AddItem,
  CancelOrder,
  ConfirmOrder,
  ItemAdded,
  OrderCancelled,
  OrderConfirmed,
  OrderPlaced,
  PlaceOrder,
} from './gen/shop/v1/shop.ts';

/** What has to be known of an order to decide about it. */
export interface Order {
  readonly status: 'absent' | 'open' | 'confirmed' | 'cancelled';
  readonly orderNo: string;
  readonly customer: string;
  readonly items: number;
  readonly totalPence: number;
}

const NO_ORDER: Order = { status: 'absent', orderNo: '', customer: '', items: 0, totalPence: 0 };

/** History is never refused: every event that was ever stored must find its case here. */
export function evolve(order: Order, event: Any): Order {
  switch (typeName(event)) {
    case OrderPlaced.$type: {
      const { orderNo, customer } = unpack(OrderPlaced, event);
      return { ...order, status: 'open', orderNo, customer };
    }
    case ItemAdded.$type: {
      const { quantity, unitPence } = unpack(ItemAdded, event);
      return { ...order, items: order.items + quantity, totalPence: order.totalPence + quantity * unitPence };
    }
    case OrderConfirmed.$type:
      return { ...order, status: 'confirmed' };
    case OrderCancelled.$type:
      return { ...order, status: 'cancelled' };
    default:
      throw new Error(`expected an event of an order, found ${typeName(event)}`);
  }
}

/** A Rejection is a decision, and is remembered like one. Any other error is a failure: nothing is recorded. */
export function decide(order: Order, command: Any): Any[] {
  switch (typeName(command)) {
    case PlaceOrder.$type:
      return place(order, unpack(PlaceOrder, command));
    case AddItem.$type:
      return add(order, unpack(AddItem, command));
    case ConfirmOrder.$type:
      return confirm(order);
    case CancelOrder.$type:
      return cancel(order, unpack(CancelOrder, command));
    default:
      throw new Error(`expected a command to an order, found ${typeName(command)}`);
  }
}

function place(order: Order, { orderNo, customer }: PlaceOrder): Any[] {
  if (order.status !== 'absent') throw new Rejection('ORDER_EXISTS', `order ${order.orderNo} was placed already`);
  if (customer === '') throw new Rejection('NO_CUSTOMER', 'an order needs a customer', { kind: 'invalid' });
  return [pack(OrderPlaced, { orderNo, customer })];
}

function add(order: Order, item: AddItem): Any[] {
  assertOpen(order);
  if (item.quantity < 1 || item.quantity > 99) {
    throw new Rejection('INVALID_QUANTITY', `expected 1 to 99 pieces, found ${item.quantity}`, { kind: 'invalid' });
  }
  return [pack(ItemAdded, item)];
}

function confirm(order: Order): Any[] {
  assertOpen(order);
  if (order.items === 0) throw new Rejection('EMPTY_ORDER', 'an order without items cannot be confirmed');
  return [pack(OrderConfirmed, { totalPence: order.totalPence })];
}

function cancel(order: Order, { reason }: CancelOrder): Any[] {
  assertPlaced(order);
  if (order.status === 'confirmed')
    throw new Rejection('ALREADY_CONFIRMED', 'it is being packed: send it back instead');
  // Cancelled twice is cancelled: nothing more happens, and nobody needs to hear about it.
  if (order.status === 'cancelled') return [];
  return [pack(OrderCancelled, { reason })];
}

function assertOpen(order: Order): void {
  assertPlaced(order);
  if (order.status === 'confirmed')
    throw new Rejection('ALREADY_CONFIRMED', 'a confirmed order does not change any more');
  if (order.status === 'cancelled')
    throw new Rejection('ORDER_CANCELLED', 'a cancelled order does not change any more');
}

function assertPlaced(order: Order): void {
  if (order.status === 'absent') throw new Rejection('ORDER_NOT_FOUND', 'no such order', { kind: 'not-found' });
}

/** What Daybook is told about it. */
export const orders: Aggregate<Order> = {
  domain: 'order',
  initial: () => NO_ORDER,
  evolve,
  decide: oneByOne(evolve, decide),
};
