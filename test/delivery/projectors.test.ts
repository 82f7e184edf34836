import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ProjectorRequest } from '../../src/model/reaction.ts';
import { openMemory } from '../../src/stores/memory.ts';
import { any, newRoot, textOf } from '../support/books.ts';
import { eventually } from '../support/eventually.ts';
import { TestReactor, World } from '../support/world.ts';

const store = () => openMemory({ logId: '0'.repeat(36), incarnation: '1'.repeat(36) });
const hex = (root: Uint8Array) => Buffer.from(root).toString('hex');

/** Keeps the number of events and their sum. */
export function summing(request: ProjectorRequest) {
  const [count, sum] =
    request.current === undefined ? [0, 0] : textOf(request.current.projection).split(' ').map(Number);
  const amounts = request.events!.pages.map((page) => Number(textOf(page.event)));
  const total = amounts.reduce((a, b) => a + b, sum!);
  const projection = any('Summary', `${count! + amounts.length} ${total}`);
  return {
    projections: [{ cover: undefined, projector: '', sequence: 0, projection, key: '', position: 0, deleted: false }],
  };
}

describe('a projector', () => {
  test('is handed every event of an aggregate in order, and its rows are stored', async () => {
    const seen: number[] = [];
    const reactor = new TestReactor('projector', 'summary', (request) => {
      seen.push(...request.events!.pages.map(({ sequence }) => sequence));
      return summing(request);
    });
    await using world = await World.open({ store: store(), reactors: [reactor] });
    const root = newRoot();
    for (let i = 1; i <= 20; i++) await world.deposit(root, i);
    const key = { tenant: '', projector: 'summary', generation: 1, key: hex(root) };
    const row = await eventually('the row is complete', async () => {
      const found = await world.store.readProjection(key);
      return found?.sequence === 19 ? found : undefined;
    });
    assert.equal(textOf(row.payload), '20 210');
    assert.deepEqual(
      seen,
      Array.from({ length: 20 }, (_, i) => i),
    );
    await eventually('cursors are at the end', async () =>
      (await world.store.listCursors('summary')).every(({ position }) => position === 20),
    );
  });

  test('trap 28: slow calls to a component do not wait for each other', async () => {
    const aggregates = 40;
    const all = Promise.withResolvers<void>();
    const reactor: TestReactor<'projector'> = new TestReactor('projector', 'slow', async () => {
      if (reactor.inHand === aggregates) all.resolve();
      // Answered only when every aggregate's call is in hand: one at a time, nothing would ever be.
      await all.promise;
      return { projections: [] };
    });
    await using world = await World.open({ store: store(), reactors: [reactor] });
    for (let i = 0; i < aggregates; i++) await world.deposit();
    await eventually('everything is handled', async () =>
      (await world.store.listCursors('slow')).every(({ position }) => position === aggregates),
    );
  });
});
