// Pods that are not alike, on one log: three real daemons with PostgreSQL, and the shop's day asked of each of them.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { testPostgres } from '../support/postgres.ts';

const SCRIPT = join(import.meta.dirname, '../../examples/shop/pods.ts');
const postgres = await testPostgres();

async function day(...args: string[]) {
  const url = await postgres.database();
  const { stdout } = await promisify(execFile)(process.execPath, [SCRIPT, url, ...args], { timeout: 100_000 });
  const { orders, ...rest } = JSON.parse(stdout.trimEnd().split('\n').at(-1)!);
  const rows = await postgres.query(url, 'SELECT count(*)::int AS rows FROM daybook.outbox');
  return {
    ...rest,
    orders: orders.map(({ orderNo, status }: Record<string, string>) => [orderNo, status]),
    ...rows[0],
  };
}

const EXPECTED = {
  decided: 11,
  rejected: 1,
  repeated: 1,
  orders: [
    ['A-1001', 'paid'],
    ['A-1002', 'cancelled'],
    ['A-1003', 'cancelled'],
  ],
  faults: [],
  rows: 0,
};

describe('pods that are not alike', { skip: postgres.missing, concurrency: 3 }, () => {
  for (const way of [[], ['--without-peers']]) {
    // The third is asked below.
    for (const asked of [1, 2]) {
      const name = `${way.length === 0 ? 'daemons call each other' : 'through the outbox'}, daemon ${asked} is asked`;
      test(`the shop's day has the same end: ${name}`, async () => {
        const { stock, ...rest } = await day('--ask', String(asked), ...way);
        assert.deepEqual(rest, EXPECTED);
        assert.deepEqual(
          stock.map(({ sku, onHand, reserved }: Record<string, unknown>) => [sku, onHand, reserved]),
          [
            ['CLK-02', 1, 0],
            ['CUP-07', 12, 4],
            ['TEA-01', 2, 1],
          ],
        );
      });
    }
  }

  for (const way of [[], ['--without-peers']]) {
    test(`each daemon is killed once and comes back${way.length === 0 ? '' : ', through the outbox'}: the same end`, async () => {
      const { stock: _, ...rest } = await day('--ask', '3', '--restart', ...way);
      assert.deepEqual(rest, EXPECTED);
    });
  }
});
