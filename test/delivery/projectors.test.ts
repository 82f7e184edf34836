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

describe('a projector that catches up', () => {
  /** In log order, before anybody is there to handle them. */
  async function written(all: readonly Uint8Array[]) {
    const opened = store();
    await using world = await World.open({ store: opened });
    for (const root of all) await world.deposit(root);
    return opened;
  }

  test('is handed the events of an aggregate together', async () => {
    // Few enough to be in hand all at once.
    const roots = Array.from({ length: 25 }, newRoot);
    let requests = 0;
    const reactor = new TestReactor('projector', 'together', () => {
      requests++;
      return { projections: [] };
    });
    const opened = await written(Array.from({ length: 2100 }, (_, i) => roots[i % roots.length]!));
    await using world = await World.open({ store: opened, reactors: [reactor] });
    await eventually('everything is handled', async () =>
      (await world.store.listCursors('together')).every(({ position }) => position === 2100),
    );
    // What comes while one event of an aggregate is in hand goes together in the next request.
    assert(requests <= 2100 / 5, `${requests} requests`);
  });

  test('does not wait for a hundred aggregates whose requests hang', async () => {
    const hanging = Array.from({ length: 100 }, newRoot);
    const texts = new Set(hanging.map(hex));
    const open = Promise.withResolvers<void>();
    let answered = 0;
    const reactor = new TestReactor('projector', 'past', async ({ events }) => {
      if (texts.has(hex(events!.cover!.root!.value))) await open.promise;
      answered++;
      return { projections: [] };
    });
    const others = Array.from({ length: 100 }, newRoot);
    const opened = await written([...hanging, ...others]);
    await using world = await World.open({ store: opened, reactors: [reactor] });
    await eventually('the others are handled', () => answered === others.length);
    assert.equal(reactor.inHand, hanging.length);
    open.resolve();
    await eventually('everything is handled', async () =>
      (await world.store.listCursors('past')).every(({ position }) => position === 200),
    );
  });

  test('does not wait for a slow aggregate of another partition', async () => {
    const [slow, ...others] = Array.from({ length: 40 }, newRoot);
    const answered = new Set<string>();
    const open = Promise.withResolvers<void>();
    const reactor = new TestReactor('projector', 'beside', async ({ events }) => {
      const root = hex(events!.cover!.root!.value);
      if (root === hex(slow!)) await open.promise;
      answered.add(root);
      return { projections: [] };
    });
    // The reader waits for room in the slow one's partition, far from the log's end; little waits in the others.
    const opened = await written([
      ...others,
      ...Array.from({ length: 40 }, () => slow!),
      ...Array.from({ length: 2000 }, newRoot),
    ]);
    const limits = { partitionWindowEvents: 32 };
    await using world = await World.open({ store: opened, reactors: [reactor], limits });
    await eventually('what was read is handled', () => others.every((root) => answered.has(hex(root))));
    assert(!answered.has(hex(slow!)));
    open.resolve();
    await eventually('everything is handled', async () =>
      (await world.store.listCursors('beside')).every(({ position }) => position === 2079),
    );
  });
});

test('a watcher that leaves while the store is busy has nothing read for it any more', async () => {
  const opened = store();
  await using world = await World.open({
    store: opened,
    reactors: [new TestReactor('projector', 'summary', summing)],
  });
  const { position } = await world.deposit();
  await eventually('the row is there', async () =>
    (await opened.listCursors('summary')).every((cursor) => cursor.position === position),
  );
  const busy = Promise.withResolvers<void>();
  let reads = 0;
  const { activeGeneration, listProjections } = opened;
  opened.activeGeneration = async (projector) => {
    await busy.promise;
    return activeGeneration.call(opened, projector);
  };
  opened.listProjections = (list) => {
    reads++;
    return listProjections.call(opened, list);
  };
  const watch = (signal: AbortSignal) => {
    const reading = { tenant: '', projector: 'summary', consistencyToken: '' };
    const options = { prefix: '', changesOnly: false };
    return world.engine.projections.watch(reading, options, { deadlineMs: Infinity, signal });
  };
  const leaving = new AbortController();
  const left = watch(leaving.signal).next();
  const staying = new AbortController();
  const stayed = watch(staying.signal);
  const first = stayed.next();
  leaving.abort();
  busy.resolve();
  assert.deepEqual(await left, { done: true, value: undefined });
  assert.equal((await first).done, false);
  assert.equal(reads, 1);
  staying.abort();
  await stayed.return();
});
