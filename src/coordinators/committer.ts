// Group commit: units that wait while a transaction is under way share the next one. Each has its own outcome.
//
// The store and this process work at the same time: the store is given the next batch before anybody learns of the last one, and a
// batch leaves something for the one after it. Otherwise all that is under way would end up in one batch: while the store has it there
// is nothing to do here, and then nothing there.

import { asDaybookError, DaybookError } from '../errors.ts';
import { type EventBook, pageBytes, payloadBytes } from '../model/book.ts';
import { type RetrySchedule, retryDelayMs } from '../model/retry.ts';
import { type Runtime, sleep } from '../runtime.ts';
import type { EventStore, Unit, UnitResult } from '../store.ts';
import { own, ownOrigin, ownPayload } from './own-bytes.ts';

export interface CommitterLimits {
  groupCommitUnits: number;
  groupCommitBytes: number;
}

/** As the store answers; a committed unit comes with its books, sequences and positions set. */
export type Committed =
  | (Extract<UnitResult, { kind: 'committed' }> & { books: EventBook[] })
  | Exclude<UnitResult, { kind: 'committed' }>;

interface Waiting {
  unit: Unit;
  bytes: number;
  resolve: (result: Committed) => void;
  reject: (error: DaybookError) => void;
}

/** A transaction costs as much as some units do: fewer than these are not divided. */
const UNDIVIDED_UNITS = 32;

/** How long a store may stay away during a commit before its callers are told. */
export const COMMIT_RETRIES: RetrySchedule = { tries: 12, minMs: 10, maxMs: 2000 };

export class Committer {
  readonly #store: EventStore;
  readonly #runtime: Runtime;
  readonly #limits: CommitterLimits;
  readonly #onBooks: (books: EventBook[]) => void;
  readonly #onAway: () => void;
  #waiting: Waiting[] = [];
  #pumping: Promise<void> | undefined;

  /**
   * `onBooks` is called with what was committed, in log order, before the callers learn of it; `onAway` when the store could not be
   * reached, each time.
   */
  constructor(
    store: EventStore,
    runtime: Runtime,
    limits: CommitterLimits,
    onBooks: (books: EventBook[]) => void,
    onAway: () => void = () => {},
  ) {
    this.#onAway = onAway;
    this.#store = store;
    this.#runtime = runtime;
    this.#limits = limits;
    this.#onBooks = onBooks;
  }

  /**
   * Durable when it resolves with `committed`. Rejects with STORE_UNAVAILABLE (nothing was stored), OUTCOME_UNKNOWN (it cannot
   * be told), or INTERNAL (the store cannot hold this unit; its neighbours are not concerned).
   */
  commit(unit: Unit): Promise<Committed> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ unit, bytes: unitBytes(unit), resolve, reject });
      this.#pumping ??= this.#pump();
    });
  }

  /** Resolves when nothing waits any more. */
  async idle(): Promise<void> {
    await this.#pumping;
  }

  async #pump(): Promise<void> {
    // One turn of the event loop's microtasks, so that what arrived in the same frame commits together.
    await undefined;
    let returning = 0;
    let tell = () => {};
    while (this.#waiting.length > 0) {
      const batch = this.#take(returning);
      const answered = this.#commitBatch(batch);
      tell();
      tell = await answered;
      returning = batch.length;
      if (this.#waiting.length > 0) continue;
      tell();
      tell = () => {};
    }
    this.#pumping = undefined;
  }

  /** At most half of what is known to be under way: `returning` units were just committed, and who waits for them sends others. */
  #take(returning: number): Waiting[] {
    const half = Math.max(UNDIVIDED_UNITS, Math.ceil((returning + this.#waiting.length) / 2));
    const most = Math.min(this.#waiting.length, this.#limits.groupCommitUnits, half);
    let count = 0;
    let bytes = 0;
    while (count < most) {
      bytes += this.#waiting[count]!.bytes;
      if (count > 0 && bytes > this.#limits.groupCommitBytes) break;
      count++;
    }
    if (count === this.#waiting.length) {
      const all = this.#waiting;
      this.#waiting = [];
      return all;
    }
    return this.#waiting.splice(0, count);
  }

  /** Resolves when the store has answered, with what tells those who wait. Never rejects. */
  async #commitBatch(batch: Waiting[]): Promise<() => void> {
    try {
      const results = await this.#commitWithRetry(batch.map((waiting) => waiting.unit));
      return () => this.#settle(batch, results);
    } catch (thrown) {
      const error = asDaybookError(thrown);
      const away = error.reason === 'STORE_UNAVAILABLE' || error.reason === 'OUTCOME_UNKNOWN';
      if (away || batch.length === 1) {
        return () => {
          for (const waiting of batch) waiting.reject(error);
        };
      }
      // Some unit holds what the store cannot: repeat in halves until it fails alone.
      const half = batch.length >>> 1;
      const tellFirst = await this.#commitBatch(batch.slice(0, half));
      tellFirst();
      return this.#commitBatch(batch.slice(half));
    }
  }

  /** The same units are sent again while the store is away: a unit that was applied the first time answers as itself. */
  async #commitWithRetry(units: Unit[]): Promise<UnitResult[]> {
    let unknown = false;
    for (let tries = 1; ; tries++) {
      try {
        return await this.#store.commit(units);
      } catch (thrown) {
        const error = asDaybookError(thrown);
        if (error.reason !== 'STORE_UNAVAILABLE' && error.reason !== 'OUTCOME_UNKNOWN') throw error;
        unknown ||= error.reason === 'OUTCOME_UNKNOWN';
        this.#onAway();
        const delayMs = retryDelayMs(COMMIT_RETRIES, tries, this.#runtime.random());
        if (delayMs === undefined) {
          if (!unknown || error.reason === 'OUTCOME_UNKNOWN') throw error;
          throw new DaybookError('OUTCOME_UNKNOWN', 'the store went away during the commit and stayed away', {
            cause: error,
          });
        }
        await sleep(this.#runtime, delayMs);
      }
    }
  }

  #settle(batch: Waiting[], results: UnitResult[]): void {
    const committed = batch.map(({ unit }, i) => withBooks(unit, results[i]!));
    const books: EventBook[] = [];
    for (const result of committed) if (result.kind === 'committed') books.push(...result.books);
    if (books.length > 0) this.#onBooks(books);
    for (let i = 0; i < batch.length; i++) batch[i]!.resolve(committed[i]!);
  }
}

/** Sets what the store decided in the unit's own pages, which nobody else holds yet. Caches and followers keep them: they pin no frame. */
function withBooks(unit: Unit, result: UnitResult): Committed {
  if (result.kind !== 'committed') return result;
  let position = result.position;
  const books: EventBook[] = [];
  for (let i = 0; i < unit.appends.length; i++) {
    const append = unit.appends[i]!;
    let sequence = result.sequences[i]!;
    for (const page of append.pages) {
      page.sequence = sequence++;
      page.position = position++;
      page.unitId = unit.unitId;
      page.event = ownPayload(page.event!);
      page.origin = page.origin && ownOrigin(page.origin);
    }
    const { stream, correlationId } = append;
    books.push({
      cover: { root: { value: own(stream.root) }, domain: stream.domain, correlationId, tenant: stream.tenant },
      snapshot: undefined,
      pages: append.pages as EventBook['pages'],
      nextSequence: sequence,
      consistencyToken: '',
    });
  }
  return { ...result, books };
}

function unitBytes(unit: Unit): number {
  let bytes = 128;
  for (const append of unit.appends) for (const page of append.pages) bytes += pageBytes(page);
  for (const { snapshot } of unit.snapshots) bytes += payloadBytes(snapshot.state);
  for (const outcome of unit.outcomes) bytes += 64 + outcome.body.length;
  if (unit.work !== undefined) {
    for (const row of unit.work.outboxAdded) bytes += 128 + row.body.length;
    for (const { row } of unit.work.timers) bytes += 64 + (row?.body.length ?? 0);
    for (const { payload } of unit.work.projections) bytes += 128 + (payload?.value.length ?? 0);
  }
  return bytes;
}
