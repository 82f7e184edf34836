// The read side with grpcurl, which knows of the daemon only what server reflection tells.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { create, toBinary } from '@bufbuild/protobuf';
import {
  FileDescriptorSetSchema,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
} from '@bufbuild/protobuf/wkt';
import type { CommandResponse } from '../../src/model/book.ts';
import { any, command } from '../support/books.ts';
import { type TestClient, type TestDaemon, testDaemon } from '../support/daemon.ts';
import { hostAccount } from '../support/hosting.ts';

const GRPCURL = resolve(import.meta.dirname, '../../.cache/bin/grpcurl');
const skip = existsSync(GRPCURL) ? false : 'there is no grpcurl: scripts/grpcurl.sh builds it';

interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

let daemon: TestDaemon;
let client: TestClient;

function run(...args: string[]): Promise<Ended> {
  return new Promise((done) => {
    execFile(GRPCURL, ['-plaintext', ...args], { env: {} }, (error, stdout, stderr) =>
      done({ code: Number(error?.code ?? 0), stdout, stderr }),
    );
  });
}

async function read(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(...args);
  assert.equal(code, 0, stderr);
  return stdout;
}

/** The messages that a call answers with. */
// biome-ignore lint/suspicious/noExplicitAny: JSON as it comes
async function call(method: string, request: object): Promise<any[]> {
  const text = await read('-d', JSON.stringify(request), daemon.address, `daybook.v1.${method}`);
  return JSON.parse(`[${text.replaceAll(/^\}\s*^\{/gm, '},{')}]`);
}

const ROOT = Buffer.alloc(16, 7);
const cover = { domain: 'account', root: { value: ROOT.toString('base64') } };

describe('grpcurl', { skip }, () => {
  before(async () => {
    daemon = await testDaemon();
    client = daemon.client();
    await hostAccount(client.attach());
    for (const amount of ['1', '2', '3'])
      await client.unary('gateway.execute', command(ROOT, any('Deposit', amount), { correlationId: 'c1' }));
    await client.unary('gateway.execute', command(Buffer.alloc(16, 8), any('Deposit', '4')));
    await client
      .unary('gateway.execute', command(ROOT, any('Withdraw', '9'), { correlationId: 'c1', key: 'k1' }))
      .catch(() => {});
  });
  after(() => daemon[Symbol.asyncDispose]());

  test('lists and describes everything by reflection, with the comments of proto/', async () => {
    const services = (await read(daemon.address, 'list')).trim().split('\n');
    for (const name of ['CommandGateway', 'BusinessCoordinator', 'EventQuery', 'EventStream', 'ComponentHost'])
      assert.ok(services.includes(`daybook.v1.${name}`), name);
    assert.ok(services.includes('grpc.health.v1.Health'));
    for (const service of services) assert.match(await read(daemon.address, 'describe', service), /is a service/);
    const described = await read(daemon.address, 'describe', '.daybook.v1.Query');
    assert.match(described, /\.daybook\.v1\.TemporalQuery temporal = 5;/);
    assert.match(described, /Absent: everything, from the newest snapshot on\./);
    assert.match(await read(daemon.address, 'grpc.health.v1.Health/Check'), /SERVING/);
  });

  test('GetEventBook and GetEvents: whole, a range, a set, as of a sequence', async () => {
    const sequences = (book: { pages?: { sequence?: number }[] }) => book.pages?.map(({ sequence = 0 }) => sequence);
    for (const method of ['EventQuery/GetEventBook', 'EventQuery/GetEvents']) {
      const [whole] = await call(method, { cover });
      assert.deepEqual([sequences(whole), whole.nextSequence], [[0, 1, 2], 3]);
      assert.equal(whole.pages[2].event['@value'], Buffer.from('3').toString('base64'));
      const selected = async (selection: object) => sequences((await call(method, { cover, ...selection }))[0]);
      assert.deepEqual(await selected({ range: { lower: 1, upper: 1 } }), [1]);
      assert.deepEqual(await selected({ range: { lower: 1 } }), [1, 2]);
      assert.deepEqual(await selected({ sequences: { values: [2, 0] } }), [0, 2]);
      assert.deepEqual(await selected({ temporal: { asOfSequence: 1 } }), [0, 1]);
      assert.deepEqual(await selected({ temporal: { asOfTime: whole.pages[0].createdAt } }), [0]);
    }
  });

  test('ReadLog, GetAggregateRoots and ListRejections', async () => {
    const log = await call('EventQuery/ReadLog', { afterPosition: 1, limit: 2 });
    const books = log.flatMap((response) => response.books);
    assert.deepEqual(
      books.map(({ pages }) => pages[0].position),
      ['2', '3'],
    );
    const [rest] = await call('EventQuery/ReadLog', { afterToken: log.at(-1).token });
    assert.equal(rest.position, '4');
    const roots = await call('EventQuery/GetAggregateRoots', { domain: 'account' });
    assert.deepEqual(
      roots.map(({ nextSequence }) => nextSequence),
      [3, 1],
    );
    const [rejection] = await call('EventQuery/ListRejections', { correlationId: 'c1' });
    assert.deepEqual([rejection.idempotencyKey, rejection.rejection.code], ['k1', 'INSUFFICIENT_FUNDS']);
  });

  test('Subscribe follows from a token until it is cut off', async () => {
    const { consistencyToken } = await client.unary<CommandResponse>('gateway.execute', command(ROOT, any('Touch')));
    await client.unary('gateway.execute', command(ROOT, any('Deposit', '5'), { correlationId: 'c2' }));
    const request = JSON.stringify({ after: consistencyToken, correlationId: 'c2' });
    const { code, stdout } = await run(
      '-max-time',
      '1',
      '-d',
      request,
      daemon.address,
      'daybook.v1.EventStream/Subscribe',
    );
    // 64 and the gRPC code, DEADLINE_EXCEEDED.
    assert.equal(code, 68);
    assert.equal(JSON.parse(stdout).pages[0].sequence, 3);
  });

  test("an error shows its details, given google.rpc's definitions", async () => {
    const folder = mkdtempSync(join(tmpdir(), 'daybook-grpcurl-'));
    try {
      const protoset = join(folder, 'google-rpc.binpb');
      writeFileSync(protoset, errorDetails());
      const { code, stderr } = await run(
        ...['-format-error', '-protoset', protoset, '-use-reflection'],
        ...['-d', '{"cover":{"domain":"account"}}', daemon.address, 'daybook.v1.EventQuery/GetEventBook'],
      );
      assert.equal(code, 64 + 3);
      assert.deepEqual(JSON.parse(stderr), {
        code: 3,
        message: 'cover.root: expected a UUID of 16 bytes, found none',
        details: [
          {
            '@type': 'type.googleapis.com/google.rpc.ErrorInfo',
            reason: 'INVALID_ARGUMENT',
            domain: 'daybook',
            metadata: { field: 'cover.root' },
          },
        ],
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

/** google/rpc/error_details.proto, as far as it is needed: what a person has from googleapis. */
function errorDetails(): Uint8Array {
  const text = (name: string, number: number) => ({ name, number, label: Label.OPTIONAL, type: Type.STRING });
  const entry = { name: 'MetadataEntry', field: [text('key', 1), text('value', 2)], options: { mapEntry: true } };
  const metadata = {
    name: 'metadata',
    number: 3,
    label: Label.REPEATED,
    type: Type.MESSAGE,
    typeName: '.google.rpc.ErrorInfo.MetadataEntry',
  };
  const errorInfo = { name: 'ErrorInfo', field: [text('reason', 1), text('domain', 2), metadata], nestedType: [entry] };
  const file = {
    name: 'google/rpc/error_details.proto',
    package: 'google.rpc',
    syntax: 'proto3',
    messageType: [errorInfo],
  };
  return toBinary(FileDescriptorSetSchema, create(FileDescriptorSetSchema, { file: [file] }));
}
