// The customer: how many orders, and for how much. Its payloads are JSON, so this example needs no Protobuf of its own.

import { type Aggregate, type Any, packJson, rootOf, unpackJson } from '@daybook/client';

export interface Totals {
  readonly orders: number;
  /** Pence: whole numbers add up exactly. Less than 0 when more was returned than bought. */
  readonly pence: number;
}

/** One invoice, as it is sent and as it is recorded. */
export interface Order {
  orderNo: string;
  date: string;
  pence: number;
}

export const NOTHING: Totals = { orders: 0, pence: 0 };

export function addOrder(totals: Totals, order: Order): Totals {
  return { orders: totals.orders + 1, pence: totals.pence + order.pence };
}

export const customers: Aggregate<Totals> = {
  domain: 'customer',
  initial: () => NOTHING,
  evolve: (totals, event) => addOrder(totals, orderOf(event)),
  // Every order counts: there is nothing to refuse.
  decide: (_totals, commands) => commands.map((command) => packJson('retail.OrderCounted', orderOf(command))),
  credits: { items: 1_000, bytes: 16 * 1024 * 1024 },
};

export function countOrder(order: Order): Any {
  return packJson('retail.CountOrder', order);
}

export function orderOf(payload: Any): Order {
  return unpackJson(payload).value as Order;
}

export function rootOfCustomer(customerNo: string): Uint8Array {
  return rootOf(`customer ${customerNo}`);
}
