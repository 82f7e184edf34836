// Timers by a clock that only the test moves: the daemon's and the store's are the same.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { processRoot } from '../../src/coordinators/process-manager.ts';
import { orderingKey, partitionOf } from '../../src/model/ordering.ts';
import type { ProcessManagerResponse, Timer } from '../../src/model/reaction.ts';
import { openMemory } from '../../src/stores/memory.ts';
import { any, command, eventBook, newRoot, textOf } from '../support/books.ts';
import { manualRuntime } from '../support/clock.ts';
import { parked, replay } from '../support/delivery.ts';
import { eventually } from '../support/eventually.ts';
import { TestReactor, World } from '../support/world.ts';

const NOTHING: ProcessManagerResponse = {
  processEvents: undefined,
  commands: [],
  facts: [],
  timers: [],
  cancelledTimers: [],
  ended: false,
};

const afterSeconds = (name: string, seconds: number): Timer => ({
  name,
  when: { $case: 'after', value: { seconds, nanos: 0 } },
  payload: undefined,
});

test('a due timer that waits for its parked process hides no later timer of the same partition', async () => {
  const runtime = manualRuntime();
  const store = openMemory({ logId: '0'.repeat(36), incarnation: '1'.repeat(36) }, runtime.nowMicros);
  let broken = true;
  const reactor = new TestReactor<'process_manager'>(
    'process_manager',
    'pm',
    ({ trigger }) => {
      const { $case, value } = trigger!;
      if ($case === 'timer') return { ...NOTHING, processEvents: eventBook([any('Noted', value.name)]) };
      if ($case !== 'events') return NOTHING;
      const said = textOf(value.pages[0]!.event);
      if (said === '99' && broken) throw new Error('not yet');
      return { ...NOTHING, timers: said === '99' ? [] : [afterSeconds(`in ${said} s`, Number(said))] };
    },
    { domains: ['account'], partitions: 2 },
  );
  const fired = async (correlationId: string) => {
    const stream = { tenant: '', domain: 'pm', root: processRoot('pm', correlationId) };
    const { pages } = await store.readStream(stream, { from: 0, maxBytes: 1 << 20 });
    return pages.map(({ event }) => textOf(event));
  };
  // Two processes of one partition.
  const cover = (correlationId: string) => ({ tenant: '', domain: 'account', root: undefined, correlationId });
  const partition = (correlationId: string) => partitionOf('correlation', cover(correlationId), 2);
  const [held, other] = ['c0', 'c1', 'c2', 'c3'].filter((id) => partition(id) === partition('c0')) as [string, string];
  const happens = <T>(what: string, condition: () => Promise<T | false>) =>
    eventually<T>(what, async () => {
      const found = await condition();
      if (found === false) await runtime.advance(10);
      return found;
    });
  // Nothing but the timers' own looks finds them: no heartbeat comes.
  const limits = { reactionRetryMinMs: 600_000, reactionRetryMaxMs: 600_000, leaseMs: 3_600_000 };
  await using world = await World.open({ store, reactors: [reactor], limits, runtime });
  const say = (text: string, correlationId: string) =>
    world.execute(command(newRoot(), any('Deposit', text), { correlationId }));

  await say('5', held);
  await happens('its timer is set', async () => (await store.nextTimerDue('pm', partition(held))) !== undefined);
  await say('99', held);
  const row = await happens('the process is parked', async () => (await parked(world, 'pm'))[0] ?? false);
  assert.equal(row.key, orderingKey('correlation', cover(held)));
  await runtime.advance(6_000);
  assert.deepEqual(await fired(held), [], 'it is due, and waits');
  await say('10', other);
  await runtime.advance(9_000);
  assert.deepEqual(await fired(other), []);
  await runtime.advance(3_000);
  assert.deepEqual(await fired(other), ['in 10 s']);
  assert.deepEqual(await fired(held), []);

  broken = false;
  await replay(world, [row]);
  await happens('the process has caught up', async () => (await fired(held)).length === 1);
  assert.deepEqual(await fired(held), ['in 5 s']);
});
