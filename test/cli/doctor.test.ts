import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { checkMemory, checkNode, checkOpenFiles } from '../../src/cli/doctor/environment.ts';
import { checkFileSystem, checkSpace } from '../../src/cli/doctor/storage.ts';
import { loadConfig } from '../../src/config.ts';
import { openSqlite } from '../../src/stores/sqlite/index.ts';
import { runCli, startDaemonProcess } from '../support/cli.ts';
import { shopServer } from '../support/shop-server.ts';
import { append, freshStream, NO_STREAM, page, unit } from '../support/store-units.ts';

const folder = mkdtempSync(join(tmpdir(), 'daybook-doctor-'));
after(() => rmSync(folder, { recursive: true }));
const fresh = () => mkdtempSync(join(folder, 'd-'));

const FREE = { DAYBOOK__LISTEN__ADDRESS: '127.0.0.1:0', DAYBOOK__LISTEN__HEALTH: '127.0.0.1:0' };

interface Diagnosis {
  faults: number;
  warnings: number;
  findings: { level: string; about: string; sentence: string }[];
}

async function diagnose(cwd: string, env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await runCli(['doctor', '--json'], { cwd, env: { ...FREE, ...env } });
  assert.equal(stderr, '');
  const { faults, findings } = JSON.parse(stdout) as Diagnosis;
  assert.equal(code, faults === 0 ? 0 : 1);
  assert.equal(findings.filter(({ level }) => level === 'fault').length, faults);
  return {
    faults,
    about: (name: string) => {
      const found = findings.find(({ about }) => about === name);
      return found === undefined ? undefined : `${found.level}: ${found.sentence}`;
    },
    all: findings,
  };
}

describe('a fresh folder', () => {
  test('has no fault, and nothing is made in it', async () => {
    const cwd = fresh();
    const { faults, about } = await diagnose(cwd);
    assert.equal(faults, 0);
    assert.match(about('node')!, /^ok: version 2\d\./);
    assert.equal(about('store'), `ok: ${join(cwd, 'data/daybook.db')} will be made by the first start`);
    assert.match(about('disk')!, /free in/);
    assert.equal(about('listen.address'), 'ok: 127.0.0.1:0 is free');
    assert.deepEqual(readdirSync(cwd), []);
    const people = await runCli(['doctor'], { cwd, env: FREE });
    assert.match(people.stdout, /^ok {5}node: version /);
    assert.match(people.stdout, /\nno faults, (no|\d+) warnings?\n$/);
  });
});

test('each fault of the configuration is told, and the machine is looked at all the same', async () => {
  const cwd = fresh();
  writeFileSync(join(cwd, 'daybook.yaml'), 'storge: {}\nlog: { level: loud }\n');
  const { faults, all, about } = await diagnose(cwd);
  assert.equal(faults, 2);
  assert(all.some(({ sentence }) => sentence === 'storge: unknown key; did you mean storage?'));
  assert.match(about('node')!, /^ok/);
});

describe('a running daemon', () => {
  test('is found at its addresses and at its store', async () => {
    const cwd = fresh();
    const { running, ready } = await startDaemonProcess([], { cwd, env: FREE });
    const env = { DAYBOOK__LISTEN__ADDRESS: ready.api!, DAYBOOK__LISTEN__HEALTH: ready.health };
    const { faults, about } = await diagnose(cwd, env);
    assert.equal(faults, 0);
    assert.equal(about('lock'), 'ok: a running daemon has the store open');
    assert.match(about('log')!, /^ok: [0-9a-f-]{36}, incarnation [0-9a-f-]{36}, ends at position 0$/);
    assert.match(about('listen.address')!, /^ok: .* is serving$/);
    assert.equal(about('listen.health'), `ok: a Daybook ${ready.version} answers at ${ready.health} and is ready`);
    running.child.kill();
    assert.equal(await running.ended, 0);
    assert.equal((await diagnose(cwd)).about('lock'), 'ok: no daemon has the store open');
  });

  test('a port of another program is a fault', async () => {
    const other = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const address = `127.0.0.1:${(other.address() as { port: number }).port}`;
    const api = await diagnose(fresh(), { DAYBOOK__LISTEN__ADDRESS: address });
    assert.match(api.about('listen.address')!, /^fault: .* belongs to another program/);
    const health = await diagnose(fresh(), { DAYBOOK__LISTEN__HEALTH: address });
    assert.match(health.about('listen.health')!, /^fault: .* belongs to another program/);
    other.close();
  });

  test('an address of another machine, and a socket without a folder, are faults', async () => {
    const { about } = await diagnose(fresh(), {
      DAYBOOK__LISTEN__HEALTH: '192.0.2.1:4311',
      DAYBOOK__LISTEN__SOCKET: '/nowhere/daybook.sock',
    });
    assert.match(about('listen.health')!, /^fault: .* no such address/);
    assert.match(about('listen.socket')!, /^fault: .* cannot be made/);
  });
});

describe('the store', () => {
  test('a file of another program, or a folder in its place, is a fault', async () => {
    const cwd = fresh();
    writeFileSync(join(cwd, 'notes.db'), 'this is no database, whatever its name says; it is long enough to be one');
    const foreign = await diagnose(cwd, { DAYBOOK__STORAGE__PATH: 'notes.db' });
    assert.match(foreign.about('log')!, /^fault: .*notes\.db/);
    mkdirSync(join(cwd, 'folder.db'));
    const place = await diagnose(cwd, { DAYBOOK__STORAGE__PATH: 'folder.db' });
    assert.match(place.about('store')!, /^fault: .*folder\.db is not a file/);
  });

  test('a place where nothing can be written is a fault', async () => {
    const cwd = fresh();
    writeFileSync(join(cwd, 'file'), '');
    const below = await diagnose(cwd, { DAYBOOK__STORAGE__PATH: 'file/daybook.db' });
    assert.match(below.about('store')!, /^fault: .*file is not a folder/);
    // Root may write anywhere.
    if (process.getuid?.() === 0) return;
    mkdirSync(join(cwd, 'data'));
    chmodSync(join(cwd, 'data'), 0o500);
    assert.match((await diagnose(cwd)).about('store')!, /^fault: .* cannot be written by this user/);
  });

  test('a last event in the future is a fault of the clock', async () => {
    const cwd = fresh();
    const store = await openSqlite({ path: join(cwd, 'data/daybook.db') });
    const createdAt = { seconds: Math.floor(Date.now() / 1000) + 3600, nanos: 0 };
    await store.commit([unit({ appends: [append(freshStream(), NO_STREAM, [page({ createdAt })])] })]);
    await store.close();
    const { about } = await diagnose(cwd);
    assert.match(about('last event')!, /^fault: .* s after what the clock says now: set the clock$/);
    assert.match(about('log')!, /ends at position 1$/);
  });

  test('in memory is a warning', async () => {
    const { about, faults } = await diagnose(fresh(), { DAYBOOK__STORAGE__TYPE: 'memory' });
    assert.match(about('store')!, /^warn: in memory/);
    assert.equal(faults, 0);
  });

  test('file systems over a network, tmpfs and little room are warnings', () => {
    assert.match(checkFileSystem('/data', 0x6969)[0]!.sentence, /^\/data is on NFS: /);
    // As Node tells it where the number is signed.
    assert.match(checkFileSystem('/data', 0xff534d42 | 0)[0]!.sentence, /^\/data is on CIFS: /);
    assert.match(checkFileSystem('/data', 0x01021994)[0]!.sentence, /tmpfs/);
    assert.deepEqual(checkFileSystem('/data', 0xef53), []);
    const GiB = 2 ** 30;
    assert.equal(checkSpace('/data', 10 * GiB, 100 * GiB).level, 'ok');
    assert.equal(checkSpace('/data', 4 * GiB, 100 * GiB).level, 'warn');
    assert.equal(checkSpace('/data', 0.9 * GiB, 2 * GiB).level, 'warn');
  });
});

test('served components: one that answers, one that is something else, one that is not there', async () => {
  using shop = await shopServer([]);
  const components = [
    { aggregate: 'order', address: shop.address },
    { upcaster: 'order', address: shop.address },
    { aggregate: 'stock', address: '127.0.0.1:1' },
    { saga: 'fulfilment', address: shop.address },
    { process_manager: 'payment', address: '127.0.0.1:1' },
  ];
  const { about, faults } = await diagnose(fresh(), { DAYBOOK__COMPONENTS: JSON.stringify(components) });
  assert.equal(about('aggregate order'), `ok: daybook.v1.BusinessLogic answers at ${shop.address}`);
  assert.match(about('upcaster order')!, /^fault: the server at .* does not have daybook\.v1\.Upcaster/);
  assert.match(about('aggregate stock')!, /^fault: nobody answers at 127\.0\.0\.1:1/);
  assert.match(about('saga fulfilment')!, /^fault: the server at .* does not have daybook\.v1\.Saga/);
  assert.match(about('process manager payment')!, /^fault: nobody answers at 127\.0\.0\.1:1/);
  assert.equal(faults, 4);
});

test('descriptor files', async () => {
  const shop = join(import.meta.dirname, '../../examples/shop/gen/shop.binpb');
  const { all } = await diagnose(fresh(), { DAYBOOK__DESCRIPTORS: JSON.stringify([shop, 'none.binpb']) });
  const told = all.filter(({ about }) => about === 'descriptors').map(({ level }) => level);
  assert.deepEqual(told, ['ok', 'fault']);
  const check = await runCli(['check'], { cwd: fresh(), env: { DAYBOOK__DESCRIPTORS: '[none.binpb]' } });
  assert.equal(check.code, 1);
  assert.match(check.stderr, /^descriptors\[0\]: .*none\.binpb cannot be used: it does not exist\n$/);
});

test('an old Node, few open files, and caches beyond the memory are told', () => {
  assert.equal(checkNode('20.19.0').level, 'fault');
  assert.equal(checkNode('24.1.0').level, 'ok');
  assert.equal(checkOpenFiles(256).level, 'warn');
  assert.equal(checkOpenFiles('unlimited').level, 'ok');
  const config = loadConfig({ env: {}, cwd: '/nonexistent' });
  assert.equal(checkMemory(config, 1 << 30)[0]!.level, 'ok');
  assert.match(checkMemory(config, 256 << 20)[0]!.sentence, /only 256 MiB are allowed/);
});
