// The wire contract as Python sees it: client, served and attached components, with code that protoc generates from proto/ alone. The
// tests themselves are in test/python/contract.py, which starts its own daemon; here each becomes a test of this run.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';

const ROOT = resolve(import.meta.dirname, '../..');
const PYTHON = join(ROOT, '.cache/python/bin/python');
const skip = existsSync(PYTHON) ? false : 'Python is not set up: scripts/python-env.sh does it';

/** Modules made of proto/, and where to find them. */
function generate(): string {
  const folder = mkdtempSync(join(tmpdir(), 'daybook-python-'));
  const outputs = [`--python_out=${folder}`, `--grpc_python_out=${folder}`];
  const files = globSync('daybook/v1/*.proto', { cwd: join(ROOT, 'proto') });
  const made = spawnSync(PYTHON, ['-m', 'grpc_tools.protoc', '-I', join(ROOT, 'proto'), ...outputs, ...files]);
  assert.equal(made.status, 0, String(made.stderr));
  return folder;
}

test('the wire contract in Python, generated from proto/ alone', { skip, timeout: 120_000 }, async (t) => {
  const generated = generate();
  // Without whatever else Python or gRPC would take from the environment, such as proxies.
  const env = { PATH: process.env.PATH, PYTHONPATH: generated, PYTHONDONTWRITEBYTECODE: '1' };
  const program = [process.execPath, join(ROOT, 'src/cli/daybook.ts')];
  const child = spawn(PYTHON, [join(ROOT, 'test/python/contract.py'), ...program], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    signal: t.signal,
  });
  const ended = once(child, 'close');
  let complaints = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    complaints += text;
  });

  let planned = 0;
  let reported = 0;
  let failure: { title: string; lines: string[] } | undefined;
  const report = (title: string, error?: Error) => {
    reported++;
    return t.test(title, () => {
      if (error !== undefined) throw error;
    });
  };
  try {
    for await (const line of createInterface(child.stdout)) {
      const [, no, title] = /^(not )?ok \d+ - (.*)$/.exec(line) ?? [];
      if (title !== undefined && no === undefined) await report(title);
      else if (title !== undefined) failure = { title, lines: [] };
      else if (line === '  ...' && failure !== undefined) {
        await report(failure.title, new Error(failure.lines.join('\n')));
        failure = undefined;
      } else if (failure !== undefined && line !== '  ---') failure.lines.push(line.slice(2));
      else if (line.startsWith('1..')) planned = Number(line.slice(3));
    }
    const [code] = await ended;
    assert.ok(planned > 0 && reported === planned, `${reported} of ${planned} tests were reported\n${complaints}`);
    // Failures have been told above.
    assert.ok(code === 0 || code === 1, `Python ended with ${code}\n${complaints}`);
  } finally {
    child.kill();
    rmSync(generated, { recursive: true });
  }
});

test('the host in docs/clients.md is the one that the tests run', () => {
  const host = readFileSync(join(ROOT, 'test/python/host.py'), 'utf8');
  const blocks = readFileSync(join(ROOT, 'docs/clients.md'), 'utf8').matchAll(/^```python\n(.*?)^```$/gms);
  assert.ok([...blocks].some(([, code]) => code === host));
});
