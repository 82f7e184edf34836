// Daemons that call each other over their wire: who may, what for, and what becomes of it.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import type { DryRunResponse } from '../../src/gen/daybook/v1/coordinators.ts';
import { CommandGatewayDefinition } from '../../src/gen/daybook/v1/gateway.ts';
import { type ForwardedAnswer, PeersDefinition } from '../../src/gen/daybook/v1/peers.ts';
import { serviceDefinition } from '../../src/grpc/definition.ts';
import type { CommandResponse, EventBook } from '../../src/model/book.ts';
import { any, command, newRoot, textOf } from '../support/books.ts';
import { detailsOf, type TestDaemon, testDaemon } from '../support/daemon.ts';
import { memory } from '../support/delivery.ts';
import { eventually } from '../support/eventually.ts';
import { failsWith } from '../support/failures.ts';
import { hostAccount, introduce, nextWork } from '../support/hosting.ts';
import { Hints } from '../support/neighbours.ts';

const LISTEN = { DAYBOOK__LISTEN__PEERS: '127.0.0.1:0' };
const TOKEN = { DAYBOOK__PEERS__TOKEN: 'secret of the daemons' };

/** Two daemons on one log: the first hosts nothing, the second the account. */
async function pair(first: Record<string, string>, second: Record<string, string>) {
  const store = memory();
  const hints = new Hints();
  const open = (env: Record<string, string>) => testDaemon({ env, store: hints.viewOf(store) });
  const b = await open(second);
  await hostAccount(b.client().attach());
  const a = await open(first);
  return {
    a,
    b,
    client: a.client(),
    store,
    async [Symbol.asyncDispose]() {
      await a[Symbol.asyncDispose]();
      await b[Symbol.asyncDispose]();
    },
  };
}

const warnings = ({ logLines }: TestDaemon) => logLines.filter((line) => line.includes('could not be passed on'));

test('a command reaches the daemon that hosts its domain, by every call of the gateway', async () => {
  await using p = await pair({ ...LISTEN, ...TOKEN }, { ...LISTEN, ...TOKEN });
  const root = newRoot();
  const deposit = (amount: number, options = {}) => command(root, any('Deposit', String(amount)), options);
  const one = await p.client.unary<CommandResponse>('gateway.execute', deposit(1), {
    metadata: { traceparent: 'x-1' },
  });
  assert.deepEqual([one.events!.pages[0]!.sequence, one.events!.pages[0]!.metadata], [0, { traceparent: 'x-1' }]);
  const sync = { command: deposit(2), syncMode: 2, waitTimeout: undefined };
  const two = await p.client.unary<CommandResponse>('gateway.executeSync', sync);
  assert.deepEqual([two.settled, two.events!.pages[0]!.sequence], [true, 1]);
  const stream = p.client.serverStream<EventBook>('gateway.executeStreamResponseCount', {
    command: deposit(3, { correlationId: 'c' }),
    count: 2,
  });
  const books: string[] = [];
  stream.on('data', (book: EventBook) => books.push(textOf(book.pages[0]!.event)));
  await eventually('its own book', () => books.length === 1);
  await p.b.client().unary('gateway.execute', deposit(4, { correlationId: 'c' }));
  await eventually('what the other daemon committed', () => books.join() === '3,4');
  const rejected = p.client.unary('gateway.execute', command(root, any('Withdraw', '99')));
  await assert.rejects(rejected, failsWith('REJECTED', { code: 'INSUFFICIENT_FUNDS', duplicate: 'false' }));
  const stale = p.client.unary('gateway.execute', deposit(5, { sequence: 1 }));
  await assert.rejects(stale, failsWith('SEQUENCE_CONFLICT', { expected: '1', actual: '4' }));
  const asked = await p.client.unary<DryRunResponse>('business.dryRun', { command: deposit(6), asOf: undefined });
  assert.deepEqual([asked.result?.$case, asked.nextSequence], ['events', 4]);
  const before = { command: deposit(6), asOf: { point: { $case: 'asOfSequence', value: 1 } } };
  assert.equal((await p.client.unary<DryRunResponse>('business.dryRun', before)).nextSequence, 2);
  // The business coordinator by name is this daemon's own.
  const here = p.client.unary('business.handle', { command: deposit(7), syncMode: 0, waitTimeout: undefined });
  await assert.rejects(here, failsWith('COMPONENT_UNAVAILABLE'));
  assert.deepEqual([warnings(p.a), await p.store.listOutbox({ limit: 9 })], [[], []]);
});

test('a daemon tells where its peers find it', async () => {
  const advertise = { DAYBOOK__LISTEN__PEERS: '0.0.0.0:0', DAYBOOK__PEERS__ADVERTISE: 'pod-7.internal:0' };
  await using p = await pair({ ...advertise, ...TOKEN }, {});
  const instances = await eventually('it is told', async () => {
    const { instances } = await p.client.unary<{ instances: { peerAddress: string }[] }>('control.listInstances', {});
    return instances.some(({ peerAddress }) => peerAddress !== '') && instances;
  });
  const port = p.a.daemon.addresses.peers!.split(':').at(-1);
  assert.deepEqual(instances.map(({ peerAddress }) => peerAddress).sort(), ['', `pod-7.internal:${port}`]);
});

test('only daemons of the log are heard, and only what daemons ask of each other', async () => {
  await using p = await pair({}, { ...LISTEN, ...TOKEN });
  const raw = new Client(p.b.daemon.addresses.peers!, credentials.createInsecure());
  const call = <Response>(
    definition: typeof PeersDefinition | typeof CommandGatewayDefinition,
    request: unknown,
    token?: string,
  ) => {
    const { path, requestSerialize, responseDeserialize } = serviceDefinition(definition).execute!;
    const metadata = new Metadata();
    if (token !== undefined) metadata.set('authorization', token);
    return new Promise<Response>((resolve, reject) => {
      raw.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, metadata, (error, response) =>
        error === null ? resolve(response as Response) : reject(error),
      );
    });
  };
  const work = { $case: 'command', value: command(newRoot(), any('Deposit', '1')) };
  const forwarded = { work, hops: 1, ancestors: [] };
  for (const token of [
    undefined,
    'Bearer',
    'Bearer secret of the daemon',
    'secret of the daemons',
    'Bearer secret of the daemonz',
  ]) {
    await assert.rejects(call(PeersDefinition, forwarded, token), (error: ServiceError) => {
      assert.equal(error.code, status.UNAUTHENTICATED);
      return detailsOf(error).reason === 'UNAUTHENTICATED';
    });
  }
  const token = 'Bearer secret of the daemons';
  const taken = await call<ForwardedAnswer>(PeersDefinition, forwarded, token);
  assert.equal(taken.result?.$case, 'response');
  for (const wrong of [
    { ...forwarded, hops: 2 },
    { ...forwarded, hops: 0 },
    { ...forwarded, work: undefined },
  ]) {
    const { result } = await call<ForwardedAnswer>(PeersDefinition, wrong, token);
    assert(result?.$case === 'error' && result.value.reason === 'INVALID_ARGUMENT', JSON.stringify(result));
  }
  // Nothing is passed on twice: the domain is not hosted there.
  const value = command(newRoot(), any('Deposit', '1'), { domain: 'elsewhere' });
  const { result } = await call<ForwardedAnswer>(PeersDefinition, { ...forwarded, work: { ...work, value } }, token);
  assert(result?.$case === 'error' && result.value.reason === 'UNKNOWN_DOMAIN', JSON.stringify(result));
  const gateway = call(CommandGatewayDefinition, work.value, token);
  await assert.rejects(gateway, (error: ServiceError) => error.code === status.UNIMPLEMENTED);
  raw.close();
});

test('a daemon with another token is not heard, and its commands arrive all the same', async () => {
  await using p = await pair({ DAYBOOK__PEERS__TOKEN: 'of another log' }, { ...LISTEN, ...TOKEN });
  const answer = await p.client.unary<CommandResponse>('gateway.execute', command(newRoot(), any('Deposit', '1')));
  assert.equal(answer.events!.pages.length, 1);
  assert.match(warnings(p.a)[0]!, /UNAUTHENTICATED/);
});

test('the deadline and the end of a call travel along', async () => {
  await using p = await pair(TOKEN, { ...LISTEN, ...TOKEN });
  const silent = p.b.client().attach();
  await introduce(silent, { domain: 'silent' });
  const call = p.client.unary('gateway.execute', command(newRoot(), any('Wait'), { domain: 'silent' }), {
    deadlineMs: 300,
  });
  const work = await nextWork(silent);
  await assert.rejects(call, (error: ServiceError) => error.code === status.DEADLINE_EXCEEDED);
  const { cancels } = await silent.next();
  assert.deepEqual(
    cancels.map(({ workId }) => workId),
    [work.workId],
  );
});

test('certificates of one authority', {
  skip: spawnSync('openssl', ['version']).error && 'openssl is not installed',
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'daybook-peers-'));
  after(() => rmSync(folder, { recursive: true }));
  const env = (name: string) => {
    const [key, pem] = [join(folder, `${name}.key`), join(folder, `${name}.pem`)];
    const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', key];
    execFileSync('openssl', ['req', '-x509', '-days', '2', ...kind, '-subj', `/CN=${name}`, '-out', pem], {
      stdio: 'ignore',
    });
    return { DAYBOOK__PEERS__CERT_FILE: pem, DAYBOOK__PEERS__KEY_FILE: key, DAYBOOK__PEERS__CA_FILE: pem };
  };
  const [ours, strange] = [env('ours'), env('strange')];
  for (const [first, fine] of [
    [ours, true],
    [strange, false],
  ] as const) {
    await using p = await pair(first, { ...LISTEN, ...ours });
    const answer = await p.client.unary<CommandResponse>('gateway.execute', command(newRoot(), any('Deposit', '1')));
    assert.equal(answer.events!.pages.length, 1);
    assert.equal(warnings(p.a).length === 0, fine);
  }
});
