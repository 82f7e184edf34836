import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Committer } from '../../src/coordinators/committer.ts';
import { LogTail } from '../../src/delivery/log-tail.ts';
import { READING } from '../../src/delivery/reading.ts';
import { DaybookError } from '../../src/errors.ts';
import { type EventBook, pageBytes } from '../../src/model/book.ts';
import type { LogFilter } from '../../src/model/filter.ts';
import { type Runtime, sleep } from '../../src/runtime.ts';
import type { EventStore, ReadLog, Unit } from '../../src/store.ts';
import { openMemory } from '../../src/stores/memory.ts';
import { type ManualRuntime, manualRuntime, settle } from '../support/clock.ts';
import { ANY, append, freshStream, page, unit } from '../support/store-units.ts';

type Writer = 'own' | 'other';
type Wait = () => Promise<void>;

const AT_ONCE: Wait = () => Promise.resolve();

/** One log, a daemon's tail and committer on it, and another daemon's committer, of whose books this tail is never told. */
class World {
  readonly runtime: ManualRuntime;
  readonly tail: LogTail;
  readonly #writers: Record<Writer, Committer>;
  readonly #memory = openMemory({ logId: 'log', incarnation: 'first' });
  /** Timers that the tail has set. */
  timers = 0;
  /** Of the tail and of its followers. */
  readonly reads: ReadLog[] = [];
  /** Before a read looks, before its answer arrives, and before a committer learns that its units are stored. */
  before = AT_ONCE;
  after = AT_ONCE;
  told = AT_ONCE;

  constructor(deliveryBytes = 1 << 25, seed = 1) {
    this.runtime = manualRuntime(seed);
    // As far as the tail and the committers use it.
    const store = {
      commit: async (units: Unit[]) => {
        const results = await this.#memory.commit(units);
        await this.told();
        return results;
      },
      readLog: async (read: ReadLog) => {
        this.reads.push(read);
        await this.before();
        const answer = await this.#memory.readLog(read);
        await this.after();
        return answer;
      },
    } as unknown as EventStore;
    const limits = { groupCommitUnits: 500, groupCommitBytes: 1 << 20 };
    this.tail = new LogTail(store, this.#counting(), { deliveryBytes }, READING, 0);
    this.#writers = {
      own: new Committer(store, this.runtime, limits, (books) => this.tail.publish(books)),
      other: new Committer(store, this.runtime, limits, () => {}),
    };
  }

  /** One book. */
  commit(by: Writer, correlationId = 'c', pages = 1, bytes = 8): Promise<unknown> {
    const events = Array.from({ length: pages }, () => page({ value: new Uint8Array(bytes) }));
    return this.#writers[by].commit(unit({ appends: [{ ...append(freshStream(), ANY, events), correlationId }] }));
  }

  follow(filter: LogFilter = {}, after = 0, pace = AT_ONCE): Follower {
    return new Follower(this.tail, filter, after, pace);
  }

  async head(): Promise<number> {
    return (await this.#memory.head()).position;
  }

  /** What a follower must see: the positions of all pages after the one that match. */
  async expected(correlationId: string | undefined, after: number): Promise<number[]> {
    const { books } = await this.#memory.readLog({ after: 0, filter: {}, maxEvents: 1e9, maxBytes: 1e12 });
    const mine = books.filter((book) => correlationId === undefined || book.cover!.correlationId === correlationId);
    return positionsOf(mine).filter((position) => position > after);
  }

  #counting(): Runtime {
    return {
      ...this.runtime,
      after: (delayMs, call) => {
        this.timers++;
        let over = false;
        const end = () => {
          if (!over) this.timers--;
          over = true;
        };
        const timer = this.runtime.after(delayMs, () => {
          end();
          call();
        });
        return {
          cancel: () => {
            end();
            timer.cancel();
          },
        };
      },
    };
  }
}

class Follower {
  readonly books: EventBook[] = [];
  /** With an error, or without. */
  ended: { error?: unknown } | undefined;
  readonly #controller = new AbortController();

  constructor(tail: LogTail, filter: LogFilter, after: number, pace: Wait) {
    void this.#run(tail.follow(filter, after, this.#controller.signal), pace);
  }

  get positions(): number[] {
    return positionsOf(this.books);
  }

  abort(): void {
    this.#controller.abort();
  }

  async #run(books: AsyncGenerator<EventBook, void, void>, pace: Wait): Promise<void> {
    try {
      for await (const book of books) {
        this.books.push(book);
        await pace();
      }
      this.ended = {};
    } catch (error) {
      this.ended = { error };
    }
  }
}

/** A log of four books of which the tail knows only the last. */
async function behind(): Promise<World> {
  const world = new World();
  for (let i = 0; i < 3; i++) await world.commit('other');
  await world.commit('own');
  return world;
}

function positionsOf(books: EventBook[]): number[] {
  return books.flatMap((book) => book.pages.map(({ position }) => position));
}

/** Lets through whoever waits, each time it is opened. */
function gate(): { wait: Wait; open: Wait } {
  const waiting: (() => void)[] = [];
  return {
    wait: () => new Promise((resolve) => waiting.push(resolve)),
    async open() {
      for (const resolve of waiting.splice(0)) resolve();
      await settle();
    },
  };
}

const ids = fc.constantFrom('a', 'b', 'c');
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('commit' as const),
      by: fc.constantFrom<Writer>('own', 'own', 'own', 'other'),
      id: ids,
      pages: fc.integer({ min: 1, max: 4 }),
      bytes: fc.constantFrom(10, 1000, 20_000),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('follow' as const),
      id: fc.option(ids, { nil: undefined }),
      /** Of the log's length then. */
      start: fc.double({ min: 0, max: 1, noNaN: true }),
      paceMs: fc.constantFrom(0, 0, 5, 300),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('abort' as const), which: fc.nat() }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(0, 1, 20, 600) }) },
);
const schedule = fc.record({
  seed: fc.nat(),
  /** How long reads and answers may take. */
  slowMs: fc.constantFrom(0, 3, 50),
  steps: fc.array(step, { minLength: 1, maxLength: 80, size: 'max' }),
});

test('whatever the schedule, each follower sees every matching page once and in order, and memory is bounded', async () => {
  const deliveryBytes = 64 * 1024;
  await fc.assert(
    fc.asyncProperty(schedule, async ({ seed, slowMs, steps }) => {
      const world = new World(deliveryBytes, seed);
      const { runtime, tail } = world;
      const moment = slowMs === 0 ? AT_ONCE : () => sleep(runtime, slowMs * runtime.random());
      Object.assign(world, { before: moment, after: moment, told: moment });
      const followers: { follower: Follower; id: string | undefined; after: number; aborted: boolean }[] = [];
      let largest = 0;
      const checkMemory = () => {
        // Each may have one book, however large.
        assert(tail.queuedBytes <= deliveryBytes + followers.length * largest, `${tail.queuedBytes} bytes`);
      };
      for (const s of steps) {
        if (s.do === 'commit') {
          largest = Math.max(largest, 256 + s.pages * (pageBytes(page()) + s.bytes));
          void world.commit(s.by, s.id, s.pages, s.bytes);
        } else if (s.do === 'follow') {
          const after = Math.floor((await world.head()) * s.start);
          const filter = s.id === undefined ? {} : { correlationId: s.id };
          const pace = s.paceMs === 0 ? AT_ONCE : () => sleep(runtime, s.paceMs * runtime.random());
          followers.push({ follower: world.follow(filter, after, pace), id: s.id, after, aborted: false });
        } else if (s.do === 'wait') {
          await runtime.advance(s.ms);
        } else if (followers.length > 0) {
          const chosen = followers[s.which % followers.length]!;
          chosen.follower.abort();
          chosen.aborted = true;
        }
        checkMemory();
      }
      // Long enough for the slowest reader and the longest pause between two polls.
      for (let i = 0; i < 20; i++) {
        await runtime.advance(5000);
        checkMemory();
      }
      assert(world.timers <= 1, `${world.timers} timers`);
      for (const { follower, id, after, aborted } of followers) {
        const expected = await world.expected(id, after);
        const found = follower.positions;
        assert.deepEqual(found, aborted ? expected.slice(0, found.length) : expected);
        assert.deepEqual(follower.ended, aborted ? {} : undefined);
      }
      tail.close();
      await runtime.advance(1000);
      for (const { follower } of followers) assert.deepEqual(follower.ended, {});
      assert.deepEqual([tail.queuedBytes, world.timers], [0, 0]);
    }),
    { numRuns: 400 },
  );
});

describe('a follower', () => {
  test('that keeps up gets the very books that were committed, and nothing is read', async () => {
    const world = new World();
    const followers = [world.follow(), world.follow({ correlationId: 'c' }), world.follow({ correlationId: 'd' })];
    await settle();
    for (let i = 0; i < 100; i++) await world.commit('own');
    await settle();
    assert.deepEqual(
      followers.map(({ books }) => books.length),
      [100, 100, 0],
    );
    assert.equal(followers[0]!.books[7], followers[1]!.books[7]);
    // One that comes a little late gets them from memory, too.
    const late = world.follow({}, 40);
    await settle();
    assert.deepEqual([late.books.length, late.positions[0]], [60, 41]);
    assert.deepEqual(world.reads, []);
    world.tail.close();
  });

  test('that does not read costs at most its share of memory, and then reads the rest from the store', async () => {
    const world = new World();
    const held = gate();
    const slow = world.follow({ correlationId: 'c' }, 0, held.wait);
    const quick = world.follow({ correlationId: 'c' });
    await settle();
    for (let i = 0; i < 100; i++) await world.commit('own', 'c', 1, 100_000);
    await settle();
    assert(world.tail.queuedBytes <= 1 << 20, `${world.tail.queuedBytes}`);
    assert.deepEqual([quick.books.length, slow.books.length], [100, 1]);
    while (slow.books.length < 100) await held.open();
    assert.deepEqual(slow.positions, quick.positions);
    assert(world.reads.length > 0);
    await held.open();
    assert.equal(world.tail.queuedBytes, 0);
    // It keeps up again.
    const reads = world.reads.length;
    await world.commit('own');
    await settle();
    assert.deepEqual([slow.books.length, world.reads.length], [101, reads]);
    world.tail.close();
  });

  test('gets a book that is larger than all limits', async () => {
    const world = new World(1000);
    const follower = world.follow();
    await settle();
    for (let i = 0; i < 2; i++) await world.commit('own', 'c', 3, 1 << 20);
    await settle();
    assert.deepEqual(follower.positions, [1, 2, 3, 4, 5, 6]);
    world.tail.close();
  });

  test('that begins in the middle of a book gets the rest of it, wherever that comes from', async () => {
    const world = new World();
    await world.commit('own', 'c', 5);
    const fromMemory = world.follow({}, 2);
    // Ahead of the log: a position that a client made up.
    const ahead = world.follow({}, 8);
    await settle();
    assert.deepEqual(fromMemory.positions, [3, 4, 5]);
    await world.commit('own', 'c', 5);
    await settle();
    assert.deepEqual(ahead.positions, [9, 10]);
    assert.deepEqual(fromMemory.positions, [3, 4, 5, 6, 7, 8, 9, 10]);
    world.tail.close();

    const other = new World();
    await other.commit('other', 'c', 5);
    await other.commit('own');
    const fromStore = other.follow({}, 2);
    await settle();
    assert.deepEqual(fromStore.positions, [3, 4, 5, 6]);
    other.tail.close();
  });

  test('ends without an error when its signal aborts, waiting, reading or in the middle of books', async () => {
    const world = await behind();
    const held = gate();
    const waiting = world.follow({}, 4);
    const busy = world.follow({}, 0, held.wait);
    await settle();
    world.after = held.wait;
    const reading = world.follow({}, 1);
    await settle();
    for (const follower of [waiting, busy, reading]) follower.abort();
    await settle();
    assert.deepEqual(waiting.ended, {});
    await held.open();
    assert.deepEqual([busy.ended, reading.ended], [{}, {}]);
    assert.deepEqual([busy.books.length, reading.books.length], [1, 0]);
    // The last one takes the timer along.
    assert.equal(world.timers, 0);
  });

  test('reads no more at once than it is told to', async () => {
    const world = await behind();
    const read: number[] = [];
    const most = [1, 2, 9];
    for await (const { books } of world.tail.scan(
      () => ({}),
      0,
      new AbortController().signal,
      () => most.shift() ?? 9,
    )) {
      read.push(positionsOf(books).length);
      if (read.length === 3) break;
    }
    assert.deepEqual(read, [1, 2, 1]);
  });

  test('is told when the store cannot be read; others that need no store go on', async () => {
    const world = await behind();
    const live = world.follow({}, 4);
    await settle();
    world.before = () => Promise.reject(new DaybookError('STORE_UNAVAILABLE', 'away'));
    const failing = world.follow({}, 0);
    await settle();
    assert.equal((failing.ended as { error: DaybookError }).error.reason, 'STORE_UNAVAILABLE');
    // Polls fail meanwhile, and are tried again.
    await world.runtime.advance(20_000);
    assert.equal(live.ended, undefined);
    world.before = AT_ONCE;
    await world.commit('other');
    await world.runtime.advance(5000);
    assert.deepEqual(live.positions, [5]);
    world.tail.close();
  });

  test('ends when the tail closes, and none begins afterwards', async () => {
    const world = new World();
    const followers = [world.follow(), world.follow({ correlationId: 'c' })];
    await settle();
    world.tail.close();
    followers.push(world.follow());
    await settle();
    for (const { ended } of followers) assert.deepEqual(ended, {});
    assert.equal(world.timers, 0);
  });
});

describe("another daemon's books", () => {
  test('trap 17: are found by polling, soon while there are some, seldom when there are none', async () => {
    const world = new World();
    const follower = world.follow({ correlationId: 'c' });
    await world.runtime.advance(60_000);
    // 250 ms, doubling to 5 s.
    assert(world.reads.length <= 20, `${world.reads.length} reads in an idle minute`);
    await world.commit('other');
    while (follower.books.length === 0) await world.runtime.advance(10);
    // Any row resets the pause.
    for (let i = 2; i <= 10; i++) {
      await world.commit('other');
      await world.runtime.advance(260);
      assert.equal(follower.positions.at(-1), i);
    }
    world.tail.close();
  });

  test('trap 17: after a full page the next one is read at once, not at the next poll', async () => {
    const world = new World();
    const follower = world.follow();
    await world.runtime.advance(60_000);
    for (let i = 0; i < 35; i++) await world.commit('other', 'c', 100);
    while (follower.books.length === 0) await world.runtime.advance(10);
    await settle();
    assert.equal(follower.positions.length, 3500);
    world.tail.close();
  });

  test('cost nothing while nobody follows', async () => {
    const world = new World();
    for (let i = 0; i < 10; i++) await world.commit(i % 2 === 0 ? 'other' : 'own');
    await world.runtime.advance(60_000);
    assert.deepEqual([world.reads.length, world.timers], [0, 0]);
    const follower = world.follow();
    await settle();
    assert.deepEqual(follower.positions, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    world.tail.close();
  });

  test('that lie before an own one are read at once, not at the next poll', async () => {
    const world = new World();
    const follower = world.follow();
    await settle();
    await world.commit('other');
    await world.commit('own');
    await settle();
    assert.deepEqual(follower.positions, [1, 2]);
    world.tail.close();
  });

  test('that lie before an own one are read at once even when an earlier read is just ending', async () => {
    const world = new World();
    const follower = world.follow();
    await settle();
    const held = gate();
    world.after = held.wait;
    await world.commit('other');
    await world.commit('own');
    await settle();
    // The first read has found both; the second has looked, found the log's end, and is about to say so.
    await held.open();
    await world.commit('other');
    await world.commit('own');
    await settle();
    for (let i = 0; i < 3; i++) await held.open();
    assert.deepEqual(follower.positions, [1, 2, 3, 4]);
    world.tail.close();
  });

  test('one timer polls, also when a follower came while the last one left and a poll was reading', async () => {
    const world = new World();
    const held = gate();
    world.after = held.wait;
    const first = world.follow();
    await world.runtime.advance(300);
    first.abort();
    await settle();
    const second = world.follow();
    await settle();
    await held.open();
    assert.equal(world.timers, 1);
    second.abort();
    await settle();
    assert.equal(world.timers, 0);
  });
});
