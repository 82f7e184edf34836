import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hex } from '../../src/model/stream.ts';
import { deposits, Handled, isSettled, NOTHING, parked, replay, rootOf, roots, STORES } from '../support/delivery.ts';
import { eventually } from '../support/eventually.ts';
import { seeded } from '../support/random.ts';
import { TestReactor, World } from '../support/world.ts';

const seed = Number(process.env.DAYBOOK_TEST_SEED ?? Math.floor(Math.random() * 1e9));

describe(`order per aggregate under load (DAYBOOK_TEST_SEED=${seed})`, () => {
  for (const [kind, open] of Object.entries(STORES))
    test(`traps 19, 21, 23, 41: failures and dead letters overtake nothing, also not through their replay (${kind})`, async () => {
      const random = seeded(seed);
      await using opened = await open();
      // 50,000 events in memory.
      const all = roots(kind === 'memory' ? 200 : 40);
      const poisoned = new Set(all.slice(0, 3).map(hex));
      let fixed = false;

      const shaky = new Handled();
      const shakyCalls = { failed: 0 };
      const shakyReactor = new TestReactor('projector', 'shaky', async (request) => {
        if (random() < 0.3) await new Promise((resolve) => setImmediate(resolve));
        if (random() < 0.05) {
          shakyCalls.failed++;
          throw new Error('bad luck');
        }
        shaky.note(request.events);
        return NOTHING;
      });

      const strict = new Handled();
      const attempts = new Map<string, number[]>();
      const strictReactor = new TestReactor('projector', 'strict', (request) => {
        const root = rootOf(request.events);
        if (!fixed && poisoned.has(root)) {
          attempts.set(root, [...(attempts.get(root) ?? []), request.delivery!.attempt]);
          throw new Error('poison');
        }
        strict.note(request.events);
        return NOTHING;
      });

      await using world = await World.open({
        store: opened.store,
        reactors: [shakyReactor, strictReactor],
        limits: { reactionRetryMinMs: 1, reactionRetryMaxMs: 10 },
      });
      const each = 230;
      await deposits(world, all, each, random, { pages: 10 });
      await eventually('the shaky one is through', () => isSettled(world, 'shaky'), 30_000);
      assert.deepEqual(shaky.faults, []);
      assert.equal(shaky.events, all.length * each);
      assert(shakyCalls.failed > 20, `${shakyCalls.failed} failures`);

      const dead = await eventually('three aggregates are dead letters, and nothing else is parked', async () => {
        const rows = await parked(world, 'strict');
        return rows.length === 3 && rows.every(({ state }) => state === 'dead') && rows;
      });
      await eventually('everything else is handled', () => strict.events === (all.length - 3) * each);
      assert.deepEqual(strict.faults, []);
      for (const [root, seen] of attempts) {
        assert.deepEqual(seen, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], `attempts for ${root}`);
      }
      for (const { attempts, reason, message } of dead) {
        assert.deepEqual([attempts, reason, message], [10, 'COMPONENT_FAULT', 'poison']);
      }

      fixed = true;
      const more = deposits(world, all, 20, random, { pages: 2, atOnce: 16 });
      await replay(world, dead);
      await more;
      await eventually('the replayed ones are through', () => isSettled(world, 'strict'));
      assert.deepEqual(strict.faults, []);
      assert.equal(strict.events, all.length * (each + 20));
      await eventually('the shaky one, too', () => isSettled(world, 'shaky'), 30_000);
      assert.equal(shaky.events, all.length * (each + 20));
      assert.deepEqual(shaky.faults, []);
    });
});
