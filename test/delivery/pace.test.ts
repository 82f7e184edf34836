// A reader that catches up while commands come in.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Pace } from '../../src/delivery/pace.ts';
import { READING } from '../../src/delivery/reading.ts';
import { manualRuntime } from '../support/clock.ts';

const CALM = new AbortController().signal;
/** To offer an event and to handle it. */
const COST_MS = 0.02;

/**
 * Offers event after event, one of `every`, until nothing is left, or for so long, while each command adds one. Whoever rests wakes late. How
 * much is left, and how long it took.
 */
async function catchUp(load: {
  behind: number;
  commandsPerMs: number;
  lateMs: number;
  limitMs?: number;
  every?: number;
  /** For each thousand events that are read. */
  readMs?: number;
  /** Commands under way at this time. */
  executing?: (nowMs: number) => number;
}) {
  const { lateMs, commandsPerMs, limitMs = 60_000, every = 1, readMs = 0, executing = () => 0 } = load;
  const offeredMs: number[] = [];
  let nowMs = 0;
  let rests = 0;
  const runtime = {
    ...manualRuntime(),
    monotonicMs: () => nowMs,
    after(delayMs: number, call: () => void) {
      rests++;
      nowMs += delayMs + lateMs;
      queueMicrotask(call);
      return { cancel: () => {} };
    },
  };
  const commands = () => Math.floor(nowMs * commandsPerMs);
  const underWay = {
    get admitted() {
      return commands();
    },
    get executing() {
      return executing(nowMs);
    },
  };
  const pace = new Pace(runtime, READING.slice, underWay);
  for (let position = 0; ; ) {
    const end = load.behind + commands();
    if (position >= end || nowMs > limitMs)
      return { left: end - position, rests, passed: position, tookMs: nowMs, reads: pace.readEvents, offeredMs };
    if (position % 1000 === 0) nowMs += readMs;
    position += every;
    nowMs += COST_MS;
    offeredMs.push(nowMs);
    if (pace.offered(1)) await pace.rest(position, end, CALM);
  }
}

describe('the pace of catching up', () => {
  test('without commands it never rests', async () => {
    const { rests, reads } = await catchUp({ behind: 5000, commandsPerMs: 0, lateMs: 0 });
    assert.deepEqual([rests, reads], [0, Infinity]);
  });

  test('while commands leave room it takes more and more', async () => {
    const { left, tookMs } = await catchUp({ behind: 50_000, commandsPerMs: 1, lateMs: 0 });
    assert(left <= 0 && tookMs < 5000, `${left} events are left after ${tookMs} ms`);
  });

  test('while commands need everything it still gains on them', async () => {
    const { left, tookMs } = await catchUp({ behind: 5000, commandsPerMs: 1, lateMs: 5 });
    assert(left <= 0, `${left} events are left after ${tookMs} ms`);
  });

  test('while commands need everything it reads what soon has its turn', async () => {
    const { reads } = await catchUp({ behind: 1e6, commandsPerMs: 4, lateMs: 5 });
    assert(reads > 100 && reads < 300, `${reads} events at once`);
  });

  for (const [what, commandsPerMs, every, readMs] of [
    ['', 4, 1, 0],
    [', also when it wants one event of four', 16, 4, 0],
    [', also when reads of the log take long', 4, 1, 150],
  ] as const)
    test(`while commands need everything it comes on by a tenth more than they${what}`, async () => {
      const { passed, tookMs } = await catchUp({ behind: 1e6, commandsPerMs, lateMs: 5, every, readMs });
      const ahead = passed / tookMs / commandsPerMs;
      assert(ahead > 1.05 && ahead < 1.15, `${ahead} times as fast as the log grows`);
    });

  test('commands that something has held up come first, for a tenth of a second at most', async () => {
    for (const [heldUpMs, restsMs] of [
      [60, 60],
      [500, 95],
    ] as const) {
      const beganMs = 2000;
      const executing = (nowMs: number) => (nowMs >= beganMs && nowMs < beganMs + heldUpMs ? 400 : 20);
      const { offeredMs } = await catchUp({ behind: 1e6, commandsPerMs: 4, lateMs: 0, limitMs: 4000, executing });
      // Whoever rests at that moment has a tick to go before it looks.
      const first = offeredMs.findIndex((ms, i) => ms > beganMs && ms - offeredMs[i - 1]! > 5.1);
      const gapMs = offeredMs[first]! - offeredMs[first - 1]!;
      assert(gapMs >= restsMs && gapMs <= restsMs + 10, `held up for ${heldUpMs} ms: nothing for ${gapMs} ms`);
    }
  });

  for (const [what, commandsPerMs, executing] of [
    ['for good', 4, (nowMs: number) => (nowMs < 1000 ? 20 : 400)],
    ['again and again, while the log grows fast', 15, (nowMs: number) => (nowMs % 300 < 200 ? 20 : 400)],
  ] as const)
    test(`more commands under way than before, ${what}: it comes on all the same`, async () => {
      const { passed, tookMs } = await catchUp({ behind: 1e6, commandsPerMs, lateMs: 5, executing });
      const ahead = passed / tookMs / commandsPerMs;
      assert(ahead > 1.05, `${ahead} times as fast as the log grows`);
    });

  test('many commands under way from the beginning are as usual', async () => {
    const executing = () => 400;
    const { offeredMs } = await catchUp({ behind: 1e6, commandsPerMs: 4, lateMs: 0, limitMs: 1000, executing });
    const gapMs = Math.max(...offeredMs.map((ms, i) => ms - (offeredMs[i - 1] ?? ms)));
    assert(gapMs < 6, `nothing for ${gapMs} ms`);
  });

  test('whoever rests for commands stops when it is told to', async () => {
    const stopping = new AbortController();
    const runtime = manualRuntime();
    const commands = { admitted: 1, executing: 20 };
    const pace = new Pace(runtime, READING.slice, commands);
    const first = pace.rest(1, 100, stopping.signal);
    await runtime.advance(5);
    await first;
    Object.assign(commands, { admitted: 2, executing: 400 });
    const second = pace.rest(2, 100, stopping.signal);
    await runtime.advance(5);
    stopping.abort();
    await second;
  });

  test('while a few commands come in on a machine that is always busy it does not crawl', async () => {
    const { left, tookMs } = await catchUp({ behind: 20_000, commandsPerMs: 0.01, lateMs: 2 });
    assert(left <= 0 && tookMs < 8000, `${left} events are left after ${tookMs} ms`);
  });
});
