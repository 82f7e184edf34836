// What tests of delivery have in common: handlers that note what they were handed, loads, and what an operator does.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { emptyWork } from '../../src/coordinators/reaction.ts';
import type { EventBook } from '../../src/model/book.ts';
import type { ProjectorRequest, ProjectorResponse } from '../../src/model/reaction.ts';
import { streamSlice } from '../../src/model/slice.ts';
import { hex } from '../../src/model/stream.ts';
import type { ParkedKey, Store } from '../../src/store.ts';
import { openMemory } from '../../src/stores/memory.ts';
import { openSqlite } from '../../src/stores/sqlite/index.ts';
import { any, command, newRoot, textOf } from './books.ts';
import type { Random } from './random.ts';
import type { World } from './world.ts';

export const memory = (clock?: () => number): Store =>
  openMemory({ logId: '0'.repeat(36), incarnation: '1'.repeat(36) }, clock);

/** Counts from now on how often a switch of generations is tried. */
export function countSwitches(store: Store): { tried: number } {
  const switches = { tried: 0 };
  const trySwitch = store.switchGeneration.bind(store);
  store.switchGeneration = (...args) => {
    switches.tried++;
    return trySwitch(...args);
  };
  return switches;
}

export interface OpenStore extends AsyncDisposable {
  store: Store;
}

/** Memory, and SQLite in a folder of its own that goes with it. */
export const STORES: Record<string, () => Promise<OpenStore>> = {
  memory: async () => ({ store: memory(), async [Symbol.asyncDispose]() {} }),
  async sqlite() {
    const folder = await mkdtemp(join(tmpdir(), 'daybook-delivery-'));
    const store = await openSqlite({ path: join(folder, 'daybook.db') });
    return {
      store,
      async [Symbol.asyncDispose]() {
        await store.close();
        await rm(folder, { recursive: true });
      },
    };
  },
};

/** Aggregates that the first of two partitions has. */
export function inOnePartition(): [Uint8Array, Uint8Array, Uint8Array] {
  const slice = (root: Uint8Array) => streamSlice({ tenant: '', domain: 'account', root });
  return roots(1000).filter((root) => slice(root) < 512) as [Uint8Array, Uint8Array, Uint8Array];
}

export const NOTHING: ProjectorResponse = { projections: [] };

export function rootOf(book: EventBook | undefined): string {
  return hex(book!.cover!.root!.value);
}

/** Keeps the number of events and their sum. */
export function summing(request: ProjectorRequest): ProjectorResponse {
  const [count, sum] =
    request.current === undefined ? [0, 0] : textOf(request.current.projection).split(' ').map(Number);
  const amounts = request.events!.pages.map((page) => Number(textOf(page.event)));
  const total = amounts.reduce((a, b) => a + b, sum!);
  const projection = any('Summary', `${count! + amounts.length} ${total}`);
  return {
    projections: [{ cover: undefined, projector: '', sequence: 0, projection, key: '', position: 0, deleted: false }],
  };
}

/** What was handled of each aggregate: complains at once when something comes out of order, or is left out. */
export class Handled {
  /** By aggregate: the sequence that comes next. */
  readonly next = new Map<string, number>();
  readonly faults: string[] = [];
  events = 0;

  /** To be called when the handler is about to succeed. Repeats are allowed: projectors are called at least once. */
  note(book: EventBook | undefined): void {
    const root = rootOf(book);
    for (const { sequence } of book!.pages) {
      const next = this.next.get(root) ?? 0;
      if (sequence > next) this.faults.push(`${root}: ${sequence} came when ${next} was next`);
      if (sequence < next) continue;
      this.next.set(root, sequence + 1);
      this.events++;
    }
  }

  of(root: Uint8Array): number {
    return this.next.get(hex(root)) ?? 0;
  }
}

export function roots(count: number): Uint8Array[] {
  return Array.from({ length: count }, newRoot);
}

/** One to each of some of the aggregates again and again, for so long. Returns how many. */
export async function depositsFor(world: World, to: readonly Uint8Array[], ms: number): Promise<number> {
  const endMs = performance.now() + ms;
  let count = 0;
  while (performance.now() < endMs) {
    await Promise.all(Array.from({ length: 10 }, () => world.deposit(to[count++ % to.length])));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return count;
}

/** Deposits of 1 for these aggregates in a random order: `each` for every one of them, `pages` in one command. */
export async function deposits(
  world: World,
  to: readonly Uint8Array[],
  each: number,
  random: Random,
  { pages = 1, atOnce = 64 } = {},
): Promise<void> {
  const left = to.map((root) => ({ root, left: each }));
  const one = async () => {
    while (left.length > 0) {
      const place = Math.floor(random() * left.length);
      const chosen = left[place]!;
      const count = Math.min(pages, chosen.left);
      chosen.left -= count;
      if (chosen.left === 0) left.splice(place, 1);
      await world.execute(
        command(
          chosen.root,
          Array.from({ length: count }, () => any('Deposit', '1')),
        ),
      );
    }
  };
  await Promise.all(Array.from({ length: atOnce }, one));
}

/** As an operator: what is dead is tried again. */
export async function replay(world: World, rows: readonly ParkedKey[]): Promise<void> {
  const work = emptyWork();
  const dueAtMicros = await world.store.now();
  for (const row of rows) {
    const { partition, key, version } = row;
    work.parked.push({ partition, key, version, row: { ...row, state: 'retrying', attempts: 0, dueAtMicros } });
  }
  const unitId = new Uint8Array(crypto.getRandomValues(new Uint8Array(16)));
  const [result] = await world.store.commit([
    { unitId, appends: [], expectations: [], snapshots: [], outcomes: [], work },
  ]);
  if (result!.kind !== 'committed') throw new Error(`the replay was not stored: ${JSON.stringify(result)}`);
  for (const name of new Set(rows.map(({ partition }) => partition.subscription))) {
    await world.engine.delivery.replayed(name);
  }
}

export async function parked(world: World, subscription: string): Promise<ParkedKey[]> {
  return world.store.listParked({ subscription, limit: 10_000 });
}

/** Every cursor of the subscription is at the end of the log, and nothing is held up. */
export async function isSettled(world: World, subscription: string, generation = 1): Promise<boolean> {
  const { position } = await world.store.head();
  const cursors = (await world.store.listCursors(subscription)).filter((row) => row.generation === generation);
  return (
    cursors.length > 0 &&
    cursors.every((cursor) => cursor.position === position) &&
    (await parked(world, subscription)).length === 0
  );
}

export async function outboxOf(store: Store, subscription?: string) {
  return store.listOutbox({ ...(subscription !== undefined && { subscription }), limit: 100_000 });
}
