// The history that one command is decided against: what the cache holds, and the rest from the store as it is asked for.

import type { History, HistoryPart } from '../component.ts';
import { type EventPage, pageBytes, payloadBytes, type Snapshot } from '../model/book.ts';
import type { StreamKey } from '../model/stream.ts';
import type { HotHistory } from './hot-cache.ts';
import type { UpcastingReads } from './upcasting.ts';

export class CachedHistory implements History {
  readonly nextSequence: number;
  readonly #reads: UpcastingReads;
  readonly #stream: StreamKey;
  readonly #hot: HotHistory;

  constructor(reads: UpcastingReads, stream: StreamKey, hot: HotHistory) {
    this.nextSequence = hot.nextSequence;
    this.#reads = reads;
    this.#stream = stream;
    this.#hot = hot;
  }

  atHand(from: number, snapshotVersion: number): HistoryPart | undefined {
    const hot = this.#hot;
    const snapshot = from === 0 && hot.snapshot?.schemaVersion === snapshotVersion ? hot.snapshot : undefined;
    const first = snapshot === undefined ? from : snapshot.sequence + 1;
    if (first < hot.from || hot.nextSequence !== this.nextSequence) return undefined;
    // A copy, because the cache's own list grows.
    return part(snapshot, first, hot.pages.slice(first - hot.from));
  }

  async *parts(from: number, snapshotVersion: number, maxBytes: number): AsyncGenerator<HistoryPart, void, void> {
    const atHand = this.atHand(from, snapshotVersion);
    if (atHand !== undefined) {
      yield* split(atHand, maxBytes);
      return;
    }
    const snapshot = from === 0 ? await this.#readSnapshot(snapshotVersion) : undefined;
    let next = snapshot === undefined ? from : snapshot.sequence + 1;
    let first = true;
    while (next < this.nextSequence || first) {
      const pages =
        next < this.nextSequence
          ? (await this.#reads.readStream(this.#stream, { from: next, to: this.nextSequence - 1, maxBytes })).pages
          : [];
      yield part(first ? snapshot : undefined, next, pages);
      next += pages.length;
      first = false;
    }
  }

  async #readSnapshot(version: number): Promise<Snapshot | undefined> {
    if (this.nextSequence === 0) return undefined;
    return this.#reads.readSnapshot(this.#stream, version, this.nextSequence - 1);
  }
}

function part(snapshot: Snapshot | undefined, from: number, pages: EventPage[]): HistoryPart {
  let bytes = snapshot === undefined ? 0 : payloadBytes(snapshot.state);
  for (const page of pages) bytes += pageBytes(page);
  return { snapshot, from, pages, bytes };
}

function* split(whole: HistoryPart, maxBytes: number): Generator<HistoryPart, void, void> {
  if (whole.bytes <= maxBytes) return yield whole;
  let snapshot = whole.snapshot;
  let begin = 0;
  while (begin < whole.pages.length || snapshot !== undefined) {
    let bytes = snapshot === undefined ? 0 : payloadBytes(snapshot.state);
    let end = begin;
    while (end < whole.pages.length) {
      bytes += pageBytes(whole.pages[end]!);
      if (bytes > maxBytes && (end > begin || snapshot !== undefined)) break;
      end++;
    }
    yield part(snapshot, whole.from + begin, whole.pages.slice(begin, end));
    snapshot = undefined;
    begin = end;
  }
}
