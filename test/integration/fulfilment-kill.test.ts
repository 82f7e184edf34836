import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';

const SCRIPT = join(import.meta.dirname, '../chaos/chaos.ts');

test('kill -9 while orders are fulfilled: every reaction and every timer takes effect once', async (t) => {
  const { stdout } = await promisify(execFile)(process.execPath, [
    SCRIPT,
    ...['--store', 'sqlite', '--work', 'orders', '--times', '5'],
  ]);
  t.diagnostic(stdout.split('\n')[0]!);
  const summary = JSON.parse(stdout.trimEnd().split('\n').at(-1)!);
  assert.equal(summary.faults, 0);
  assert.deepEqual(summary.done, { kill: 5 });
  // All kinds of endings, or the run proves less than it says.
  for (const kind of ['paid', 'out_of_stock', 'not_paid_in_time', 'reservations', 'releases', 'timers_fired'])
    assert(summary[kind] > 0, stdout);
});
