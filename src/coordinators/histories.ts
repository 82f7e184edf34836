// Histories of aggregates as decisions need them: from the hot cache, else from the store.

import type { AggregateComponent } from '../component.ts';
import type { EventPage, Snapshot } from '../model/book.ts';
import type { StreamKey } from '../model/stream.ts';
import { toMicros } from '../model/time.ts';
import type { OutcomeKey, StoredOutcome } from '../store.ts';
import { CachedHistory } from './history.ts';
import type { HotCache, HotHistory } from './hot-cache.ts';
import type { UpcastingReads } from './upcasting.ts';

export interface HistoriesLimits {
  hotCacheAggregateBytes: number;
}

export class Histories {
  readonly #reads: UpcastingReads;
  readonly #cache: HotCache;
  readonly #limits: HistoriesLimits;

  constructor(reads: UpcastingReads, cache: HotCache, limits: HistoriesLimits) {
    this.#reads = reads;
    this.#cache = cache;
    this.#limits = limits;
  }

  /**
   * What is known of an aggregate, as much as the component's host lacks. `known` is the outcome under the key; looked up only when
   * the store is read anyhow, since the commit finds it in any case.
   */
  async load(
    stream: StreamKey,
    text: string,
    component: Pick<AggregateComponent, 'needs'> | undefined,
    outcomeKey: OutcomeKey | undefined,
  ): Promise<{ hot: HotHistory; known: StoredOutcome | undefined }> {
    const cached = this.#cache.get(text);
    if (cached !== undefined) return { hot: cached, known: undefined };
    const needs = component?.needs(stream, text);
    const opened = await this.#reads.openStream(stream, {
      from: needs?.heldUpTo ?? 0,
      snapshotVersion: needs?.snapshotVersion,
      outcomeKey,
      maxBytes: this.#limits.hotCacheAggregateBytes,
    });
    const whole = opened.from + opened.pages.length >= opened.nextSequence;
    const hot = this.#cache.put(text, {
      nextSequence: opened.nextSequence,
      lastCreatedAtMicros: opened.lastCreatedAtMicros,
      snapshot: opened.snapshot,
      snapshotNext: opened.snapshotNext,
      // Too long to keep: only its end is remembered, the component gets it in parts.
      from: whole ? Math.min(opened.from, opened.nextSequence) : opened.nextSequence,
      pages: whole ? opened.pages : [],
    });
    return { hot, known: opened.outcome };
  }

  /** Where the stream is and whether the key is known, by the store and not by the cache, which may be behind. */
  async look(
    stream: StreamKey,
    outcomeKey: OutcomeKey | undefined,
  ): Promise<{ nextSequence: number; known: StoredOutcome | undefined }> {
    const opened = await this.#reads.openStream(stream, {
      from: Number.MAX_SAFE_INTEGER,
      snapshotVersion: undefined,
      outcomeKey,
      maxBytes: 1,
    });
    return { nextSequence: opened.nextSequence, known: opened.outcome };
  }

  history(stream: StreamKey, hot: HotHistory): CachedHistory {
    return new CachedHistory(this.#reads, stream, hot);
  }

  /** The history as it was before `nextSequence`; nothing of it is cached. */
  past(stream: StreamKey, nextSequence: number): CachedHistory {
    const nothing = { lastCreatedAtMicros: 0, snapshot: undefined, snapshotNext: 0, pages: [] };
    return this.history(stream, { ...nothing, nextSequence, from: nextSequence });
  }

  /**
   * What was committed after the history that `load` gave. A host that keeps states needs nothing again that it holds already, so long
   * as it is there: the cache has room for the others.
   */
  committed(
    stream: StreamKey,
    text: string,
    pages: readonly EventPage[],
    snapshot: Snapshot | undefined,
    heldUpTo = 0,
  ): void {
    // What an upcaster would change is read again, so that everybody sees the same shape.
    if (pages.length > 0 && this.#reads.concerns(stream.domain, pages)) return this.#cache.forget(text);
    this.#cache.extend(text, pages, pages.length === 0 ? 0 : toMicros(pages[0]!.createdAt!), snapshot, heldUpTo);
  }

  /** It is not as the cache has it, or that is not known. */
  forget(text: string): void {
    this.#cache.forget(text);
  }
}
