// `daybook simulate`: what sound components do not break, and what it says of others.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { runCli } from '../support/cli.ts';

const root = join(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), 'daybook-simulate-'));
after(() => rmSync(folder, { recursive: true }));

let files = 0;

/** In a file of its own: tests run beside each other. */
function commands(text: string): string {
  const file = join(folder, `commands-${++files}.jsonl`);
  writeFileSync(file, text);
  return file;
}

const node = process.execPath;
const counting = () =>
  commands(
    ['a', 'b', 'a', 'b', 'a'].map((name) => `{"domain": "counter", "root": "${name}", "type": "Count"}\n`).join(''),
  );
const unsound = (fault: string) => `${node} ${join(import.meta.dirname, 'children/unsound.ts')} ${fault} {address}`;
const simulate = (component: string, file: string, ...rest: string[]) =>
  runCli(['simulate', '--component', component, '--commands', file, ...rest], { cwd: root });

describe('daybook simulate', { concurrency: 2 }, () => {
  test('the shop breaks nothing when it and its daemon are killed and stopped', async () => {
    const host = `${node} examples/shop/host.ts {address}`;
    const { code, stdout, stderr } = await simulate(host, 'examples/shop/simulation.jsonl', '--seed', '1');
    assert.equal(code, 0, stdout + stderr);
    assert.match(stdout, /^seed 1: 12 commands, \d+ events, kill component, .*: nothing is broken\n$/);
  });

  test('a sound counter breaks nothing', async () => {
    const { code, stdout, stderr } = await simulate(unsound('none'), counting(), '--json-payload', '--seeds', '2');
    assert.equal(code, 0, stdout + stderr);
    assert.match(stdout, /seed 2: 5 commands, 5 events, .*: nothing is broken\n/);
  });

  test('a decision that chance had a part in is told', async () => {
    const { code, stdout, stderr } = await simulate(unsound('random'), counting(), '--json-payload', '--seed', '3');
    assert.equal(code, 1, stderr);
    assert.match(stdout, /line 1, counter\/a: daybook.v1.Json differs when it is decided again on the same history/);
    assert.match(stderr, /1 of 1 seeds broke something/);
  });

  test('a projector that keeps its rows to itself is told', async () => {
    const { code, stdout, stderr } = await simulate(unsound('remembers'), counting(), '--json-payload', '--seed', '3');
    assert.equal(code, 1, stdout + stderr);
    assert.match(stdout, /counts: the row [0-9a-f]{32} is another one when it is built anew/);
  });

  test('commands that cannot be read, and components that end, are one sentence', async () => {
    const nothing = await simulate(unsound('none'), commands('{"domain": "counter"}\n'));
    assert.equal(nothing.code, 2);
    assert.match(nothing.stderr, /commands-\d+.jsonl:1: root: expected a UUID or a name/);
    const ended = await simulate('echo no such thing; exit 3', counting(), '--json-payload', '--seed', '1');
    assert.equal(ended.code, 1);
    assert.match(ended.stderr, /ended by itself with code 3: no such thing/);
  });
});
