// What is shipped: the package as `npm pack` would make it, without the sources.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { askReflection } from '../../src/payloads/reflection.ts';
import { runCli, startDaemonProcess } from '../support/cli.ts';
import { testPostgres } from '../support/postgres.ts';
import { healthClient } from '../support/probes.ts';

const postgres = await testPostgres();

const root = resolve(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), 'daybook-built-'));
after(() => rmSync(folder, { recursive: true }));

/** What npm packs, and node_modules as an installation would make them. */
before(() => {
  const { files } = createRequire(import.meta.url)('../../package.json') as { files: string[] };
  const built = spawnSync(process.execPath, [join(root, 'scripts/build.ts'), join(folder, 'dist')], {
    encoding: 'utf8',
  });
  assert.deepEqual([built.status, built.stderr], [0, '']);
  for (const file of ['package.json', ...files.filter((file) => file !== 'dist')]) {
    cpSync(join(root, file), join(folder, file), { recursive: true });
  }
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
});

describe('the built package', () => {
  const bin = join(folder, 'dist/cli/daybook.js');

  test('says its version and its commands, and has the file that package.json names', async () => {
    const { bin: named, version } = createRequire(import.meta.url)('../../package.json') as Record<string, never>;
    assert.deepEqual(named, { daybook: 'dist/cli/daybook.js' });
    assert(existsSync(bin));
    assert.deepEqual(await runCli(['--version'], { bin }), { code: 0, stdout: `${version}\n`, stderr: '' });
    const source = await runCli(['--help']);
    assert.deepEqual(await runCli(['--help'], { bin }), source);
  });

  test('says the same as the sources about a configuration', async () => {
    const wrong = {
      DAYBOOK__STORAGE__TYPE: 'oracle',
      DAYBOOK__LISTEN__HEALTH: 'nowhere',
      DAYBOOK__LIMITS__DRAIN_MS: 'long',
      DAYBOOK__LIMITS__NONSENSE: '1',
      DAYBOOK__COMPONENTS: '[{"kind":"saga"},{"domain":7}]',
    };
    for (const env of [{}, wrong]) {
      const source = await runCli(['check', '--json'], { cwd: folder, env });
      assert.deepEqual(await runCli(['check', '--json'], { cwd: folder, env, bin }), source);
    }
  });

  test('runs on SQLite: serves, answers health and reflection, is read beside, and verified afterwards', async () => {
    const env = {
      DAYBOOK__STORAGE__PATH: join(folder, 'daybook.db'),
      DAYBOOK__LISTEN__ADDRESS: '127.0.0.1:0',
      DAYBOOK__LISTEN__HEALTH: '127.0.0.1:0',
    };
    const { running, ready } = await startDaemonProcess([], { cwd: folder, env, bin });
    const health = healthClient(ready.api!);
    assert.equal(await health.check('daybook.v1.CommandGateway'), 'SERVING');
    health.close();
    const { files } = await askReflection(ready.api!, ['daybook.v1.CommandGateway'], new Set(), Date.now() + 20_000);
    assert(files.has('daybook/v1/gateway.proto'), [...files.keys()].join(', '));
    const tail = await runCli(['subscriptions', '--json', '--address', ready.api!], { cwd: folder, bin });
    assert.deepEqual([tail.code, tail.stderr], [0, '']);
    running.child.kill('SIGTERM');
    assert.equal(await running.ended, 0, running.stderr);
    const verified = await runCli(['verify'], { cwd: folder, env, bin });
    assert.deepEqual([verified.code, verified.stderr], [0, '']);
  });

  test('has the migrations of PostgreSQL', { skip: postgres.missing }, async () => {
    const env = {
      DAYBOOK__STORAGE__TYPE: 'postgres',
      DAYBOOK__STORAGE__CONNECTION_STRING: await postgres.emptyDatabase(),
    };
    const source = await runCli(['migrate', '--dry-run'], { env });
    assert.equal(source.code, 0);
    assert.deepEqual(await runCli(['migrate', '--dry-run'], { env, bin }), source);
    assert.equal((await runCli(['migrate'], { env, bin })).code, 0);
  });
});
