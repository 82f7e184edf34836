// The stock of one article. Its root is made of the article's number.

import { type Aggregate, type Any, pack, Rejection, rootOf, typeName, unpack } from '@daybook/client';
import {
  ReceiveStock,
  ReleaseStock,
  ReserveStock,
  StockReceived,
  StockReleased,
  StockReserved,
} from './gen/shop/v1/shop.ts';

export interface Stock {
  sku: string;
  onHand: number;
  /** For all orders together; part of what is on hand. */
  reserved: number;
  /** By order: pieces reserved. 0 is released again: the order is off, and gets nothing more. */
  readonly orders: Map<string, number>;
}

export function stockRoot(sku: string): Uint8Array {
  return rootOf(sku);
}

/** In place: an article has as many reservations as it has orders, too many to copy them for each event. */
export function evolve(stock: Stock, event: Any): Stock {
  switch (typeName(event)) {
    case StockReceived.$type: {
      const { sku, quantity } = unpack(StockReceived, event);
      stock.sku = sku;
      stock.onHand += quantity;
      return stock;
    }
    case StockReserved.$type: {
      const { order, quantity } = unpack(StockReserved, event);
      stock.reserved += quantity;
      stock.orders.set(keyOf(order), quantity);
      return stock;
    }
    case StockReleased.$type: {
      const { order, quantity } = unpack(StockReleased, event);
      stock.reserved -= quantity;
      stock.orders.set(keyOf(order), 0);
      return stock;
    }
    default:
      throw new Error(`expected an event of the stock, found ${typeName(event)}`);
  }
}

export function decide(stock: Stock, command: Any): Any[] {
  switch (typeName(command)) {
    case ReceiveStock.$type:
      return receive(unpack(ReceiveStock, command));
    case ReserveStock.$type:
      return reserve(stock, unpack(ReserveStock, command));
    case ReleaseStock.$type:
      return release(stock, unpack(ReleaseStock, command));
    default:
      throw new Error(`expected a command to the stock, found ${typeName(command)}`);
  }
}

function receive({ sku, quantity }: ReceiveStock): Any[] {
  assertQuantity(quantity);
  return [pack(StockReceived, { sku, quantity })];
}

function reserve(stock: Stock, { order, orderNo, quantity, sku }: ReserveStock): Any[] {
  assertQuantity(quantity);
  // Asked again is asked once.
  if (stock.orders.has(keyOf(order))) return [];
  const free = stock.onHand - stock.reserved;
  if (quantity > free) throw new Rejection('OUT_OF_STOCK', `out of stock: ${quantity} of ${sku} wanted, ${free} there`);
  return [pack(StockReserved, { order, orderNo, quantity })];
}

/** Whoever calls an order off need not know what was reserved: nothing, if the order is off because of this very article. */
function release(stock: Stock, { order, orderNo }: ReleaseStock): Any[] {
  const quantity = stock.orders.get(keyOf(order)) ?? 0;
  return quantity === 0 ? [] : [pack(StockReleased, { order, orderNo, quantity })];
}

function assertQuantity(quantity: number): void {
  if (quantity < 1) {
    throw new Rejection('INVALID_QUANTITY', `expected at least 1 piece, found ${quantity}`, { kind: 'invalid' });
  }
}

function keyOf(order: Uint8Array): string {
  return Buffer.from(order.buffer, order.byteOffset, order.byteLength).toString('hex');
}

export const inventory: Aggregate<Stock> = {
  domain: 'inventory',
  initial: () => ({ sku: '', onHand: 0, reserved: 0, orders: new Map() }),
  evolve,
  decide(stock, commands) {
    // `evolve` works in place, and a decision must leave the state as it is: so there is no state after the first of several.
    if (commands.length > 1) {
      throw new Rejection('ONE_AT_A_TIME', 'the stock takes one command at a time', { kind: 'invalid' });
    }
    return decide(stock, commands[0]!);
  },
};
