// Who may begin, and whose turn it is, when more wait than there is room for.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Room } from '../../src/delivery/room.ts';
import { manualRuntime } from '../support/clock.ts';

const FEW = 2;

/** Each partition begins what it can, and says so. */
function partitions(wanted: Record<string, number>) {
  const runtime = manualRuntime();
  const room = new Room(runtime, FEW);
  const begun: string[] = [];
  const all = Object.entries(wanted).map(([name, left]) => ({
    pump() {
      while (left > 0 && room.for(this)) {
        left--;
        room.began();
        begun.push(name);
      }
    },
  }));
  for (const partition of all) partition.pump();
  return { room, runtime, begun, all };
}

test('partitions that wait for room get it in turn', () => {
  const { room, begun } = partitions({ a: 4, b: 4, c: 1 });
  assert.equal(begun.join(''), 'aa');
  for (let i = 0; i < 6; i++) room.ended(1);
  assert.equal(begun.join(''), 'aaabcabb');
});

test('while what is in hand is not answered there is soon room for others', async () => {
  const { room, runtime, begun } = partitions({ hangs: 2, b: 3, c: 1 });
  assert.equal(begun.length, 2);
  await runtime.advance(100);
  assert.equal(begun.length, 4);
  await runtime.advance(100);
  assert.deepEqual(begun, ['hangs', 'hangs', 'b', 'b', 'c', 'b']);
  room.stop();
});

test('a partition that has gone is given nothing', () => {
  const { room, begun, all } = partitions({ a: 2, b: 1 });
  room.forget(all[1]!);
  room.ended(1);
  assert.equal(begun.join(''), 'aa');
});
