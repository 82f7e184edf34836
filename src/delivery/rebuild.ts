// A projector is built anew beside the running one. The new generation handles only what the old one has handled. When it is close, the
// old one is held where it is, the new one catches up to exactly there, and one transaction switches over: at each instant one of the
// two owns the next event.

import type { Cover } from '../model/book.ts';
import { type Ordering, orderingKey, orderingOf, partitionOf } from '../model/ordering.ts';
import { type Runtime, sleep } from '../runtime.ts';
import type { OrderingKey, ParkedKey, PartitionCursor, Store } from '../store.ts';
import type { DeliveryLog } from './parts.ts';
import type { Reading } from './reading.ts';
import type { Predecessor, Subscription } from './subscription.ts';

export interface RebuildOptions {
  store: Store;
  runtime: Runtime;
  log: DeliveryLog;
  instance: string;
  leaseMs: number;
  reading: Reading;
  /** The generation that readers get. */
  previous: number;
  next: Subscription;
  /** The old one on this daemon. */
  old: () => Subscription | undefined;
  /** The others are to know that it holds the old one, or does not any more. */
  onHolding: () => void;
  onSwitched: () => void;
}

const LOOK_MS = 50;
const TELL_MS = 10_000;
/** The old one is not held longer, when no other daemon has to give back partitions before. */
const HOLD_MS = 5000;
/** After a hand-over that did not come about. */
const PAUSE_MS = 2000;
const LIST_ROWS = 500;

export interface Progress {
  position: number;
  target: number;
  parked: number;
}

/** How far the old generation has come: its cursors, what it finished out of order, and what it could not handle. */
class Old implements Predecessor {
  active = true;
  end = 0;
  #ordering: Ordering = 'stream';
  readonly #positions = new Map<number, number>();
  readonly #done = new Map<number, ReadonlySet<number>>();
  #parked = new Map<OrderingKey, ParkedKey>();
  /** Somebody may still try what is parked. */
  #served = false;

  hasHandled(cover: Cover, position: number): boolean {
    if (position > this.end || this.#parkedAt(cover, position) !== undefined) return false;
    if (position <= this.#position(cover) || this.#done.get(this.#partition(cover))?.has(position) === true)
      return true;
    // Its retry lane has come further than the cursor.
    const row = this.#rowOf(cover);
    return row !== undefined && position >= row.firstPosition && position <= handledUpTo(row);
  }

  leaves(cover: Cover, position: number): boolean {
    const parked = this.#parkedAt(cover, position);
    if (parked === undefined) return this.hasHandled(cover, position);
    // Of what lies beyond the cursor, nobody knows to whom it will belong when the key has drained.
    return position <= this.#position(cover) && (parked.state === 'dead' || !this.#served);
  }

  #partition(cover: Cover): number {
    return partitionOf(this.#ordering, cover, this.#positions.size);
  }

  /** The cursor that the event's stream follows. */
  #position(cover: Cover): number {
    return this.#positions.get(this.#partition(cover)) ?? 0;
  }

  #rowOf(cover: Cover): ParkedKey | undefined {
    return this.#parked.size === 0 ? undefined : this.#parked.get(orderingKey(this.#ordering, cover));
  }

  #parkedAt(cover: Cover, position: number): ParkedKey | undefined {
    const row = this.#rowOf(cover);
    return row === undefined || row.state === 'draining' || position < row.position ? undefined : row;
  }

  /** Keys that wait for somebody, and of which the new generation begins later. */
  unhandledUpTo(startAfter: number): number {
    return [...this.#parked.values()].filter((row) => row.state === 'dead' && row.position <= startAfter).length;
  }

  /** After the cursors that have passed them were read. */
  parked(rows: readonly ParkedKey[], served: boolean): void {
    this.#parked = new Map(rows.map((row) => [row.key, row]));
    for (const row of rows) this.end = Math.max(this.end, handledUpTo(row));
    this.#served = served;
  }

  update(cursors: readonly PartitionCursor[]): void {
    this.#ordering = orderingOf('projector', cursors.length === 1);
    for (const { partition, position } of cursors) {
      this.#positions.set(partition, position);
      this.end = Math.max(this.end, position);
    }
  }

  finished(partition: number, positions: readonly number[]): void {
    this.#done.set(partition, new Set(positions));
    for (const position of positions) this.end = Math.max(this.end, position);
  }
}

/** Of the key, by the retry lane. */
function handledUpTo({ state, position, through }: ParkedKey): number {
  return state === 'draining' ? through : position - 1;
}

export class Rebuild {
  readonly #options: RebuildOptions;
  readonly #stopping = new AbortController();
  readonly #old = new Old();
  #holding = false;

  constructor(options: RebuildOptions) {
    this.#options = options;
    options.next.predecessor = this.#old;
  }

  /** That is built. */
  get generation(): number {
    return this.#options.next.generation;
  }

  get previous(): number {
    return this.#options.previous;
  }

  /** Partitions of this generation are not to be taken by the usual way now. */
  holds(generation: number): boolean {
    return this.#holding && generation === this.#options.previous;
  }

  start(): void {
    void this.#run();
  }

  stop(): void {
    this.#stopping.abort(new Error('the rebuild has ended'));
  }

  /** Readers get the new generation, whoever has switched over. */
  over(): void {
    this.stop();
    this.#old.active = false;
    this.#options.next.recheck();
  }

  async #run(): Promise<void> {
    const { runtime, log, next, previous } = this.#options;
    const { signal } = this.#stopping;
    const about = { projector: next.name, generation: next.generation, previous };
    log.info(about, 'rebuild: a new generation is built beside the one that readers get');
    let told = { atMs: runtime.monotonicMs(), position: -1 };
    while (!signal.aborted) {
      try {
        const progress = await this.#look();
        if (progress === undefined) return this.#options.onSwitched();
        const elapsedMs = runtime.monotonicMs() - told.atMs;
        if (elapsedMs >= TELL_MS && progress.position !== told.position) {
          const rate = told.position < 0 ? 0 : ((progress.position - told.position) * 1000) / elapsedMs;
          const left = progress.target - progress.position;
          log.info(
            {
              ...about,
              ...progress,
              events_per_second: Math.round(rate),
              seconds_left: rate > 0 ? Math.round(left / rate) : -1,
            },
            'rebuild under way',
          );
          told = { atMs: runtime.monotonicMs(), position: progress.position };
        }
        const close = progress.target - progress.position <= this.#options.reading.closeEvents && progress.parked === 0;
        if (close && next.partition(0) !== undefined) {
          if (await this.#handOver()) return;
          await sleep(runtime, PAUSE_MS, signal);
        } else await sleep(runtime, LOOK_MS, signal);
      } catch (error) {
        if (signal.aborted) return;
        log.warn({ ...about, err: error }, 'rebuild: trying again');
        await sleep(runtime, PAUSE_MS, signal).catch(() => {});
      }
    }
  }

  /** `undefined`: somebody has switched over. */
  async #look(): Promise<Progress | undefined> {
    const { store, next, previous, old } = this.#options;
    const cursors = await store.listCursors(next.name);
    const before = cursors.filter((row) => row.generation === previous);
    this.#old.update(before);
    const counts = (await store.countParked()).filter((row) => row.subscription === next.name);
    const served = old()?.reactor?.available === true;
    await this.#readParked(counts.some(({ generation }) => generation === previous) ? before : [], served);
    // Who is not served goes nowhere: what it finished out of order stays as it is.
    if (!served) await this.#readFinished(before);
    next.recheck();
    if ((await store.activeGeneration(next.name)) !== previous) return undefined;
    const parked = counts
      .filter(({ generation, state }) => generation === next.generation && state !== 'draining')
      .reduce((sum, { count }) => sum + count, 0);
    const least = (rows: PartitionCursor[]) => rows.reduce((a, { position }) => Math.min(a, position), Infinity);
    const position = least(cursors.filter((row) => row.generation === next.generation));
    return { position, target: least(before), parked };
  }

  async #readParked(cursors: readonly PartitionCursor[], served: boolean): Promise<void> {
    const found: ParkedKey[] = [];
    for (const partition of cursors) {
      for (let after: ParkedKey | undefined; ; ) {
        const rows = await this.#options.store.listParked({ partition, limit: LIST_ROWS, ...(after && { after }) });
        found.push(...rows);
        if (rows.length < LIST_ROWS) break;
        after = rows.at(-1)!;
      }
    }
    this.#old.parked(found, served);
  }

  async #readFinished(cursors: readonly PartitionCursor[]): Promise<void> {
    for (const cursor of cursors) {
      const done = await this.#options.store.listDone(cursor);
      if (done.length > 0) this.#old.finished(cursor.partition, done);
    }
  }

  async #handOver(): Promise<boolean> {
    const { runtime, store, next, previous, log, leaseMs, onSwitched, onHolding, old: find } = this.#options;
    const begunMs = runtime.monotonicMs();
    // The others give back what they hold after their next heartbeat.
    const late = () => this.#stopping.signal.aborted || runtime.monotonicMs() - begunMs > HOLD_MS + leaseMs / 2;
    const old = find();
    this.#holding = true;
    onHolding();
    let switched = false;
    try {
      if (!(await this.#hold(old, late))) return false;
      const cursors = (await store.listCursors(next.name)).filter((row) => row.generation === previous);
      this.#old.update(cursors);
      await this.#readFinished(cursors);
      await this.#readParked(cursors, false);
      next.recheck();
      while (!late()) {
        for (const partition of next.partitions) partition.hurry();
        switched = await store.switchGeneration(next.name, previous, next.generation);
        if (switched) break;
        await sleep(runtime, 5, this.#stopping.signal);
      }
      if (!switched) return false;
      // Not another event for it.
      old?.stop();
      this.over();
      const held_ms = Math.round(runtime.monotonicMs() - begunMs);
      const left_out = this.#old.unhandledUpTo(next.definition.startAfter);
      const about = {
        projector: next.name,
        generation: next.generation,
        previous,
        position: this.#old.end,
        held_ms,
        left_out,
      };
      log.info(about, 'rebuild: switched over; readers get the new generation');
      return true;
    } finally {
      this.#holding = false;
      if (!switched) old?.unquiesce();
      onHolding();
      if (switched) onSwitched();
    }
  }

  /** Nothing more is handled by the old generation: all its partitions are held here, and nothing is in hand. */
  async #hold(old: Subscription | undefined, late: () => boolean): Promise<boolean> {
    const { store, runtime, instance, next, previous } = this.#options;
    const served = old?.reactor?.available === true;
    if (!served) await old?.release(old.partitions.map(({ key }) => key.partition));
    const ofOld = ({ name, generation }: { name: string; generation: number }) =>
      name === next.name && generation === previous;
    const definition = (await store.listSubscriptions()).find(ofOld);
    if (definition === undefined) return false;
    const taken = new Set<number>();
    const isHeld = (partition: number) => taken.has(partition) || old?.partition(partition) !== undefined;
    for (;;) {
      for (let partition = 0; partition < definition.partitions; partition++) {
        if (isHeld(partition)) continue;
        const key = { subscription: next.name, generation: previous, partition };
        if ((await store.acquire(key, instance, definition.version)) !== undefined) taken.add(partition);
      }
      const all = Array.from({ length: definition.partitions }, (_, partition) => partition);
      if (all.every(isHeld)) break;
      if (late()) return false;
      await sleep(runtime, LOOK_MS, this.#stopping.signal);
    }
    return !served || old!.quiesce(late);
  }
}
