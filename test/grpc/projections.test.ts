// Reading the rows that projectors made, over the wire.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { foldProjector, type Projection, packJson, unpackJson, uuidv7 } from '@daybook/client';
import type { ServiceError } from '@grpc/grpc-js';
import { Counters, counterOf, numberOf } from '../support/counters.ts';
import { detailsOf, TestClient } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';

const hex = (root: Uint8Array) => Buffer.from(root).toString('hex');
const contentOf = (row: Projection) => unpackJson(row.projection!)!.value;

/** One row for each counter: its total. `factor` is what another generation does differently. */
function totals(name: string, factor = 1, generation = 1) {
  return foldProjector<number>({
    name,
    domains: ['counter'],
    generation,
    initial: () => 0,
    evolve: (total, event) => (numberOf(event) === 666 ? undefined : total + factor * numberOf(event)),
    encode: (total) => packJson('Total', total),
    decode: (row) => numberOf(row),
  });
}

/** Rows under keys that a test chooses; a stuck one waits until it is let go. */
const gates = new Map<string, Promise<void>>();
const notes = {
  name: 'notes',
  domains: ['counter'],
  async project(pages: readonly { event: Parameters<typeof unpackJson>[0] }[], { tenant }: { tenant: string }) {
    await gates.get(tenant);
    return pages.map(({ event }) => ({ key: `n/${numberOf(event)}`, payload: packJson('Note', 'x'.repeat(1000)) }));
  },
};

let counters: Counters;
let raw: TestClient;

before(async () => {
  counters = await Counters.open({
    aggregates: [counterOf('counter'), counterOf('other')],
    projectors: [totals('totals'), notes],
  });
  raw = counters.daemon.client();
});
after(() => counters[Symbol.asyncDispose]());

/** What a watcher got, as it comes. */
class Watcher {
  readonly rows: Projection[] = [];
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  error: unknown;

  constructor(options: { projector: string; tenant?: string; keyPrefix?: string; changesOnly?: boolean }) {
    const rows = counters.client.projections.watch(options, { signal: this.#stop.signal });
    this.#running = (async () => {
      try {
        for await (const row of rows) this.rows.push(row);
      } catch (error) {
        this.error = error;
      }
    })();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }
}

async function refused(name: string, request: unknown) {
  const error = await raw.unary(name, request).then(
    () => assert.fail('expected an error'),
    (thrown: ServiceError) => thrown,
  );
  return { code: error.code, message: error.details, ...detailsOf(error) };
}

const get = { tenant: '', projector: 'totals', key: '', cover: undefined, consistencyToken: '' };
const list = { tenant: '', projector: 'totals', keyPrefix: '', pageSize: 0, pageToken: '', consistencyToken: '' };

describe('Get', () => {
  test('reads what was written, by the token, under the key or the cover of the aggregate', async () => {
    const root = uuidv7();
    await counters.add(2, { root });
    const { consistencyToken, position } = await counters.add(3, { root });
    const row = await counters.client.projections.get({
      projector: 'totals',
      domain: 'counter',
      root,
      consistencyToken,
    });
    assert.deepEqual([contentOf(row!), row!.sequence, row!.position, row!.key], [5, 1, position, hex(root)]);
    assert.deepEqual(await counters.client.projections.get({ projector: 'totals', key: hex(root) }), row);
  });

  test('a row that was never made, or is gone, answers NOT_FOUND', async () => {
    const found = await refused('projections.get', { ...get, key: 'nowhere' });
    assert.deepEqual([found.code, found.reason, found.metadata.field], [5, 'NOT_FOUND', 'key']);
    const root = uuidv7();
    await counters.add(1, { root });
    const { consistencyToken } = await counters.add(666, { root });
    const gone = await refused('projections.get', { ...get, key: hex(root), consistencyToken });
    assert.equal(gone.reason, 'NOT_FOUND');
    assert.equal(await counters.client.projections.get({ projector: 'totals', key: hex(root) }), undefined);
  });

  test('tenants do not see each other', async () => {
    const root = uuidv7();
    const { consistencyToken } = await counters.add(1, { root, tenant: 'acme' });
    const query = { projector: 'totals', domain: 'counter', root, consistencyToken };
    assert.equal(contentOf((await counters.client.projections.get({ ...query, tenant: 'acme' }))!), 1);
    assert.equal(await counters.client.projections.get(query), undefined);
  });

  test('what makes no sense is refused', async () => {
    const unknown = await refused('projections.get', { ...get, projector: 'tottals', key: 'x' });
    assert.deepEqual([unknown.reason, unknown.metadata.field], ['INVALID_ARGUMENT', 'projector']);
    assert.match(unknown.message, /there is no "tottals"; there are notes, totals$/);
    assert.equal((await refused('projections.get', get)).metadata.field, 'key');
    const cover = { root: { value: uuidv7() }, domain: 'counter', correlationId: '', tenant: '' };
    assert.equal((await refused('projections.get', { ...get, key: 'x', cover })).metadata.field, 'key');
    const token = await refused('projections.get', { ...get, key: 'x', consistencyToken: 'mine' });
    assert.equal(token.metadata.field, 'consistency_token');
  });

  test('a token that the projector does not pass in time ends in WAIT_TIMEOUT', async () => {
    const gate = Promise.withResolvers<void>();
    gates.set('slow', gate.promise);
    const { consistencyToken } = await counters.add(1, { tenant: 'slow' });
    const query = { ...get, projector: 'notes', tenant: 'slow', key: 'n/1', consistencyToken };
    await assert.rejects(raw.unary('projections.get', query, { deadlineMs: 300 }), (error: ServiceError) => {
      assert.equal(detailsOf(error).reason, 'WAIT_TIMEOUT');
      return true;
    });
    gate.resolve();
    gates.delete('slow');
    assert.equal((await raw.unary<Projection>('projections.get', query)).key, 'n/1');
  });
});

describe('List', () => {
  test('pages in order of keys, by prefix', async () => {
    const tenant = 'lists';
    let token = '';
    for (const n of [3, 1, 20, 2]) ({ consistencyToken: token } = await counters.add(n, { tenant }));
    const query = { projector: 'notes', tenant, keyPrefix: 'n/', consistencyToken: token };
    const first = await counters.client.projections.list({ ...query, pageSize: 3 });
    assert.deepEqual(
      first.projections.map(({ key }) => key),
      ['n/1', 'n/2', 'n/20'],
    );
    const second = await counters.client.projections.list({ ...query, pageSize: 3, pageToken: first.nextPageToken });
    assert.deepEqual([second.projections.map(({ key }) => key), second.nextPageToken], [['n/3'], '']);
    const two = await counters.client.projections.list({ ...query, keyPrefix: 'n/2' });
    assert.deepEqual([two.projections.map(({ key }) => key), two.nextPageToken], [['n/2', 'n/20'], '']);
    const all = await counters.client.projections.list({ ...query, pageSize: 4 });
    assert.equal(all.nextPageToken, '');
  });

  test('a token of something else is refused', async () => {
    const found = await refused('projections.list', { ...list, pageToken: 'bm90IGpzb24' });
    assert.equal(found.metadata.field, 'page_token');
  });
});

describe('Watch', () => {
  test('sends what is there, then each change once', async () => {
    const tenant = 'watched';
    const root = uuidv7();
    const { consistencyToken } = await counters.add(1, { tenant, root });
    await counters.client.projections.get({ projector: 'totals', tenant, key: 'none', consistencyToken });
    const all = new Watcher({ projector: 'totals', tenant });
    const changes = new Watcher({ projector: 'totals', tenant, changesOnly: true });
    await eventually('the first row', () => all.rows.length === 1);
    await eventually('the watcher of changes has begun', async () => {
      await counters.add(1, { tenant });
      return changes.rows.length > 0;
    });
    for (let amount = 2; amount <= 4; amount++) await counters.add(amount, { tenant, root });
    const own = (watcher: Watcher) => watcher.rows.filter(({ key }) => key === hex(root));
    await eventually('the newest state', () => contentOf(own(all).at(-1)!) === 10 && own(changes).length > 0);
    await eventually('the newest state', () => contentOf(own(changes).at(-1)!) === 10);
    await counters.add(666, { tenant, root });
    await eventually('it is gone', () => own(all).at(-1)!.deleted && own(changes).at(-1)!.deleted);
    for (const watcher of [all, changes]) {
      const places = watcher.rows.map(({ key, position }) => `${key} ${position}`);
      assert.equal(new Set(places).size, places.length, 'none twice');
      const positions = own(watcher).map(({ position }) => position);
      assert.deepEqual(
        positions,
        [...positions].sort((a, b) => a - b),
      );
      await watcher.stop();
    }
    assert.equal(
      changes.rows.some((row) => row.key === hex(root) && !row.deleted && contentOf(row) === 1),
      false,
    );
  });

  test('only keys with the prefix, and only of the tenant', async () => {
    const tenant = 'prefixed';
    const watcher = new Watcher({ projector: 'notes', tenant, keyPrefix: 'n/7' });
    await counters.add(7, { tenant: 'elsewhere' });
    for (const n of [1, 7, 8, 70]) await counters.add(n, { tenant });
    await eventually('both', () => watcher.rows.length === 2);
    assert.deepEqual(watcher.rows.map(({ key }) => key).sort(), ['n/7', 'n/70']);
    await watcher.stop();
  });

  test('rows of keys that were parked come when they are handled', async () => {
    const tenant = 'parked-rows';
    let broken = true;
    const fragile = {
      ...notes,
      name: 'fragile',
      project(pages: readonly { event: Parameters<typeof unpackJson>[0] }[]) {
        if (broken) throw new Error('not now');
        return pages.map(({ event }) => ({ key: `f/${numberOf(event)}`, payload: packJson('Note', 1) }));
      },
    };
    const host = await counters.host({ projectors: [fragile] });
    const root = uuidv7();
    await counters.add(1, { tenant, root });
    await eventually('it is dead', async () => {
      const { deadLetters } = await counters.client.deadLetters.list({
        subscription: 'fragile',
        tenant,
        state: 'dead',
      });
      return deadLetters.length === 1;
    });
    const watcher = new Watcher({ projector: 'fragile', tenant, changesOnly: true });
    const others = eventually('the watcher has begun', async () => {
      broken = false;
      await counters.add(5, { tenant });
      return watcher.rows.some(({ key }) => key === 'f/5');
    });
    await others;
    assert.equal(
      watcher.rows.some(({ key }) => key === 'f/1'),
      false,
    );
    await counters.client.deadLetters.replay({ subscription: 'fragile' });
    await eventually('the row of the key', () => watcher.rows.some(({ key }) => key === 'f/1'));
    await watcher.stop();
    await host.close();
  });

  test('after a switch to another generation the rows that differ come, and no others', async () => {
    const tenant = 'switched';
    const first = await counters.host({ projectors: [totals('rebuilt')] });
    const [same, other] = [uuidv7(), uuidv7()];
    await counters.add(0, { tenant, root: same });
    const { consistencyToken } = await counters.add(5, { tenant, root: other });
    await counters.client.projections.get({ projector: 'rebuilt', tenant, key: 'none', consistencyToken });
    const watcher = new Watcher({ projector: 'rebuilt', tenant });
    await eventually('both rows', () => watcher.rows.length === 2);
    await first.close();
    const second = await counters.host({ projectors: [totals('rebuilt', 100, 2)] });
    await eventually('the row that differs', () => watcher.rows.length === 3);
    assert.deepEqual([watcher.rows[2]!.key, contentOf(watcher.rows[2]!)], [hex(other), 500]);
    await counters.add(1, { tenant, root: same });
    await eventually('changes go on', () => watcher.rows.length === 4);
    assert.deepEqual([watcher.rows[3]!.key, contentOf(watcher.rows[3]!)], [hex(same), 100]);
    await watcher.stop();
    await second.close();
  });

  test('an unknown projector is refused, and a daemon that stops ends the stream', async () => {
    const wrong = new Watcher({ projector: 'nobody' });
    await eventually('it ends', () => wrong.error !== undefined);
    assert.equal((wrong.error as { reason: string }).reason, 'INVALID_ARGUMENT');
    const own = await Counters.open({ projectors: [totals('totals')] });
    const client = new TestClient(own.daemon.address);
    const stream = client.serverStream<Projection>('projections.watch', {
      tenant: '',
      projector: 'totals',
      keyPrefix: '',
      consistencyToken: '',
      changesOnly: false,
    });
    const rows: Projection[] = [];
    stream.on('data', (row: Projection) => rows.push(row));
    const ended = new Promise<ServiceError>((resolve) => stream.on('error', resolve));
    await own.add(1);
    await eventually('it is live', () => rows.length === 1);
    const begun = performance.now();
    const [error] = await Promise.all([ended, own[Symbol.asyncDispose]()]);
    assert.equal(detailsOf(error).reason, 'SHUTTING_DOWN');
    assert(performance.now() - begun < 5000);
    client.close();
  });
});
