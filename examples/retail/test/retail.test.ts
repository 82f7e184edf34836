import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { addOrder, countOrder, customers, NOTHING, orderOf } from '../customer.ts';
import { penceOf, readOrders, totalsOf } from '../orders-file.ts';

test('amounts become whole pence, also below 0', () => {
  assert.deepEqual(
    ['139.12', '0.29', '22.2', '7', '-12.50', '-0.05', '-0'].map(penceOf),
    [13912, 29, 2220, 700, -1250, -5, 0],
  );
  for (const amount of ['', 'x', '1.234', '1,5', '--1']) assert.throws(() => penceOf(amount), /expected an amount/);
});

test('the file is read, and added up for each customer', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'daybook-test-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'orders.csv');
  writeFileSync(
    path,
    'order_no,date,customer_no,amount_gbp\n1,2011-01-01,7,10.00\nC2,2011-01-02,7,-4.50\n3,2011-01-02,8,1\n',
  );
  const orders = readOrders(path);
  assert.deepEqual(orders[1], { orderNo: 'C2', date: '2011-01-02', customerNo: '7', pence: -450 });
  assert.deepEqual(
    [...totalsOf(orders)],
    [
      ['7', { orders: 2, pence: 550 }],
      ['8', { orders: 1, pence: 100 }],
    ],
  );
  writeFileSync(path, 'order_no,date,customer_no,amount_gbp\n1,2011-01-01,7\n');
  assert.throws(() => readOrders(path), /line 2: expected four values/);
});

test('a command becomes one event, and the event adds to the totals', async () => {
  const order = { orderNo: '1', date: '2011-01-01', pence: -450 };
  const events = await customers.decide(NOTHING, [countOrder(order)], {} as never);
  assert.deepEqual(events.map(orderOf), [order]);
  assert.deepEqual(addOrder({ orders: 1, pence: 1000 }, order), { orders: 2, pence: 550 });
});
