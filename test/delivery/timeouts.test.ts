// Handlers that take longer than they may, in a process that goes on working on what nobody waits for any more.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { uuidv7 } from '@daybook/client';
import { Counters } from '../support/counters.ts';
import { eventually } from '../support/eventually.ts';

test('a host is not handed an event again while it still works on the attempt that timed out', async () => {
  const root = uuidv7();
  const barrier = Promise.withResolvers<void>();
  let inHand = 0;
  let most = 0;
  let others = 0;
  const projector = {
    name: 'p',
    async project(_: unknown, context: { root: Uint8Array }) {
      if (Buffer.compare(context.root, root) !== 0) {
        others++;
        return;
      }
      most = Math.max(most, ++inHand);
      await barrier.promise;
      inHand--;
    },
  };
  const env = { DAYBOOK__LIMITS__COMPONENT_TIMEOUT_MS: '300', DAYBOOK__LIMITS__REACTION_ATTEMPTS: '1000' };
  await using counters = await Counters.open({ projectors: [projector] }, { env });
  await counters.add(1, { root });
  await eventually('it timed out', () => counters.daemon.logLines.some((line) => line.includes('an event failed')));
  await eventually('it was tried again, or others were handled meanwhile', async () => {
    await counters.add(1);
    return most > 1 || others >= 100;
  });
  barrier.resolve();
  await eventually('it is handled', () => inHand === 0);
  assert.equal(most, 1);
});
