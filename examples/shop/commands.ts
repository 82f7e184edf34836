// The shop's day: reads commands.jsonl. A line is one command book: what it is for, then what is asked of it. Several commands in one
// line are decided together, all or nothing; a `key` tells that two lines are the same click.

import { readFileSync } from 'node:fs';
import { type Any, type Command, type MessageType, pack, rootOf } from '@daybook/client';
import { AddItem, CancelOrder, ConfirmOrder, PlaceOrder, ReceivePayment, ReceiveStock } from './gen/shop/v1/shop.ts';
import { stockRoot } from './inventory.ts';

export interface ShopCommand {
  /** Number of the order or of the article. */
  of: string;
  /** For people, such as `AddItem 4 × Tea cup`. */
  text: string;
  command: Command;
}

interface Line {
  order?: string;
  payment?: string;
  stock?: string;
  key?: string;
}

export function readCommands(file: URL): ShopCommand[] {
  return readFileSync(file, 'utf8').trimEnd().split('\n').map(readLine);
}

function readLine(line: string): ShopCommand {
  const { order, payment, stock, key, ...asked } = JSON.parse(line) as Line;
  const of = order ?? payment ?? stock!;
  const parts = Object.entries(asked as Record<string, object>).flatMap(([name, fields]) =>
    [fields].flat().map((each) => read(name, of, each)),
  );
  return {
    of,
    text: parts.map((part) => part.text).join(' + '),
    command: {
      // A payment has the root of its order.
      ...(stock === undefined
        ? { domain: order === undefined ? 'payment' : 'order', root: rootOf(of) }
        : { domain: 'inventory', root: stockRoot(stock) }),
      // What belongs together carries the same correlation id: here, everything about one order.
      ...(stock === undefined && { correlationId: of }),
      payload: parts.map((part) => part.payload),
      ...(key !== undefined && { idempotencyKey: key }),
    },
  };
}

function read(name: string, orderNo: string, fields: object): { text: string; payload: Any } {
  switch (name) {
    case 'PlaceOrder': {
      const { customer } = fields as PlaceOrder;
      return part(`PlaceOrder for ${customer || 'nobody'}`, PlaceOrder, { orderNo, customer });
    }
    case 'AddItem': {
      const item = fields as AddItem;
      return part(`AddItem ${item.quantity} × ${item.name}`, AddItem, item);
    }
    case 'ConfirmOrder':
      return part('ConfirmOrder', ConfirmOrder, {});
    case 'CancelOrder': {
      const { reason } = fields as CancelOrder;
      return part(`CancelOrder, ${reason}`, CancelOrder, { reason });
    }
    case 'ReceiveStock': {
      const received = fields as ReceiveStock;
      return part(`ReceiveStock ${received.quantity} × ${received.sku}`, ReceiveStock, received);
    }
    case 'ReceivePayment': {
      const { reference } = fields as ReceivePayment;
      return part(`ReceivePayment, ${reference}`, ReceivePayment, { reference });
    }
    default:
      throw new Error(`expected a command of the shop, found ${name}`);
  }
}

function part<T>(text: string, type: MessageType<T>, message: T): { text: string; payload: Any } {
  return { text, payload: pack(type, message) };
}
