import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Outbox } from '../../src/components/outbox.ts';
import type { CoordinatorMessage } from '../../src/gen/daybook/v1/component.ts';
import { settle } from '../support/clock.ts';

test('what is said in one turn of the event loop travels in one message, also from callbacks of their own', async () => {
  const sent: CoordinatorMessage[] = [];
  const outbox = new Outbox({
    send: (message) => sent.push(message) > 0,
    writable: () => Promise.resolve(),
    end: () => {},
  });
  // Each callback's microtasks run before the next callback, as with calls that arrive on streams of their own.
  for (let i = 0; i < 20; i++) process.nextTick(() => outbox.cancel(`work-${i}`));
  await Promise.resolve().then(() => outbox.cancel('work-20'));
  await settle();
  assert.equal(sent.length, 1);
  assert.equal(sent[0]!.cancels.length, 21);
  outbox.cancel('later');
  await settle();
  assert.deepEqual(sent[1]!.cancels, [{ workId: 'later' }]);
});
