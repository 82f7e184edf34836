import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Asking } from '../../src/coordinators/asking.ts';
import { ProjectorCoordinator } from '../../src/coordinators/projector.ts';
import { systemRuntime } from '../../src/runtime.ts';
import type { ProjectionRow } from '../../src/store.ts';
import { any, eventPage, newRoot, textOf } from '../support/books.ts';
import { summing } from '../support/delivery.ts';
import { DEFAULT_LIMITS, TestReactor } from '../support/world.ts';

/** Deposits are handled one after the other by a projector that counts, each under the lease that is named. */
function counting() {
  const runtime = systemRuntime();
  const stored = new Map<string, ProjectionRow>();
  const coordinator = new ProjectorCoordinator({
    asking: new Asking(runtime, DEFAULT_LIMITS, 'i'),
    limits: DEFAULT_LIMITS,
    store: { readProjection: async ({ key }) => stored.get(key) },
  });
  const seen: (string | undefined)[] = [];
  const reactor = new TestReactor('projector', 'p', (request) => {
    seen.push(request.current && textOf(request.current.projection));
    return summing(request);
  });
  const cover = { root: { value: newRoot() }, domain: 'account', correlationId: '', tenant: '' };
  const deposit = (position: number, epoch: number) => {
    const page = { ...eventPage(any('Deposited', '1')), sequence: position - 1, position };
    const book = { cover, snapshot: undefined, pages: [page], nextSequence: position, consistencyToken: '' };
    return coordinator.handle({ kind: 'events', book }, reactor, {
      partition: { subscription: 'p', generation: 1, partition: 3 },
      epoch,
      key: 'k',
      attempt: 1,
      replaying: false,
      scanned: position,
      signal: new AbortController().signal,
    });
  };
  return { deposit, seen, stored };
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
