// What every store must do for delivery, as a user of src/store.ts sees it. Each test has subscriptions of its own. Time is
// the test's: stores are opened with its clock.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { rowVersion } from '../../src/model/subscription.ts';
import type {
  AcquiredPartition,
  HostShare,
  OutboxRow,
  ParkedKey,
  PartitionKey,
  ProjectionRow,
  Store,
  SubscriptionDefinition,
  Unit,
  UnitResult,
  WorkPart,
} from '../../src/store.ts';
import { deliveryState } from '../support/delivery-state.ts';
import {
  ANY,
  append,
  exactly,
  freshKey,
  freshStream,
  NO_STREAM,
  outcome,
  snapshot,
  unit,
  writing,
} from '../support/store-units.ts';
import {
  definition,
  freshName,
  outboxKey,
  outboxRow,
  parkedKey,
  projection,
  timerKey,
  timerRow,
  work,
  working,
} from '../support/work-units.ts';

const NOBODY = new Uint8Array(0);
const TTL_MS = 12_000;
const EVER = Number.MAX_SAFE_INTEGER;

export function deliveryContract(name: string, open: (clock: () => number) => Promise<Store>): void {
  describe(`${name}: the delivery contract`, () => {
    let nowMicros = 1_700_000_000_000_000;
    const pass = (ms: number) => {
      nowMicros += ms * 1000;
    };
    let store: Store;
    before(async () => {
      store = await open(() => nowMicros);
    });
    after(() => store.close());

    const commit = async (one: Unit): Promise<UnitResult> => (await store.commit([one]))[0]!;
    const committed = async (one: Unit) => {
      const result = await commit(one);
      assert(result.kind === 'committed', `the unit ended as ${JSON.stringify(result)}`);
      return result;
    };
    const fenced = async (one: Unit, what: RegExp) => {
      const before = await store.head();
      const result = await commit(one);
      assert(result.kind === 'fenced', `the unit ended as ${result.kind}`);
      assert.match(result.what, what);
      assert.deepEqual(await store.head(), before, 'nothing was stored');
    };
    const internal = async (...units: Unit[]) => {
      await assert.rejects(store.commit(units), { name: 'DaybookError', reason: 'INTERNAL' });
    };

    /** A daemon that is there, with a partition of its own. */
    const held = async (parts: Partial<SubscriptionDefinition> = {}) => {
      const declared = await store.declare(definition(parts));
      const partition: PartitionKey = { subscription: declared.name, generation: declared.generation, partition: 0 };
      const instance = freshName();
      await store.heartbeat(instance, NOBODY, TTL_MS);
      const { epoch } = (await store.acquire(partition, instance, 1))!;
      const fences = [{ partition, epoch }];
      const move = (from: number, to: number) => ({ partition, epoch, from, to });
      return { name: declared.name, partition, instance, epoch, fences, move };
    };
    const cursorOf = async (partition: PartitionKey) =>
      (await store.listCursors(partition.subscription)).find(
        (cursor) => cursor.generation === partition.generation && cursor.partition === partition.partition,
      )!;

    describe('instances and leases', () => {
      test('times are by the store’s own clock', async () => {
        assert.equal(await store.now(), nowMicros);
        pass(5);
        assert.equal(await store.now(), nowMicros);
      });

      test('a heartbeat says who is there, until it expires', async () => {
        const [a, b] = [`a-${randomUUID()}`, `b-${randomUUID()}`];
        const own = async (instance: string, body: Uint8Array, ttlMs: number) =>
          (await store.heartbeat(instance, body, ttlMs)).filter((row) => [a, b].includes(row.instance));
        const start = nowMicros;
        await own(b, Uint8Array.of(2), 1000);
        const expected = (instance: string, byte: number, at: number, ttlMs: number) => ({
          instance,
          body: Uint8Array.of(byte),
          heartbeatAtMicros: at,
          expiresAtMicros: at + ttlMs * 1000,
        });
        const both = await own(a, Uint8Array.of(1), 2000);
        assert.deepEqual(both, [expected(a, 1, start, 2000), expected(b, 2, start, 1000)]);
        pass(1000);
        assert.deepEqual(await own(a, Uint8Array.of(3), 2000), [expected(a, 3, nowMicros, 2000)]);
      });

      test('a partition has one owner, and each acquisition a new epoch', async () => {
        const { name } = await store.declare(definition());
        const partition = { subscription: name, generation: 1, partition: 1 };
        const instances = Array.from({ length: 4 }, freshName);
        for (const instance of instances) await store.heartbeat(instance, NOBODY, TTL_MS);
        const taken = await Promise.all(instances.map((instance) => store.acquire(partition, instance, 3)));
        const [winner, ...others] = taken.filter((one) => one !== undefined);
        assert.equal(others.length, 0);
        assert.deepEqual(winner, {
          ...partition,
          position: 0,
          epoch: 1,
          owner: winner!.owner,
          definitionVersion: 3,
          takenFrom: undefined,
        });
        const { takenFrom: _, ...cursor } = winner!;
        assert.deepEqual(await cursorOf(partition), cursor);
        assert.equal((await cursorOf({ ...partition, partition: 0 })).owner, undefined);
        assert.equal(await store.acquire({ ...partition, partition: 2 }, instances[0]!, 3), undefined);
        assert.equal(await store.acquire({ ...partition, generation: 2 }, instances[0]!, 3), undefined);
        const again = await store.acquire(partition, winner!.owner!, 3);
        assert.deepEqual([again?.epoch, again?.takenFrom], [2, winner!.owner], 'an answer that was lost');
      });

      test('trap 15: a lease is kept by heartbeats alone, however idle its owner, and ends with them', async () => {
        const { partition, instance, epoch } = await held();
        const other = freshName();
        for (let i = 0; i < 5; i++) {
          pass(TTL_MS - 1);
          await store.heartbeat(instance, NOBODY, TTL_MS);
          await store.heartbeat(other, NOBODY, TTL_MS);
          assert.equal(await store.acquire(partition, other, 1), undefined);
        }
        pass(TTL_MS - 1);
        assert.equal(await store.acquire(partition, other, 1), undefined);
        pass(1);
        const taken = await store.acquire(partition, other, 1);
        assert.deepEqual([taken?.epoch, taken?.owner, taken?.takenFrom], [epoch + 1, other, instance]);
        for (const one of [other, instance]) await store.heartbeat(one, NOBODY, TTL_MS);
        assert.equal(await store.acquire(partition, instance, 1), undefined, 'waking up does not bring it back');
      });

      test('an owner whose heartbeat is late works on while nobody took over', async () => {
        const { partition, fences, move } = await held();
        pass(TTL_MS * 10);
        await committed(working({ fences, cursors: [move(0, 3)] }));
        assert.equal((await cursorOf(partition)).position, 3);
      });

      test('release is by epoch and immediate; what was released is not held', async () => {
        const { partition, epoch, fences, move } = await held();
        const other = freshName();
        await store.heartbeat(other, NOBODY, TTL_MS);
        await store.release(partition, epoch - 1);
        assert.equal(await store.acquire(partition, other, 1), undefined);
        await store.release(partition, epoch);
        await fenced(working({ fences }), /not held any more/);
        await fenced(working({ cursors: [move(0, 1)] }), /not held any more/);
        const taken = await store.acquire(partition, other, 1);
        assert.deepEqual([taken?.epoch, taken?.takenFrom], [epoch + 1, undefined]);
        await store.release(partition, epoch);
        assert.equal((await cursorOf(partition)).owner, other, 'a late release of the past releases nothing');
      });

      test('leaving gives back everything, and only what is one’s own', async () => {
        const { partition, instance, fences } = await held();
        const second = { ...partition, partition: 1 };
        await store.acquire(second, instance, 1);
        const neighbour = await held();
        await store.leave(instance);
        assert.equal((await cursorOf(partition)).owner, undefined);
        assert.equal((await cursorOf(second)).owner, undefined);
        assert.equal((await cursorOf(neighbour.partition)).owner, neighbour.instance);
        await fenced(working({ fences }), /not held any more/);
        const there = await store.heartbeat(neighbour.instance, NOBODY, TTL_MS);
        assert(!there.some((row) => row.instance === instance));
      });

      test('trap 52: who filters by an older definition does not get what a newer one has held', async () => {
        const { name } = await store.declare(definition({ version: 1 }));
        const [old, fresh] = [freshName(), freshName()];
        for (const instance of [old, fresh]) await store.heartbeat(instance, NOBODY, TTL_MS);
        const partition = { subscription: name, generation: 1, partition: 0 };
        const first = (await store.acquire(partition, old, 1))!;
        await store.release(partition, first.epoch);
        const second = (await store.acquire(partition, fresh, 2))!;
        assert.equal(second.definitionVersion, 2);
        await store.release(partition, second.epoch);
        assert.equal(await store.acquire(partition, old, 1), undefined);
        assert.equal((await store.acquire(partition, old, 2))?.definitionVersion, 2);
      });
    });

    describe('subscriptions', () => {
      test('are declared with a cursor for each partition', async () => {
        const one = definition({
          domains: ['order', 'stock'],
          types: ['a.B'],
          partitions: 3,
          startAfter: 7,
          sync: false,
        });
        assert.deepEqual(await store.declare(one), one);
        assert.deepEqual(
          (await store.listSubscriptions()).filter(({ name }) => name === one.name),
          [one],
        );
        const cursor = { subscription: one.name, generation: 1, position: 7, epoch: 0, owner: undefined };
        assert.deepEqual(
          await store.listCursors(one.name),
          [0, 1, 2].map((partition) => ({ ...cursor, partition, definitionVersion: 0 })),
        );
      });

      test('trap 52: a newer version replaces the declaration, an older or an equal one changes nothing', async () => {
        const one = definition({ version: 2, types: ['a'], partitions: 2, startAfter: 5 });
        await store.declare(one);
        assert.deepEqual(await store.declare({ ...one, version: 1, types: ['b'] }), one);
        assert.deepEqual(await store.declare({ ...one, types: ['b'] }), one);
        await store.setPaused(one.name, true);
        const newer = {
          ...one,
          version: 3,
          types: ['a', 'b'],
          domains: ['x'],
          sync: false,
          partitions: 8,
          startAfter: 0,
        };
        const expected = { ...newer, partitions: 2, startAfter: 5, paused: true };
        assert.deepEqual(await store.declare(newer), expected, 'partitions, start and pause stay');
        assert.equal((await store.listCursors(one.name)).length, 2);
      });

      test('another generation of the component does not take the place of one that has its number', async () => {
        const one = definition({ version: rowVersion({ generation: 1, version: 1 }) });
        await store.declare(one);
        const two = { ...one, version: rowVersion({ generation: 2, version: 1 }), types: ['b'], partitions: 8 };
        assert.deepEqual(await store.declare(two), one);
        const filter = { ...one, version: rowVersion({ generation: 1, version: 2 }), types: ['b'] };
        assert.deepEqual(await store.declare(filter), filter);
      });

      test('are listed in order of name and generation, and paused in all generations', async () => {
        const [a, b] = [`a-${randomUUID()}`, `b-${randomUUID()}`];
        for (const [name, generation] of [
          [b, 1],
          [a, 10],
          [a, 2],
        ] as const) {
          await store.declare(definition({ name, generation, partitions: 1 }));
        }
        const listed = async () => (await store.listSubscriptions()).filter(({ name }) => name === a || name === b);
        assert.deepEqual(
          (await listed()).map(({ name, generation }) => [name, generation]),
          [
            [a, 2],
            [a, 10],
            [b, 1],
          ],
        );
        const paused = async () => (await listed()).map((one) => one.paused);
        await store.setPaused(a, true);
        assert.deepEqual(await paused(), [true, true, false]);
        await store.setPaused(a, false);
        assert.deepEqual(await paused(), [false, false, false]);
        const cursors = (await store.listCursors()).filter((c) => c.subscription === a || c.subscription === b);
        assert.deepEqual(
          cursors.map(({ subscription, generation }) => [subscription, generation]),
          [
            [a, 2],
            [a, 10],
            [b, 1],
          ],
        );
      });

      test('a generation is removed with everything that is its own, projections in batches', async () => {
        const one = await held({ kind: 'projector' });
        const { name, partition, fences } = one;
        await store.declare(definition({ name, kind: 'projector', generation: 2 }));
        const second = { ...partition, generation: 2 };
        const timer = timerRow(timerKey(name, 'p', 't'), 1);
        const rows = (generation: number) =>
          Array.from({ length: 5 }, (_, i) => projection(name, `${i}`, { generation }));
        await committed(
          working({
            done: [partition, second].map((place) => ({ partition: place, position: 3 })),
            parked: [partition, second].map((place) => ({
              partition: place,
              key: 'k',
              version: 0,
              row: parkedKey(place, 'k', { state: 'draining', through: 1000 }),
            })),
            outboxAdded: [partition, second].map((place) => outboxRow(place, { position: 3 })),
            timers: [{ key: timer, version: 0, row: timer }],
            projections: [...rows(1), ...rows(2)],
          }),
        );
        const left = async (generation: number) =>
          (await store.listProjections({ tenant: '', projector: name, generation, prefix: '', limit: 99 })).length;
        assert.equal(await store.removeGeneration(name, 1, 2), true);
        assert.equal(await left(1), 5, 'readers get it');
        assert.equal(await store.switchGeneration(name, 1, 2), true);
        assert.equal(await store.removeGeneration(name, 1, 2), false);
        await fenced(working({ fences }), /there is no partition/);
        assert.equal(await left(1), 3);
        const listed = async () => (await store.listSubscriptions()).filter((each) => each.name === name).length;
        assert.equal(await listed(), 2, 'who stops now finds out later what is left');
        assert.equal(await store.removeGeneration(name, 1, 2), false);
        assert.equal(await store.removeGeneration(name, 1, 2), true);
        assert.equal(await store.removeGeneration(name, 1, 2), true);
        assert.equal(await left(1), 0);
        assert.equal(await listed(), 1);
        assert.equal(await store.activeGeneration(name), 2);
        const [state] = await deliveryState(store, [name]);
        assert.deepEqual(
          [state!.generations, state!.cursors, state!.parked, state!.outbox].map((all) => all.length),
          [1, 2, 1, 1],
        );
        assert.deepEqual(state!.partitions[0]!.done, [3]);
        assert.deepEqual(await store.listDone(partition), []);
        assert.equal(await left(2), 5);
        assert.notEqual(await store.readTimer(timer), undefined, 'timers belong to the subscription');
        assert.equal(await store.removeGeneration(name, 2, 100), true);
        assert.equal(await store.readTimer(timer), undefined);
        await store.declare(definition({ name, kind: 'projector', startAfter: 9 }));
        assert.equal((await cursorOf(partition)).position, 9, 'declared anew, it begins anew');
      });
    });

    describe('cursors and fences', () => {
      test('trap 14: a cursor moves from where it must be, by who holds it, in the unit of the effect', async () => {
        const { partition, epoch, move } = await held();
        const stream = freshStream();
        await committed(unit({ appends: [append(stream, NO_STREAM)], work: work({ cursors: [move(0, 4)] }) }));
        assert.equal((await cursorOf(partition)).position, 4);
        await fenced(working({ cursors: [move(0, 5)] }), /is at 4, not at 0/);
        await fenced(working({ cursors: [{ ...move(4, 5), epoch: epoch - 1 }] }), /with epoch 1, not 0/);
        await fenced(working({ cursors: [{ ...move(4, 5), epoch: epoch + 1 }] }), /with epoch 1, not 2/);
        const missing = { ...partition, partition: 9 };
        await fenced(working({ cursors: [{ ...move(4, 5), partition: missing }] }), /there is no partition 9/);
        await committed(working({ cursors: [move(4, 4)] }));
        await committed(working({ cursors: [move(4, 9)] }));
        assert.equal((await cursorOf(partition)).position, 9);
      });

      test('trap 14: a stale owner stores nothing at all: no event, no outcome, no row', async () => {
        const { partition, epoch, move, name, fences } = await held({ kind: 'projector' });
        pass(TTL_MS);
        const thief = freshName();
        await store.heartbeat(thief, NOBODY, TTL_MS);
        const taken = (await store.acquire(partition, thief, 1))!;
        const before = await deliveryState(store, [name]);
        const stream = freshStream();
        const watched = freshStream();
        await committed(writing(watched, NO_STREAM));
        const key = freshKey();
        for (const guard of [{ fences }, { cursors: [move(0, 5)] }]) {
          const stale = unit({
            appends: [append(stream, ANY, 3)],
            snapshots: [{ stream: watched, snapshot: snapshot(0) }],
            outcomes: [outcome(key)],
            work: work({
              ...guard,
              done: [{ partition, position: 7 }],
              parked: [{ partition, key: 'k', version: 0, row: parkedKey(partition, 'k') }],
              outboxAdded: [outboxRow(partition, { position: 7 })],
              timers: [{ key: timerKey(name, 'p', 't'), version: 0, row: timerRow(timerKey(name, 'p', 't'), 1) }],
              projections: [projection(name, 'k')],
            }),
          });
          await fenced(stale, new RegExp(`with epoch ${taken.epoch}, not ${epoch}`));
        }
        assert.equal((await store.readStream(stream, { from: 0, maxBytes: 1000 })).nextSequence, 0);
        assert.equal(await store.readSnapshot(watched, 1, 9), undefined);
        assert.equal(await store.readOutcome(key), undefined);
        assert.deepEqual(await deliveryState(store, [name]), before);
      });

      test('units of one batch are fenced each for itself, and later ones see earlier ones', async () => {
        const { partition, move } = await held();
        const results = await store.commit([
          working({ cursors: [move(0, 1)] }),
          working({ cursors: [move(0, 2)] }),
          writing(freshStream(), NO_STREAM),
          working({ cursors: [move(1, 2)], done: [{ partition, position: 5 }] }),
          working({ done: [{ partition, position: 5 }] }),
          working({ cursors: [move(2, 3)] }),
        ]);
        assert.deepEqual(
          results.map(({ kind }) => kind),
          ['committed', 'fenced', 'committed', 'committed', 'fenced', 'committed'],
        );
        assert.equal((await cursorOf(partition)).position, 3);
        assert.deepEqual(await store.listDone(partition), [5]);
      });

      test('a known outcome is told before a fence, and a fence before a conflict', async () => {
        const { partition, epoch } = await held();
        const stream = freshStream();
        const key = freshKey();
        await committed(unit({ appends: [append(stream, NO_STREAM)], outcomes: [outcome(key)] }));
        const stale = work({ fences: [{ partition, epoch: epoch + 1 }] });
        const repeated = await commit(unit({ outcomes: [outcome(key)], work: stale }));
        assert.equal(repeated.kind, 'duplicate');
        await fenced(unit({ appends: [append(stream, NO_STREAM)], work: stale }), /epoch/);
        const holding = work({ fences: [{ partition, epoch }], done: [{ partition, position: 1 }] });
        const conflict = await commit(unit({ appends: [append(stream, NO_STREAM)], work: holding }));
        assert.equal(conflict.kind, 'conflict');
        assert.deepEqual(await store.listDone(partition), [], 'a conflict stores nothing of the work part');
      });

      test('what no store can hold fails the whole batch, and nothing of it is stored', async () => {
        const { partition, move, name } = await held({ kind: 'projector' });
        const before = await deliveryState(store, [name]);
        const row = outboxRow(partition, { position: 1 });
        const timer = timerRow(timerKey(name, 'p', 't'), 1);
        const bad: Partial<WorkPart>[] = [
          { cursors: [move(5, 4)] },
          { cursors: [move(0, 1), move(0, 2)] },
          { done: [{ partition, position: 1.5 }] },
          { done: [1, 1].map((position) => ({ partition, position })) },
          { parked: [{ partition, key: 'a\0', version: 0, row: undefined }] },
          { parked: [{ partition, key: 'a', version: 0, row: parkedKey(partition, 'b') }] },
          { parked: [{ partition, key: 'a', version: 0, row: parkedKey(partition, 'a', { message: '\0' }) }] },
          { outboxAdded: [row, row] },
          { outboxAdded: [{ ...row, target: { ...row.target, root: NOBODY } }] },
          { outboxAdded: [{ ...row, dueAtMicros: Number.NaN }] },
          { outboxChanged: [{ key: outboxKey(row), version: 1, row: { ...row, index: 9 } }] },
          { outboxChanged: [{ key: outboxKey(row), version: 0, row: undefined }] },
          { timers: [0, 0].map((version) => ({ key: timer, version, row: timer })) },
          { timers: [{ key: { ...timer, name: 'other' }, version: 0, row: timer }] },
          { projections: [projection(name, 'a'), projection(name, 'a')] },
          { projections: [projection(name, 'a\ud800')] },
        ];
        for (const part of bad) {
          const good = working({
            cursors: [move(0, 3)],
            done: [{ partition, position: 9 }],
            parked: [{ partition, key: 'k', version: 0, row: parkedKey(partition, 'k') }],
            outboxAdded: [row],
            timers: [{ key: timer, version: 0, row: timer }],
            projections: [projection(name, 'k')],
          });
          await internal(good, working(part));
          assert.deepEqual(await deliveryState(store, [name]), before, JSON.stringify(part));
        }
        const good = working({ cursors: [move(0, 3)], outboxAdded: [row], done: [{ partition, position: 2 }] });
        await internal(good, unit({ snapshots: [{ stream: freshStream(), snapshot: snapshot(0) }] }));
        assert.deepEqual(await deliveryState(store, [name]), before, 'taken back while it was written');
        await committed(good);
        assert.equal((await cursorOf(partition)).position, 3, 'what was taken back is no repeat');
      });
    });

    describe('done marks', () => {
      test('trap 40: what is finished out of order is marked, once, and goes with the cursor', async () => {
        const { partition, fences, move } = await held();
        await committed(working({ fences, done: [9, 5, 7].map((position) => ({ partition, position })) }));
        assert.deepEqual(await store.listDone(partition), [5, 7, 9]);
        assert.deepEqual(await store.listDone({ ...partition, partition: 1 }), []);
        await fenced(working({ fences, done: [8, 7].map((position) => ({ partition, position })) }), /position 7 is/);
        await committed(working({ cursors: [move(0, 7)] }));
        assert.deepEqual(await store.listDone(partition), [9]);
        for (const position of [5, 7]) {
          await fenced(working({ done: [{ partition, position }] }), /is finished/);
        }
        await committed(working({ cursors: [move(7, 8)], done: [{ partition, position: 8 }] }));
        assert.deepEqual(await store.listDone(partition), [9], 'a mark at the cursor of its own unit goes at once');
      });

      test('trap 40: a new owner finds them', async () => {
        const { partition, fences, instance } = await held();
        await committed(working({ fences, done: [{ partition, position: 4 }] }));
        await store.leave(instance);
        assert.notEqual(await store.acquire(partition, freshName(), 1), undefined);
        assert.deepEqual(await store.listDone(partition), [4]);
      });
    });

    describe('parked keys', () => {
      test('are put, changed and removed by version, and no version comes twice', async () => {
        const { partition, fences } = await held();
        const row = parkedKey(partition, 'k/1', { message: 'first', attempts: 1 });
        const put = (version: number, next: ParkedKey | undefined) =>
          working({ fences, parked: [{ partition, key: 'k/1', version, row: next }] });
        await fenced(put(7, row), /is gone/);
        await committed(put(0, { ...row, version: 99 }));
        const first = (await store.readParked(partition, 'k/1'))!;
        assert.deepEqual(first, { ...row, version: first.version });
        assert.notEqual(first.version, 0);
        await fenced(put(0, row), /is there already/);
        await committed(put(first.version, { ...row, attempts: 2, state: 'dead' }));
        const second = (await store.readParked(partition, 'k/1'))!;
        assert.deepEqual([second.attempts, second.state], [2, 'dead']);
        await fenced(put(first.version, row), /has version/);
        await fenced(put(first.version, undefined), /has version/);
        await committed(put(second.version, undefined));
        assert.equal(await store.readParked(partition, 'k/1'), undefined);
        await committed(put(0, row));
        const third = (await store.readParked(partition, 'k/1'))!;
        assert.equal(new Set([first.version, second.version, third.version]).size, 3);
        for (const version of [first.version, second.version]) await fenced(put(version, undefined), /has version/);
      });

      test('two that change one key: one wins', async () => {
        const { partition } = await held();
        const row = parkedKey(partition, 'k', { state: 'dead' });
        await committed(working({ parked: [{ partition, key: 'k', version: 0, row }] }));
        const { version } = (await store.readParked(partition, 'k'))!;
        const change = (state: ParkedKey['state']) =>
          store.commit([working({ parked: [{ partition, key: 'k', version, row: { ...row, state } }] })]);
        const kinds = (await Promise.all([change('retrying'), change('draining')])).flat().map(({ kind }) => kind);
        assert.deepEqual(kinds.sort(), ['committed', 'fenced']);
      });

      test('trap 41: a draining key goes with the cursor that reaches it, the others stay', async () => {
        const { partition, move } = await held();
        const park = (key: string, parts: Partial<ParkedKey>) => ({
          partition,
          key,
          version: 0,
          row: parkedKey(partition, key, parts),
        });
        await committed(
          working({
            parked: [
              park('a', { state: 'draining', through: 10 }),
              park('b', { state: 'draining', through: 11 }),
              park('c', { state: 'retrying' }),
              park('d', { state: 'dead' }),
            ],
          }),
        );
        const keys = async () => (await store.listParked({ partition, limit: 9 })).map(({ key }) => key);
        await committed(working({ cursors: [move(0, 9)] }));
        assert.deepEqual(await keys(), ['a', 'b', 'c', 'd']);
        await committed(working({ cursors: [move(9, 10)] }));
        assert.deepEqual(await keys(), ['b', 'c', 'd']);
        const own = park('e', { state: 'draining', through: 12 });
        await committed(working({ cursors: [move(10, 12)], parked: [own] }));
        assert.deepEqual(await keys(), ['c', 'd'], 'also one that drains in the unit of the move');
      });

      test('are listed in order and page by page, by subscription, partition and state, and counted', async () => {
        const { name } = await held();
        const other = await held();
        const place = (generation: number, partition: number): PartitionKey => ({
          subscription: name,
          generation,
          partition,
        });
        const rows = [
          parkedKey(place(1, 0), 'a'),
          parkedKey(place(1, 0), 'b', { state: 'dead' }),
          parkedKey(place(1, 0), 'ba', { state: 'dead' }),
          parkedKey(place(1, 2), 'a', { state: 'draining', through: 9 }),
          parkedKey(place(1, 10), 'a'),
          parkedKey(place(2, 0), 'a', { state: 'dead' }),
        ];
        const elsewhere = parkedKey(other.partition, 'a', { state: 'dead' });
        const put = [...rows, elsewhere].toReversed();
        await committed(
          working({ parked: put.map((row) => ({ partition: row.partition, key: row.key, version: 0, row })) }),
        );
        type List = Omit<Parameters<Store['listParked']>[0], 'limit' | 'after'>;
        const listed = async (list: List, limit: number) => {
          const all: ParkedKey[] = [];
          for (let after: ParkedKey | undefined; ; after = all.at(-1)) {
            const part = await store.listParked({ ...list, ...(after && { after }), limit });
            assert(part.length <= limit);
            all.push(...part);
            if (part.length < limit) return all.map((row) => ({ ...row, version: 0 }));
          }
        };
        for (const limit of [1, 2, 100]) {
          assert.deepEqual(await listed({ subscription: name }, limit), rows);
          assert.deepEqual(await listed({ partition: place(1, 0) }, limit), rows.slice(0, 3));
          assert.deepEqual(await listed({ subscription: name, partition: place(1, 10) }, limit), [rows[4]]);
          assert.deepEqual(await listed({ subscription: name, state: 'dead' }, limit), [rows[1], rows[2], rows[5]]);
          assert.deepEqual(await listed({ partition: place(1, 0), state: 'retrying' }, limit), [rows[0]]);
          assert.deepEqual(await listed({ partition: place(7, 7) }, limit), []);
          assert.deepEqual(await listed({ subscription: name, partition: other.partition }, limit), []);
          const both = [name, other.name].sort().flatMap((one) => (one === name ? rows : [elsewhere]));
          const mine = (await listed({}, limit)).filter(({ partition: { subscription } }) =>
            [name, other.name].includes(subscription),
          );
          assert.deepEqual(mine, both);
        }
        const counts = (await store.countParked()).filter(({ subscription }) => subscription === name);
        assert.deepEqual(counts, [
          { subscription: name, generation: 1, state: 'dead', count: 2 },
          { subscription: name, generation: 1, state: 'draining', count: 1 },
          { subscription: name, generation: 1, state: 'retrying', count: 2 },
          { subscription: name, generation: 2, state: 'dead', count: 1 },
        ]);
      });
    });

    describe('the outbox', () => {
      const add = (...rows: OutboxRow[]) => committed(working({ outboxAdded: rows }));
      const current = async (row: OutboxRow) => (await store.readOutbox(outboxKey(row)))!;
      const change = async (row: OutboxRow, parts: Partial<OutboxRow>) => {
        const now = await current(row);
        await committed(
          working({ outboxChanged: [{ key: outboxKey(row), version: now.version, row: { ...now, ...parts } }] }),
        );
      };
      const remove = async (row: OutboxRow) => {
        const { version } = await current(row);
        await committed(working({ outboxChanged: [{ key: outboxKey(row), version, row: undefined }] }));
      };
      const due = async (partition: PartitionKey, now = EVER, limit = 100) =>
        (await store.dueOutbox(partition, now, limit)).map(({ position, index }) => `${position}.${index}`);

      test('a row is kept as it is, expiry included', async () => {
        const { partition } = await held();
        const row = outboxRow(partition, { position: 3, index: 1 }, { expiresAtMicros: 12_345, kind: 'notification' });
        assert.equal(await store.readOutbox(outboxKey(row)), undefined);
        await add(row);
        const stored = await current(row);
        assert.deepEqual(stored, { ...row, version: stored.version });
        assert.deepEqual(await store.dueOutbox(partition, EVER, 1), [stored]);
        assert.deepEqual((await store.listOutbox({ subscription: row.subscription, limit: 9 }))[0], stored);
      });

      test('trap 24: an output is there once under its key, and every part of the key counts', async () => {
        const { partition, name } = await held();
        const row = outboxRow(partition, { position: 3 });
        await add(row);
        await fenced(working({ outboxAdded: [{ ...row, lane: 'other', partition: 1 }] }), /is there already/);
        const others = [
          { ...row, index: 1 },
          { ...row, position: 4 },
          { ...row, generation: 2 },
          { ...row, incarnation: 'second' },
          { ...row, logId: 'another' },
        ];
        await add(...others);
        assert.equal((await store.listOutbox({ subscription: name, limit: 99 })).length, 6);
      });

      test('rows of a lane come one after the other, in order of position and index', async () => {
        const { partition } = await held();
        const rows = [
          outboxRow(partition, { position: 5, index: 1 }),
          outboxRow(partition, { position: 5, index: 0 }),
          outboxRow(partition, { position: 11, index: 0 }),
          outboxRow(partition, { position: 9, index: 3 }),
        ];
        await add(rows[0]!, rows[1]!);
        await add(rows[2]!);
        await add(rows[3]!);
        const order = [rows[1]!, rows[0]!, rows[3]!, rows[2]!];
        for (const row of order) {
          assert.deepEqual(await due(partition), [`${row.position}.${row.index}`]);
          await remove(row);
        }
        assert.deepEqual(await due(partition), []);
      });

      test('an earlier row that comes late goes first', async () => {
        const { partition } = await held();
        const [late, early] = [outboxRow(partition, { position: 8 }), outboxRow(partition, { position: 2 })];
        await add(late);
        assert.deepEqual(await due(partition), ['8.0']);
        await add(early);
        assert.deepEqual(await due(partition), ['2.0']);
        await remove(early);
        assert.deepEqual(await due(partition), ['8.0']);
      });

      test('a row that is removed from the middle of its lane changes nothing for the others', async () => {
        const { partition } = await held();
        const rows = [2, 3, 4].map((position) => outboxRow(partition, { position }));
        await add(...rows);
        await remove(rows[1]!);
        assert.deepEqual(await due(partition), ['2.0']);
        await remove(rows[0]!);
        assert.deepEqual(await due(partition), ['4.0']);
      });

      test('trap 56: a dead row blocks its lane only, until it is replayed or discarded', async () => {
        const { partition } = await held();
        const lane = (lane: string, ...positions: number[]) =>
          positions.map((position) => outboxRow(partition, { position }, { lane }));
        const [a, b, c] = [lane('a', 1, 4), lane('b', 2, 5), lane('c', 3)];
        await add(...a, ...b, ...c);
        assert.deepEqual(await due(partition), ['1.0', '2.0', '3.0']);
        await change(b[0]!, { state: 'dead', reason: 'REJECTED', message: 'no', attempts: 10 });
        assert.deepEqual(await due(partition), ['1.0', '3.0']);
        await remove(a[0]!);
        assert.deepEqual(await due(partition), ['3.0', '4.0']);
        const dead = await store.listOutbox({ subscription: partition.subscription, state: 'dead', limit: 9 });
        assert.deepEqual(
          dead.map((row) => [row.position, row.reason, row.message, row.attempts]),
          [[2, 'REJECTED', 'no', 10]],
        );
        await change(b[0]!, { state: 'ready', attempts: 0 });
        assert.deepEqual(await due(partition), ['2.0', '3.0', '4.0']);
        await change(b[0]!, { state: 'dead' });
        await remove(b[0]!);
        assert.deepEqual(await due(partition), ['3.0', '4.0', '5.0']);
      });

      test('a lane whose first row is not due waits whole; the earliest due comes first', async () => {
        const { partition } = await held();
        const row = (position: number, lane: string, dueAtMicros: number) =>
          outboxRow(partition, { position }, { lane, dueAtMicros });
        const first = row(1, 'a', 500);
        await add(first, row(2, 'a', 0), row(3, 'b', 300), row(4, 'c', 100), row(6, 'd', 300), row(5, 'e', 300));
        assert.equal(await store.nextOutboxDue(partition), 100);
        assert.deepEqual(await due(partition, 99), []);
        assert.deepEqual(await due(partition, 100), ['4.0']);
        assert.deepEqual(await due(partition, 300), ['4.0', '3.0', '5.0', '6.0']);
        assert.deepEqual(await due(partition, 300, 2), ['4.0', '3.0']);
        assert.deepEqual(await due(partition, 500), ['4.0', '3.0', '5.0', '6.0', '1.0']);
        await change(first, { dueAtMicros: 50, attempts: 1, reason: 'OVERLOADED' });
        assert.deepEqual(await due(partition, 60), ['1.0']);
        assert.equal(await store.nextOutboxDue(partition), 50);
        await change(first, { state: 'dead' });
        assert.equal(await store.nextOutboxDue(partition), 100, 'nothing of a blocked lane is due');
        assert.equal(await store.nextOutboxDue({ ...partition, partition: 1 }), undefined);
      });

      test('a forwarded row is for the hosts of its domain, who share them, and for its partition no more', async () => {
        const { partition } = await held();
        const [domain, other] = [freshName(), freshName()];
        const row = (position: number, parts: Partial<OutboxRow> = {}) =>
          outboxRow(partition, { position }, { lane: `l${position}`, ...parts });
        const to = (name: string) => ({ target: freshStream({ domain: name }) });
        const rows = [
          row(1, { ...to(domain), dueAtMicros: 300 }),
          row(2, { ...to(domain), lane: 'l1' }),
          row(3, { ...to(domain), state: 'forwarded', dueAtMicros: 100, partition: 7 }),
          row(4, { ...to(other), state: 'forwarded', dueAtMicros: 200, partition: 8 }),
          row(5, { ...to(domain), state: 'forwarded', dueAtMicros: 200, partition: 9 }),
          row(6, { ...to(domain), state: 'forwarded', dueAtMicros: 900, partition: 8 }),
        ];
        await add(...rows);
        const whole = (...names: string[]) => names.map((name) => ({ domain: name, part: 0, parts: 1 }));
        const forwarded = async (shares: HostShare[], now = EVER, limit = 100) =>
          (await store.dueForwarded(shares, now, limit)).map(({ position }) => position);
        assert.deepEqual(await forwarded(whole(domain, other)), [3, 4, 5, 6]);
        assert.deepEqual(await forwarded(whole(domain, other), 200), [3, 4, 5]);
        assert.deepEqual(await forwarded(whole(domain, other), EVER, 2), [3, 4]);
        assert.deepEqual(await forwarded(whole(other)), [4]);
        assert.deepEqual(await forwarded([]), []);
        assert.deepEqual(await forwarded([{ domain, part: 0, parts: 2 }]), [6]);
        assert.deepEqual(await forwarded([{ domain, part: 1, parts: 2 }]), [3, 5]);
        assert.deepEqual(await due(partition), ['1.0']);
        await change(rows[0]!, { state: 'forwarded' });
        assert.deepEqual(await due(partition), [], 'the lane waits behind it');
        assert.deepEqual(await forwarded(whole(domain), 300), [3, 5, 1]);
        await remove(rows[0]!);
        assert.deepEqual(await due(partition), ['2.0']);
        const stored = await current(rows[2]!);
        assert.deepEqual(stored, { ...rows[2]!, version: stored.version });
        const list = { subscription: partition.subscription, state: 'forwarded', limit: 9 } as const;
        assert.equal((await store.listOutbox(list)).length, 4);
      });

      test('one look tells of all partitions that an instance holds when something in them is due', async () => {
        const { partition, name, instance } = await held();
        const second = { ...partition, partition: 1 };
        await store.acquire(second, instance, 1);
        assert.deepEqual(await store.nextDue(instance), []);
        await add(
          outboxRow(partition, { position: 4 }, { dueAtMicros: 70 }),
          outboxRow(partition, { position: 5 }, { dueAtMicros: 10 }),
          outboxRow(partition, { position: 6 }, { lane: 'b', dueAtMicros: 60 }),
          outboxRow(partition, { position: 7 }, { lane: 'c', state: 'forwarded', dueAtMicros: 5 }),
          outboxRow(partition, { position: 8 }, { lane: 'd', state: 'dead', dueAtMicros: 5 }),
        );
        assert.deepEqual(await store.nextDue(instance), [{ ...partition, outboxDue: 60, timerDue: undefined }]);
        const key = timerKey(name, 'process', 'late');
        await committed(working({ timers: [{ key, version: 0, row: timerRow(key, 44, { partition: 1 }) }] }));
        assert.deepEqual(await store.nextDue(instance), [
          { ...partition, outboxDue: 60, timerDue: undefined },
          { ...second, outboxDue: undefined, timerDue: 44 },
        ]);
        assert.deepEqual(await store.nextDue(freshName()), []);
      });

      test('lanes of other partitions and generations have nothing to do with it', async () => {
        const { partition } = await held();
        const places = [partition, { ...partition, partition: 1 }, { ...partition, generation: 2 }];
        await add(...places.map((place, i) => outboxRow(place, { position: 3 - i }, { index: i })));
        for (const [i, place] of places.entries()) assert.deepEqual(await due(place), [`${3 - i}.${i}`]);
      });

      test('rows change and go by version: two dispatchers, one wins', async () => {
        const { partition } = await held();
        const row = outboxRow(partition, { position: 3 });
        await add(row);
        const { version } = await current(row);
        const key = outboxKey(row);
        const attempt = () =>
          store.commit([working({ outboxChanged: [{ key, version, row: { ...row, attempts: 1 } }] })]);
        const kinds = (await Promise.all([attempt(), attempt()])).flat().map(({ kind }) => kind);
        assert.deepEqual(kinds, ['committed', 'fenced']);
        await fenced(working({ outboxChanged: [{ key, version, row: undefined }] }), /has version/);
        await remove(row);
        await fenced(working({ outboxChanged: [{ key, version, row: undefined }] }), /is gone/);
        await fenced(working({ outboxChanged: [{ key, version, row }] }), /is gone/);
      });

      test('only what a dispatcher learns changes; where a row stands and what it says stays', async () => {
        const { partition } = await held();
        const row = outboxRow(partition, { position: 3 });
        await add(row);
        const learned = {
          state: 'dead',
          attempts: 3,
          dueAtMicros: 7,
          expiresAtMicros: 8,
          reason: 'TIMEOUT',
          message: 'late',
        } as const;
        await change(row, {
          ...learned,
          lane: 'z',
          body: NOBODY,
          partition: 1,
          correlationId: 'z',
          kind: 'fact',
          createdAtMicros: 1,
          target: freshStream(),
        });
        const stored = await current(row);
        assert.deepEqual(stored, { ...row, ...learned, version: stored.version });
      });

      test('the outcome of the target and the removal of the row are one unit', async () => {
        const { partition } = await held();
        const row = outboxRow(partition, { position: 3 });
        await add(row);
        const { version } = await current(row);
        const key = freshKey({ kind: 'reaction' });
        const done = unit({
          appends: [append(freshStream(), NO_STREAM)],
          outcomes: [outcome(key)],
          work: work({ outboxChanged: [{ key: outboxKey(row), version, row: undefined }] }),
        });
        const first = await committed(done);
        assert.equal(await store.readOutbox(outboxKey(row)), undefined);
        assert.deepEqual(await committed(done), { ...first, sequences: first.sequences });
      });

      test('is listed in order and page by page, by subscription, state and correlation', async () => {
        const { partition, name } = await held();
        const tenant = `t-${randomUUID()}`;
        const correlationId = randomUUID();
        const target = freshStream({ tenant });
        const rows = [
          outboxRow(partition, { position: 2 }, { target, correlationId }),
          outboxRow(partition, { position: 2, index: 1 }, { state: 'dead' }),
          outboxRow(partition, { position: 2, index: 10 }, { target, correlationId, state: 'dead' }),
          outboxRow({ ...partition, partition: 1 }, { position: 10 }, { correlationId }),
          outboxRow({ ...partition, generation: 2 }, { position: 1 }, { target, correlationId, lane: 'b' }),
        ];
        await add(...rows.toReversed());
        type List = Omit<Parameters<Store['listOutbox']>[0], 'limit' | 'after'>;
        const listed = async (list: List, limit: number) => {
          const all: OutboxRow[] = [];
          for (let after: OutboxRow | undefined; ; after = all.at(-1)) {
            const part = await store.listOutbox({ ...list, ...(after && { after }), limit });
            all.push(...part);
            if (part.length < limit) return all.map((row) => ({ ...row, version: 0 }));
          }
        };
        const correlation = { tenant, correlationId };
        for (const limit of [1, 2, 100]) {
          assert.deepEqual(await listed({ subscription: name }, limit), rows);
          assert.deepEqual(await listed({ subscription: name, state: 'dead' }, limit), [rows[1], rows[2]]);
          assert.deepEqual(await listed({ subscription: name, state: 'ready' }, limit), [rows[0], rows[3], rows[4]]);
          assert.deepEqual(await listed({ correlation }, limit), [rows[0], rows[2], rows[4]]);
          assert.deepEqual(await listed({ correlation, state: 'dead', subscription: name }, limit), [rows[2]]);
          assert.deepEqual(await listed({ correlation, subscription: freshName() }, limit), []);
          assert.deepEqual(await listed({ correlation: { tenant: '', correlationId } }, limit), [rows[3]]);
          const mine = (await listed({}, limit)).filter(({ subscription }) => subscription === name);
          assert.deepEqual(mine, rows);
        }
      });
    });

    describe('timers', () => {
      const set = (row: ReturnType<typeof timerRow>, version: number | undefined) =>
        working({ timers: [{ key: row, version, row }] });
      const names = async (subscription: string, now = EVER, limit = 99) =>
        (await store.dueTimers(subscription, 0, now, limit)).map(({ name }) => name);

      test('are set, set again and cancelled, whatever is there', async () => {
        const name = freshName();
        const key = timerKey(name, 'p', 't', 'acme');
        assert.equal(await store.readTimer(key), undefined);
        await committed(working({ timers: [{ key, version: undefined, row: undefined }] }));
        await committed(set(timerRow(key, 100), undefined));
        const again = timerRow(key, 200);
        await committed(set(again, undefined));
        const stored = (await store.readTimer(key))!;
        assert.deepEqual(stored, { ...again, version: stored.version });
        assert.deepEqual(await store.dueTimers(name, 0, EVER, 9), [stored]);
        await committed(working({ timers: [{ key, version: undefined, row: undefined }] }));
        assert.equal(await store.readTimer(key), undefined);
        assert.equal(await store.nextTimerDue(name, 0), undefined);
      });

      test('are due from their time on, the earliest first', async () => {
        const name = freshName();
        const timers = [
          timerRow(timerKey(name, 'q', 'a'), 300),
          timerRow(timerKey(name, 'p', 'c'), 300),
          timerRow(timerKey(name, 'p', 'b'), 300),
          timerRow(timerKey(name, 'p', 'd'), 100),
          timerRow(timerKey(name, 'p', 'e'), 400),
          timerRow(timerKey(name, 'p', 'other'), 50, { partition: 1 }),
        ];
        await committed(working({ timers: timers.map((row) => ({ key: row, version: 0, row })) }));
        assert.equal(await store.nextTimerDue(name, 0), 100);
        assert.equal(await store.nextTimerDue(name, 1), 50);
        assert.deepEqual(await names(name, 99), []);
        assert.deepEqual(await names(name, 100), ['d']);
        assert.deepEqual(await names(name, 399), ['d', 'b', 'c', 'a']);
        assert.deepEqual(await names(name, 399, 2), ['d', 'b']);
        assert.deepEqual(await names(name), ['d', 'b', 'c', 'a', 'e']);
      });

      test('fire once: of two that read the same version one wins', async () => {
        const { name } = await held({ kind: 'process_manager' });
        const row = timerRow(timerKey(name, 'p', 't'), 100);
        await committed(set(row, 0));
        await fenced(set(row, 0), /is there already/);
        const { version } = (await store.readTimer(row))!;
        const process = freshStream();
        const fire = () =>
          unit({
            appends: [append(process, ANY)],
            work: work({ timers: [{ key: row, version, row: undefined }] }),
          });
        const results = (await Promise.all([store.commit([fire()]), store.commit([fire()])])).flat();
        assert.deepEqual(
          results.map(({ kind }) => kind),
          ['committed', 'fenced'],
        );
        assert.equal((await store.readStream(process, { from: 0, maxBytes: 1000 })).nextSequence, 1);
        await committed(set(row, 0));
        await fenced(fire(), /has version/);
        assert.notEqual(await store.readTimer(row), undefined, 'one that was set anew is another one');
      });

      test('one that was set again is not fired by who read it before', async () => {
        const name = freshName();
        const row = timerRow(timerKey(name, 'p', 't'), 100);
        await committed(set(row, undefined));
        const { version } = (await store.readTimer(row))!;
        await committed(set({ ...row, dueAtMicros: 900 }, undefined));
        await fenced(working({ timers: [{ key: row, version, row: undefined }] }), /has version/);
        assert.equal(await store.nextTimerDue(name, 0), 900);
      });

      test('an ended process has none, also not those that its last unit sets', async () => {
        const name = freshName();
        const rows = [
          timerRow(timerKey(name, 'p', 'a'), 1),
          timerRow(timerKey(name, 'p', 'b'), 2),
          timerRow(timerKey(name, 'p2', 'a'), 3),
          timerRow(timerKey(name, 'p', 'a', 'acme'), 4),
          timerRow(timerKey(freshName(), 'p', 'a'), 5),
        ];
        await committed(working({ timers: rows.map((row) => ({ key: row, version: 0, row })) }));
        const last = timerRow(timerKey(name, 'p', 'z'), 1);
        await committed(
          working({
            timers: [{ key: last, version: undefined, row: last }],
            timersEnded: [{ tenant: '', subscription: name, process: 'p' }],
          }),
        );
        const left = await Promise.all([...rows, last].map((row) => store.readTimer(row)));
        assert.deepEqual(
          left.map((row) => row !== undefined),
          [false, false, true, true, true, false],
        );
      });
    });

    describe('projections', () => {
      test('are put, put again, and remembered when they are gone', async () => {
        const name = freshName();
        const row = projection(name, 'k', { sequence: 3, position: 9 });
        const key = { tenant: '', projector: name, generation: 1, key: 'k' };
        assert.equal(await store.readProjection(key), undefined);
        assert.equal(await store.hasProjections(name, 1), false);
        await committed(working({ projections: [row] }));
        assert.deepEqual(await store.readProjection(key), row);
        assert.equal(await store.hasProjections(name, 1), true);
        assert.equal(await store.hasProjections(name, 2), false);
        assert.equal(await store.hasProjections(`${name}x`, 1), false);
        for (const other of [
          { ...key, tenant: 'a' },
          { ...key, generation: 2 },
          { ...key, key: 'K' },
        ]) {
          assert.equal(await store.readProjection(other), undefined);
        }
        const next = projection(name, 'k', { sequence: 4, position: 11 });
        await committed(working({ projections: [next] }));
        assert.deepEqual(await store.readProjection(key), next);
        const gone = { ...next, sequence: 5, position: 12, payload: undefined };
        await committed(working({ projections: [gone] }));
        assert.deepEqual(await store.readProjection(key), gone);
        assert.deepEqual(await store.listProjections({ ...key, prefix: '', limit: 9 }), []);
        assert.equal(await store.hasProjections(name, 1), true);
      });

      test('are found by the stream that they were made from, from a position on', async () => {
        const projector = freshName();
        const stream = freshStream();
        const row = (key: string, position: number, rest = {}) =>
          projection(projector, key, { stream, position, ...rest });
        const gone = row('d', 9, { payload: undefined });
        const elsewhere = projection(projector, 'e', { position: 9 });
        await committed(
          working({
            projections: [row('b', 7), row('a', 7), row('c', 3), gone, elsewhere, row('f', 9, { generation: 2 })],
          }),
        );
        const of = { stream, projector, generation: 1 };
        const keys = async (from: number, limit: number) =>
          (await store.projectionsOf({ ...of, from, limit })).map(({ key }) => key);
        assert.deepEqual(await keys(4, 9), ['a', 'b', 'd']);
        assert.deepEqual(await keys(0, 2), ['c', 'a']);
        assert.deepEqual(await keys(10, 9), []);
        assert.deepEqual((await store.projectionsOf({ ...of, from: 9, limit: 9 }))[0], gone);
      });

      test('are listed in order of keys as UTF-8, by prefix, page by page, without those that are gone', async () => {
        const projector = freshName();
        const keys = ['', 'a', 'a/', 'a/1', 'a/10', 'a/2', 'a0', 'b', 'é', '\ud7ff', '\ue000', '\uffff', '😀', '😀b'];
        const rows = keys.map((key) => projection(projector, key));
        const gone = projection(projector, 'a/11', { payload: undefined });
        const elsewhere = [
          projection(projector, 'a/3', { tenant: 'acme' }),
          projection(projector, 'a/4', { generation: 2 }),
          projection(freshName(), 'a/5'),
        ];
        await committed(working({ projections: [...elsewhere, gone, ...rows.toReversed()] }));
        const listed = async (prefix: string, limit: number) => {
          const all: ProjectionRow[] = [];
          for (let after: string | undefined; ; after = all.at(-1)!.key) {
            const list = { tenant: '', projector, generation: 1, prefix, limit };
            const part = await store.listProjections({ ...list, ...(after !== undefined && { after }) });
            all.push(...part);
            if (part.length < limit) return all;
          }
        };
        for (const limit of [1, 3, 100]) {
          assert.deepEqual(await listed('', limit), rows);
          for (const prefix of ['a', 'a/', 'a/1', 'b', 'c', '\ud7ff', '\uffff', '😀']) {
            assert.deepEqual(
              await listed(prefix, limit),
              rows.filter(({ key }) => key.startsWith(prefix)),
              `prefix ${prefix}`,
            );
          }
        }
        const list = { tenant: '', projector, generation: 1, limit: 99 };
        const after = async (prefix: string, after: string) =>
          (await store.listProjections({ ...list, prefix, after })).map(({ key }) => key);
        assert.deepEqual(await after('a/', 'a'), ['a/', 'a/1', 'a/10', 'a/2'], 'after something before the prefix');
        assert.deepEqual(await after('a/', 'b'), [], 'after everything with the prefix');
      });
    });

    describe('generations of a projector', () => {
      const generations = async (partitions: [number, number] = [2, 2]) => {
        const projector = freshName();
        const instance = freshName();
        await store.heartbeat(instance, NOBODY, TTL_MS);
        const acquired = new Map<string, AcquiredPartition>();
        for (const generation of [1, 2]) {
          const count = partitions[generation - 1]!;
          await store.declare(definition({ name: projector, kind: 'projector', generation, partitions: count }));
          for (let partition = 0; partition < count; partition++) {
            const place = { subscription: projector, generation, partition };
            acquired.set(`${generation}/${partition}`, (await store.acquire(place, instance, 1))!);
          }
        }
        const move = async (generation: number, ...to: number[]) => {
          const cursors = to.map((position, partition) => {
            const { epoch, subscription } = acquired.get(`${generation}/${partition}`)!;
            return { partition: { subscription, generation, partition }, epoch, position };
          });
          for (const { partition, epoch, position } of cursors) {
            const from = (await cursorOf(partition)).position;
            await committed(working({ cursors: [{ partition, epoch, from, to: position }] }));
          }
        };
        return { projector, move };
      };

      test('readers get the first one, until they are switched', async () => {
        assert.equal(await store.activeGeneration(freshName()), 0);
        const { projector } = await generations();
        assert.equal(await store.activeGeneration(projector), 1);
        const saga = await store.declare(definition());
        assert.equal(await store.activeGeneration(saga.name), 0);
        const all = await store.activeGenerations();
        assert.deepEqual(
          all.filter((row) => row.projector === projector || row.projector === saga.name),
          [{ projector, generation: 1 }],
        );
      });

      test('trap 20: the switch waits until each new cursor is where the old one is', async () => {
        const { projector, move } = await generations();
        await move(1, 10, 20);
        await move(2, 20, 10);
        assert.equal(await store.switchGeneration(projector, 1, 2), false);
        await move(2, 20, 19);
        assert.equal(await store.switchGeneration(projector, 1, 2), false);
        await move(1, 21, 20);
        await move(2, 20, 20);
        assert.equal(await store.switchGeneration(projector, 1, 2), false, 'the old one went on');
        await move(2, 21, 25);
        assert.equal(await store.activeGeneration(projector), 1);
        assert.equal(await store.switchGeneration(projector, 1, 2), true);
        assert.equal(await store.activeGeneration(projector), 2);
        assert.equal(await store.switchGeneration(projector, 1, 2), false, 'readers do not get the old one any more');
      });

      test('trap 20: from the switch on nobody works for the old one', async () => {
        const { projector, move } = await generations();
        await move(1, 10, 10);
        await move(2, 10, 10);
        const before = await store.listCursors(projector);
        assert.equal(await store.switchGeneration(projector, 1, 2), true);
        const old = before.find(({ generation }) => generation === 1)!;
        const late = working({ cursors: [{ partition: old, epoch: old.epoch, from: 10, to: 11 }] });
        assert.equal((await store.commit([late]))[0]!.kind, 'fenced');
        assert.equal(await store.acquire(old, old.owner!, 1), undefined);
        const owners = (await store.listCursors(projector)).map(({ generation, owner }) => [generation, owner]);
        assert.deepEqual(owners, [
          [1, undefined],
          [1, undefined],
          [2, old.owner],
          [2, old.owner],
        ]);
        await move(2, 11, 11);
      });

      test('trap 55: rows of the new generation are there beside the old ones, however old their positions', async () => {
        const { projector } = await generations();
        const rows = [9, 2].map((position, i) => projection(projector, 'k', { generation: i + 1, position }));
        for (const row of rows) await committed(working({ projections: [row] }));
        for (const row of rows) {
          assert.deepEqual(
            await store.readProjection({ tenant: '', projector, generation: row.generation, key: 'k' }),
            row,
          );
        }
      });

      test('nothing of the new one may be parked; of the old one it does not matter', async () => {
        const { projector } = await generations();
        const place = (generation: number, partition = 1) => ({ subscription: projector, generation, partition });
        const park = (partition: PartitionKey) =>
          committed(
            working({
              parked: [{ partition, key: 'k', version: 0, row: parkedKey(partition, 'k', { state: 'dead' }) }],
            }),
          );
        await park(place(1));
        // Also where no cursor is.
        await park(place(2, 7));
        assert.equal(await store.switchGeneration(projector, 1, 2), false);
        await committed(
          working({
            parked: [
              {
                partition: place(2, 7),
                key: 'k',
                version: (await store.readParked(place(2, 7), 'k'))!.version,
                row: undefined,
              },
            ],
          }),
        );
        await park(place(2));
        assert.equal(await store.switchGeneration(projector, 1, 2), false);
        const { version } = (await store.readParked(place(2), 'k'))!;
        await committed(working({ parked: [{ partition: place(2), key: 'k', version, row: undefined }] }));
        // What has caught up and waits for the cursor is none of it.
        const draining = parkedKey(place(2), 'd', { state: 'draining', through: 1000 });
        await committed(working({ parked: [{ partition: place(2), key: 'd', version: 0, row: draining }] }));
        assert.equal(await store.switchGeneration(projector, 1, 2), true);
      });

      test('with another number of partitions the least of the old cursors counts', async () => {
        const { projector, move } = await generations([2, 3]);
        await move(1, 10, 30);
        await move(2, 10, 9, 40);
        assert.equal(await store.switchGeneration(projector, 1, 2), false);
        await move(2, 10, 10, 40);
        assert.equal(await store.switchGeneration(projector, 1, 2), true);
      });

      test('to what was never declared nobody is switched', async () => {
        const { projector } = await generations();
        assert.equal(await store.switchGeneration(projector, 1, 3), false);
        assert.equal(await store.switchGeneration(projector, 2, 2), false);
        assert.equal(await store.switchGeneration(freshName(), 0, 1), false);
        assert.equal(await store.activeGeneration(projector), 1);
      });
    });

    describe('trap 8: a unit with work that is sent again after a lost answer', () => {
      /** Sends it twice, with something after it that makes it stale, and finds that the second time changed nothing. */
      const twice = async (one: Unit, names: string[], meanwhile: () => Promise<unknown> = async () => {}) => {
        const first = await committed(one);
        assert.deepEqual(await commit(one), first);
        assert.deepEqual(await store.commit([one, one]), [first, first]);
        await meanwhile();
        await committed(writing(freshStream(), NO_STREAM));
        const [head, state] = [await store.head(), await deliveryState(store, names)];
        assert.deepEqual(await commit(one), first);
        assert.deepEqual(await store.head(), head);
        assert.deepEqual(await deliveryState(store, names), state);
      };

      test('a move of a cursor, also when the next one has been there, or a new owner', async () => {
        const { partition, move, name, instance } = await held();
        await twice(working({ cursors: [move(0, 5)] }), [name], () => committed(working({ cursors: [move(5, 9)] })));
        await twice(working({ cursors: [move(9, 10)] }), [name], async () => {
          await store.leave(instance);
          await store.acquire(partition, freshName(), 1);
        });
      });

      test('done marks and outputs, also when the marks have gone with the cursor', async () => {
        const { partition, fences, move, name } = await held();
        const row = outboxRow(partition, { position: 2 });
        const one = working({ fences, done: [{ partition, position: 2 }], outboxAdded: [row] });
        await twice(one, [name], () => committed(working({ cursors: [move(0, 2)] })));
      });

      test('removals, whose rows are gone', async () => {
        const { partition, name } = await held();
        const row = outboxRow(partition, { position: 2 });
        const timer = timerRow(timerKey(name, 'p', 't'), 1);
        await committed(
          working({
            parked: [{ partition, key: 'k', version: 0, row: parkedKey(partition, 'k') }],
            outboxAdded: [row],
            timers: [{ key: timer, version: 0, row: timer }],
          }),
        );
        const parked = (await store.readParked(partition, 'k'))!.version;
        const output = (await store.readOutbox(outboxKey(row)))!.version;
        const { version } = (await store.readTimer(timer))!;
        await twice(working({ parked: [{ partition, key: 'k', version: parked, row: undefined }] }), [name]);
        await twice(working({ outboxChanged: [{ key: outboxKey(row), version: output, row: undefined }] }), [name]);
        await twice(working({ timers: [{ key: timer, version, row: undefined }] }), [name]);
      });

      test('what compares nothing does not overwrite what came after it', async () => {
        const { name } = await held({ kind: 'projector' });
        const key = timerKey(name, 'p', 't');
        const timer = (due: number) => ({ key, version: undefined, row: timerRow(key, due) });
        await twice(working({ projections: [projection(name, 'k')], timers: [timer(1)] }), [name], () =>
          committed(working({ projections: [projection(name, 'k', { position: 2 })], timers: [timer(2)] })),
        );
      });

      test('with events, whatever they expect, and with outcomes', async () => {
        const { move, name } = await held();
        const stream = freshStream();
        await committed(writing(stream, NO_STREAM, 2));
        const parts: Partial<Unit>[] = [
          { appends: [append(stream, exactly(2))] },
          { appends: [append(stream, ANY, 2)] },
          { appends: [append(freshStream(), NO_STREAM)] },
          { appends: [append(freshStream(), NO_STREAM)], outcomes: [outcome(freshKey())] },
          { outcomes: [outcome(freshKey())] },
          { expectations: [{ stream: freshStream(), expect: NO_STREAM }] },
        ];
        let at = 0;
        for (const part of parts) {
          const one = unit({ ...part, work: work({ cursors: [move(at, at + 1)] }) });
          await twice(one, [name], () => committed(working({ cursors: [move(at + 1, at + 2)] })));
          at += 2;
        }
      });

      test('one that was fenced the first time is compared anew', async () => {
        const { move } = await held();
        const one = working({ cursors: [move(3, 5)] });
        await fenced(one, /is at 0/);
        await committed(working({ cursors: [move(0, 3)] }));
        await committed(one);
      });
    });

    test('all of a unit or nothing, whichever part of it is refused', async () => {
      const { partition, fences, move, name, epoch } = await held({ kind: 'projector' });
      const [parked, output] = [parkedKey(partition, 'old'), outboxRow(partition, { position: 1 })];
      const timer = timerRow(timerKey(name, 'p', 'old'), 1);
      await committed(
        working({
          done: [{ partition, position: 4 }],
          parked: [{ partition, key: 'old', version: 0, row: parked }],
          outboxAdded: [output],
          timers: [{ key: timer, version: 0, row: timer }],
        }),
      );
      const stream = freshStream();
      const newTimer = timerRow(timerKey(name, 'p', 'new'), 1);
      const good: WorkPart = work({
        fences,
        cursors: [move(0, 2)],
        done: [{ partition, position: 3 }],
        parked: [{ partition, key: 'new', version: 0, row: parkedKey(partition, 'new') }],
        outboxAdded: [outboxRow(partition, { position: 3 })],
        timers: [{ key: newTimer, version: 0, row: newTimer }],
        timersEnded: [{ tenant: '', subscription: name, process: 'p' }],
        projections: [projection(name, 'new')],
      });
      const refused: Partial<WorkPart>[] = [
        { fences: [{ partition, epoch: epoch + 1 }] },
        { cursors: [move(1, 2)] },
        { done: [...good.done, { partition, position: 4 }] },
        { parked: [...good.parked, { partition, key: 'old', version: 0, row: parked }] },
        { outboxAdded: [...good.outboxAdded, output] },
        { outboxChanged: [{ key: outboxKey(output), version: EVER, row: undefined }] },
        { timers: [...good.timers, { key: timer, version: 0, row: timer }] },
      ];
      const before = await deliveryState(store, [name]);
      for (const part of refused) {
        await fenced(unit({ appends: [append(stream, ANY)], work: { ...good, ...part } }), /./);
        assert.deepEqual(await deliveryState(store, [name]), before, Object.keys(part)[0]);
      }
      const conflict = await commit(unit({ appends: [append(stream, exactly(7))], work: good }));
      assert.equal(conflict.kind, 'conflict');
      assert.deepEqual(await deliveryState(store, [name]), before);
      await committed(unit({ appends: [append(stream, NO_STREAM)], work: good }));
      assert.equal((await cursorOf(partition)).position, 2);
    });

    test('what is stored follows neither what was given nor what was handed out', async () => {
      const { partition, name } = await held({ kind: 'projector' });
      const row = outboxRow(partition, { position: 1 }, { body: Buffer.of(1, 2, 3) });
      const key = { tenant: '', projector: name, generation: 1, key: 'k' };
      const kept = projection(name, 'k', { payload: { typeUrl: 't', value: Buffer.of(1, 2, 3) } });
      await committed(working({ outboxAdded: [row], projections: [kept] }));
      row.body[0] = 9;
      kept.payload!.value[0] = 9;
      const first = (await store.readOutbox(outboxKey(row)))!;
      assert.deepEqual(first.body, Uint8Array.of(1, 2, 3));
      first.attempts = 7;
      first.body[1] = 9;
      (await store.readProjection(key))!.payload!.value[1] = 9;
      (await store.listCursors(name))[0]!.position = 99;
      assert.deepEqual((await store.readOutbox(outboxKey(row)))!.body, Uint8Array.of(1, 2, 3));
      assert.equal((await store.readOutbox(outboxKey(row)))!.attempts, 0);
      assert.deepEqual((await store.readProjection(key))!.payload!.value, Uint8Array.of(1, 2, 3));
      assert.equal((await cursorOf(partition)).position, 0);
    });
  });
}
