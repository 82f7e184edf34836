// Reading the rows that projectors made: one, page by page, and as they change.

import { createHash } from 'node:crypto';
import type { Components } from '../component.ts';
import { DaybookError, invalid } from '../errors.ts';
import type { LogFilter } from '../model/filter.ts';
import { orderingOf, partitionOf, placeOf } from '../model/ordering.ts';
import type { Projection } from '../model/reaction.ts';
import { type StreamKey, streamText } from '../model/stream.ts';
import { type Runtime, sleep } from '../runtime.ts';
import type { ParkedKey, ProjectionRow, Store, SubscriptionDefinition } from '../store.ts';
import type { Caller } from './caller.ts';
import { projectionOf } from './projector.ts';
import type { QueryCoordinator } from './query.ts';

export interface Waits {
  /** Resolves with the position of the slowest when all have passed; throws WAIT_TIMEOUT. */
  passed(request: {
    subscriptions: readonly string[];
    position: number;
    deadlineMs: number;
    signal: AbortSignal;
  }): Promise<number>;
}

export interface ProjectionsParts {
  store: Store;
  components: Components;
  query: Pick<QueryCoordinator, 'positionOf'>;
  waiting: Waits;
  runtime: Runtime;
  /** Called when a cursor of this daemon moved, or a parked key changed. */
  onProgress(listener: () => void): () => void;
}

export interface Reading {
  tenant: string;
  projector: string;
  /** Empty: what is there now. */
  consistencyToken: string;
}

const WAIT_MS = 10_000;
/** So much of a caller's time is kept for the answer. */
const ANSWER_MS = 50;
const PAGE_BYTES = 1 << 20;
const READ_ROWS = 50;
const READ_EVENTS = 1000;
const READ_BYTES = 1 << 20;
/** Rows of one stream in one read. */
const STREAM_ROWS = 1000;
const PARKED_ROWS = 500;
/** Changes that other daemons stored are looked for so often. */
const POLL_MS = 1000;
/** Changes of this daemon come together for so long. */
const GATHER_MS = 20;
/** Rows of one watcher that are remembered: more than lie between the cursors and the ends of all windows. */
const KNOWN_ROWS = 20_000;

export class ProjectionsCoordinator {
  readonly #parts: ProjectionsParts;

  constructor(parts: ProjectionsParts) {
    this.#parts = parts;
  }

  /** NOT_FOUND when the row was never there, or is gone. */
  async get(reading: Reading, key: string, caller: Caller): Promise<Projection> {
    const { tenant, projector } = reading;
    await this.#ready(reading, caller);
    const row = await this.#ofActive(projector, (generation) =>
      this.#parts.store.readProjection({ tenant, projector, generation, key }),
    );
    if (row?.payload !== undefined) return projectionOf(row);
    const gone = row === undefined ? 'there is no row' : 'the row is gone:';
    throw new DaybookError('NOT_FOUND', `${projector}: ${gone} ${JSON.stringify(key)}`, { metadata: { field: 'key' } });
  }

  /** In order of keys; `next` is the key to go on after, if there is more. */
  async list(
    reading: Reading,
    { prefix, after, size }: { prefix: string; after: string | undefined; size: number },
    caller: Caller,
  ): Promise<{ projections: Projection[]; next: string | undefined }> {
    const { tenant, projector } = reading;
    await this.#ready(reading, caller);
    return this.#ofActive(projector, async (generation) => {
      const projections: Projection[] = [];
      let bytes = 0;
      for await (const row of this.#rows({ tenant, projector, generation, prefix, after })) {
        bytes += row.payload!.value.length;
        // There is more, so there is a next page.
        if (projections.length === size || (projections.length > 0 && bytes > PAGE_BYTES)) {
          return { projections, next: projections.at(-1)!.key };
        }
        projections.push(projectionOf(row));
      }
      return { projections, next: undefined };
    });
  }

  /**
   * What is there, unless only changes are wanted, then each change once, until the signal aborts. Nothing is queued for a reader: what
   * has changed is looked up when it has room, so a slow one gets the newest state of a row.
   */
  async *watch(
    reading: Reading,
    { prefix, changesOnly }: { prefix: string; changesOnly: boolean },
    caller: Caller,
  ): AsyncGenerator<Projection, void, void> {
    await this.#ready(reading, caller);
    // Whoever has left costs a store that is busy nothing more: here and below.
    if (caller.signal.aborted) return;
    const { tenant, projector } = reading;
    const known = new KnownRows();
    const bell = new Bell(caller.signal);
    const off = this.#parts.onProgress(() => bell.ring());
    try {
      let progress = await this.#progress(projector);
      if (caller.signal.aborted) return;
      yield* this.#everything(reading, prefix, progress.generation, known, changesOnly);
      while (!caller.signal.aborted) {
        await bell.rung(this.#parts.runtime, POLL_MS);
        if (caller.signal.aborted) return;
        const now = await this.#progress(projector);
        if (now.generation === progress.generation) {
          for await (const row of this.#changes({ tenant, projector }, progress, now)) {
            if (row.key.startsWith(prefix) && known.changed(row)) yield projectionOf(row);
          }
        } else yield* this.#switched(reading, prefix, now.generation, known);
        progress = now;
      }
    } finally {
      off();
    }
  }

  /** Waits for the token; INVALID_ARGUMENT when there is no such projector. */
  async #ready({ projector, consistencyToken }: Reading, { deadlineMs, signal }: Caller): Promise<void> {
    const { query, waiting, runtime } = this.#parts;
    await this.#active(projector);
    if (consistencyToken === '') return;
    const position = await query.positionOf(consistencyToken, 'consistency_token');
    const now = runtime.monotonicMs();
    const until = Math.max(now, Math.min(now + WAIT_MS, deadlineMs - ANSWER_MS));
    await waiting.passed({ subscriptions: [projector], position, deadlineMs: until, signal });
  }

  /** The generation that readers get. */
  async #active(projector: string): Promise<number> {
    const { store } = this.#parts;
    const generation = await store.activeGeneration(projector);
    if (generation !== 0) return generation;
    const known = (await store.listSubscriptions()).filter(({ kind }) => kind === 'projector');
    throw unknownName(
      'projector',
      projector,
      known.map(({ name }) => name),
    );
  }

  /** What was read while readers were switched to another generation is read again: rows of the old one go. */
  async #ofActive<T>(projector: string, read: (generation: number) => Promise<T>): Promise<T> {
    for (let generation = await this.#active(projector); ; ) {
      const result = await read(generation);
      const now = await this.#active(projector);
      if (now === generation) return result;
      generation = now;
    }
  }

  async *#rows(list: {
    tenant: string;
    projector: string;
    generation: number;
    prefix: string;
    after: string | undefined;
  }): AsyncGenerator<ProjectionRow, void, void> {
    const { after: first, ...of } = list;
    for (let after = first; ; ) {
      const rows = await this.#parts.store.listProjections({
        ...of,
        ...(after !== undefined && { after }),
        limit: READ_ROWS,
      });
      yield* rows;
      if (rows.length < READ_ROWS) return;
      after = rows.at(-1)!.key;
    }
  }

  async *#everything(
    { tenant, projector }: Reading,
    prefix: string,
    generation: number,
    known: KnownRows,
    silent: boolean,
  ): AsyncGenerator<Projection, void, void> {
    for await (const row of this.#rows({ tenant, projector, generation, prefix, after: undefined })) {
      known.changed(row);
      if (!silent) yield projectionOf(row);
      // Then a later generation comes whole.
      else if (!known.complete) return;
    }
  }

  /** Another generation answers: its rows that differ, and those that it does not have. */
  async *#switched(
    { tenant, projector }: Reading,
    prefix: string,
    generation: number,
    known: KnownRows,
  ): AsyncGenerator<Projection, void, void> {
    const before = known.restart();
    for await (const row of this.#rows({ tenant, projector, generation, prefix, after: undefined })) {
      known.changed(row);
      const same = before.get(row.key)?.digest === digestOf(row);
      before.delete(row.key);
      if (!same) yield projectionOf(row);
    }
    for (const [key, { position, digest }] of before) {
      if (digest === GONE) continue;
      const rest = { cover: undefined, sequence: 0, projection: undefined };
      yield { ...rest, projector, key, position, deleted: true };
    }
  }

  /**
   * Rows that were stored between two looks, of all daemons: what lies between the two progresses was handled, and each row tells from
   * which stream it was made last.
   */
  async *#changes(
    { tenant, projector }: { tenant: string; projector: string },
    from: Progress,
    to: Progress,
  ): AsyncGenerator<ProjectionRow, void, void> {
    const { generation } = to;
    const before = (partition: number) => from.cursors.get(partition) ?? 0;
    for (const [key, position] of from.unhandled) {
      const place = placeOf('stream', key);
      if (place.ordering !== 'stream' || place.stream.tenant !== tenant || to.unhandled.get(key) === position) continue;
      yield* this.#rowsOf({ stream: place.stream, projector, generation, from: position });
    }
    const ranges = [...to.cursors].map(([partition, position]): [number, number] => [before(partition), position]);
    for (const [after, end] of merged(ranges)) {
      for (let position = after; position < end; ) {
        const filter = { ...to.filter, tenant };
        const limits = { maxEvents: READ_EVENTS, maxBytes: READ_BYTES };
        const read = await this.#parts.store.readLog({ after: position, to: end, filter, ...limits });
        const streams = new Map<string, { stream: StreamKey; from: number }>();
        for (const { cover, pages } of read.books) {
          const partition = partitionOf(to.ordering, cover!, to.cursors.size);
          const handled = pages.find((page) => page.position > before(partition));
          // What its partition has not handled yet comes when it has.
          if (handled === undefined || handled.position > (to.cursors.get(partition) ?? 0)) continue;
          const stream = { tenant, domain: cover!.domain, root: cover!.root!.value };
          const text = streamText(stream);
          if (!streams.has(text)) streams.set(text, { stream, from: handled.position });
        }
        for (const of of streams.values()) yield* this.#rowsOf({ ...of, projector, generation });
        if (read.through === position) break;
        position = read.through;
      }
    }
  }

  async *#rowsOf(of: {
    stream: StreamKey;
    projector: string;
    generation: number;
    from: number;
  }): AsyncGenerator<ProjectionRow, void, void> {
    for (let from = of.from; ; ) {
      const rows = await this.#parts.store.projectionsOf({ ...of, from, limit: STREAM_ROWS });
      yield* rows;
      if (rows.length < STREAM_ROWS) return;
      // One reply of a projector never has more rows than fit into one read.
      from = Math.max(rows.at(-1)!.position, from + 1);
    }
  }

  /** How far the active generation has come. */
  async #progress(projector: string): Promise<Progress> {
    const { store, components } = this.#parts;
    const generation = await this.#active(projector);
    const definition = (await store.listSubscriptions()).find(
      (row) => row.name === projector && row.generation === generation,
    );
    // Parked keys first: what is handled in between is then found twice, not never.
    const unhandled = new Map<string, number>();
    for (let after: ParkedKey | undefined; ; ) {
      const list = { subscription: projector, limit: PARKED_ROWS };
      const rows = await store.listParked(after === undefined ? list : { ...list, after });
      for (const row of rows) {
        if (row.partition.generation !== generation) continue;
        unhandled.set(row.key, row.state === 'draining' ? row.through + 1 : row.position);
      }
      if (rows.length < PARKED_ROWS) break;
      after = rows.at(-1)!;
    }
    const cursors = new Map<number, number>();
    for (const row of await store.listCursors(projector)) {
      if (row.generation === generation) cursors.set(row.partition, row.position);
    }
    const ordering = orderingOf('projector', cursors.size === 1);
    if (ordering === 'log') {
      // There is but one key, and everything after its first event waits.
      for (const position of unhandled.values()) cursors.set(0, Math.min(cursors.get(0)!, position - 1));
      unhandled.clear();
    }
    return { generation, cursors, unhandled, ordering, filter: filterOf(definition, components) };
  }
}

interface Progress {
  generation: number;
  /** By partition: everything up to here is handled, but for what is parked. */
  cursors: Map<number, number>;
  /** Of parked streams, by key: the first position that is not handled. */
  unhandled: Map<string, number>;
  ordering: ReturnType<typeof orderingOf>;
  filter: LogFilter;
}

/** What a subscription may want, as far as the store can tell: with upcasters about, it does not know today's types. */
export function filterOf(definition: SubscriptionDefinition | undefined, components: Components): LogFilter {
  const { domains = [], types = [] } = definition ?? {};
  return {
    ...(domains.length > 0 && { domains }),
    ...(types.length > 0 && !components.hasUpcasters && { types }),
  };
}

/** INVALID_ARGUMENT that names what there is. */
export function unknownName(field: string, found: string, names: readonly string[]): DaybookError {
  const known = [...new Set(names)].sort();
  const these = known.length === 0 ? 'there is none yet' : `there are ${known.join(', ')}`;
  return invalid(field, `${field}: there is no ${JSON.stringify(found)}; ${these}`);
}

/** The rows that a watcher has, the latest last. */
class KnownRows {
  #rows = new Map<string, { position: number; digest: string }>();
  /** None was forgotten. */
  complete = true;

  /** False: the watcher has it already. */
  changed(row: ProjectionRow): boolean {
    const known = this.#rows.get(row.key);
    if (known !== undefined && row.position <= known.position) return false;
    this.#rows.delete(row.key);
    this.#rows.set(row.key, { position: row.position, digest: digestOf(row) });
    if (this.#rows.size > KNOWN_ROWS) {
      this.#rows.delete(this.#rows.keys().next().value!);
      this.complete = false;
    }
    return true;
  }

  /** Begins anew; what was known, or nothing, if not everything was. */
  restart(): Map<string, { position: number; digest: string }> {
    const before = this.complete ? this.#rows : new Map<string, { position: number; digest: string }>();
    this.#rows = new Map();
    this.complete = true;
    return before;
  }
}

const GONE = 'gone';

function digestOf({ payload }: ProjectionRow): string {
  if (payload === undefined) return GONE;
  return createHash('sha1').update(payload.typeUrl).update('\0').update(payload.value).digest('base64');
}

/** Rung while nobody listens, it is heard once. */
class Bell {
  readonly #signal: AbortSignal;
  #rung = false;
  #wake: () => void = () => {};

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener('abort', () => this.ring());
  }

  ring(): void {
    this.#rung = true;
    this.#wake();
  }

  /** Returns a moment after it was rung, so that what comes together is seen together; or after the time. */
  async rung(runtime: Runtime, timeoutMs: number): Promise<void> {
    if (!this.#rung) {
      await new Promise<void>((resolve) => {
        const timer = runtime.after(timeoutMs, resolve);
        this.#wake = () => {
          timer.cancel();
          resolve();
        };
      });
    }
    this.#signal.throwIfAborted();
    if (!this.#rung) return;
    await sleep(runtime, GATHER_MS, this.#signal);
    this.#rung = false;
  }
}

/** Ranges of positions as few that do not overlap; each begins after its first number. */
function merged(ranges: readonly [number, number][]): [number, number][] {
  const found: [number, number][] = [];
  for (const [after, end] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const last = found.at(-1);
    if (end <= after) continue;
    if (last !== undefined && after <= last[1]) last[1] = Math.max(last[1], end);
    else found.push([after, end]);
  }
  return found;
}
