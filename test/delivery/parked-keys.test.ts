import assert from 'node:assert/strict';
import { test } from 'node:test';
import { emptyWork } from '../../src/coordinators/reaction.ts';
import { DaybookError } from '../../src/errors.ts';
import { orderingKey, partitionOf } from '../../src/model/ordering.ts';
import type { ProjectorRequest } from '../../src/model/reaction.ts';
import { streamSlice } from '../../src/model/slice.ts';
import { systemRuntime } from '../../src/runtime.ts';
import { openMemory } from '../../src/stores/memory.ts';
import { newRoot } from '../support/books.ts';
import { inOnePartition, isSettled, memory, NOTHING, parked, STORES } from '../support/delivery.ts';
import { eventually } from '../support/eventually.ts';
import { TestReactor, World } from '../support/world.ts';

/** Nothing is tried again by itself. */
const SLOW = { reactionRetryMinMs: 60_000, reactionRetryMaxMs: 60_000 };

const hex = (root: Uint8Array) => Buffer.from(root).toString('hex');

test('an event that comes while a parked key looks for its last one is handled, too', async () => {
  const store = openMemory({ logId: '0'.repeat(36), incarnation: '1'.repeat(36) });
  // Both in one partition.
  const slice = (root: Uint8Array) => streamSlice({ tenant: '', domain: 'account', root });
  const [held, other] = Array.from({ length: 1000 }, newRoot).filter((root) => slice(root) < 512) as [
    Uint8Array,
    Uint8Array,
  ];
  const handled: number[] = [];
  let failing = true;
  let armed = false;
  const reactor = new TestReactor<'projector'>(
    'projector',
    'one',
    (request: ProjectorRequest) => {
      const { cover, pages } = request.events!;
      const ours = hex(cover!.root!.value) === hex(held);
      if (ours && failing) throw new Error('not now');
      if (ours) {
        handled.push(...pages.map(({ sequence }) => sequence));
        armed = true;
      } else failing = false;
      return { projections: [] };
    },
    { partitions: 2 },
  );
  // The retry lane's look for more, after it handled the first event, takes its time.
  const looking = Promise.withResolvers<void>();
  const looked = Promise.withResolvers<void>();
  const slow = new Proxy(store, {
    get(target, name) {
      const value = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      if (name !== 'readStream') return value.bind(target);
      return async (...args: Parameters<typeof store.readStream>) => {
        const found = await target.readStream(...args);
        if (armed && hex(args[0].root) === hex(held)) {
          armed = false;
          looking.resolve();
          await looked.promise;
        }
        return found;
      };
    },
  });
  await using world = await World.open({ store: slow, reactors: [reactor], limits: { reactionAttempts: 1000 } });
  await world.deposit(held);
  await eventually('the key is parked', () => world.logLines.some((line) => line.includes('its key is parked')));
  // Further on in the log, so that there is something to look through.
  await world.deposit(other);
  await looking.promise;
  const { events } = await world.deposit(held);
  const { position } = events!.pages[0]!;
  const partition = world.engine.delivery.subscriptions[0]!.partition(0);
  await eventually('it was offered', () => partition!.scanned >= position);
  looked.resolve();
  await eventually('the key has caught up', () => partition!.position >= position && partition!.parked.rows === 0);
  assert.deepEqual(handled, [0, 1]);
});

test('a key that fails again before the cursor has passed it keeps what its retry lane has handled', async () => {
  const [stuck, other] = inOnePartition();
  const { promise: released, resolve: release } = Promise.withResolvers<typeof NOTHING>();
  let failing = true;
  const reactor = new TestReactor<'projector'>(
    'projector',
    'p',
    ({ events }) => {
      if (hex(events!.cover!.root!.value) === hex(stuck)) return released;
      if (failing) throw new Error('not now');
      return NOTHING;
    },
    { partitions: 2 },
  );
  await using world = await World.open({ store: memory(), reactors: [reactor], limits: { reactionRetryMinMs: 10 } });
  await world.deposit(stuck);
  const { events } = await world.deposit(other);
  const first = events!.pages[0]!.position;
  const row = async () => (await parked(world, 'p'))[0];
  await eventually('it is parked', async () => (await row())?.state === 'retrying');
  failing = false;
  await eventually('it has caught up', async () => (await row())?.state === 'draining');
  failing = true;
  const again = (await world.deposit(other)).events!.pages[0]!.position;
  const second = await eventually('it is parked again', async () => {
    const found = await row();
    return found?.state === 'retrying' && found;
  });
  release(NOTHING);
  assert.deepEqual([second.firstPosition, second.position], [first, again]);
});

for (const [kind, open] of Object.entries(STORES))
  test(`trap 41: what a parked key has handled beyond the cursor is not handled again after a restart (${kind})`, async () => {
    await using opened = await open();
    const { store } = opened;
    const root = newRoot();
    const reactor = (handler: (request: ProjectorRequest) => typeof NOTHING) =>
      new TestReactor('projector', 'p', handler);
    {
      await using world = await World.open({ store, reactors: [reactor(() => assert.fail('not yet'))], limits: SLOW });
      await world.deposit(root);
      await eventually('it is parked', async () => (await parked(world, 'p')).length === 1);
      for (let i = 0; i < 4; i++) await world.deposit(root);
    }
    // As a daemon leaves it that died when the key had handled three events, and the cursor had not moved yet.
    await store.removeGeneration('p', 1, 1000);
    const seen: number[] = [];
    const late = reactor((request) => {
      seen.push(...request.events!.pages.map(({ sequence }) => sequence));
      return NOTHING;
    });
    late.available = false;
    const definition = {
      name: 'p',
      kind: 'projector',
      generation: 1,
      version: 1_000_001,
      domains: [],
      types: [],
    } as const;
    await store.declare({ ...definition, partitions: 16, startAfter: 0, sync: true, paused: false });
    const cover = { tenant: '', domain: 'account', root: { value: root }, correlationId: '' };
    const partition = { subscription: 'p', generation: 1, partition: partitionOf('stream', cover, 16) };
    const { epoch } = (await store.acquire(partition, 'dead', 1_000_001))!;
    const work = emptyWork();
    work.fences.push({ partition, epoch });
    const key = orderingKey('stream', cover);
    const times = { dueAtMicros: 0, parkedAtMicros: 0 };
    const at = { position: 4, firstPosition: 1, through: 0, attempts: 0 };
    const parkedRow = {
      partition,
      key,
      state: 'retrying',
      ...at,
      ...times,
      reason: '',
      message: '',
      version: 0,
    } as const;
    work.parked.push({ partition, key, version: 0, row: parkedRow });
    const unitId = new Uint8Array(16).fill(3);
    await store.commit([{ unitId, appends: [], expectations: [], snapshots: [], outcomes: [], work }]);
    await store.release(partition, epoch);
    await using world = await World.open({ store, reactors: [late] });
    late.available = true;
    await eventually('all is handled', () => isSettled(world, 'p'));
    assert.deepEqual(seen, [3, 4]);
  });

test('trap 23: attempts are not forgotten in a restart, also when an earlier event is not finished yet', async () => {
  // Moved on, so that what was to wait is due after the restart.
  let laterMicros = 0;
  const identity = { logId: '0'.repeat(36), incarnation: '1'.repeat(36) };
  const store = openMemory(identity, () => systemRuntime().nowMicros() + laterMicros);
  const slice = (root: Uint8Array) => streamSlice({ tenant: '', domain: 'account', root });
  const [slow, poison] = Array.from({ length: 1000 }, newRoot).filter((root) => slice(root) < 512) as [
    Uint8Array,
    Uint8Array,
  ];
  const attempts: number[] = [];
  const open = () => {
    const reactor = new TestReactor(
      'projector',
      'p',
      async ({ events, delivery }) => {
        if (hex(events!.cover!.root!.value) === hex(slow)) await new Promise(() => {});
        attempts.push(delivery!.attempt);
        throw new Error('poison');
      },
      { partitions: 2 },
    );
    return World.open({ store, reactors: [reactor], instance: 'one', limits: { ...SLOW, reactionAttempts: 4 } });
  };
  for (let n = 1; n <= 4; n++) {
    const world = await open();
    if (n === 1) {
      await world.deposit(slow);
      await world.deposit(poison);
    }
    await eventually('it was tried again', async () => (await parked(world, 'p'))[0]?.attempts === n);
    laterMicros += 600e6;
    await world.engine.drain(0);
    world.engine.close();
  }
  assert.deepEqual(attempts, [1, 2, 3, 4]);
  assert.equal((await store.listParked({ subscription: 'p', limit: 10 }))[0]!.state, 'dead');
});

test('a replay of everything while the store goes away fails, and does not end the daemon', async () => {
  const store = openMemory({ logId: '0'.repeat(36), incarnation: '1'.repeat(36) });
  let away = false;
  const failing = new Proxy(store, {
    get(target, name) {
      const value = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      return async (...args: unknown[]) => {
        if (away && name === 'readParked') throw new DaybookError('STORE_UNAVAILABLE', 'it is away');
        // A failure that nobody listens to until this comes would be one too many.
        if (away && name === 'listOutbox') await new Promise((resolve) => setImmediate(resolve));
        return Reflect.apply(value, target, args);
      };
    },
  });
  const reactor = new TestReactor('projector', 'p', () => {
    throw new Error('never');
  });
  await using world = await World.open({
    store: failing,
    reactors: [reactor],
    limits: { ...SLOW, reactionAttempts: 1 },
  });
  await world.deposit();
  await eventually(
    'it is a dead letter',
    async () => (await store.listParked({ state: 'dead', limit: 1 })).length === 1,
  );
  away = true;
  const caller = { deadlineMs: Infinity, signal: new AbortController().signal };
  await assert.rejects(world.engine.deadLetters.replayAll('p', caller), { reason: 'STORE_UNAVAILABLE' });
  away = false;
});
