import { asDaybookError } from '../errors.ts';
import { retryDelayMs } from '../model/retry.ts';
import { sleep } from '../runtime.ts';
import type { ParkedKey, PartitionKey, Store, Unit } from '../store.ts';
import type { DeliveryParts } from './parts.ts';

/** What a unit builds on is not so any more. */
export class Fenced extends Error {
  /** Of a stream's history, not of a lease or a row. */
  readonly conflict: boolean;

  constructor(what: string, conflict = false) {
    super(what);
    this.name = 'Fenced';
    this.conflict = conflict;
  }
}

const LIST_ROWS = 500;

/** All parked keys of a partition, or of all that a subscription has. */
export async function allParked(
  store: Pick<Store, 'listParked'>,
  of: { partition: PartitionKey } | { subscription: string },
): Promise<ParkedKey[]> {
  const all: ParkedKey[] = [];
  for (let after: ParkedKey | undefined; ; after = all.at(-1)) {
    const rows = await store.listParked({ ...of, limit: LIST_ROWS, ...(after && { after }) });
    all.push(...rows);
    if (rows.length < LIST_ROWS) return all;
  }
}

/** Until the store answers. Throws what is not its absence; the signal's reason. */
export async function readStubbornly<T>(
  { runtime }: Pick<DeliveryParts, 'runtime'>,
  signal: AbortSignal,
  read: () => Promise<T>,
): Promise<T> {
  for (let tries = 1; ; tries++) {
    signal.throwIfAborted();
    try {
      return await read();
    } catch (thrown) {
      if (asDaybookError(thrown).reason !== 'STORE_UNAVAILABLE') throw thrown;
      await sleep(runtime, retryDelayMs(AWAY, tries, runtime.random())!, signal);
    }
  }
}

const AWAY = { tries: Infinity, minMs: 50, maxMs: 2000 };

/**
 * Until the unit is stored, however long the store stays away: sending the same unit again is safe. Throws Fenced; a DaybookError for what
 * no store can hold; the signal's reason.
 */
export async function commitStubbornly(
  { committer, runtime }: Pick<DeliveryParts, 'committer' | 'runtime'>,
  unit: Unit,
  signal: AbortSignal,
): Promise<void> {
  for (let tries = 1; ; tries++) {
    signal.throwIfAborted();
    try {
      const result = await committer.commit(unit);
      switch (result.kind) {
        case 'committed':
          return;
        case 'conflict':
          throw new Fenced('the history moved on', true);
        case 'fenced':
          throw new Fenced(result.what);
        case 'duplicate':
          throw new Fenced('the outcome is known');
      }
    } catch (thrown) {
      if (thrown instanceof Fenced) throw thrown;
      const error = asDaybookError(thrown);
      if (error.reason !== 'STORE_UNAVAILABLE' && error.reason !== 'OUTCOME_UNKNOWN') throw error;
      await sleep(runtime, retryDelayMs(AWAY, tries, runtime.random())!, signal);
    }
  }
}
