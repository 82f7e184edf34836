import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Asking } from '../../src/coordinators/asking.ts';
import { ProjectorCoordinator } from '../../src/coordinators/projector.ts';
import type { Effect } from '../../src/coordinators/reaction.ts';
import type { ProjectorRequest, ProjectorResponse } from '../../src/model/reaction.ts';
import { systemRuntime } from '../../src/runtime.ts';
import type { PartitionKey, ProjectionRow } from '../../src/store.ts';
import { any, eventPage, newRoot, textOf } from '../support/books.ts';
import { summing } from '../support/delivery.ts';
import { DEFAULT_LIMITS, TestReactor } from '../support/world.ts';

/** Deposits are handled one after the other by a projector, each under the lease that is named. Counts how often the store is asked. */
function counting(project: (request: ProjectorRequest) => ProjectorResponse = summing) {
  const runtime = systemRuntime();
  const stored = new Map<string, ProjectionRow>();
  const asked = { rows: 0, any: 0, fails: false };
  const coordinator = new ProjectorCoordinator({
    asking: new Asking(runtime, DEFAULT_LIMITS, 'i'),
    limits: DEFAULT_LIMITS,
    store: {
      readProjection: async ({ key }) => {
        asked.rows++;
        return stored.get(key);
      },
      hasProjections: async () => {
        asked.any++;
        if (asked.fails) throw new Error('the store is away');
        return stored.size > 0;
      },
    },
  });
  const seen: (string | undefined)[] = [];
  const reactor = new TestReactor('projector', 'p', (request) => {
    seen.push(request.current && textOf(request.current.projection));
    return project(request);
  });
  const leases = new Map<number, PartitionKey>();
  const leaseOf = (epoch: number) => {
    const lease = leases.get(epoch) ?? { subscription: 'p', generation: 1, partition: 3 };
    leases.set(epoch, lease);
    return lease;
  };
  const aggregate = newRoot();
  const deposit = (position: number, epoch: number, root = aggregate) => {
    const page = { ...eventPage(any('Deposited', '1')), sequence: position - 1, position };
    const cover = { root: { value: root }, domain: 'account', correlationId: '', tenant: '' };
    const book = { cover, snapshot: undefined, pages: [page], nextSequence: position, consistencyToken: '' };
    return coordinator.handle({ kind: 'events', book }, reactor, {
      partition: leaseOf(epoch),
      epoch,
      key: 'k',
      attempt: 1,
      replaying: false,
      scanned: position,
      signal: new AbortController().signal,
    });
  };
  const store = ({ work, committed }: Effect) => {
    for (const row of work.projections) stored.set(row.key, row);
    committed();
  };
  return { deposit, seen, stored, store, asked };
}

test('what was answered under a lease that is over is not the row that the next one begins with', async () => {
  const { deposit, seen, stored } = counting();
  const first = await deposit(1, 7);
  await deposit(2, 7);
  // The partition was taken anew, and the event is handed out again while nobody has dropped the answers above yet.
  const again = await deposit(1, 8);
  assert.deepEqual(seen, [undefined, '1 1', undefined]);
  first.dropped();
  const [row] = again.work.projections;
  stored.set(row!.key, row!);
  again.committed();
  await deposit(2, 8);
  assert.equal(seen.at(-1), '1 1');
});

test('an answer of a lease that is over does not take the place of what the next one has answered and not stored', async () => {
  const { deposit, seen } = counting();
  await deposit(1, 8);
  const late = await deposit(1, 7);
  await deposit(2, 8);
  assert.deepEqual(seen, [undefined, undefined, '1 1']);
  late.dropped();
  await deposit(3, 8);
  assert.equal(seen.at(-1), '2 2');
});

test('a projector without rows is looked up once in a lease, and not with each event', async () => {
  const { deposit, seen, store, asked } = counting(() => ({ projections: [] }));
  const first = await Promise.all([deposit(1, 1), deposit(2, 1, newRoot()), deposit(3, 1, newRoot())]);
  for (const effect of first) store(effect);
  for (let position = 4; position <= 6; position++) store(await deposit(position, 1));
  assert.deepEqual([asked.rows, asked.any], [0, 1]);
  store(await deposit(7, 2));
  assert.deepEqual([asked.rows, asked.any], [0, 2]);
  assert.deepEqual(seen, Array(7).fill(undefined));
});

test('a row that an earlier lease has stored is there for the next one', async () => {
  const { deposit, seen, store } = counting();
  store(await deposit(1, 1));
  store(await deposit(2, 2));
  assert.deepEqual(seen, [undefined, '1 1']);
});

test('a row that the lease itself has made is there again when it was forgotten meanwhile', async () => {
  const long = 'x'.repeat(200_000);
  const { deposit, seen, store, asked } = counting((request) => {
    const { projections } = summing(request);
    // Of the others: more than is remembered.
    const other = { ...projections[0]!, projection: any('Summary', long) };
    return { projections: request.events!.pages[0]!.position > 100 ? [other] : projections };
  });
  store(await deposit(1, 1));
  for (let position = 101; position <= 150; position++) store(await deposit(position, 1, newRoot()));
  const before = asked.rows;
  store(await deposit(2, 1));
  assert.equal(seen.at(-1), '1 1');
  assert.equal(asked.rows, before + 1);
});

test('a look for rows that fails is made anew', async () => {
  const { deposit, seen, store, asked } = counting();
  store(await deposit(1, 1));
  asked.fails = true;
  await assert.rejects(deposit(2, 2), /the store is away/);
  await assert.rejects(deposit(2, 2), /the store is away/);
  asked.fails = false;
  store(await deposit(2, 2));
  assert.deepEqual(seen, [undefined, '1 1']);
});
