// What a subscription wants may change while it runs.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Upcaster } from '../../src/component.ts';
import { hex } from '../../src/model/stream.ts';
import { any, command, eventBook, typeOf } from '../support/books.ts';
import { inOnePartition, memory, NOTHING, rootOf } from '../support/delivery.ts';
import { eventually } from '../support/eventually.ts';
import { TestReactor, World } from '../support/world.ts';

test('a filter that is widened while an earlier event is in hand overtakes nothing of a key', async () => {
  const [slow, quick] = inOnePartition();
  const barrier = Promise.withResolvers<void>();
  const seen = new Map([slow, quick].map((root) => [hex(root), [] as number[]]));
  const projector = (version: number, types: string[]) =>
    new TestReactor(
      'projector',
      'p',
      async ({ events }) => {
        if (rootOf(events) === hex(slow)) await barrier.promise;
        seen.get(rootOf(events))!.push(...events!.pages.map(({ sequence }) => sequence));
        return NOTHING;
      },
      { types, version, partitions: 2 },
    );
  const first = projector(1, ['account.Deposited']);
  await using world = await World.open({ store: memory(), reactors: [first] });
  await world.deposit(slow);
  await eventually('it is in hand', () => first.inHand === 1);
  await world.deposit(slow);
  for (const type of ['Deposit', 'Withdraw', 'Deposit']) await world.execute(command(quick, any(type, '1')));
  await eventually('the other one is through', () => seen.get(hex(quick))!.length === 2);
  world.add(projector(2, ['account.Deposited', 'account.Withdrawn']));
  const [partition] = world.engine.delivery.subscription('p', 1)!.partitions;
  await eventually('what is in hand is waited for', () => partition!.closed);
  await world.execute(command(quick, any('Withdraw', '1')));
  barrier.resolve();
  await eventually('everything new is handled', async () => {
    const { position } = await world.store.head();
    return (await world.store.listCursors('p')).every((cursor) => cursor.position === position);
  });
  assert.deepEqual(seen.get(hex(slow)), [0, 1]);
  // The first withdrawal came before the filter was widened.
  assert.deepEqual(seen.get(hex(quick)), [0, 2, 3]);
});

test('old events that come after their upcaster has attached are wanted by their types of today', async () => {
  const upcasters: Upcaster[] = [];
  const seen: string[] = [];
  const reactor = new TestReactor(
    'projector',
    'p',
    ({ events }) => {
      for (const page of events!.pages) seen.push(`${page.position} ${typeOf(page.event)}`);
      return NOTHING;
    },
    { types: ['account.DepositedV2'] },
  );
  await using world = await World.open({ store: memory(), reactors: [reactor], upcasters });
  await world.deposit();
  await eventually('it was looked at', async () =>
    (await world.store.listCursors('p')).every(({ position }) => position === 1),
  );
  upcasters.push({
    domain: 'account',
    types: new Set(['account.Deposited']),
    upcast: async ({ pages }) => pages.map((page) => ({ ...page, event: any('DepositedV2') })),
  });
  await world.deposit();
  await world.deposit();
  await eventually('they were looked at', async () =>
    (await world.store.listCursors('p')).every(({ position }) => position === 3),
  );
  assert.deepEqual(seen, ['2 DepositedV2', '3 DepositedV2']);
});

test('trap 26: types are matched whole, also when only their upcaster tells what they are today', async () => {
  const upcaster: Upcaster = {
    domain: 'account',
    types: new Set(['account.Deposited']),
    upcast: async ({ pages }) => pages.map((page) => ({ ...page, event: any('DepositedV2') })),
  };
  const seen: string[] = [];
  const reactor = new TestReactor(
    'projector',
    'p',
    ({ events }) => {
      for (const page of events!.pages) seen.push(typeOf(page.event));
      return NOTHING;
    },
    { types: ['DepositedV2', 'unt.Withdrawn', 'account.Deposited', 'account.With'] },
  );
  await using world = await World.open({ store: memory(), reactors: [reactor], upcasters: [upcaster] });
  const account = world.accounts[0]!;
  account.before = async () => ({ kind: 'events', book: eventBook([any('Deposited', '1'), any('Withdrawn', '1')]) });
  await world.deposit();
  await eventually('it was looked at', async () =>
    (await world.store.listCursors('p')).every(({ position }) => position === 2),
  );
  assert.deepEqual(seen, []);
});
