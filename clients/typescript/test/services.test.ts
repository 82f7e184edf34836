// The calls beside commands and histories: read models, positions, dead letters, operations.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { RebuildProgress } from '../src/gen/daybook/v1/control.ts';
import { DeadLetter } from '../src/gen/daybook/v1/dead_letters.ts';
import { Projection } from '../src/gen/daybook/v1/types.ts';
import { type Client, connect, packJson } from '../src/index.ts';
import { root } from './support/counter.ts';
import { daybookError, FakeDaemon } from './support/fake-daemon.ts';

let daemon: FakeDaemon;
let client: Client;
const row = Projection.fromPartial({ projector: 'totals', key: 'k', projection: packJson('Row', 1) });

beforeEach(async () => {
  daemon = await FakeDaemon.start();
  client = connect({ address: daemon.address, retry: { attempts: 3, firstDelayMs: 1 } });
});

afterEach(() => {
  client.close();
  daemon.stop();
});

/** Answers a call, and tells what was asked. */
function asked(name: string, answer: unknown): unknown[] {
  const requests: unknown[] = [];
  daemon.answers[name] = (request) => {
    requests.push(request);
    return answer;
  };
  return requests;
}

test('a row is read by its key or its aggregate, in the tenant of the work', async () => {
  const requests = asked('Projections.Get', row);
  assert.deepEqual(await client.projections.get({ projector: 'totals', key: 'k', consistencyToken: 'now' }), row);
  const within = client.within({ tenant: 't' });
  await within.projections.get({ projector: 'totals', domain: 'counter', root });
  const cover = { domain: 'counter', root: { value: root }, correlationId: '', tenant: 't' };
  assert.deepEqual(requests, [
    { projector: 'totals', tenant: '', key: 'k', cover: undefined, consistencyToken: 'now' },
    { projector: 'totals', tenant: 't', key: '', cover, consistencyToken: '' },
  ]);
});

test('a row that is not there, or gone, is undefined', async () => {
  const get = () => client.projections.get({ projector: 'totals', key: 'k' });
  asked('Projections.Get', { ...row, deleted: true });
  assert.equal(await get(), undefined);
  daemon.answers['Projections.Get'] = () => {
    throw Object.assign(new Error('none'), { code: 5, details: 'none' });
  };
  assert.equal(await get(), undefined);
  daemon.answers['Projections.Get'] = () => {
    throw daybookError(5, 'UNKNOWN_DOMAIN');
  };
  await assert.rejects(get(), { reason: 'UNKNOWN_DOMAIN' });
});

test('rows come in pages, and as a stream', async () => {
  const requests = asked('Projections.List', { projections: [row], nextPageToken: 'more' });
  const page = await client.projections.list({ projector: 'totals', keyPrefix: 'k', pageSize: 1, pageToken: 'here' });
  assert.deepEqual(page, { projections: [row], nextPageToken: 'more' });
  const reading = { projector: 'totals', tenant: '', keyPrefix: 'k', consistencyToken: '' };
  assert.deepEqual(requests, [{ ...reading, pageSize: 1, pageToken: 'here' }]);
  const watches = asked('Projections.Watch', [row, { ...row, deleted: true }]);
  const seen: boolean[] = [];
  for await (const each of client.projections.watch({ projector: 'totals', keyPrefix: 'k', changesOnly: true })) {
    seen.push(each.deleted);
  }
  assert.deepEqual(seen, [false, true]);
  assert.deepEqual(watches, [{ ...reading, changesOnly: true }]);
});

test('waiting for positions names its end', async () => {
  const requests = asked('Positions.Wait', { position: 7 });
  assert.equal(await client.positions.wait('token', { subscriptions: ['totals'], waitTimeoutMs: 1_500 }), 7);
  const timeout = { seconds: 1, nanos: 500_000_000 };
  assert.deepEqual(requests, [{ consistencyToken: 'token', subscriptions: ['totals'], timeout }]);
  daemon.answers['Positions.Wait'] = () => {
    throw daybookError(4, 'WAIT_TIMEOUT', { position: '5' });
  };
  await assert.rejects(client.positions.wait('token'), { reason: 'WAIT_TIMEOUT', metadata: { position: '5' } });
  const head = { position: 9, consistencyToken: 'end', logId: 'l', incarnation: 'i' };
  asked('Positions.Head', head);
  assert.deepEqual(await client.positions.head(), head);
});

test('dead letters are listed, read, replayed and discarded', async () => {
  const letter = DeadLetter.fromPartial({ id: 'd', subscription: 'totals', state: 2 });
  const lists = asked('DeadLetters.List', { deadLetters: [letter], nextPageToken: '', total: 1 });
  assert.equal((await client.deadLetters.list({ subscription: 'totals', state: 'dead' })).total, 1);
  assert.deepEqual(lists, [
    { subscription: 'totals', state: 2, tenant: '', allTenants: false, pageSize: 0, pageToken: '' },
  ]);
  asked('DeadLetters.Get', letter);
  assert.deepEqual(await client.deadLetters.get('d'), letter);
  const replays = asked('DeadLetters.Replay', { replayed: 3 });
  assert.equal(await client.deadLetters.replay({ subscription: 'totals' }), 3);
  await client.deadLetters.replay({ id: 'd' }, { force: true });
  assert.deepEqual(replays, [
    { which: { $case: 'subscription', value: 'totals' }, force: false },
    { which: { $case: 'id', value: 'd' }, force: true },
  ]);
  const discards = asked('DeadLetters.Discard', {});
  await client.deadLetters.discard('d', { reason: 'paid by hand' });
  assert.deepEqual(discards, [{ id: 'd', reason: 'paid by hand' }]);
});

test('what is safe is repeated; giving up a dead letter is not', async () => {
  let calls = 0;
  const fail = () => {
    calls++;
    throw daybookError(14, 'STORE_UNAVAILABLE');
  };
  Object.assign(daemon.answers, { 'DeadLetters.Get': fail, 'DeadLetters.Discard': fail, 'DeadLetters.Replay': fail });
  await assert.rejects(client.deadLetters.get('d'), { reason: 'STORE_UNAVAILABLE' });
  assert.equal(calls, 3);
  await assert.rejects(client.deadLetters.discard('d'), { reason: 'STORE_UNAVAILABLE' });
  await assert.rejects(client.deadLetters.replay({ id: 'd' }), { reason: 'STORE_UNAVAILABLE' });
  assert.equal(calls, 5);
});

test('operators see, stop, start and rebuild', async () => {
  const lists = asked('Control.ListSubscriptions', { subscriptions: [], head: 4 });
  assert.equal((await client.control.listSubscriptions(['totals'])).head, 4);
  assert.deepEqual(lists, [{ subscriptions: ['totals'] }]);
  const [pauses, resumes] = [asked('Control.Pause', {}), asked('Control.Resume', {})];
  await client.control.pause('totals');
  await client.control.resume('totals');
  assert.deepEqual([pauses, resumes], [[{ subscription: 'totals' }], [{ subscription: 'totals' }]]);
  asked('Control.ListInstances', { instances: [] });
  assert.deepEqual(await client.control.listInstances(), []);
  const rebuilds = asked(
    'Control.Rebuild',
    [1, 2].map((position) => RebuildProgress.fromPartial({ position, switched: position === 2 })),
  );
  const progress: boolean[] = [];
  for await (const { switched } of client.control.rebuild('totals', { start: 'beginning' })) progress.push(switched);
  assert.deepEqual(progress, [false, true]);
  assert.deepEqual(rebuilds, [{ projector: 'totals', start: { start: { $case: 'beginning', value: true } } }]);
});
