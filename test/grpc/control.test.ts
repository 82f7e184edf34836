// What operators see and change, over the wire.

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { type Projector, packJson, type RebuildProgress, type Saga, unpackJson, uuidv7 } from '@daybook/client';
import type { ServiceError } from '@grpc/grpc-js';
import type { Instance, Subscription } from '../../src/gen/daybook/v1/control.ts';
import { Counters, numberOf } from '../support/counters.ts';
import { detailsOf, type TestClient } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';

let factor = 1;
let failing = false;
let hold: Promise<void> | undefined;
const seen: number[] = [];

/** One row for each counter, of its last amount. */
function last(name: string): Projector {
  return {
    name,
    domains: ['counter'],
    async project(pages, { delivery }) {
      if (failing) throw new Error('the search index is away');
      if (delivery.replaying) await hold;
      seen.push(...pages.map((page) => numberOf(page.event)));
      return [{ payload: packJson('Last', factor * numberOf(pages.at(-1)!.event)) }];
    },
  };
}
const saga: Saga = { name: 'silent', domains: ['counter'], react: () => [] };

let counters: Counters;
let raw: TestClient;

before(async () => {
  counters = await Counters.open(
    { projectors: [last('last'), last('search')], sagas: [saga] },
    { env: { DAYBOOK__LIMITS__SUSPEND_AFTER_KEYS: '5', DAYBOOK__LIMITS__REACTION_ATTEMPTS: '2' } },
  );
  raw = counters.daemon.client();
});
after(() => counters[Symbol.asyncDispose]());
beforeEach(() => {
  [factor, failing, hold] = [1, false, undefined];
  seen.length = 0;
});

async function refused(name: string, request: unknown) {
  const error = await raw.unary(name, request).then(
    () => assert.fail('expected an error'),
    (thrown: ServiceError) => thrown,
  );
  return { message: error.details, ...detailsOf(error) };
}

/** Whether the daemon is ready, and what it says of two of its projectors. */
async function health(): Promise<unknown[]> {
  const response = await fetch(`http://${counters.daemon.daemon.addresses.health}/readyz`);
  const { parts } = (await response.json()) as { parts: Record<string, string> };
  return [response.status, parts['projector away'], parts['projector last']];
}

async function subscription(name: string): Promise<Subscription> {
  const { subscriptions } = await counters.client.control.listSubscriptions([name]);
  return subscriptions.at(-1)!;
}

const caughtUp = async (name: string) =>
  eventually(`${name} has caught up`, async () => {
    const { subscriptions, head } = await counters.client.control.listSubscriptions([name]);
    const [one] = subscriptions;
    return one!.partitions.every(({ position }) => position === head) ? one : undefined;
  });

test('the log level changes while the daemon runs', async () => {
  const set = (level: string) => raw.unary<{ previousLevel: string }>('control.setLogLevel', { level });
  assert.deepEqual(await set('warn'), { previousLevel: 'debug' });
  assert.deepEqual(await set('debug'), { previousLevel: 'warn' });
  const { reason, metadata } = await refused('control.setLogLevel', { level: 'loud' });
  assert.deepEqual([reason, metadata.field], ['INVALID_ARGUMENT', 'level']);
});

test('cached histories are forgotten, of one aggregate or of all', async () => {
  const flush = (cover?: unknown) => raw.unary<{ entries: number }>('control.flushCache', { cover });
  await flush();
  const root = uuidv7();
  await counters.add(1, { root });
  await counters.add(1);
  const cover = { root: { value: root }, domain: 'counter', correlationId: '', tenant: '' };
  assert.deepEqual(
    [await flush(cover), await flush(cover), await flush()],
    [{ entries: 1 }, { entries: 0 }, { entries: 1 }],
  );
  assert.equal((await refused('control.flushCache', { cover: { ...cover, domain: '' } })).reason, 'INVALID_ARGUMENT');
});

test('daemons are listed with what they host', async () => {
  const [own, ...others] = await eventually<Instance[]>('the next heartbeat', async () => {
    const instances = await counters.client.control.listInstances();
    return instances[0]?.components.length === 3 ? instances : undefined;
  });
  assert.deepEqual(others, []);
  assert.deepEqual(
    [own!.domains.sort(), own!.components.sort()],
    [
      ['counter', 'other'],
      ['last', 'search', 'silent'],
    ],
  );
  assert(own!.version !== '' && own!.incarnation !== '' && own!.heartbeatAt!.seconds > 1.7e9);
});

describe('subscriptions', () => {
  test('tell how far they are, and who works for them', async () => {
    await counters.add(1);
    const one = await caughtUp('last');
    assert.deepEqual(
      [one.name, one.kind, one.generation, one.state, one.parked, one.dead, one.partitions.length],
      ['last', 'projector', 1, 'running', 0, 0, 16],
    );
    assert.deepEqual(one.filter, { domains: ['counter'], types: [] });
    assert(one.partitions.every(({ owner, epoch, lag }) => owner !== '' && epoch > 0 && lag === undefined));
    const { subscriptions } = await counters.client.control.listSubscriptions();
    assert.deepEqual(
      subscriptions.map(({ name }) => name),
      ['last', 'search', 'silent'],
    );
    const unknown = await refused('control.listSubscriptions', { subscriptions: ['nobody'] });
    assert.deepEqual([unknown.reason, unknown.metadata.field], ['INVALID_ARGUMENT', 'subscriptions']);
  });

  test('stand still while they are paused, and tell their lag', async () => {
    await caughtUp('last');
    await counters.client.control.pause('last');
    assert.equal((await subscription('last')).state, 'paused');
    await counters.add(71);
    const { position } = await counters.add(72);
    await caughtUp('search');
    assert.equal(seen.filter((amount) => amount === 71).length, 1);
    const lags = (await subscription('last')).partitions.flatMap(({ lag }) => (lag === undefined ? [] : [lag]));
    assert(lags.length === 1 || lags.length === 2, `${lags.length} partitions lag behind`);
    assert(lags.every(({ seconds }) => seconds < 60));
    await counters.client.control.resume('last');
    const one = await caughtUp('last');
    assert.equal(one.state, 'running');
    assert(one.partitions.every((each) => each.position >= position));
    assert.equal(seen.filter((amount) => amount === 71).length, 2);
    for (const call of ['pause', 'resume']) {
      assert.equal((await refused(`control.${call}`, { subscription: 'nobody' })).metadata.field, 'subscription');
    }
  });

  test('suspend when everything fails, and wait for a host when it is gone', async () => {
    const host = await counters.host({ projectors: [{ ...last('away'), project: () => assert.fail('always') }] });
    for (let i = 0; i < 12; i++) await counters.add(i);
    await eventually('it suspends', async () => (await subscription('away')).state === 'suspended');
    assert.deepEqual(await health(), [200, 'suspended', 'ok']);
    assert((await subscription('away')).parked > 0);
    await host.close();
    await counters.client.control.pause('away');
    assert.equal((await subscription('away')).state, 'paused');
    const other = await counters.host({ projectors: [last('later')] });
    await caughtUp('later');
    await other.close();
    await eventually('nobody hosts it', async () => (await subscription('later')).state === 'waiting for a host');
    assert.deepEqual(await health(), [200, 'paused', 'ok']);
  });

  test('count what waits for people', async () => {
    const host = await counters.host({
      projectors: [{ ...last('dying'), start: 'now', project: () => assert.fail('no') }],
    });
    await counters.add(1);
    await eventually('it is dead', async () => (await subscription('dying')).dead === 1);
    assert.equal((await subscription('dying')).parked, 0);
    await host.close();
  });
});

describe('a rebuild', () => {
  const rebuild = { projector: 'search', start: undefined };

  test('tells its progress until readers get the new rows', async () => {
    const root = uuidv7();
    const { position } = await counters.add(9, { root });
    await caughtUp('search');
    factor = 10;
    const told: RebuildProgress[] = [];
    for await (const progress of counters.client.control.rebuild('search')) told.push(progress);
    const end = told.at(-1)!;
    assert.deepEqual([end.switched, end.generation, end.parked], [true, 2, 0]);
    assert(end.position >= position);
    assert(told.slice(0, -1).every(({ switched, generation }) => !switched && generation === 2));
    const row = await counters.client.projections.get({ projector: 'search', domain: 'counter', root });
    assert.equal(unpackJson(row!.projection!)!.value, 90);
  });

  test('goes on when its caller has gone, and a second caller follows the same', async () => {
    await caughtUp('search');
    const before = (await subscription('search')).generation;
    const gate = Promise.withResolvers<void>();
    hold = gate.promise;
    const first = raw.serverStream<RebuildProgress>('control.rebuild', rebuild);
    first.on('error', () => {});
    const seenFirst = await new Promise<RebuildProgress>((resolve) => first.once('data', resolve));
    assert.deepEqual([seenFirst.switched, seenFirst.generation], [false, before + 1]);
    assert(seenFirst.position < seenFirst.target);
    first.cancel();
    const told: RebuildProgress[] = [];
    for await (const progress of counters.client.control.rebuild('search')) {
      if (told.push(progress) === 2) gate.resolve();
    }
    assert.deepEqual([told.at(-1)!.switched, told.at(-1)!.generation], [true, before + 1]);
    assert(told.length > 2);
    assert.equal((await subscription('search')).generation, before + 1);
  });

  test('from now on leaves out what was before', async () => {
    await caughtUp('search');
    for await (const progress of counters.client.control.rebuild('search', { start: 'now' })) {
      if (progress.switched) break;
    }
    assert.deepEqual((await counters.client.projections.list({ projector: 'search' })).projections, []);
    const root = uuidv7();
    const { consistencyToken } = await counters.add(4, { root });
    const query = { projector: 'search', domain: 'counter', root, consistencyToken };
    assert.equal(unpackJson((await counters.client.projections.get(query))!.projection!)!.value, 4);
  });

  test('is refused for what is no projector', async () => {
    const wrong = async (projector: string) => {
      const error = await raw
        .serverStream('control.rebuild', { projector, start: undefined })
        .toArray()
        .then(
          () => assert.fail('expected an error'),
          (thrown: ServiceError) => thrown,
        );
      return { message: error.details, ...detailsOf(error) };
    };
    const unknown = await wrong('nobody');
    assert.deepEqual([unknown.reason, unknown.metadata.field], ['INVALID_ARGUMENT', 'projector']);
    assert.match(unknown.message, /there are .*last, .*search/);
    assert.match((await wrong('silent')).message, /silent is a saga: .* only projectors are rebuilt/);
  });
});
