import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { EXIT } from '../../src/cli/exit-codes.ts';
import { runCli } from '../support/cli.ts';

test('docs/cli.md has every command, and every exit code', async () => {
  const docs = readFileSync(join(import.meta.dirname, '../../docs/cli.md'), 'utf8');
  const { stdout } = await runCli(['--help']);
  const listed = stdout.slice(stdout.indexOf('Commands:'), stdout.indexOf('Exit codes:'));
  const commands = [...listed.matchAll(/^ {2}([a-z]+) .*/gm)]
    .map(([, name]) => name!)
    .filter((name) => name !== 'help');
  assert(commands.includes('start') && commands.length >= 8, commands.join(' '));
  for (const name of commands)
    assert.match(docs, new RegExp(`^\\| .*(\\[${name}\\]\\(#${name}\\)|\`${name}\`)`, 'm'), name);
  for (const code of Object.values(EXIT)) {
    assert.match(docs, new RegExp(`^\\| ${code} \\|`, 'm'));
    assert.match(stdout, new RegExp(`^ {2}${code} `, 'm'));
  }
});
