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
 * Offers event after event until nothing is left, or for so long, while each command adds one. Whoever rests wakes late. How much is
 * left, and how long it took.
 */
async function catchUp(load: { behind: number; commandsPerMs: number; lateMs: number; limitMs?: number }) {
  const { lateMs, commandsPerMs, limitMs = 60_000 } = load;
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
  const pace = new Pace(runtime, READING.slice, commands);
  for (let offered = 0; ; ) {
    const left = load.behind + commands() - offered;
    if (left <= 0 || nowMs > limitMs) return { left, rests, offered, tookMs: nowMs };
    offered++;
    nowMs += COST_MS;
    if (pace.offered(1)) await pace.rest(left - 1, CALM);
  }
}

describe('the pace of catching up', () => {
  test('without commands it never rests', async () => {
    const { rests } = await catchUp({ behind: 5000, commandsPerMs: 0, lateMs: 0 });
    assert.equal(rests, 0);
  });

  test('while commands leave room it takes more and more', async () => {
    const { left, tookMs } = await catchUp({ behind: 50_000, commandsPerMs: 1, lateMs: 0 });
    assert(left <= 0 && tookMs < 5000, `${left} events are left after ${tookMs} ms`);
  });

  test('while commands need everything it still gains on them', async () => {
    const { left, tookMs } = await catchUp({ behind: 5000, commandsPerMs: 1, lateMs: 5 });
    assert(left <= 0, `${left} events are left after ${tookMs} ms`);
  });

  test('while commands need everything it takes little more than that', async () => {
    const { offered, tookMs } = await catchUp({ behind: 1e6, commandsPerMs: 4, lateMs: 5 });
    assert(offered / tookMs < 6, `${offered} events in ${tookMs} ms`);
  });

  test('while a few commands come in on a machine that is always busy it does not crawl', async () => {
    const { left, tookMs } = await catchUp({ behind: 20_000, commandsPerMs: 0.01, lateMs: 2 });
    assert(left <= 0 && tookMs < 8000, `${left} events are left after ${tookMs} ms`);
  });
});
