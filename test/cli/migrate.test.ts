import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { migrations } from '../../src/stores/postgres/migrate.ts';
import { runCli } from '../support/cli.ts';
import { testPostgres } from '../support/postgres.ts';

const postgres = await testPostgres();
const names = migrations().map(({ name }) => name);

test('migrate: a log that is a file needs none', async () => {
  const { code, stderr } = await runCli(['migrate'], { env: { DAYBOOK__STORAGE__TYPE: 'memory' } });
  assert.equal(code, 2);
  assert.match(stderr, /brought up to date when its daemon starts/);
});

describe('migrate', { skip: postgres.missing }, () => {
  test('says what it would apply, applies it, and finds nothing left; doctor and verify read the log', async () => {
    const env = {
      DAYBOOK__STORAGE__TYPE: 'postgres',
      DAYBOOK__STORAGE__CONNECTION_STRING: await postgres.emptyDatabase(),
      DAYBOOK__STORAGE__SCHEMA: 'orders',
    };
    const said = async (...args: string[]) => {
      const { code, stdout, stderr } = await runCli(args, { env });
      return { code, text: stdout + stderr };
    };
    const first = await said('verify');
    assert.equal(first.code, 1);
    assert.match(first.text, /run daybook migrate/);
    const dry = await said('migrate', '--dry-run');
    assert.deepEqual(dry, { code: 0, text: names.map((name) => `would apply ${name}\n`).join('') });
    const done = await said('migrate');
    assert.deepEqual(done, { code: 0, text: names.map((name) => `applied ${name}\n`).join('') });
    assert.deepEqual(await said('migrate'), { code: 0, text: 'schema orders is up to date\n' });
    assert.match((await said('verify')).text, /^0 positions, .* in postgres 127.*schema orders\nno fault\n$/);
    assert.match((await said('doctor')).text, /log: .*ends at position 0/);
  });

  test('a database that is not there is one sentence', async () => {
    const env = {
      DAYBOOK__STORAGE__TYPE: 'postgres',
      DAYBOOK__STORAGE__CONNECTION_STRING: 'postgres://u:geheim@127.0.0.1:1/x',
    };
    const { code, stdout, stderr } = await runCli(['migrate'], { env });
    assert.equal(code, 1);
    assert.match(stderr, /^postgres 127\.0\.0\.1:1\/x, schema daybook cannot be used: .*ECONNREFUSED.*\n$/);
    assert(!`${stdout}${stderr}`.includes('geheim'));
  });
});
