// What could not be delivered, over the wire: seen, tried again, given up.

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { type ProcessManager, type Projector, packJson, type Saga, uuidv7 } from '@daybook/client';
import type { ServiceError } from '@grpc/grpc-js';
import { emptyWork } from '../../src/coordinators/reaction.ts';
import { type DeadLetter, ParkedState } from '../../src/gen/daybook/v1/dead_letters.ts';
import type { Store } from '../../src/store.ts';
import { openMemory } from '../../src/stores/memory.ts';
import { Counters, counterOf, numberOf } from '../support/counters.ts';
import { detailsOf, type TestClient } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';

/** Which components cannot bear which amounts. */
const broken = new Set<string>();
/** Amounts as they were handled, by component. */
const handled: Record<string, number[]> = { seer: [], 'in-order': [], manager: [], other: [] };

function handle(name: string, amount: number): void {
  if (broken.has(`${name} ${amount}`)) throw new Error(`${name} cannot bear ${amount}`);
  handled[name]!.push(amount);
}

const seer: Projector = {
  name: 'seer',
  domains: ['counter'],
  maxPages: 1,
  project: ([page]) => handle('seer', numberOf(page!.event)),
};
const ordered: Projector = {
  ...seer,
  name: 'in-order',
  ordered: true,
  project: ([page]) => handle('in-order', numberOf(page!.event)),
};
/** Every counter has another one that it tells. */
const teller: Saga = {
  name: 'teller',
  domains: ['counter'],
  react: (event, { root }) => [{ domain: 'other', root, payload: packJson('Add', numberOf(event)) }],
};
const manager: ProcessManager<null> = {
  name: 'manager',
  domains: ['counter'],
  initial: () => null,
  evolve: () => null,
  handle(_, trigger) {
    if (trigger.kind === 'event') handle('manager', numberOf(trigger.event));
  },
};
const other = counterOf('other');
const others = {
  ...other,
  decide(...args: Parameters<typeof other.decide>) {
    handle('other', numberOf(args[1][0]!));
    return other.decide(...args);
  },
};

let counters: Counters;
let raw: TestClient;
let store: Store;

before(async () => {
  store = openMemory({
    logId: '00000000-0000-7000-8000-000000000001',
    incarnation: '00000000-0000-7000-8000-000000000002',
  });
  counters = await Counters.open(
    {
      aggregates: [counterOf('counter'), others],
      projectors: [seer, ordered],
      sagas: [teller],
      processManagers: [manager],
    },
    { store },
  );
  raw = counters.daemon.client();
});
after(() => counters[Symbol.asyncDispose]());
beforeEach(() => {
  broken.clear();
  for (const name of Object.keys(handled)) handled[name] = [];
});

let amounts = 1000;
/** An amount that no other test has, so that its dead letters are told apart. */
const fresh = () => ++amounts;

const list = { subscription: '', state: 0, tenant: '', pageSize: 0, pageToken: '', allTenants: false };

async function listed(query: Partial<typeof list>): Promise<DeadLetter[]> {
  const { deadLetters } = await raw.unary<{ deadLetters: DeadLetter[] }>('deadLetters.list', { ...list, ...query });
  return deadLetters;
}

/** The one dead letter of the subscription and tenant. */
function dead(subscription: string, tenant: string): Promise<DeadLetter> {
  return eventually(`a dead letter of ${subscription}`, async () => {
    const [found] = await listed({ subscription, tenant, state: ParkedState.PARKED_STATE_DEAD });
    return found;
  });
}

async function refused(name: string, request: unknown) {
  const error = await raw.unary(name, request).then(
    () => assert.fail('expected an error'),
    (thrown: ServiceError) => thrown,
  );
  return { code: error.code, message: error.details, ...detailsOf(error) };
}

describe('parked keys', () => {
  test('are listed and shown with the event that failed, and go on in order when they are replayed', async () => {
    const tenant = 'shown';
    const root = uuidv7();
    const amount = fresh();
    broken.add(`seer ${amount}`);
    await counters.add(1, { tenant, root });
    const { position } = await counters.add(amount, { tenant, root });
    await counters.add(2, { tenant, root });
    await counters.add(3, { tenant, root });
    const found = await dead('seer', tenant);
    assert.deepEqual(
      [found.subscription, found.generation, found.state, found.position, found.attempts, found.reason],
      ['seer', 1, ParkedState.PARKED_STATE_DEAD, position, 3, 'COMPONENT_FAULT'],
    );
    assert.match(found.message, new RegExp(`seer cannot bear ${amount}`));
    assert.deepEqual([found.key!.tenant, found.key!.domain], [tenant, 'counter']);
    assert.deepEqual(Buffer.from(found.key!.root!.value), Buffer.from(root));
    assert.deepEqual([found.event, found.command, found.nextAttemptAt], [undefined, undefined, undefined]);

    const shown = await raw.unary<DeadLetter>('deadLetters.get', { id: found.id });
    assert.deepEqual([shown.event!.pages.map(({ event }) => numberOf(event!)), shown.waiting], [[amount], 2]);
    broken.clear();
    assert.equal(await counters.client.deadLetters.replay({ id: found.id }), 1);
    await eventually('the key goes on', () => handled.seer!.join() === `1,${amount},2,3`);
    await eventually('nothing is held up', async () => (await listed({ subscription: 'seer', tenant })).length === 0);
    assert.equal((await refused('deadLetters.get', { id: found.id })).reason, 'NOT_FOUND');
  });

  test('go on after the event when it is discarded, and the log of the daemon keeps the reason', async () => {
    const tenant = 'discarded';
    const root = uuidv7();
    const amount = fresh();
    broken.add(`seer ${amount}`);
    for (const each of [1, amount, 2]) await counters.add(each, { tenant, root });
    const { id } = await dead('seer', tenant);
    await counters.client.deadLetters.discard(id, { reason: 'sent by mistake' });
    await eventually('the key goes on', () => handled.seer!.join() === '1,2');
    const line = counters.daemon.logLines.find((each) => each.includes('sent by mistake'))!;
    const { level, subscription, failed } = JSON.parse(line);
    assert.deepEqual([level, subscription], ['warn', 'seer']);
    assert.match(failed, /cannot bear/);
  });

  test('of a process are named by tenant and correlation id, of an ordered projector not at all', async () => {
    const tenant = 'named';
    const amount = fresh();
    for (const name of ['manager', 'in-order']) broken.add(`${name} ${amount}`);
    await counters.add(amount, { tenant, correlationId: 'a talk' });
    const process = await dead('manager', tenant);
    assert.deepEqual(process.key, { root: undefined, domain: '', correlationId: 'a talk', tenant });
    const whole = await dead('in-order', tenant);
    assert.equal(whole.key, undefined);
    const shown = await raw.unary<DeadLetter>('deadLetters.get', { id: whole.id });
    assert.equal(shown.event!.cover!.tenant, tenant);
    assert.deepEqual(await listed({ subscription: 'in-order', tenant: 'another' }), []);
    broken.clear();
    for (const { id } of [process, whole]) await counters.client.deadLetters.replay({ id });
    await eventually('both go on', () => handled['in-order']!.includes(amount) && handled.manager!.includes(amount));
  });

  test('of a whole subscription are replayed together', async () => {
    const tenant = 'together';
    const all = [fresh(), fresh(), fresh()];
    for (const amount of all) broken.add(`seer ${amount}`);
    for (const amount of all) await counters.add(amount, { tenant });
    const dead = { subscription: 'seer', tenant, state: ParkedState.PARKED_STATE_DEAD };
    await eventually('all are dead', async () => (await listed(dead)).length === 3);
    broken.clear();
    assert.equal(await counters.client.deadLetters.replay({ subscription: 'seer' }), 3);
    await eventually('all are handled', () => all.every((amount) => handled.seer!.includes(amount)));
  });

  test('that catch up cannot be replayed or discarded', async () => {
    const key = `caught/counter/${'0'.repeat(32)}`;
    const partition = { subscription: 'seer', generation: 1, partition: 0 };
    const work = emptyWork();
    const times = { dueAtMicros: 1, parkedAtMicros: 1 };
    const row = {
      partition,
      key,
      state: 'draining',
      position: 2,
      firstPosition: 1,
      through: 1e9,
      attempts: 0,
    } as const;
    work.parked.push({ partition, key, version: 0, row: { ...row, ...times, reason: '', message: '', version: 0 } });
    const unit = { unitId: uuidv7(), appends: [], expectations: [], snapshots: [], outcomes: [], work };
    await store.commit([unit]);
    const [found] = await listed({ tenant: 'caught' });
    assert.equal(found!.state, ParkedState.PARKED_STATE_DRAINING);
    for (const [call, request] of [
      ['replay', { which: { $case: 'id', value: found!.id }, force: false }],
      ['discard', { id: found!.id, reason: '' }],
    ] as const) {
      const { reason, metadata } = await refused(`deadLetters.${call}`, request);
      assert.deepEqual([reason, metadata.field], ['INVALID_ARGUMENT', 'id']);
    }
  });
});

describe('outputs that fail', () => {
  test('are shown with their command and what waits behind, and are sent when they are replayed', async () => {
    const tenant = 'outputs';
    const root = uuidv7();
    const amount = fresh();
    broken.add(`other ${amount}`);
    await counters.add(1, { tenant, root });
    const { position } = await counters.add(amount, { tenant, root, correlationId: 'a letter' });
    await counters.add(2, { tenant, root });
    const found = await dead('teller', tenant);
    assert.deepEqual([found.position, found.attempts, found.reason], [position, 3, 'COMPONENT_FAULT']);
    assert.deepEqual([found.key!.domain, found.key!.tenant], ['counter', tenant]);
    const shown = await eventually('something waits behind it', async () => {
      const letter = await raw.unary<DeadLetter>('deadLetters.get', { id: found.id });
      return letter.waiting === 1 ? letter : undefined;
    });
    assert.deepEqual([shown.command!.cover!.domain, shown.command!.cover!.correlationId], ['other', 'a letter']);
    assert.equal(numberOf(shown.command!.pages[0]!.command!), amount);
    assert.equal(shown.event, undefined);
    broken.clear();
    await counters.client.deadLetters.replay({ id: found.id });
    await eventually('the lane goes on', () => handled.other!.join() === `1,${amount},2`);
    assert.equal((await refused('deadLetters.get', { id: found.id })).reason, 'NOT_FOUND');
  });

  test('go when they are discarded, and what waits behind them is sent', async () => {
    const tenant = 'dropped';
    const root = uuidv7();
    const amount = fresh();
    broken.add(`other ${amount}`);
    for (const each of [amount, 2]) await counters.add(each, { tenant, root });
    const { id } = await dead('teller', tenant);
    await counters.client.deadLetters.discard(id, { reason: 'nobody wants it' });
    await eventually('the lane goes on', () => handled.other!.join() === '2');
    assert(counters.daemon.logLines.some((line) => line.includes('nobody wants it') && line.includes('output')));
  });
});

describe('List', () => {
  test('pages over keys and then outputs, counts all, and shows every tenant when asked to', async () => {
    const amount = fresh();
    for (const name of ['seer', 'other']) broken.add(`${name} ${amount}`);
    for (const tenant of ['pages', 'pages', 'more']) await counters.add(amount, { tenant, root: uuidv7() });
    const state = ParkedState.PARKED_STATE_DEAD;
    await eventually('all are dead', async () => {
      const [seen, told] = [
        await listed({ tenant: 'pages', subscription: 'seer', state }),
        await listed({ tenant: 'pages', subscription: 'teller', state }),
      ];
      const more = await listed({ tenant: 'more', state });
      return seen.length === 2 && told.length === 2 && more.length === 2;
    });
    const pages: DeadLetter[] = [];
    const totals = new Set<number>();
    for (let pageToken = ''; ; ) {
      const query = { ...list, tenant: 'pages', state, pageSize: 1, pageToken };
      const page = await raw.unary<{ deadLetters: DeadLetter[]; nextPageToken: string; total: number }>(
        'deadLetters.list',
        query,
      );
      assert(page.deadLetters.length <= 1);
      pages.push(...page.deadLetters);
      totals.add(page.total);
      pageToken = page.nextPageToken;
      if (pageToken === '') break;
    }
    assert.equal(new Set(pages.map(({ id }) => id)).size, pages.length);
    assert.deepEqual([...totals], [pages.length]);
    assert.deepEqual(
      pages.map(({ subscription }) => subscription),
      ['seer', 'seer', 'teller', 'teller'],
    );
    const all = await listed({ allTenants: true, state });
    assert.equal(all.filter(({ subscription }) => subscription === 'teller').length, 3);
  });

  test('what makes no sense is refused', async () => {
    const unknown = await refused('deadLetters.list', { ...list, subscription: 'nobody' });
    assert.deepEqual([unknown.reason, unknown.metadata.field], ['INVALID_ARGUMENT', 'subscription']);
    assert.match(unknown.message, /there are in-order, manager, seer, teller$/);
    assert.equal((await refused('deadLetters.list', { ...list, state: 77 })).metadata.field, 'state');
    assert.equal((await refused('deadLetters.list', { ...list, pageToken: 'x' })).metadata.field, 'page_token');
    assert.equal((await refused('deadLetters.get', { id: 'x' })).metadata.field, 'id');
    assert.equal((await refused('deadLetters.replay', { which: undefined, force: false })).metadata.field, 'which');
    const id = Buffer.from(JSON.stringify(['parked', 'seer', 1, 0, 'gone'])).toString('base64url');
    for (const call of ['get', 'discard']) {
      const { code, reason, metadata } = await refused(`deadLetters.${call}`, { id, reason: '' });
      assert.deepEqual([code, reason, metadata.field], [5, 'NOT_FOUND', 'id']);
    }
  });
});
