import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, describe, test } from 'node:test';
import { Client, credentials, Server, ServerCredentials } from '@grpc/grpc-js';
import { parse } from 'yaml';
import { BusinessLogicDefinition } from '../../src/gen/daybook/v1/component.ts';
import { CommandGatewayDefinition } from '../../src/gen/daybook/v1/gateway.ts';
import type { CommandBook } from '../../src/gen/daybook/v1/types.ts';
import { serviceDefinition } from '../../src/grpc/definition.ts';
import { openSqlite } from '../../src/stores/sqlite/index.ts';
import { runCli, startDaemonProcess } from '../support/cli.ts';

const folder = mkdtempSync(join(tmpdir(), 'daybook-cli-'));
after(() => rmSync(folder, { recursive: true }));

const MEMORY = {
  DAYBOOK__STORAGE__TYPE: 'memory',
  DAYBOOK__LISTEN__ADDRESS: '127.0.0.1:0',
  DAYBOOK__LISTEN__HEALTH: '127.0.0.1:0',
};

function fresh(): string {
  return mkdtempSync(join(folder, 'd-'));
}

/** A served component that gets commands and never answers. */
async function deafComponent() {
  const server = new Server();
  const asked = new Promise<void>((resolve) => {
    server.addService(serviceDefinition(BusinessLogicDefinition), { handle: () => resolve() });
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
      error ? reject(error) : resolve(port),
    );
  });
  return { address: `127.0.0.1:${port}`, asked, close: () => server.forceShutdown() };
}

function send(address: string): { outcome: Promise<string>; close(): void } {
  const command: CommandBook = {
    cover: { root: { value: new Uint8Array(16) }, domain: 'order', correlationId: '', tenant: '' },
    pages: [{ command: { typeUrl: 'type.googleapis.com/shop.Place', value: new Uint8Array() } }],
    origin: undefined,
    idempotencyKey: '',
    metadata: {},
    workId: '',
  };
  const client = new Client(address, credentials.createInsecure());
  const { path, requestSerialize, responseDeserialize } = serviceDefinition(CommandGatewayDefinition).execute!;
  const outcome = new Promise<string>((resolve) => {
    client.makeUnaryRequest(path, requestSerialize, responseDeserialize, command, (error) =>
      resolve(error === null ? 'done' : error.details),
    );
  });
  return { outcome, close: () => client.close() };
}

describe('start', () => {
  test('says in one line, and in a file, where it answers; SIGTERM ends it with 0', async () => {
    const cwd = fresh();
    writeFileSync(join(cwd, 'ready'), 'of an earlier life');
    const daemon = await startDaemonProcess(['--ready-file', 'ready'], {
      cwd,
      env: { ...MEMORY, DAYBOOK__LISTEN__SOCKET: 'd.sock' },
    });
    const { ready, running } = daemon;
    assert.equal(running.stdout.indexOf('\n'), running.stdout.length - 1);
    assert.equal(readFileSync(join(cwd, 'ready'), 'utf8'), running.stdout);
    assert.match(ready.api!, /^127\.0\.0\.1:[1-9]\d*$/);
    assert.match(ready.health, /^127\.0\.0\.1:[1-9]\d*$/);
    assert.equal(ready.socket, join(cwd, 'd.sock'));
    assert.deepEqual([ready.ready, ready.pid], [true, running.child.pid]);
    assert.match(ready.version, /^\d+\.\d+\.\d+$/);
    for (const address of [ready.api!, `unix:${ready.socket}`]) {
      assert.equal((await runCli(['tail', '--no-follow', '--address', address], { cwd })).code, 0);
    }
    running.child.kill('SIGTERM');
    assert.equal(await running.ended, 0);
    assert.deepEqual(readdirSync(cwd), []);
    for (const line of running.stderr.trimEnd().split('\n')) assert.equal(typeof JSON.parse(line).msg, 'string');
  });

  test('trap 31: the drain has a bound', async () => {
    const component = await deafComponent();
    const { running, ready } = await startDaemonProcess([], {
      cwd: fresh(),
      env: {
        ...MEMORY,
        DAYBOOK__COMPONENTS: JSON.stringify([{ aggregate: 'order', address: component.address }]),
        DAYBOOK__LIMITS__DRAIN_MS: '300',
      },
    });
    const call = send(ready.api!);
    await component.asked;
    const begin = performance.now();
    running.child.kill('SIGINT');
    assert.equal(await running.ended, 0);
    assert(performance.now() - begin < 5000);
    assert.notEqual(await call.outcome, 'done');
    call.close();
    component.close();
  });

  test('a second signal ends it at once', async () => {
    const component = await deafComponent();
    const { running, ready } = await startDaemonProcess([], {
      cwd: fresh(),
      env: { ...MEMORY, DAYBOOK__COMPONENTS: JSON.stringify([{ aggregate: 'order', address: component.address }]) },
    });
    const call = send(ready.api!);
    await component.asked;
    running.child.kill('SIGTERM');
    while (!running.stderr.includes('"stopping')) await once(running.child.stderr!, 'data');
    running.child.kill('SIGTERM');
    assert.equal(await running.ended, 143);
    assert.notEqual(await call.outcome, 'done');
    call.close();
    component.close();
  });

  test('trap 29: a configuration that cannot be used ends it with 1, a sentence each', async () => {
    const cwd = fresh();
    writeFileSync(join(cwd, 'daybook.yaml'), 'storge: {}\nlog: { level: loud }\n');
    for (const command of ['start', 'check', 'verify', 'tail']) {
      const { code, stdout, stderr } = await runCli([command], { cwd });
      assert.equal(code, 1);
      assert.equal(stdout, '');
      assert.equal(
        stderr,
        'storge: unknown key; did you mean storage?\n' +
          'log.level: expected one of trace, debug, info, warn, error, fatal, found "loud"\n',
      );
    }
    assert.deepEqual(readdirSync(cwd), ['daybook.yaml']);
  });

  test('an address in use ends it with 1 and a sentence', async () => {
    const first = await startDaemonProcess([], { cwd: fresh(), env: MEMORY });
    const env = { ...MEMORY, DAYBOOK__LISTEN__ADDRESS: first.ready.api! };
    const { code, stdout, stderr } = await runCli(['start'], { cwd: fresh(), env });
    assert.equal(code, 1);
    assert.equal(stdout, '');
    assert.match(JSON.parse(stderr.trimEnd().split('\n').at(-1)!).msg, /^cannot start: /);
    first.running.child.kill();
    assert.equal(await first.running.ended, 0);
  });
});

describe('check', () => {
  test('prints the configuration as it takes effect', async () => {
    const cwd = fresh();
    const yaml = await runCli(['check'], { cwd, env: MEMORY });
    const json = await runCli(['check', '--json'], { cwd, env: MEMORY });
    assert.deepEqual([yaml.code, json.code], [0, 0]);
    assert.deepEqual(parse(yaml.stdout), JSON.parse(json.stdout));
    assert.deepEqual(JSON.parse(json.stdout).storage, { type: 'memory' });
    assert.deepEqual(readdirSync(cwd), []);
  });
});

describe('verify', () => {
  async function logOf(cwd: string, count: number): Promise<string> {
    const path = join(cwd, 'data/daybook.db');
    const store = await openSqlite({ path });
    for (let i = 0; i < count; i++) {
      const stream = { tenant: '', domain: 'order', root: new Uint8Array(16).fill(i % 2) };
      const page = {
        sequence: 0,
        createdAt: { seconds: i, nanos: 0 },
        event: { typeUrl: 'type.googleapis.com/shop.Placed', value: new Uint8Array(3) },
        position: 0,
        origin: undefined,
        metadata: {},
        unitId: new Uint8Array(16).fill(i),
        occurredAt: undefined,
      };
      const append = { stream, correlationId: 'c', expect: { kind: 'any' } as const, pages: [page] };
      await store.commit([{ unitId: page.unitId, appends: [append], expectations: [], snapshots: [], outcomes: [] }]);
    }
    await store.close();
    return path;
  }

  test('a log in order', async () => {
    const cwd = fresh();
    await logOf(cwd, 5);
    const human = await runCli(['verify'], { cwd });
    assert.match(human.stdout, /^5 positions, 2 streams, 0 snapshots in sqlite .*\nno fault\n$/);
    assert.equal(human.code, 0);
    const json = await runCli(['verify', '--json'], { cwd });
    assert.deepEqual(JSON.parse(json.stdout), { positions: 5, streams: 2, snapshots: 0 });
  });

  test('beside a running daemon', async () => {
    const cwd = fresh();
    await logOf(cwd, 3);
    const { DAYBOOK__STORAGE__TYPE: _, ...env } = MEMORY;
    const { running } = await startDaemonProcess([], { cwd, env });
    const { code, stdout } = await runCli(['verify', '--json'], { cwd });
    assert.deepEqual([code, JSON.parse(stdout).positions], [0, 3]);
    running.child.kill();
    assert.equal(await running.ended, 0);
  });

  test('a log with a hole ends with 1 and the fault', async () => {
    const cwd = fresh();
    const path = await logOf(cwd, 5);
    const database = new DatabaseSync(path);
    for (const { name } of database.prepare("SELECT name FROM sqlite_master WHERE type = 'trigger'").all()) {
      database.exec(`DROP TRIGGER "${name}"`);
    }
    database.exec('DELETE FROM events WHERE position = 3');
    database.close();
    const human = await runCli(['verify'], { cwd });
    assert.equal(human.code, 1);
    assert.match(human.stdout, /\nfault: .+\n$/);
    const json = await runCli(['verify', '--json'], { cwd });
    assert.equal(json.code, 1);
    assert.equal(typeof JSON.parse(json.stdout).fault, 'string');
  });

  test('no log there, or one in memory, is told', async () => {
    const cwd = fresh();
    const missing = await runCli(['verify'], { cwd });
    assert.equal(missing.code, 1);
    assert.match(missing.stderr, /daybook\.db/);
    const memory = await runCli(['verify'], { cwd, env: MEMORY });
    assert.equal(memory.code, 2);
    assert.match(memory.stderr, /memory/);
    assert.deepEqual(readdirSync(cwd), []);
  });
});
