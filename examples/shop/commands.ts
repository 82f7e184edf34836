// The shop's day: reads commands.jsonl. A line is one command book: the order, then what is asked of it. Two commands in one line
// are decided together, all or nothing; a `key` tells that two lines are the same click.

import { readFileSync } from 'node:fs';
import { type Any, type Command, type MessageType, pack, rootOf } from '@daybook/client';
import { AddItem, CancelOrder, ConfirmOrder, PlaceOrder } from './gen/shop/v1/shop.ts';

export interface ShopCommand {
  orderNo: string;
  /** For people, such as `AddItem 4 × Tea cup`. */
  text: string;
  command: Command;
}

export function readCommands(file: URL): ShopCommand[] {
  return readFileSync(file, 'utf8').trimEnd().split('\n').map(readLine);
}

function readLine(line: string): ShopCommand {
  const { order, key, ...asked } = JSON.parse(line) as { order: string; key?: string };
  const parts = Object.entries(asked as Record<string, object>).map(([name, fields]) => read(name, order, fields));
  return {
    orderNo: order,
    text: parts.map((part) => part.text).join(' + '),
    command: {
      domain: 'order',
      root: rootOf(order),
      // What belongs together carries the same correlation id: here, everything about one order.
      correlationId: order,
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
    default:
      throw new Error(`expected a command of the shop, found ${name}`);
  }
}

function part<T>(text: string, type: MessageType<T>, message: T): { text: string; payload: Any } {
  return { text, payload: pack(type, message) };
}
