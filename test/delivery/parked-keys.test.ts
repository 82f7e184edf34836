import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ProjectorRequest } from '../../src/model/reaction.ts';
import { streamSlice } from '../../src/model/slice.ts';
import { openMemory } from '../../src/stores/memory.ts';
import { newRoot } from '../support/books.ts';
import { eventually } from '../support/eventually.ts';
import { TestReactor, World } from '../support/world.ts';

const hex = (root: Uint8Array) => Buffer.from(root).toString('hex');

test('an event that comes while a parked key looks for its last one is handled, too', async () => {
  const store = openMemory({ logId: '0'.repeat(36), incarnation: '1'.repeat(36) });
  // Both in one partition.
  const slice = (root: Uint8Array) => streamSlice({ tenant: '', domain: 'account', root });
  const [parked, other] = Array.from({ length: 1000 }, newRoot).filter((root) => slice(root) < 512) as [
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
      const ours = hex(cover!.root!.value) === hex(parked);
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
        if (armed && hex(args[0].root) === hex(parked)) {
          armed = false;
          looking.resolve();
          await looked.promise;
        }
        return found;
      };
    },
  });
  await using world = await World.open({ store: slow, reactors: [reactor], limits: { reactionAttempts: 1000 } });
  await world.deposit(parked);
  await eventually('the key is parked', () => world.logLines.some((line) => line.includes('its key is parked')));
  // Further on in the log, so that there is something to look through.
  await world.deposit(other);
  await looking.promise;
  const { events } = await world.deposit(parked);
  const { position } = events!.pages[0]!;
  const partition = world.engine.delivery.subscriptions[0]!.partition(0);
  await eventually('it was offered', () => partition!.scanned >= position);
  looked.resolve();
  await eventually('the key has caught up', () => partition!.position >= position && partition!.parked.rows === 0);
  assert.deepEqual(handled, [0, 1]);
});
