// The order: all of its rules, and nothing else. No I/O, no clock, no Daybook: two pure functions.
//
//   evolve   what the order looks like after one more event
//   decide   which events a command leads to, or why it is refused
//
// Daybook stores the events, gives them back in order, and asks again when somebody else was faster.
//
// A confirmed order is not sure to stand: stock may be short (fulfilment.ts) and money may not come (payment-process.ts). Either ends in
// OrderCancelled, and whatever money has come then, or comes later, in RefundDue.

import {
  type Aggregate,
  type Any,
  oneByOne,
  pack,
  Rejection,
  RejectionNotification,
  typeName,
  unpack,
} from '@daybook/client';
import {
  AddItem,
  CancelOrder,
  ConfirmOrder,
  ExpireOrder,
  ItemAdded,
  MarkPaid,
  OrderCancelled,
  OrderConfirmed,
  type OrderLine,
  OrderPaid,
  OrderPlaced,
  PlaceOrder,
  RefundDue,
} from './gen/shop/v1/shop.ts';

/** What has to be known of an order to decide about it. */
export interface Order {
  readonly status: 'absent' | 'open' | 'confirmed' | 'paid' | 'cancelled';
  readonly orderNo: string;
  readonly customer: string;
  readonly items: number;
  readonly totalPence: number;
  readonly lines: readonly OrderLine[];
  readonly refundDue: boolean;
}

const NO_ORDER: Order = {
  status: 'absent',
  orderNo: '',
  customer: '',
  items: 0,
  totalPence: 0,
  lines: [],
  refundDue: false,
};

/** History is never refused: every event that was ever stored must find its case here. */
export function evolve(order: Order, event: Any): Order {
  switch (typeName(event)) {
    case OrderPlaced.$type: {
      const { orderNo, customer } = unpack(OrderPlaced, event);
      return { ...order, status: 'open', orderNo, customer };
    }
    case ItemAdded.$type: {
      const { sku, quantity, unitPence } = unpack(ItemAdded, event);
      return {
        ...order,
        items: order.items + quantity,
        totalPence: order.totalPence + quantity * unitPence,
        lines: [...order.lines, { sku, quantity, unitPence }],
      };
    }
    case OrderConfirmed.$type:
      return { ...order, status: 'confirmed' };
    case OrderPaid.$type:
      return { ...order, status: 'paid' };
    case OrderCancelled.$type:
      return { ...order, status: 'cancelled' };
    case RefundDue.$type:
      return { ...order, refundDue: true };
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
    case MarkPaid.$type:
      return markPaid(order);
    case ExpireOrder.$type:
      return expire(order);
    case RejectionNotification.$type:
      return giveUp(order, unpack(RejectionNotification, command));
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
  const { orderNo, totalPence, lines } = order;
  return [pack(OrderConfirmed, { orderNo, totalPence, lines: [...lines] })];
}

function cancel(order: Order, { reason }: CancelOrder): Any[] {
  assertPlaced(order);
  if (isConfirmed(order)) throw new Rejection('ALREADY_CONFIRMED', 'it is being packed: send it back instead');
  // Cancelled twice is cancelled: nothing more happens, and nobody needs to hear about it.
  if (order.status === 'cancelled') return [];
  // Nobody has heard of an open order: nothing was reserved for it, and nothing has to be released.
  return [pack(OrderCancelled, { reason, lines: [], orderNo: '' })];
}

/** Of the payment process. Money for a cancelled order is a fact that nobody can refuse: it goes back. */
function markPaid(order: Order): Any[] {
  assertWasConfirmed(order);
  if (order.status === 'paid') return [];
  if (order.status === 'cancelled') return refund(order);
  return [pack(OrderPaid, {})];
}

/** Of the payment process, when its patience is over. */
function expire(order: Order): Any[] {
  assertWasConfirmed(order);
  if (order.status === 'paid') throw new Rejection('ALREADY_PAID', `order ${order.orderNo} was paid in time`);
  return callOff(order, 'not paid in time');
}

/** The stock refused a reservation that `fulfilment` asked for. It may do so for each line: the first one is enough. */
function giveUp(order: Order, { rejection }: RejectionNotification): Any[] {
  assertWasConfirmed(order);
  return callOff(order, rejection.message);
}

/** With its lines, so that whatever was reserved for them is released; and with the money back, if it has come. */
function callOff(order: Order, reason: string): Any[] {
  if (order.status === 'cancelled') return [];
  const { orderNo, lines } = order;
  const cancelled = pack(OrderCancelled, { reason, lines: [...lines], orderNo });
  return order.status === 'paid' ? [cancelled, ...refund(order)] : [cancelled];
}

function refund(order: Order): Any[] {
  return order.refundDue ? [] : [pack(RefundDue, { amountPence: order.totalPence })];
}

function assertOpen(order: Order): void {
  assertPlaced(order);
  if (isConfirmed(order)) throw new Rejection('ALREADY_CONFIRMED', 'a confirmed order does not change any more');
  if (order.status === 'cancelled')
    throw new Rejection('ORDER_CANCELLED', 'a cancelled order does not change any more');
}

function assertWasConfirmed(order: Order): void {
  assertPlaced(order);
  if (order.status === 'open') throw new Rejection('NOT_CONFIRMED', `order ${order.orderNo} is not confirmed yet`);
}

function isConfirmed(order: Order): boolean {
  return order.status === 'confirmed' || order.status === 'paid';
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
