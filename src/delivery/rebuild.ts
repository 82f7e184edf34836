// A projector is built anew beside the running one. The new generation handles what the old one has handled, or could not. When it is close, the
// old one is held where it is, the new one catches up to exactly there, and one transaction switches over: at each instant one of the
// two owns the next event.

import type { Cover } from '../model/book.ts';
import { type Runtime, sleep } from '../runtime.ts';
import type { ParkedKey, PartitionCursor, Store } from '../store.ts';
import type { DeliveryLog } from './parts.ts';
import type { Reading } from './reading.ts';
import { StoredProgress, stuckKeys } from './stored-progress.ts';
import type { Predecessor, Subscription } from './subscription.ts';
import { readStubbornly } from './units.ts';

export interface RebuildParts {
  store: Store;
  runtime: Runtime;
  log: DeliveryLog;
  instance: string;
  leaseMs: number;
  reading: Reading;
  /** The others are to know what is held for a switch, or is not any more. */
  onHolding: () => void;
  /** Everything is to be looked at again. */
  onChanged: () => void;
}

export interface RebuildOptions extends RebuildParts {
  /** The generation that readers get. */
  previous: number;
  next: Subscription;
  /** The old one on this daemon. */
  old: () => Subscription | undefined;
  /** Some daemon reaches the old one's component: what it has parked, it may still handle. */
  isServed: () => boolean;
}

const LOOK_MS = 50;
/** While it cannot be switched soon: looks are reads of the store, and a rebuild may wait for days for somebody who replays a dead letter. */
const SELDOM_MS = 500;
/** Distances at which the new one tries to take over: the old one goes on by less between two looks, else it would not be reached. */
const FAR = 10;
const TELL_MS = 10_000;
/** The old one is not held longer, when no other daemon has to give back partitions before. */
const HOLD_MS = 5000;
/** So long a switch waits for what the old one had finished out of order: that may need more room than the new one has. */
const PATIENT_MS = 2000;
/** After a hand-over that did not come about; twice as long after each. */
const PAUSE_MS = 2000;
const PAUSE_MAX_MS = 30_000;

export interface Progress {
  position: number;
  target: number;
  parked: number;
}

export class Rebuild implements Predecessor {
  readonly #options: RebuildOptions;
  readonly #stopping = new AbortController();
  /** As of the last look. */
  #old: StoredProgress | undefined;
  #end = 0;
  /** Somebody may still try what it has parked. */
  #served = true;
  #holding = false;
  /** The rest between two looks is over. */
  #lookSoon = false;
  #endRest = () => {};

  constructor(options: RebuildOptions) {
    this.#options = options;
    options.next.predecessor = this;
  }

  /** That is built. */
  get generation(): number {
    return this.#options.next.generation;
  }

  get previous(): number {
    return this.#options.previous;
  }

  get end(): number {
    return this.#end;
  }

  hasHandled(cover: Cover, position: number): boolean {
    return this.#old?.hasHandled(cover, position) === true;
  }

  leaves(cover: Cover, position: number): boolean {
    return this.hasHandled(cover, position) || this.#givenUp(cover, position) !== undefined;
  }

  heldUp(cover: Cover, position: number): ParkedKey | undefined {
    // Of a key that is the whole log, everything that follows would be gone on with one by one.
    return this.#old?.ordering === 'stream' ? this.#givenUp(cover, position) : undefined;
  }

  #givenUp(cover: Cover, position: number): ParkedKey | undefined {
    const parked = this.#old?.parkedAt(cover, position);
    // Of what lies beyond the cursor, nobody knows to whom it will belong when the key has drained.
    if (parked === undefined || !this.#old!.hasPassed(cover, position)) return undefined;
    return parked.state === 'dead' || !this.#served ? parked : undefined;
  }

  /** Partitions of this generation are not to be taken by the usual way now. */
  holds(generation: number): boolean {
    return this.#holding && generation === this.#options.previous;
  }

  start(): void {
    void this.#run();
  }

  /** Somebody may hold the old one, or have switched over. */
  lookNow(): void {
    this.#lookSoon = true;
    this.#endRest();
  }

  stop(): void {
    this.#stopping.abort(new Error('the rebuild has ended'));
  }

  /** Readers get the new generation, whoever has switched over. */
  over(): void {
    this.stop();
    const { next } = this.#options;
    next.predecessor = undefined;
    next.recheck();
  }

  async #run(): Promise<void> {
    const { runtime, log, next, previous } = this.#options;
    const { signal } = this.#stopping;
    const about = { projector: next.name, generation: next.generation, previous };
    log.info(about, 'rebuild: a new generation is built beside the one that readers get');
    let told = { atMs: runtime.monotonicMs(), position: -1 };
    let pauseMs = PAUSE_MS;
    while (!signal.aborted) {
      try {
        this.#lookSoon = false;
        const progress = await this.#look();
        if (progress === undefined) return this.#options.onChanged();
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
        const { closeEvents } = this.#options.reading;
        const distance = progress.target - progress.position;
        if (distance <= closeEvents && progress.parked === 0 && next.partition(0) !== undefined) {
          if (await this.#handOver()) return;
          await sleep(runtime, pauseMs, signal);
          pauseMs = Math.min(PAUSE_MAX_MS, 2 * pauseMs);
        } else {
          const near = distance <= closeEvents * (this.#served ? FAR : 1);
          await this.#rest(near && progress.parked === 0 && next.partitions.length > 0 ? LOOK_MS : SELDOM_MS);
        }
      } catch (error) {
        if (signal.aborted) return;
        log.warn({ ...about, err: error }, 'rebuild: trying again');
        await sleep(runtime, PAUSE_MS, signal).catch(() => {});
      }
    }
  }

  async #rest(ms: number): Promise<void> {
    if (this.#lookSoon) return;
    const ended = new Promise<void>((resolve) => {
      this.#endRest = resolve;
    });
    await Promise.race([ended, sleep(this.#options.runtime, ms, this.#stopping.signal)]);
  }

  /** `undefined`: somebody has switched over. */
  async #look(): Promise<Progress | undefined> {
    const { store, next, previous, isServed } = this.#options;
    const cursors = await store.listCursors(next.name);
    const counts = (await store.countParked()).filter((row) => row.subscription === next.name);
    const served = isServed();
    const parkedOf = (wanted: number) => counts.some(({ generation }) => generation === wanted);
    const old = await this.#readOld(cursors, { done: !served, parked: parkedOf(previous) });
    if ((await store.activeGeneration(next.name)) !== previous) return undefined;
    this.#know(old, served);
    const parked = parkedOf(next.generation) ? (await stuckKeys(store, next)).length : 0;
    const own = cursors.filter((row) => row.generation === next.generation);
    const position = own.reduce((least, cursor) => Math.min(least, cursor.position), Infinity);
    return { position, target: old.least, parked };
  }

  #readOld(cursors: readonly PartitionCursor[], wanted?: { done: boolean; parked: boolean }): Promise<StoredProgress> {
    const { store, previous } = this.#options;
    const own = cursors.filter((row) => row.generation === previous);
    return StoredProgress.read(store, own, wanted);
  }

  /** All of it at once: a cursor that has passed a key says nothing without the key's row. */
  #know(old: StoredProgress, served: boolean): void {
    this.#old = old;
    // Done marks are not read each time.
    this.#end = Math.max(this.#end, old.end);
    this.#served = served;
    this.#options.next.recheck();
  }

  async #handOver(): Promise<boolean> {
    const { runtime, store, next, previous, log, leaseMs, onChanged, onHolding, old: find } = this.#options;
    const begunMs = runtime.monotonicMs();
    // The others give back what they hold after their next heartbeat.
    const untilMs = begunMs + HOLD_MS + leaseMs / 2;
    // It is not switched before a key that fails has drained, and that may take long.
    const late = () =>
      this.#stopping.signal.aborted ||
      runtime.monotonicMs() > untilMs ||
      next.partitions.some(({ parked }) => parked.anyStuck);
    const old = find();
    this.#holding = true;
    onHolding();
    let switched = false;
    try {
      if (!(await this.#hold(old, late))) return false;
      const held = await this.#readOld(await store.listCursors(next.name));
      this.#know(held, false);
      const heldMs = runtime.monotonicMs();
      const patientUntilMs = heldMs + Math.min(PATIENT_MS, (untilMs - heldMs) / 2);
      let lookedMs = heldMs;
      while (!late()) {
        // Keys of other daemons.
        const anyElsewhere = next.partitions.length < next.definition.partitions;
        if (anyElsewhere && runtime.monotonicMs() - lookedMs >= LOOK_MS) {
          if ((await stuckKeys(store, next)).length > 0) return false;
          lookedMs = runtime.monotonicMs();
        }
        for (const partition of next.partitions) partition.hurry();
        const patient = runtime.monotonicMs() <= patientUntilMs;
        // What the old one could not handle is gone on with event by event: if that takes long, the old one does not stand still for it.
        const behind = next.partitions.some(({ parked }) => parked.anyHeld);
        if (behind && !patient) return false;
        const shows = !patient || (await this.#covers(held));
        switched = shows && !behind && (await this.#switch());
        if (switched) break;
        await sleep(runtime, shows ? 5 : LOOK_MS, this.#stopping.signal);
      }
      if (!switched) return false;
      // Not another event for it. The new one goes beyond it when everybody here knows what it had handled in the end.
      old?.stop();
      const held_ms = Math.round(runtime.monotonicMs() - begunMs);
      const left_out = held.deadUpTo(next.definition.startAfter);
      const about = {
        projector: next.name,
        generation: next.generation,
        previous,
        position: held.end,
        held_ms,
        left_out,
      };
      log.info(about, 'rebuild: switched over; readers get the new generation');
      return true;
    } finally {
      this.#holding = false;
      if (!switched) {
        this.#served = true;
        old?.unquiesce();
      }
      onHolding();
      // What was taken for the switch is taken as usual again, or never.
      onChanged();
    }
  }

  /** Whoever has seen a row of the old one is to find it in the new one. */
  async #covers(old: StoredProgress): Promise<boolean> {
    const { store, next } = this.#options;
    if (!old.anyDone && old.partitions === next.definition.partitions) return true;
    const own = (await store.listCursors(next.name)).filter((row) => row.generation === next.generation);
    return (await StoredProgress.read(store, own, { done: true, parked: false })).covers(old);
  }

  async #switch(): Promise<boolean> {
    const { store, next, previous, log } = this.#options;
    try {
      return await store.switchGeneration(next.name, previous, next.generation);
    } catch (error) {
      log.warn({ projector: next.name, err: error }, 'rebuild: whether it has switched over is not known yet');
      // The old one may go on only when it has not.
      const active = await readStubbornly(this.#options, this.#stopping.signal, () =>
        store.activeGeneration(next.name),
      );
      return active !== previous;
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
