// Which generations are worked for, when several daemons and several rebuilds are about. Only the subscriptions are stand-ins.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generations } from '../../src/delivery/generations.ts';
import { READING } from '../../src/delivery/reading.ts';
import type { Subscription } from '../../src/delivery/subscription.ts';
import { manualRuntime } from '../support/clock.ts';
import { memory } from '../support/delivery.ts';
import { definition } from '../support/work-units.ts';

const standIn = (generation: number) =>
  ({
    name: 'p',
    generation,
    predecessor: undefined,
    partitions: [],
    recheck() {},
    replaces() {},
  }) as unknown as Subscription;

test('a rebuild that another daemon has ended does not hold up its generation when the next one has begun already', async () => {
  const store = memory();
  const declare = (generation: number) =>
    store.declare(definition({ name: 'p', kind: 'projector', generation, version: generation }));
  const subscriptions = new Map([1, 2, 3].map((generation) => [generation, standIn(generation)]));
  const generations = new Generations({
    store,
    runtime: manualRuntime(),
    log: { info() {}, warn() {}, error() {} },
    instance: 'one',
    leaseMs: 1000,
    reading: READING,
    subscription: (_, generation) => subscriptions.get(generation),
    isServed: () => true,
    onHolding() {},
    onChanged() {},
    again() {},
  });
  const look = async () => {
    const kept = await generations.sortOut(await store.listSubscriptions());
    generations.follow(kept);
    return kept.map(({ generation }) => generation);
  };
  const built = () =>
    [...subscriptions.values()].filter((each) => each.predecessor !== undefined).map((each) => each.generation);
  await declare(1);
  assert.deepEqual([await look(), built()], [[1], []]);
  await declare(2);
  assert.deepEqual([await look(), built()], [[1, 2], [2]]);
  // Meanwhile, elsewhere.
  assert.equal(await store.switchGeneration('p', 1, 2), true);
  await declare(3);
  assert.deepEqual([await look(), built()], [[2, 3], [3]]);
  generations.stop();
});
