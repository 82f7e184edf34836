// What a component answers and no store can hold is the fault of its own key, not of those whose effects are stored along with it.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { sameBytes } from '../../src/model/stream.ts';
import { InProcessAccount } from '../support/account.ts';
import { any, command, newRoot, textOf } from '../support/books.ts';
import { deposits, isSettled, memory, outboxOf, parked, rootOf, roots, STORES, summing } from '../support/delivery.ts';
import { eventually } from '../support/eventually.ts';
import { seeded } from '../support/random.ts';
import { refusing } from '../support/refusing-store.ts';
import { TestReactor, World } from '../support/world.ts';

const seed = Number(process.env.DAYBOOK_TEST_SEED ?? Math.floor(Math.random() * 1e9));
const hex = (root: Uint8Array) => Buffer.from(root).toString('hex');

/** Log lines that blame an event of another aggregate. */
const blamed = (world: World, culprit: Uint8Array) =>
  world.logLines.filter((line) => /an event (failed|is a dead letter)/.test(line) && !line.includes(hex(culprit)));

describe(`what the store cannot hold (DAYBOOK_TEST_SEED=${seed})`, () => {
  for (const [kind, open] of Object.entries(STORES))
    test(`trap 50: a projection is parked alone, and the rows beside it are stored (${kind})`, async () => {
      await using opened = await open();
      const all = roots(40);
      const culprit = all[7]!;
      // One partition holds half of them: their rows go in one unit.
      const reactor = new TestReactor(
        'projector',
        'p',
        async (request) => {
          await new Promise((resolve) => setImmediate(resolve));
          const { projections } = summing(request);
          // Half a character.
          if (rootOf(request.events) === hex(culprit)) projections[0]!.key = '\ud800';
          return { projections };
        },
        { partitions: 2 },
      );
      await using world = await World.open({
        store: opened.store,
        reactors: [reactor],
        limits: { reactionAttempts: 3 },
      });
      await deposits(world, all, 5, seeded(seed));
      const rows = await eventually('it is a dead letter', async () => {
        const found = await parked(world, 'p');
        return found.length === 1 && found[0]!.state === 'dead' && found;
      });
      assert(rows[0]!.key.endsWith(hex(culprit)));
      assert.deepEqual([rows[0]!.attempts, rows[0]!.reason], [3, 'INTERNAL']);
      const { position } = await world.store.head();
      await eventually('the cursors are at the end', async () =>
        (await world.store.listCursors('p')).every((cursor) => cursor.position === position),
      );
      const stored = await world.store.listProjections({
        tenant: '',
        projector: 'p',
        generation: 1,
        prefix: '',
        limit: 100,
      });
      assert.deepEqual(
        stored.map(({ key, payload }) => `${key} ${textOf(payload)}`).sort(),
        all
          .filter((root) => root !== culprit)
          .map((root) => `${hex(root)} 5 5`)
          .sort(),
      );
      assert.deepEqual(blamed(world, culprit), []);
    });

  test('trap 50: an output of a saga is parked alone, and the outputs beside it are sent', async () => {
    const all = roots(40);
    const culprit = all[11]!;
    const store = refusing(memory(), ({ work }) =>
      Boolean(work?.outboxAdded.some(({ target }) => sameBytes(target.root, culprit))),
    );
    const saga = new TestReactor<'saga'>(
      'saga',
      's',
      ({ source }) => ({
        commands: [command(source!.cover!.root!.value, any('Deposit', '1'), { domain: 'vault' })],
        events: [],
      }),
      { domains: ['account'], partitions: 2 },
    );
    const accounts = [new InProcessAccount(), new InProcessAccount('vault')];
    const limits = { reactionAttempts: 3 };
    await using world = await World.open({ store, accounts, reactors: [saga], limits });
    await deposits(world, all, 2, seeded(seed));
    const rows = await eventually('it is a dead letter', async () => {
      const found = await parked(world, 's');
      return found.length === 1 && found[0]!.state === 'dead' && found;
    });
    assert(rows[0]!.key.endsWith(hex(culprit)));
    assert.deepEqual([rows[0]!.attempts, rows[0]!.reason], [3, 'INTERNAL']);
    await eventually('all others are answered', async () => {
      for (const root of all) {
        if (root === culprit) continue;
        const read = await store.readStream({ tenant: '', domain: 'vault', root }, { from: 0, maxBytes: 1 });
        if (read.nextSequence !== 2) return false;
      }
      return (await outboxOf(store)).length === 0;
    });
    assert.deepEqual(blamed(world, culprit), []);
  });

  test('trap 50: the key goes on as soon as the store can hold what is answered', async () => {
    const culprit = newRoot();
    let broken = true;
    const reactor = new TestReactor('projector', 'p', (request) => {
      const { projections } = summing(request);
      if (broken && rootOf(request.events) === hex(culprit)) projections[0]!.key = '\ud800';
      return { projections };
    });
    const limits = { reactionAttempts: 1000 };
    await using world = await World.open({ store: memory(), reactors: [reactor], limits });
    await deposits(world, [culprit, ...roots(5)], 4, seeded(seed));
    await eventually('it is parked', async () => (await parked(world, 'p')).length === 1);
    broken = false;
    await eventually('all is handled', () => isSettled(world, 'p'));
    const key = { tenant: '', projector: 'p', generation: 1, key: hex(culprit) };
    assert.equal(textOf((await world.store.readProjection(key))!.payload), '4 4');
  });
});
