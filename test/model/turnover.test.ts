import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Turnover, UNDER_WAY_MIN } from '../../src/model/turnover.ts';

/** So many done in each millisecond, while so many are under way: from one time to another. */
function run(turnover: Turnover, fromMs: number, toMs: number, perMs: number, underWay: number): number {
  let waitMs = 0;
  for (let ms = fromMs; ms < toMs; ms++) {
    for (let i = 0; i < perMs; i++) turnover.done(ms);
    waitMs = turnover.waitMs(underWay, ms);
  }
  return waitMs;
}

test('who comes behind many waits as long as they take', () => {
  const turnover = new Turnover(0);
  assert.equal(run(turnover, 0, 200, 2, 1000), 0, 'nothing is known yet');
  const waitMs = run(turnover, 200, 600, 2, 1000);
  assert(Math.abs(waitMs - 500) < 10, `1,000 at 2 a millisecond: ${waitMs}`);
});

test('while few are under way, how many are done says nothing about how many could be', () => {
  const turnover = new Turnover(0);
  run(turnover, 0, 1000, 1, UNDER_WAY_MIN - 1);
  assert.equal(turnover.waitMs(8000, 1000), 0);
});

test('when none is done, nobody knows how long it takes, only that it is long', () => {
  const turnover = new Turnover(0);
  const waitMs = run(turnover, 0, 600, 0, 1000);
  assert(waitMs >= 250_000, `${waitMs}`);
  // It goes on: what is done now counts.
  assert(run(turnover, 600, 1200, 4, 1000) < 300);
});
