// The examples run as their readers run them.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

function run(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 60_000 });
  return { status, stdout, stderr };
}

test('the demo plays its day and ends well', () => {
  const { status, stdout, stderr } = run('examples/shop/demo.ts', '--once');
  assert.equal(status, 0, stderr);
  assert.equal(stderr, '');
  assert.match(stdout, /A-1001 +ConfirmOrder +✗ EMPTY_ORDER: an order without items cannot be confirmed/);
  assert.match(stdout, /11 decided, 1 rejected, 1 repeated/);
  assert.match(stdout, /A-1001 +Ada Lovelace +paid/);
  assert.match(stdout, /A-1002 +Alan Turing +cancelled .* not paid in time/);
  assert.match(stdout, /A-1003 +Grace Hopper +cancelled .* out of stock/);
  assert.match(stdout, /shop\.v1\.ReserveStock {2}by fulfilment {2}✗ OUT_OF_STOCK/);
  assert.match(stdout, /All is as it should be/);
});

test('retail totals are the same, also when the daemon is killed meanwhile', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'daybook-test-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'orders.csv');
  const lines = Array.from({ length: 3_000 }, (_, i) => `${i},2011-01-01,${i % 37},${i % 5 === 0 ? '-' : ''}${i}.05`);
  writeFileSync(file, ['order_no,date,customer_no,amount_gbp', ...lines, ''].join('\n'));
  const { status, stdout, stderr } = run('examples/retail/play.ts', file, '--kill', '1');
  assert.equal(status, 0, stderr);
  assert.match(stdout, /SIGKILL/);
  assert.match(stdout, /every one of the 37 customers has the file's count and total/);
});
