import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Deadlines } from '../src/deadlines.ts';
import { manualRuntime } from './support/clock.ts';

test('fire once, never early, at most 25 ms late; cancelled ones never', async () => {
  const wanted = fc.array(fc.tuple(fc.nat({ max: 300 }), fc.boolean()), { maxLength: 30 });
  const steps = fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(wanted, steps, async (deadlinesMs, stepsMs) => {
      const runtime = manualRuntime();
      const deadlines = new Deadlines(runtime);
      const begin = runtime.monotonicMs();
      const fired: number[][] = deadlinesMs.map(() => []);
      for (const [i, [delayMs, cancel]] of deadlinesMs.entries()) {
        const deadline = deadlines.add(begin + delayMs, () => fired[i]!.push(runtime.monotonicMs() - begin));
        if (cancel) deadline.cancel();
      }
      for (const stepMs of stepsMs) await runtime.advance(stepMs);
      await runtime.advance(1000);
      for (const [i, [delayMs, cancelled]] of deadlinesMs.entries()) {
        assert.equal(fired[i]!.length, cancelled ? 0 : 1);
        for (const at of fired[i]!) assert(at >= delayMs && at <= delayMs + 25, `${at} for ${delayMs}`);
      }
    }),
  );
});

test('one timer for all, and none when there is nothing to wait for', async () => {
  const manual = manualRuntime();
  let set = 0;
  const deadlines = new Deadlines({
    ...manual,
    after(delayMs, call) {
      set++;
      return manual.after(delayMs, call);
    },
  });
  const now = manual.monotonicMs();
  const many = Array.from({ length: 1000 }, (_, i) => deadlines.add(now + 100 + i, () => {}));
  assert.equal(set, 1);
  for (const deadline of many) deadline.cancel();
  await manual.advance(1000);
  assert.equal(set, 1);
});

test('the same function added twice fires twice; cancelling one leaves the other', async () => {
  const runtime = manualRuntime();
  const deadlines = new Deadlines(runtime);
  let fired = 0;
  const call = () => {
    fired++;
  };
  const at = runtime.monotonicMs() + 10;
  const first = deadlines.add(at, call);
  deadlines.add(at, call);
  first.cancel();
  first.cancel();
  await runtime.advance(100);
  assert.equal(fired, 1);
});

test('one that is added, or cancelled, while others fire', async () => {
  const runtime = manualRuntime();
  const deadlines = new Deadlines(runtime);
  const fired: string[] = [];
  const at = runtime.monotonicMs() + 5;
  deadlines.add(at, () => {
    fired.push('first');
    neighbour.cancel();
    deadlines.add(runtime.monotonicMs(), () => fired.push('due already'));
    deadlines.add(runtime.monotonicMs() + 60, () => fired.push('later'));
  });
  const neighbour = deadlines.add(at, () => fired.push('cancelled by its neighbour'));
  await runtime.advance(200);
  assert.deepEqual(fired, ['first', 'due already', 'later']);
});
