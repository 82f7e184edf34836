import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Committer } from '../../src/coordinators/committer.ts';
import { type EventBook, NO_ORIGIN } from '../../src/model/book.ts';
import type { EventStore, Unit } from '../../src/store.ts';
import { openMemory } from '../../src/stores/memory.ts';
import { manualRuntime, settle } from '../support/clock.ts';
import { ANY, append, freshStream, page, unit } from '../support/store-units.ts';

const LIMITS = { groupCommitUnits: 500, groupCommitBytes: 1 << 20 };

/** A committer on a store that answers when the test says so. Everything that happens is noted, in order. */
function slowStore(limits = LIMITS) {
  const memory = openMemory({ logId: 'log', incarnation: 'first' });
  const noted: string[] = [];
  const answers: (() => void)[] = [];
  const store = {
    async commit(units: Unit[]) {
      noted.push(`batch of ${units.length}`);
      await new Promise<void>((resolve) => answers.push(resolve));
      return memory.commit(units);
    },
  } as unknown as EventStore;
  const positions: number[] = [];
  const committer = new Committer(store, manualRuntime(), limits, (books) => {
    for (const { pages } of books) positions.push(pages[0]!.position);
  });
  const send = (count: number, name: string) => {
    const all = Array.from({ length: count }, () =>
      committer.commit(unit({ appends: [append(freshStream(), ANY, [page()])] })),
    );
    void Promise.race(all).then(() => noted.push(`${name} told`));
    return Promise.all(all);
  };
  const answer = async () => {
    answers.shift()!();
    await settle();
  };
  return { committer, noted, positions, send, answer };
}

describe('group commit', () => {
  test('few units that wait share the next transaction', async () => {
    const { noted, send, answer } = slowStore();
    const all = [send(1, 'first')];
    await settle();
    all.push(send(31, 'others'));
    await settle();
    await answer();
    await answer();
    await Promise.all(all);
    assert.deepEqual(noted, ['batch of 1', 'batch of 31', 'first told', 'others told']);
  });

  test('many are divided, so that the store is not without work while they are answered', async () => {
    const { noted, send, answer } = slowStore();
    const all = [send(1, 'first')];
    await settle();
    all.push(send(512, 'others'));
    await settle();
    for (let i = 0; i < 3; i++) await answer();
    await Promise.all(all);
    const batches = noted.filter((note) => note.startsWith('batch'));
    assert.deepEqual(batches, ['batch of 1', 'batch of 257', 'batch of 255']);
  });

  test('a convoy does not form: what comes back while the other half is under way waits for the next', async () => {
    const { noted, send, answer } = slowStore();
    const all: Promise<unknown>[] = [];
    // A closed loop of 512: whoever is told sends another.
    const again = (count: number, left: number) => {
      const told = send(count, '');
      all.push(left === 0 ? told : told.then(() => again(count, left - 1)));
    };
    for (let i = 0; i < 512; i++) again(1, 6);
    await settle();
    while (noted.filter((note) => note.startsWith('batch')).length < 12) await answer();
    const sizes = noted.filter((note) => note.startsWith('batch')).map((note) => Number(note.slice(9)));
    for (const size of sizes) assert.ok(size <= 257, `batches of ${sizes}`);
    for (const size of sizes.slice(4)) assert.ok(size >= 192, `batches of ${sizes}`);
  });

  test('the store has the next batch before anybody learns of the last one, and books come in log order', async () => {
    const { noted, positions, send, answer } = slowStore();
    const all = [send(2, 'first')];
    await settle();
    all.push(send(2, 'second'));
    await settle();
    await answer();
    assert.deepEqual(noted, ['batch of 2', 'batch of 2', 'first told']);
    assert.deepEqual(positions, [1, 2]);
    await answer();
    await Promise.all(all);
    assert.deepEqual(positions, [1, 2, 3, 4]);
  });

  test('idle when all have been told', async () => {
    const { committer, noted, send, answer } = slowStore();
    const all = send(50, 'all');
    const idle = committer.idle().then(() => noted.push('idle'));
    await settle();
    await answer();
    await answer();
    await Promise.all([all, idle]);
    assert.deepEqual(noted, ['batch of 32', 'batch of 18', 'all told', 'idle']);
  });
});

test('what is committed does not keep the frames alive in which it came', async () => {
  const frame = new Uint8Array(1 << 20).fill(7);
  const store = openMemory({ logId: 'log', incarnation: 'first' });
  const heard: EventBook[] = [];
  const committer = new Committer(store, manualRuntime(), LIMITS, (books) => heard.push(...books));
  const stream = { ...freshStream(), root: frame.subarray(100, 116) };
  const event = { typeUrl: 'type.test/test.Happened', value: frame.subarray(200, 400) };
  const source = { root: { value: frame.subarray(500, 516) }, domain: 'other', correlationId: 'c', tenant: '' };
  const origin = { ...NO_ORIGIN, component: 'saga', source };
  const { kind } = await committer.commit(unit({ appends: [append(stream, ANY, [{ ...page(), event, origin }])] }));
  assert.equal(kind, 'committed');
  const [{ cover, pages }] = heard as [EventBook];
  assert.deepEqual(pages[0]!.event, { typeUrl: event.typeUrl, value: new Uint8Array(200).fill(7) });
  assert.deepEqual(pages[0]!.origin, {
    ...origin,
    source: { ...source, root: { value: new Uint8Array(16).fill(7) } },
  });
  for (const bytes of [cover!.root!.value, pages[0]!.event!.value, pages[0]!.origin!.source!.root!.value]) {
    assert.ok(bytes.buffer.byteLength < 2000, `${bytes.length} bytes keep ${bytes.buffer.byteLength} alive`);
  }
});
