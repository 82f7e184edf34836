// Who waits for whom when partitions are read together. Only the partitions are stand-ins: they say when they are full.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Feeds } from '../../src/delivery/feeds.ts';
import { LogTail } from '../../src/delivery/log-tail.ts';
import type { Partition } from '../../src/delivery/partition.ts';
import { READING } from '../../src/delivery/reading.ts';
import type { Cover, EventPage } from '../../src/model/book.ts';
import { partitionOf } from '../../src/model/ordering.ts';
import { manualRuntime } from '../support/clock.ts';
import { memory } from '../support/delivery.ts';
import { ANY, append, freshStream, page, unit } from '../support/store-units.ts';

const PARTITIONS = 3;

/** Takes so many events; the rest when there is room. */
class Stub {
  readonly key: Partition['key'];
  readonly positions: number[] = [];
  waitsForOthers: boolean;
  readonly stopped = false;
  scanned = 0;
  #left: number;
  #wantsRoom: (() => void)[] = [];

  constructor(partition: number, room = Infinity, waitsForOthers = room < Infinity) {
    this.key = { subscription: 's', generation: 2, partition };
    this.#left = room;
    this.waitsForOthers = waitsForOthers;
  }

  get full(): boolean {
    return this.positions.length >= this.#left;
  }

  room(waited = this.waitsForOthers): Promise<void> {
    if (!this.full || (!waited && this.waitsForOthers)) return Promise.resolve();
    return new Promise((resolve) => this.#wantsRoom.push(resolve));
  }

  open(): void {
    this.#left = Infinity;
    for (const resolve of this.#wantsRoom.splice(0)) resolve();
  }

  offer(_: Cover, pages: readonly EventPage[]): void {
    for (const { position } of pages) if (position > this.scanned) this.positions.push(position);
    this.scanned = Math.max(this.scanned, pages.at(-1)!.position);
  }

  scannedTo(position: number): void {
    this.scanned = Math.max(this.scanned, position);
  }
}

/** Between the reader's question and its wait it turns out that it has to wait for another generation. */
class LateToKnow extends Stub {
  constructor(partition: number, room: number) {
    super(partition, room, false);
  }

  override room(waited = this.waitsForOthers): Promise<void> {
    this.waitsForOthers = true;
    return super.room(waited);
  }
}

/** A log of 90 streams with an event each; nobody reads it yet. */
async function ninetyStreams() {
  const store = memory();
  const runtime = manualRuntime();
  const streams = Array.from({ length: 90 }, freshStream);
  const partitions = streams.map((stream) =>
    partitionOf('stream', { ...stream, root: { value: stream.root }, correlationId: '' }, PARTITIONS),
  );
  for (const stream of streams) await store.commit([unit({ appends: [append(stream, ANY, [page()])] })]);
  const tail = new LogTail(store, runtime, { deliveryBytes: 1 << 25 }, READING, streams.length);
  const parts = {
    tail,
    runtime,
    reading: READING,
    commands: { admitted: 0, executing: 0 },
    log: { warn: assert.ifError },
  };
  const hold = { on: false };
  const feeds = new Feeds(parts as unknown as ConstructorParameters<typeof Feeds>[0], () => ({
    subscription: { name: 's', mayWant: () => true } as never,
    ordering: 'stream',
    partitions: PARTITIONS,
    filter: () => ({}),
    limit: () => Infinity,
    held: () => hold.on,
  }));
  const expected = (partition: number) => partitions.flatMap((each, i) => (each === partition ? [i + 1] : []));
  const join = async (...stubs: Stub[]) => {
    feeds.join(stubs as unknown as Partition[]);
    await runtime.advance(1000);
  };
  const more = async (partition: number) => {
    const stream = streams[partitions.indexOf(partition)]!;
    await store.commit([unit({ appends: [append(stream, ANY, [page()])] })]);
    await runtime.advance(1000);
  };
  return { feeds, runtime, expected, join, more, hold };
}

/** Partition 0 is at the log's end; 1, which waits for another generation after two events, and 2 begin later, and lag behind. */
async function lagging() {
  const { feeds, runtime, expected, join } = await ninetyStreams();
  const [keepsUp, waits, other] = [new Stub(0), new Stub(1, 2), new Stub(2)];
  await join(keepsUp);
  assert.deepEqual(keepsUp.positions, expected(0));
  await join(waits, other);
  return { feeds, runtime, expected, waits, other };
}

describe('partitions that lag behind', () => {
  test('one that waits for another generation holds up no other, and is read for again when it has room', async () => {
    const { feeds, runtime, expected, waits, other } = await lagging();
    assert.deepEqual(waits.positions, expected(1).slice(0, 2));
    assert.deepEqual(other.positions, expected(2));
    assert.equal(feeds.together, false);
    waits.open();
    await runtime.advance(1000);
    assert.deepEqual(waits.positions, expected(1));
    assert.equal(feeds.together, true);
    feeds.stop();
  });

  test('one that waits for another generation is not forgotten when the filter changes', async () => {
    const { feeds, runtime, expected, waits, other } = await lagging();
    feeds.restart();
    await runtime.advance(1000);
    waits.open();
    await runtime.advance(1000);
    assert.deepEqual(waits.positions, expected(1));
    assert.deepEqual(other.positions, expected(2));
    feeds.stop();
  });

  test('one that waits for another generation is not read for when it has left', async () => {
    const { feeds, runtime, expected, waits } = await lagging();
    feeds.leave(waits as unknown as Partition);
    waits.open();
    await runtime.advance(1000);
    assert.deepEqual(waits.positions, expected(1).slice(0, 2));
    assert.equal(feeds.together, true);
    feeds.stop();
  });
});

describe('a partition that came alone', () => {
  test('and waits for another generation holds up nobody who comes later', async () => {
    const { feeds, runtime, expected, join, more } = await ninetyStreams();
    const [waits, other] = [new Stub(0, 2), new Stub(1)];
    await join(waits);
    await join(other);
    await more(1);
    assert.deepEqual(other.positions, [...expected(1), 91]);
    waits.open();
    await runtime.advance(1000);
    assert.deepEqual(waits.positions, expected(0));
    assert.equal(feeds.together, true);
    feeds.stop();
  });

  test('and is slow at the end of the log holds up nobody who comes later', async () => {
    const { feeds, runtime, expected, join, more } = await ninetyStreams();
    const [slow, other] = [new Stub(0, expected(0).length, false), new Stub(1)];
    await join(slow);
    await more(0);
    await join(other);
    await more(1);
    assert.deepEqual(slow.positions, expected(0));
    assert.deepEqual(other.positions, [...expected(1), 92]);
    slow.open();
    await runtime.advance(1000);
    assert.deepEqual(slow.positions, [...expected(0), 91]);
    assert.equal(feeds.together, true);
    feeds.stop();
  });
});

test('a partition that is full, and was ahead of those that it joins, is not taken for one that lags behind', async () => {
  const { feeds, runtime, expected, join, more, hold } = await ninetyStreams();
  const [first, full] = [new Stub(1), new Stub(0, expected(0).length + 1)];
  await join(first);
  hold.on = true;
  await more(1);
  await more(0);
  await runtime.advance(5);
  await join(full);
  // The one that joined looks first.
  await runtime.advance(10);
  hold.on = false;
  await runtime.advance(1000);
  assert.deepEqual(first.positions, [...expected(1), 91]);
  assert.deepEqual(full.positions, [...expected(0), 92]);
  assert.equal(feeds.together, true);
  feeds.stop();
});

test('a partition that finds out only while it is waited for that it has to wait for another generation holds up no other', async () => {
  const { feeds, expected, join } = await ninetyStreams();
  const [waits, other] = [new LateToKnow(0, 2), new Stub(1)];
  await join(waits, other);
  assert.deepEqual(waits.positions, expected(0).slice(0, 2));
  assert.deepEqual(other.positions, expected(1));
  feeds.stop();
});
