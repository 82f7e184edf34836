// What probes, load balancers and curious tools see: health over gRPC and HTTP, reflection, sockets; and how a stop looks to them.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { fromBinary } from '@bufbuild/protobuf';
import { type FileDescriptorProto, FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import {
  type ClientDuplexStream,
  credentials,
  loadPackageDefinition,
  type ServiceClientConstructor,
  status,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import type { PipelinedCommands, PipelinedResults } from '../../src/gen/daybook/v1/gateway.ts';
import type { CommandResponse } from '../../src/model/book.ts';
import { any, command, newRoot } from '../support/books.ts';
import { runCli, startDaemonProcess } from '../support/cli.ts';
import { TestClient, type TestDaemon, testDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { hostAccount, introduce, nextWork } from '../support/hosting.ts';
import { healthClient } from '../support/probes.ts';

const folder = mkdtempSync(join(tmpdir(), 'daybook-health-'));
after(() => rmSync(folder, { recursive: true }));

/** The HTTP status and the body. */
async function probe({ daemon }: TestDaemon, path: string, method = 'GET'): Promise<[number, Record<string, unknown>]> {
  const response = await fetch(`http://${daemon.addresses.health}${path}`, { method });
  const text = await response.text();
  return [response.status, text === '' ? {} : JSON.parse(text)];
}

describe('health', () => {
  test('trap 30: over gRPC and HTTP: serving, and not while draining, when work in hand is still finished', async () => {
    await using daemon = await testDaemon();
    const host = daemon.client().attach();
    await introduce(host);
    const health = healthClient(daemon.address);
    const watch = health.watch();
    assert.equal(await health.check(), 'SERVING');
    assert.equal(await health.check('daybook.v1.CommandGateway'), 'SERVING');
    await eventually('the watcher is told', () => watch.seen.length === 1);
    assert.deepEqual(await probe(daemon, '/livez'), [200, { alive: true }]);
    const [ready, state] = await probe(daemon, '/readyz');
    assert.deepEqual([ready, state.ready, state.parts], [200, true, { daemon: 'ok', store: 'ok' }]);

    const client = daemon.client();
    const answer = client.unary<CommandResponse>('gateway.execute', command(newRoot(), any('Deposit', '1')));
    const work = await nextWork(host);
    const stopped = daemon.daemon.stop();
    assert.equal(await health.check(), 'NOT_SERVING');
    assert.equal(await health.check('daybook.v1.CommandGateway'), 'NOT_SERVING');
    await eventually('the watcher is told', () => watch.seen.length === 2);
    assert.deepEqual(watch.seen, ['SERVING', 'NOT_SERVING']);
    const [draining, { parts }] = await probe(daemon, '/readyz');
    assert.deepEqual([draining, parts], [503, { daemon: 'stopping', store: 'ok' }]);
    assert.equal((await probe(daemon, '/livez'))[0], 200);

    host.send({ replies: [{ workId: work.workId, result: emptyDecision() }] });
    assert.equal((await answer).duplicate, false);
    health.close();
    await stopped;
  });

  test('a service that nobody knows is NOT_FOUND; other paths and methods are told', async () => {
    await using daemon = await testDaemon();
    const health = healthClient(daemon.address);
    await assert.rejects(health.check('shop.Cart'), { code: status.NOT_FOUND });
    assert.equal((await probe(daemon, '/'))[0], 404);
    assert.equal((await probe(daemon, '/readyz', 'POST'))[0], 405);
    assert.equal((await probe(daemon, '/readyz?verbose', 'HEAD'))[0], 200);
    health.close();
  });

  test('trap 31: watchers and idle pipelines do not hold a stop up', async () => {
    const daemon = await testDaemon({ env: { DAYBOOK__LIMITS__DRAIN_MS: '20000' } });
    const health = healthClient(daemon.address);
    const watch = health.watch();
    const client = daemon.client();
    await hostAccount(daemon.client().attach());
    const pipeline = client.duplex<PipelinedCommands, PipelinedResults>('gateway.executePipelined');
    let results = 0;
    pipeline.on('data', (frame: PipelinedResults) => {
      results += frame.results.length;
    });
    const ended = once(pipeline, 'end');
    const book = command(newRoot(), any('Deposit', '1'));
    pipeline.write({ commands: [{ id: 1, command: book, syncMode: 0, waitTimeout: undefined, timeoutMs: 0 }] });
    await eventually('the pipeline is used, then idle', () => results === 1);
    const begin = performance.now();
    await daemon.daemon.stop();
    assert(performance.now() - begin < 5000, `${performance.now() - begin} ms`);
    await ended;
    await eventually('the watch is over', () => watch.ended());
    health.close();
    client.close();
  });
});

function emptyDecision() {
  const value = { cover: undefined, snapshot: undefined, pages: [], nextSequence: 0, consistencyToken: '' };
  return { $case: 'command', value: { result: { $case: 'events', value } } } as const;
}

describe('reflection', () => {
  const proto = join(dirname(fileURLToPath(import.meta.resolve('@grpc/reflection'))), '../proto');

  /** Asks one question; as any client of grpc.reflection.v1 does it. */
  async function ask(address: string, question: object): Promise<ReflectionAnswer> {
    const definition = loadSync('grpc/reflection/v1/reflection.proto', { includeDirs: [proto], defaults: false });
    const { grpc } = loadPackageDefinition(definition) as never as {
      grpc: { reflection: { v1: { ServerReflection: ServiceClientConstructor } } };
    };
    const client = new grpc.reflection.v1.ServerReflection(address, credentials.createInsecure());
    const stream = client.serverReflectionInfo!() as unknown as ClientDuplexStream<object, ReflectionAnswer>;
    const answered = once(stream, 'data');
    stream.end(question);
    try {
      const [answer] = await answered;
      return answer as ReflectionAnswer;
    } finally {
      client.close();
    }
  }

  interface ReflectionAnswer {
    listServicesResponse?: { service: { name: string }[] };
    fileDescriptorResponse?: { fileDescriptorProto: Buffer[] };
    errorResponse?: { errorCode: number };
  }

  const SERVICES = [
    'daybook.v1.BusinessCoordinator',
    'daybook.v1.CommandGateway',
    'daybook.v1.ComponentHost',
    'daybook.v1.Control',
    'daybook.v1.DeadLetters',
    'daybook.v1.EventQuery',
    'daybook.v1.EventStream',
    'daybook.v1.Payloads',
    'daybook.v1.Positions',
    'daybook.v1.ProcessManagerCoordinator',
    'daybook.v1.Projections',
    'daybook.v1.ProjectorCoordinator',
    'daybook.v1.SagaCoordinator',
    'grpc.health.v1.Health',
  ];

  test('lists exactly the services that are served, each with its methods and all that they refer to', async () => {
    await using daemon = await testDaemon();
    const { listServicesResponse } = await ask(daemon.address, { listServices: '*' });
    assert.deepEqual(listServicesResponse!.service.map(({ name }) => name).sort(), SERVICES);

    for (const name of SERVICES) {
      const { fileDescriptorResponse } = await ask(daemon.address, { fileContainingSymbol: name });
      const files = fileDescriptorResponse!.fileDescriptorProto.map((bytes) =>
        fromBinary(FileDescriptorProtoSchema, bytes),
      );
      const service = files.flatMap(servicesOf).find((one) => one.name === name);
      assert(service !== undefined && service.methods.length > 0, name);
      // Whatever is imported is there, too, or a client could not understand it.
      const known = new Set(files.map((file) => file.name));
      for (const file of files) for (const imported of file.dependency) assert(known.has(imported), imported);
    }
    assert.equal((await ask(daemon.address, { fileContainingSymbol: 'shop.Cart' })).errorResponse?.errorCode, 5);
  });

  function servicesOf(file: FileDescriptorProto): { name: string; methods: string[] }[] {
    return file.service.map(({ name, method }) => ({
      name: `${file.package}.${name}`,
      methods: method.map((one) => one.name),
    }));
  }

  test('is off when the configuration says so', async () => {
    await using daemon = await testDaemon({ env: { DAYBOOK__REFLECTION: 'false' } });
    await assert.rejects(ask(daemon.address, { listServices: '*' }), { code: status.UNIMPLEMENTED });
  });
});

describe('a Unix socket', () => {
  const env = { DAYBOOK__STORAGE__TYPE: 'memory', DAYBOOK__LISTEN__HEALTH: '127.0.0.1:0' };

  test('serves the same API, alone or beside an address', async () => {
    for (const address of ['off', '127.0.0.1:0']) {
      const socket = join(folder, `${address.length}.sock`);
      const daemon = await testDaemon({
        env: { DAYBOOK__LISTEN__SOCKET: socket, DAYBOOK__LISTEN__ADDRESS: address },
      });
      const clients = [socket, ...(address === 'off' ? [] : [daemon.address])].map(
        (place) => new TestClient(place === socket ? `unix:${socket}` : place),
      );
      await hostAccount(clients[0]!.attach());
      for (const client of clients) {
        const book = command(newRoot(), any('Deposit', '1'));
        assert.equal((await client.unary<CommandResponse>('gateway.execute', book)).duplicate, false);
      }
      const health = healthClient(`unix:${socket}`);
      assert.equal(await health.check(), 'SERVING');
      health.close();
      for (const client of clients) client.close();
      await daemon.daemon.stop();
      assert.equal(existsSync(socket), false);
    }
  });

  test('that a killed daemon left behind is taken over', async () => {
    const socket = join(folder, 'left.sock');
    const settings = { ...env, DAYBOOK__LISTEN__ADDRESS: 'off', DAYBOOK__LISTEN__SOCKET: socket };
    const first = await startDaemonProcess([], { cwd: folder, env: settings });
    first.running.child.kill('SIGKILL');
    await first.running.ended;
    assert(existsSync(socket));
    const second = await startDaemonProcess([], { cwd: folder, env: settings });
    const health = healthClient(`unix:${socket}`);
    assert.equal(await health.check(), 'SERVING');
    health.close();
    second.running.child.kill('SIGTERM');
    assert.equal(await second.running.ended, 0);
  });

  test('on which a daemon listens, or a file that is no socket, is left alone, and told in one sentence', async () => {
    const socket = join(folder, 'taken.sock');
    const settings = { ...env, DAYBOOK__LISTEN__ADDRESS: 'off', DAYBOOK__LISTEN__SOCKET: socket };
    const first = await startDaemonProcess([], { cwd: folder, env: settings });
    assert.match(await cannotStart(settings), /cannot listen on unix:.*taken\.sock: /);
    const health = healthClient(`unix:${socket}`);
    assert.equal(await health.check(), 'SERVING');
    health.close();
    first.running.child.kill('SIGTERM');
    await first.running.ended;

    const file = join(folder, 'precious');
    writeFileSync(file, 'data');
    assert.match(
      await cannotStart({ ...settings, DAYBOOK__LISTEN__SOCKET: file }),
      /cannot listen on unix:.*precious: /,
    );
    assert(existsSync(file));
  });
});

test('an address in use ends the start with one sentence that names it', async () => {
  const other = createServer();
  other.listen(0, '127.0.0.1');
  await once(other, 'listening');
  const taken = `127.0.0.1:${(other.address() as AddressInfo).port}`;
  const free = '127.0.0.1:0';
  const settings = (api: string, health: string) => ({
    DAYBOOK__STORAGE__TYPE: 'memory',
    DAYBOOK__LISTEN__ADDRESS: api,
    DAYBOOK__LISTEN__HEALTH: health,
  });
  assert.match(await cannotStart(settings(taken, free)), new RegExp(`cannot listen on ${taken}: .*EADDRINUSE`));
  assert.match(await cannotStart(settings(free, taken)), new RegExp(`cannot listen on ${taken}: .*EADDRINUSE`));
  other.close();
});

/** The last line that a daemon says which cannot start. */
async function cannotStart(env: Record<string, string>): Promise<string> {
  const { code, stdout, stderr } = await runCli(['start'], { cwd: folder, env });
  assert.deepEqual([code, stdout], [1, '']);
  const { msg } = JSON.parse(stderr.trimEnd().split('\n').at(-1)!) as { msg: string };
  assert.equal(msg.includes('\n'), false);
  return msg;
}
