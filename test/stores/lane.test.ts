// A worker that dies: what its callers learn, and that the next call gets another one.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { Faulted, Lane, Lost } from '../../src/stores/sqlite/lane.ts';

/** Answers `open` and `close`; `head` ends it, `readLog` fails, `commit` is answered. */
const SCRIPT = `
  const { parentPort } = require('node:worker_threads');
  const tape = { numbers: new Float64Array([7]), texts: [], chunks: [] };
  parentPort.on('message', ({ id, operation }) => {
    if (operation === 'head') process.exit(3);
    else if (operation === 'readLog') parentPort.postMessage({ id, fault: { message: 'no', committing: false } });
    else if (operation === 'openStream') throw new Error('unexpected');
    else parentPort.postMessage({ id, tape });
    if (operation === 'close') parentPort.close();
  });
`;

test('a worker that dies takes its calls with it, and the next call starts another', async () => {
  let started = 0;
  const lane = new Lane(() => {
    started++;
    return new Worker(SCRIPT, { eval: true });
  });
  await lane.open();
  assert.equal((await lane.call('commit')).number(), 7);
  const calls = await Promise.allSettled([lane.call('head'), lane.call('commit')]);
  for (const call of calls) assert(call.status === 'rejected' && call.reason instanceof Lost && call.reason.begun);
  assert.equal((await lane.call('commit')).number(), 7);
  assert.equal(started, 2);
  await assert.rejects(lane.call('readLog'), (error) => error instanceof Faulted && error.message === 'no');
  await assert.rejects(
    lane.call('openStream'),
    (error) => error instanceof Lost && /unexpected/.test(String(error.cause)),
  );
  assert.equal((await lane.call('commit')).number(), 7);
  assert.equal(started, 3);
  await lane.close();
});

test('a worker that cannot open: the call was not begun, and the next one tries again', async () => {
  let started = 0;
  const lane = new Lane(() => new Worker(started++ === 0 ? 'process.exit(1)' : SCRIPT, { eval: true }));
  await assert.rejects(lane.call('commit'), (error) => error instanceof Lost && !error.begun);
  assert.equal((await lane.call('commit')).number(), 7);
  await lane.close();
});
