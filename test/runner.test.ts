import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

const folder = mkdtempSync(join(tmpdir(), 'daybook-runner-'));
after(() => rmSync(folder, { recursive: true }));

function run(source: string, env: Record<string, string> = {}): { status: number | null; last: string } {
  const file = join(folder, 'some.test.ts');
  writeFileSync(file, source);
  const runner = new URL('../scripts/test.ts', import.meta.url).pathname;
  // Not as a test within this one, and with the settings given here only.
  const { NODE_TEST_CONTEXT: _, DAYBOOK_TEST_NO_SKIPS: __, ...outer } = process.env;
  const { status, stdout } = spawnSync(process.execPath, [runner, file], {
    encoding: 'utf8',
    env: { ...outer, ...env },
  });
  return { status, last: stdout.trimEnd().split('\n').at(-1)! };
}

test('trap 36: the runner can fail: no tests, a failing one, and a skip where none is allowed', () => {
  const use = "import { test } from 'node:test';\n";
  assert.deepEqual(run(`${use}test('a', () => {});`), { status: 0, last: '1 passed, 0 failed, 0 skipped' });
  assert.equal(run('export {};').status, 1);
  assert.equal(run(`${use}test('a', () => { throw new Error('no'); });`).status, 1);
  const skipped = `${use}test('a', () => {});\ntest('b', { skip: 'no server' }, () => {});`;
  assert.deepEqual(run(skipped), { status: 0, last: '1 passed, 0 failed, 1 skipped' });
  assert.equal(run(skipped, { DAYBOOK_TEST_NO_SKIPS: '1' }).status, 1);
  const known = `${use}test('a', () => {});\ntest('b', { todo: 'a defect' }, () => { throw new Error('no'); });`;
  assert.deepEqual(run(known), { status: 0, last: '1 passed, 0 failed, 1 skipped' });
  assert.equal(run(known, { DAYBOOK_TEST_NO_SKIPS: '1' }).status, 1);
});
