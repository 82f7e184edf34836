import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Round, type WaitingParts } from '../../src/coordinators/round.ts';
import { memory } from '../support/delivery.ts';
import { definition } from '../support/work-units.ts';

test('a projector that is switched between two reads of a round is not left out', async () => {
  const store = memory();
  const generation = (number: number) =>
    store.declare(definition({ name: 'p', kind: 'projector', generation: number, version: number }));
  await generation(1);
  const before = await store.listSubscriptions();
  await generation(2);
  assert.equal(await store.switchGeneration('p', 1, 2), true);
  await store.removeGeneration('p', 1, 100);
  const reads = {
    listSubscriptions: async () => before,
    activeGenerations: () => store.activeGenerations(),
    listCursors: () => store.listCursors(),
    readParked: store.readParked.bind(store),
  };
  const round = new Round({ store: reads, delivery: { look: () => undefined } } as unknown as WaitingParts);
  const [found] = await round.definitions();
  assert.equal(found?.generation, 1);
  const partition = { subscription: 'p', generation: 1, partition: 0 };
  assert.equal(await round.standing(partition, 'key', 1), 'behind');
});
