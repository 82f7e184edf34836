// The auditor of the kill run, on small databases: silent when all is right, and not when something is planted.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, describe, test } from 'node:test';
import { type Any, pack } from '@daybook/client';
import {
  OrderConfirmed,
  OrderPaid,
  OrderPlaced,
  OrderSummary,
  PaymentReceived,
  StockLevel,
  StockReceived,
  StockReserved,
} from '../../examples/shop/gen/shop/v1/shop.ts';
import type { Ordered } from '../chaos/customers.ts';
import { FulfilmentAuditor } from '../chaos/fulfilment-auditor.ts';
import { sqliteTables } from '../chaos/tables.ts';
import { payload } from '../chaos/witness.ts';

const folder = mkdtempSync(join(tmpdir(), 'daybook-auditor-'));
after(() => rmSync(folder, { recursive: true }));
let files = 0;

const ORDER = new Uint8Array(16).fill(1);
const lines = [{ sku: 'TEA', quantity: 2, unitPence: 100 }];
const told: Ordered = {
  orderNo: 'A-1',
  pieces: new Map([['TEA', 2]]),
  impossible: false,
  confirmed: true,
  paid: true,
};

interface Row {
  domain: string;
  event: Any;
  origin?: object;
}

/** What one order leaves that was confirmed at position 3 and paid at 6. */
function paid(): Row[] {
  const because = { component: 'fulfilment', source: { domain: 'order', root: '01'.repeat(16) }, sourceSequence: 1 };
  const counted = (position: number) =>
    [0, 1, 2].map((index) => ({ domain: 'tally', event: payload('Counted', { position, index }) }));
  return [
    { domain: 'inventory', event: pack(StockReceived, { sku: 'TEA', quantity: 5 }) },
    { domain: 'order', event: pack(OrderPlaced, { orderNo: 'A-1', customer: 'Ada' }) },
    { domain: 'order', event: pack(OrderConfirmed, { orderNo: 'A-1', totalPence: 200, lines }) },
    {
      domain: 'inventory',
      event: pack(StockReserved, { order: ORDER, orderNo: 'A-1', quantity: 2 }),
      origin: because,
    },
    { domain: 'payment', event: pack(PaymentReceived, { reference: '', amountPence: 200 }) },
    { domain: 'order', event: pack(OrderPaid, {}) },
    ...counted(3),
    ...counted(6),
    ...[0, 1, 2, 3, 4, 5].map((sequence) => ({ domain: 'tally', event: payload('Refused', { sequence }) })),
    { domain: 'watch', event: payload('Began', { position: 3 }) },
    { domain: 'watch', event: payload('Refused', {}) },
    { domain: 'watch', event: payload('Closed', { position: 6 }) },
  ];
}

function database(rows: readonly Row[], reserved: number, left: string): string {
  const path = join(folder, `${++files}.db`);
  const db = new DatabaseSync(path);
  db.exec(`
    CREATE TABLE log (last_position INTEGER);
    CREATE TABLE streams (id TEXT, domain TEXT, root BLOB, next_sequence INTEGER);
    CREATE TABLE events (position INTEGER, stream TEXT, sequence INTEGER, unit_id BLOB, created_at INTEGER, type_url TEXT,
      origin TEXT, payload BLOB);
    CREATE TABLE projections (projector TEXT, payload BLOB);
    CREATE TABLE outbox (x); CREATE TABLE parked (x); CREATE TABLE timers (x); CREATE TABLE done (x);
    CREATE TABLE cursors (position INTEGER);
    ${left}
  `);
  db.prepare('INSERT INTO log VALUES (?)').run(rows.length);
  const heads = new Map<string, number>();
  const insert = db.prepare('INSERT INTO events VALUES (?, ?, ?, ?, 0, ?, ?, ?)');
  for (const [i, { domain, event, origin }] of rows.entries()) {
    const sequence = heads.get(domain) ?? 0;
    heads.set(domain, sequence + 1);
    const text = origin === undefined ? null : JSON.stringify(origin);
    insert.run(i + 1, domain, sequence, Uint8Array.of(i), event.typeUrl, text, event.value);
  }
  for (const domain of heads.keys()) db.prepare('INSERT INTO streams VALUES (?, ?, ?, 0)').run(domain, domain, ORDER);
  const show = db.prepare('INSERT INTO projections VALUES (?, ?)');
  const summary = { ...SUMMARY, orderNo: 'A-1', status: 'paid', items: 2, totalPence: 200 };
  show.run('order-summary', OrderSummary.encode(summary).finish());
  show.run('stock-levels', StockLevel.encode({ sku: 'TEA', onHand: 5, reserved }).finish());
  db.close();
  return path;
}

const SUMMARY = { customer: 'Ada', reason: '', refundDuePence: 0 };

async function audit(rows: readonly Row[], { reserved = 2, left = '', of = [told] } = {}): Promise<string> {
  const auditor = new FulfilmentAuditor(sqliteTables(database(rows, reserved, left)));
  await auditor.settled(of);
  return auditor.faults.join('; ');
}

describe('the auditor of the fulfilment', () => {
  test('finds nothing in a log that is right', async () => assert.equal(await audit(paid()), ''));

  test('finds an effect that is there twice', async () => {
    const rows = paid();
    assert.match(
      await audit([...rows, rows[3]!], { reserved: 4 }),
      /output 0 for order\/01.*#1 to inventory.* a second time/,
    );
    assert.match(await audit([...rows, rows[7]!]), /order A-1, counted: .*\[3,1\]\], expected/);
    assert.match(await audit([...rows, rows[12]!]), /order A-1, refused counts: /);
  });

  test('finds what is not there', async () => {
    const rows = paid();
    const without = (i: number) => rows.filter((_, at) => at !== i);
    assert.match(await audit(without(9)), /order A-1, counted: /);
    assert.match(await audit(without(4)), /the payment was acknowledged, and is not in the log/);
    const instead = { domain: 'inventory', event: pack(StockReceived, { sku: 'TEA', quantity: 1 }) };
    assert.match(
      await audit(rows.map((row, i) => (i === 3 ? instead : row))),
      /order A-1: 2 TEA wanted, reserved \[\], .*paid|nothing of TEA/,
    );
    const lost = { ...told, orderNo: 'A-2' };
    assert.match(await audit(rows, { of: [told, lost] }), /order A-2: acknowledged, and not in the log/);
  });

  test('finds a timer that fired although it was cancelled, or twice', async () => {
    const fired = { domain: 'watch', event: payload('Fired', {}) };
    assert.match(await audit([...paid(), fired]), /endings of the watch: \[2\], expected \[1\]/);
    const late = paid().map((row) => (row.event.typeUrl.endsWith('.Closed') ? fired : row));
    assert.match(await audit([...late, fired]), /endings of the watch: \[2\]/);
  });

  test('finds what is left to be done, and a row that was summed up wrongly', async () => {
    assert.match(await audit(paid(), { left: 'INSERT INTO outbox VALUES (1);' }), /left over: 1 rows in outbox/);
    assert.match(
      await audit(paid(), { left: 'INSERT INTO cursors VALUES (3);' }),
      /left over: 1 cursors behind the log/,
    );
    assert.match(await audit(paid(), { reserved: 3 }), /TEA: 5 on hand, 2 reserved, shown as .*"reserved":3/);
  });
});
