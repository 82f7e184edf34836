import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { hex } from '../src/model/stream.ts';
import { sleep, systemRuntime } from '../src/runtime.ts';
import { manualRuntime } from './support/clock.ts';

test('100,000 ids: each a UUIDv7 of now, each after the one before', () => {
  const runtime = systemRuntime();
  const before = Date.now();
  let last = '';
  for (let i = 0; i < 100_000; i++) {
    const id = runtime.uuid();
    const text = hex(id);
    assert(text > last, `${text} after ${last}`);
    assert.deepEqual([id.length, id[6]! >>> 4, id[8]! >>> 6], [16, 7, 0b10]);
    last = text;
  }
  const lastMs = Number.parseInt(last.slice(0, 12), 16);
  // 4,096 fit into a millisecond: one that makes more borrows from the future, and not much.
  assert(lastMs >= before && lastMs <= Date.now() + 25, `${lastMs - Date.now()} ms ahead`);
});

test('ids of two processes differ in their random bits', () => {
  const ends = new Set<string>();
  for (let i = 0; i < 1000; i++) ends.add(hex(systemRuntime().uuid().subarray(8)));
  assert.equal(ends.size, 1000);
});

test('ids own their bytes: nobody changes an id by changing another, or keeps more than it alive', () => {
  const runtime = systemRuntime();
  const [a, b] = [runtime.uuid(), runtime.uuid()];
  const text = hex(b);
  a.fill(0);
  assert.equal(hex(b), text);
  assert.equal(b.buffer.byteLength, 16);
});

test('the wall clock has whole microseconds, the monotonic one never goes back', () => {
  const runtime = systemRuntime();
  let last = runtime.monotonicMs();
  for (let i = 0; i < 10_000; i++) {
    assert(Number.isSafeInteger(runtime.nowMicros()));
    assert(runtime.monotonicMs() >= last);
    last = runtime.monotonicMs();
  }
  assert(Math.abs(runtime.nowMicros() / 1000 - Date.now()) < 50);
});

test('sleep ends by time, or by its signal with the reason, and hundreds leave hardly a listener behind', async () => {
  const runtime = manualRuntime();
  const controller = new AbortController();
  const { signal } = controller;
  let slept = false;
  const whole = sleep(runtime, 100, signal).then(() => {
    slept = true;
  });
  await runtime.advance(99);
  assert.equal(slept, false);
  await runtime.advance(1);
  await whole;
  for (let i = 0; i < 100; i++) {
    const another = sleep(runtime, 1, signal);
    await runtime.advance(1);
    await another;
  }
  assert.equal(getEventListeners(signal, 'abort').length, 1);

  const cut = sleep(runtime, 100, signal);
  controller.abort(new Error('enough'));
  await assert.rejects(cut, { message: 'enough' });
  // Already aborted: at once.
  await assert.rejects(sleep(runtime, 100, signal), { message: 'enough' });
});

test('a timer that was cancelled does not call', async () => {
  const runtime = systemRuntime();
  let called = 0;
  const timer = runtime.after(1, () => called++);
  timer.cancel();
  timer.cancel();
  // Timers of the runtime keep no process alive; this one does, and is set later.
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(called, 0);
});

test('the wall clock does not go back within a millisecond, as it did where two clocks gave its digits', () => {
  const runtime = systemRuntime();
  const end = performance.now() + 50;
  let last = runtime.nowMicros();
  while (performance.now() < end) {
    const now = runtime.nowMicros();
    // A correction of the system's clock is another matter: those are larger.
    assert.ok(now >= last || last - now > 1500, `${last} and then ${now}`);
    last = now;
  }
});
