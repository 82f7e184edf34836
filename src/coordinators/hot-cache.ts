// Histories of aggregates that were used lately. Bounded in bytes, over all and for each; an entry may hold only the
// newest pages, which is all that a host needs that keeps state.

import { type EventPage, pageBytes, payloadBytes, type Snapshot } from '../model/book.ts';
import { TransientMap } from '../transient-map.ts';
import { own, ownPayload, pins } from './own-bytes.ts';

export interface CacheLimits {
  hotCacheBytes: number;
  hotCacheAggregateBytes: number;
}

export interface HotHistory {
  nextSequence: number;
  /** Of the last event; 0 when there is none. */
  lastCreatedAtMicros: number;
  /** The newest that is known; it may lie before or after `from`. */
  snapshot: Snapshot | undefined;
  /** The sequence after the newest snapshot in the store; 0 when there is none. */
  snapshotNext: number;
  /** The sequence of the first page; equal to `nextSequence` without pages. */
  from: number;
  pages: EventPage[];
}

interface Entry extends HotHistory {
  bytes: number;
}

const ENTRY_BYTES = 512;
/** What a page takes beside its content: a dozen objects of the runtime, measured. */
const PAGE_BYTES = 900;

export class HotCache {
  readonly #limits: CacheLimits;
  /** In order of use, the latest last. */
  readonly #entries = new TransientMap<string, Entry>();
  #bytes = 0;

  constructor(limits: CacheLimits) {
    this.#limits = limits;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(streamText: string): HotHistory | undefined {
    const entry = this.#entries.get(streamText);
    if (entry === undefined) return undefined;
    this.#entries.delete(streamText);
    this.#entries.set(streamText, entry);
    return entry;
  }

  put(streamText: string, history: HotHistory): HotHistory {
    this.forget(streamText);
    const pages = history.pages.map(compact);
    const snapshot = history.snapshot && compactSnapshot(history.snapshot);
    const entry: Entry = { ...history, snapshot, pages, bytes: ENTRY_BYTES + sizeOf(snapshot, pages) };
    this.#entries.set(streamText, entry);
    this.#bytes += entry.bytes;
    this.#bound(entry);
    return entry;
  }

  /**
   * What was committed after the entry's last event: pages with their sequences, and the snapshot that came with them. Pages before
   * `heldUpTo` go: its host has them. Does nothing when the entry is gone.
   */
  extend(
    streamText: string,
    pages: readonly EventPage[],
    createdAtMicros: number,
    snapshot?: Snapshot,
    heldUpTo = 0,
  ): void {
    const entry = this.#entries.get(streamText);
    if (entry === undefined) return;
    if (pages.length > 0) {
      if (pages[0]!.sequence !== entry.nextSequence) return this.forget(streamText);
      let bytes = 0;
      for (const page of pages) {
        entry.pages.push(compact(page));
        bytes += keptBytes(page);
      }
      entry.nextSequence += pages.length;
      entry.lastCreatedAtMicros = createdAtMicros;
      entry.bytes += bytes;
      this.#bytes += bytes;
    }
    if (snapshot !== undefined) this.#replaceSnapshot(entry, snapshot);
    if (heldUpTo > entry.from) this.#dropTo(entry, Math.min(heldUpTo, entry.nextSequence));
    this.#bound(entry);
  }

  /** Pages since the snapshot before stay, because hosts that keep state may lack some of them; older ones go. */
  #replaceSnapshot(entry: Entry, snapshot: Snapshot): void {
    this.#dropTo(entry, entry.snapshotNext);
    const change =
      payloadBytes(snapshot.state) - (entry.snapshot === undefined ? 0 : payloadBytes(entry.snapshot.state));
    entry.snapshot = compactSnapshot(snapshot);
    entry.snapshotNext = snapshot.sequence + 1;
    entry.bytes += change;
    this.#bytes += change;
  }

  /** Pages before the sequence go. */
  #dropTo(entry: Entry, sequence: number): void {
    const drop = sequence - entry.from;
    if (drop <= 0) return;
    let bytes = 0;
    for (const page of entry.pages.splice(0, drop)) bytes += keptBytes(page);
    entry.from += drop;
    entry.bytes -= bytes;
    this.#bytes -= bytes;
  }

  forget(streamText: string): void {
    const entry = this.#entries.get(streamText);
    if (entry === undefined) return;
    this.#entries.delete(streamText);
    this.#bytes -= entry.bytes;
  }

  /** Returns how many. */
  flush(): number {
    const count = this.#entries.size;
    this.#entries.clear();
    this.#bytes = 0;
    return count;
  }

  #bound(entry: Entry): void {
    if (entry.bytes > this.#limits.hotCacheAggregateBytes) this.#dropFront(entry);
    while (this.#bytes > this.#limits.hotCacheBytes) this.forget(this.#entries.keys().next().value!);
  }

  /** Keeps the newest pages, half the limit at most. */
  #dropFront(entry: Entry): void {
    const before = entry.bytes;
    let kept = ENTRY_BYTES;
    let first = entry.pages.length;
    while (first > 0) {
      const bytes = keptBytes(entry.pages[first - 1]!);
      if (kept + bytes > this.#limits.hotCacheAggregateBytes / 2) break;
      kept += bytes;
      first--;
    }
    entry.snapshot = undefined;
    entry.pages = entry.pages.slice(first);
    entry.from += first;
    entry.bytes = kept;
    this.#bytes += kept - before;
  }
}

/** Of a page in memory. */
export function keptBytes(page: EventPage): number {
  return PAGE_BYTES + pageBytes(page);
}

function sizeOf(snapshot: Snapshot | undefined, pages: readonly EventPage[]): number {
  let bytes = snapshot === undefined ? 0 : payloadBytes(snapshot.state);
  for (const page of pages) bytes += keptBytes(page);
  return bytes;
}

function compact(page: EventPage): EventPage {
  const event = page.event!;
  if (!pins(event.value) && !pins(page.unitId)) return page;
  return { ...page, event: ownPayload(event), unitId: own(page.unitId) };
}

function compactSnapshot(snapshot: Snapshot): Snapshot {
  const state = snapshot.state!;
  return pins(state.value) ? { ...snapshot, state: ownPayload(state) } : snapshot;
}
