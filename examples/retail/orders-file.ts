// The file of orders: `order_no,date,customer_no,amount_gbp`, a heading and then one order a line.

import { readFileSync } from 'node:fs';
import { addOrder, NOTHING, type Order, type Totals } from './customer.ts';

export type RetailOrder = Order & { customerNo: string };

export function readOrders(path: string): RetailOrder[] {
  const [heading, ...lines] = readFileSync(path, 'utf8').trimEnd().split(/\r?\n/);
  if (heading !== HEADING) throw new Error(`${path}: expected the heading '${HEADING}', found '${heading}'`);
  return lines.map((line, i) => {
    const [orderNo, date, customerNo, amount, ...rest] = line.split(',');
    if (!orderNo || !date || !customerNo || amount === undefined || rest.length > 0) {
      throw new Error(`${path}, line ${i + 2}: expected four values, found '${line}'`);
    }
    return { orderNo, date, customerNo, pence: penceOf(amount) };
  });
}

/** What the file says of each customer. */
export function totalsOf(orders: readonly RetailOrder[]): Map<string, Totals> {
  const totals = new Map<string, Totals>();
  for (const order of orders) {
    totals.set(order.customerNo, addOrder(totals.get(order.customerNo) ?? NOTHING, order));
  }
  return totals;
}

/** `-12.5` is -1250. By digits: 0.29 times 100 is not 29 for a computer. */
export function penceOf(amount: string): number {
  const [, sign, pounds, pence = ''] = /^(-?)(\d+)(?:\.(\d{1,2}))?$/.exec(amount) ?? [];
  if (pounds === undefined) throw new Error(`expected an amount such as 12.50 or -3, found '${amount}'`);
  const value = Number(pounds) * 100 + Number(pence.padEnd(2, '0'));
  return sign === '-' && value !== 0 ? -value : value;
}

const HEADING = 'order_no,date,customer_no,amount_gbp';
