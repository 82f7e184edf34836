// A few hundred seeds, the cases that were failures once, and the bugs that the simulation must go on finding. Long runs: npm run simulate.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { type Plan, planOf } from './plan.ts';
import { PLANTS } from './plants.ts';
import { merge, missing } from './ranges.ts';
import { runPlan } from './run-seed.ts';
import type { RangeResult } from './worker.ts';
import { Worker } from './workers.ts';

const SEEDS = 300;
const kept = join(import.meta.dirname, 'regressions');

interface Kept {
  about: string;
  planted?: string;
  plan: Plan;
}

const cases = readdirSync(kept)
  .filter((file) => file.endsWith('.json'))
  .map((file) => ({ file, ...(JSON.parse(readFileSync(join(kept, file), 'utf8')) as Kept) }));

describe('simulation', () => {
  test('the same seed does the same thing again, traced or not, in this process and in another', async () => {
    await using worker = await Worker.start();
    for (const seed of [1, 2, 3, 4, 5, 6]) {
      const traces: string[][] = [[], []];
      const [first, second] = [
        await runPlan(planOf(seed), (line) => traces[0]!.push(line)),
        await runPlan(planOf(seed), (line) => traces[1]!.push(line)),
      ];
      assert.deepEqual(traces[0], traces[1]);
      assert.equal(first.hash, second.hash);
      assert.ok(first.events > 0 && traces[0]!.length > 100);
      assert.equal((await runPlan(planOf(seed))).hash, first.hash);
      assert.equal((await worker.run({ kind: 'plan', plan: planOf(seed) })).hash, first.hash);
    }
  });

  test(`${SEEDS} seeds break no promise`, async () => {
    await using one = await Worker.start();
    await using other = await Worker.start();
    const middle = 1 + SEEDS / 2;
    const results = await Promise.all([
      one.run({ kind: 'range', from: 1, to: middle, stopAtFirst: false }),
      other.run({ kind: 'range', from: middle, to: SEEDS + 1, stopAtFirst: false }),
    ]);
    assert.deepEqual(
      results.flatMap(({ failed }) => failed),
      [],
    );
    assert.equal(merge(results).seeds, SEEDS);
  });

  for (const { file, about, planted, plan } of cases) {
    if (planted !== undefined) continue;
    test(`${file} failed once: ${about.split('\n')[0]!.slice(0, 120)}`, async () => {
      assert.deepEqual((await runPlan(plan)).broken, []);
    });
  }

  for (const [name, { about }] of Object.entries(PLANTS)) {
    test(`planted: ${about}`, async () => {
      const found = cases.filter(({ planted }) => planted === name);
      assert.ok(
        found.length > 0,
        `no case is kept of ${name}: npm run simulate -- --seed <n> --shrink --planted ${name}`,
      );
      await using worker = await Worker.start(name);
      for (const { file, plan } of found) {
        const { broken } = await worker.run({ kind: 'plan', plan });
        assert.ok(broken.length > 0, `${file} does not find it any more`);
        assert.deepEqual((await runPlan(plan)).broken, [], file);
      }
    });
  }
});

describe('ranges of seeds', () => {
  const range = (from: number, to: number): RangeResult => ({
    kind: 'range',
    from,
    to,
    failed: from === 5 ? [{ seed: 6, broken: ['x'] }] : [],
    steps: to - from,
    events: 0,
    virtualMs: 0,
    cpuMs: 0,
  });

  test('what was not run yet is run in pieces', () => {
    assert.deepEqual(missing([], 1, 6, 2), [
      { from: 1, to: 3 },
      { from: 3, to: 5 },
      { from: 5, to: 6 },
    ]);
    assert.deepEqual(missing([range(3, 5), range(8, 20)], 1, 10, 2), [
      { from: 1, to: 3 },
      { from: 5, to: 7 },
      { from: 7, to: 8 },
    ]);
    assert.deepEqual(missing([range(1, 10)], 1, 10, 2), []);
  });

  test('ranges are added up, each seed once', () => {
    const { seeds, failed, steps } = merge([range(5, 9), range(1, 5), range(5, 9)]);
    assert.deepEqual({ seeds, failed, steps }, { seeds: 8, failed: [{ seed: 6, broken: ['x'] }], steps: 8 });
  });
});
