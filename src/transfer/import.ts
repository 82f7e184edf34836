// Lines back into a log: the same units with their ids, sequences and times, so that a second import finds all of it there.
//
// Before a unit is sent to the store, the heads of its streams say whether it is new, was there before, or cannot be. The store
// could tell most of that itself, but it takes a unit's id for the unit: that what is there is also the same, and all of
// it, is looked up here. For that nobody else may write meanwhile.

import { encodeOutcome, factHash } from '../coordinators/outcome.ts';
import type { EventPage } from '../model/book.ts';
import { factKey } from '../model/fact.ts';
import { type StreamKey, streamText, uuidText } from '../model/stream.ts';
import { timeText, toMicros } from '../model/time.ts';
import type { Append, Outcome, Store, Unit } from '../store.ts';
import { difference, type StoredEvent } from './event-line.ts';
import { CannotImport, type ReadEvent, type ReadUnit, unitsOf } from './units.ts';

export interface ImportOptions {
  /** Looks and stores nothing. Keeps a few words of memory per stream and per fact. */
  dryRun?: boolean | undefined;
  onProgress?: ((imported: Imported) => void) | undefined;
  /** Ends the import with the signal's reason, between two commits. */
  signal?: AbortSignal | undefined;
}

export interface Imported {
  /** Events that were stored, or in a dry run would be. */
  events: number;
  units: number;
  /** Events that were there before, the same. */
  known: number;
  /** Why it ended before the end of the file, as a sentence. */
  fault?: string;
}

/** Stores what comes before the first fault. */
export async function importLog(
  store: Store,
  chunks: AsyncIterable<Uint8Array>,
  options: ImportOptions = {},
): Promise<Imported> {
  const importer = new Importer(store, options);
  try {
    await importer.run(chunks);
  } catch (error) {
    if (!(error instanceof CannotImport)) throw error;
    importer.imported.fault = error.message;
  }
  return importer.imported;
}

const BATCH_EVENTS = 1_000;
const BATCH_BYTES = 1024 * 1024;
/** Streams whose ends are remembered. Beyond this many all are dropped, to be read again as they are needed. */
const ENDS_MAX = 50_000;
const READ_BYTES = 4 * 1024 * 1024;

interface End {
  nextSequence: number;
  lastCreatedAt: number;
}

/** Consecutive units that are all new, or all there before. */
interface Run {
  fresh: boolean;
  units: ReadUnit[];
}

class Importer {
  readonly imported: Imported = { events: 0, units: 0, known: 0 };
  readonly #store: Store;
  readonly #options: ImportOptions;
  readonly #ends = new Map<string, End>();
  /** Of a dry run, in which no outcome is stored. */
  readonly #facts = new Set<string>();

  constructor(store: Store, options: ImportOptions) {
    this.#store = store;
    this.#options = options;
  }

  /** While one batch is stored, the next is read. */
  async run(chunks: AsyncIterable<Uint8Array>): Promise<void> {
    let storing = Promise.resolve();
    try {
      for await (const batch of batchesOf(unitsOf(chunks))) {
        await storing;
        this.#options.signal?.throwIfAborted();
        storing = this.#take(batch);
        storing.catch(() => {}); // Whoever awaits it next throws it.
      }
    } finally {
      await storing;
    }
  }

  async #take(batch: readonly ReadUnit[]): Promise<void> {
    await this.#readEnds(batch);
    const { runs, fault } = this.#sort(batch);
    for (const { fresh, units } of runs) {
      if (fresh) await this.#add(units);
      else await this.#compare(units);
    }
    if (fault !== undefined) throw fault;
    this.#options.onProgress?.(this.imported);
  }

  async #readEnds(batch: readonly ReadUnit[]): Promise<void> {
    // A dry run alone knows what it would have stored.
    if (this.#ends.size > ENDS_MAX && !this.#options.dryRun) this.#ends.clear();
    const unknown = new Map<string, StreamKey>();
    for (const { events } of batch) {
      for (const { stream } of events) {
        const text = streamText(stream);
        if (!this.#ends.has(text)) unknown.set(text, stream);
      }
    }
    await Promise.all(
      [...unknown].map(async ([text, stream]) => {
        const read = { from: Number.MAX_SAFE_INTEGER, snapshotVersion: undefined, outcomeKey: undefined, maxBytes: 1 };
        const { nextSequence, lastCreatedAtMicros } = await this.#store.openStream(stream, read);
        this.#ends.set(text, { nextSequence, lastCreatedAt: lastCreatedAtMicros });
      }),
    );
  }

  /** Into runs, up to the first unit that cannot be. */
  #sort(batch: readonly ReadUnit[]): { runs: Run[]; fault?: CannotImport } {
    const runs: Run[] = [];
    for (const unit of batch) {
      let fresh: boolean;
      try {
        fresh = this.#isFresh(unit);
      } catch (error) {
        if (error instanceof CannotImport) return { runs, fault: error };
        throw error;
      }
      if (runs.at(-1)?.fresh !== fresh) runs.push({ fresh, units: [] });
      runs.at(-1)!.units.push(unit);
    }
    return { runs };
  }

  /** Whether every stream of the unit ends where the unit begins; false when each goes on behind that. */
  #isFresh({ events }: ReadUnit): boolean {
    const firsts = events.filter(
      (event, i) => i === 0 || streamText(event.stream) !== streamText(events[i - 1]!.stream),
    );
    const ends = firsts.map(({ stream }) => this.#ends.get(streamText(stream))!);
    const fresh = firsts[0]!.page.sequence === ends[0]!.nextSequence;
    for (const [i, { line, stream, page }] of firsts.entries()) {
      const { nextSequence } = ends[i]!;
      if (page.sequence > nextSequence) {
        throw new CannotImport(
          `line ${line}: ${nameOf(stream)}: expected sequence ${nextSequence}, found ${page.sequence}: the events between are missing`,
        );
      }
      if ((page.sequence === nextSequence) !== fresh) {
        throw new CannotImport(
          `line ${line}: ${nameOf(stream)}: expected all events of a unit in the log or none, found a part of it there: ` +
            `the log ends at sequence ${nextSequence} of this stream`,
        );
      }
    }
    if (fresh) {
      checkFacts(events);
      for (const event of events) this.#advance(event);
    }
    return fresh;
  }

  #advance({ line, stream, page }: ReadEvent): void {
    const end = this.#ends.get(streamText(stream))!;
    const createdAt = toMicros(page.createdAt!);
    if (page.sequence > 0 && createdAt < end.lastCreatedAt) {
      throw new CannotImport(
        `line ${line}: ${nameOf(stream)}: time: expected nothing before ${timeText(end.lastCreatedAt)}, ` +
          `the time of sequence ${page.sequence - 1}, found ${timeText(createdAt)}`,
      );
    }
    end.nextSequence = page.sequence + 1;
    end.lastCreatedAt = createdAt;
  }

  async #add(units: readonly ReadUnit[]): Promise<void> {
    const sent = units.map(toUnit);
    if (this.#options.dryRun) {
      for (const [i, { outcomes }] of sent.entries()) {
        for (const outcome of outcomes) await this.#checkFact(units[i]!, outcome);
        this.#count(units[i]!);
      }
      return;
    }
    const results = await this.#store.commit(sent);
    for (const [i, result] of results.entries()) {
      if (result.kind === 'duplicate') throw factKnown(units[i]!, sent[i]!.outcomes[result.index]!);
      if (result.kind !== 'committed') {
        throw new CannotImport(`line ${units[i]!.events[0]!.line}: somebody else writes to the log at the same time`);
      }
      this.#count(units[i]!);
    }
  }

  #count({ events }: ReadUnit): void {
    this.imported.units++;
    this.imported.events += events.length;
  }

  async #checkFact(unit: ReadUnit, outcome: Outcome): Promise<void> {
    const text = `${outcome.tenant}/${outcome.key}`;
    if (this.#facts.has(text) || (await this.#store.readOutcome(outcome)) !== undefined) throw factKnown(unit, outcome);
    this.#facts.add(text);
  }

  /** Every unit must be in the log as it is in the file. Most lie there one behind the other, and are read so. */
  async #compare(units: readonly ReadUnit[]): Promise<void> {
    for (let next = 0; next < units.length; ) {
      const begin = next;
      const position = await this.#positionOf(units[begin]!.events[0]!);
      if (position === undefined && this.#options.dryRun) {
        // It stands in the file a second time, and the first was not stored.
        this.imported.known += units[next++]!.events.length;
        continue;
      }
      const rest = units.slice(begin).flatMap(({ events }) => events);
      const stored = position === undefined ? [] : await this.#readFrom(position, rest.length);
      for (let at = 0; next < units.length; next++) {
        const { events } = units[next]!;
        const fault = events.map((event, i) => differs(event, stored[at + i])).find((found) => found !== undefined);
        // Not where the one before ends: it may lie elsewhere.
        if (fault !== undefined && next > begin) break;
        if (fault !== undefined) throw fault;
        this.imported.known += events.length;
        at += events.length;
      }
    }
  }

  async #positionOf({ stream, page }: ReadEvent): Promise<number | undefined> {
    const read = { from: page.sequence, to: page.sequence, maxBytes: 1 };
    return (await this.#store.readStream(stream, read)).pages[0]?.position;
  }

  async #readFrom(position: number, count: number): Promise<StoredEvent[]> {
    const events: StoredEvent[] = [];
    const to = position + count - 1;
    for (let after = position - 1; after < to; ) {
      const read = { after, to, filter: {}, maxEvents: BATCH_EVENTS, maxBytes: READ_BYTES };
      const { books, through } = await this.#store.readLog(read);
      for (const { cover, pages } of books) {
        const { tenant, domain, root, correlationId } = cover!;
        const stream = { tenant, domain, root: root!.value };
        for (const page of pages) events.push({ stream, correlationId, page });
      }
      if (through === after) break;
      after = through;
    }
    return events;
  }
}

function differs(event: ReadEvent, stored: StoredEvent | undefined): CannotImport | undefined {
  const { line, stream, page } = event;
  const same = stored !== undefined && streamText(stored.stream) === streamText(stream);
  const what = same && stored.page.sequence === page.sequence ? difference(event, stored) : 'unitid';
  if (what === undefined) return undefined;
  return new CannotImport(
    `line ${line}: ${nameOf(stream)}: the log has another event with sequence ${page.sequence}: its ${what} differs`,
  );
}

function toUnit({ unitId, events }: ReadUnit): Unit {
  const appends: (Append & { pages: EventPage[] })[] = [];
  const outcomes: Outcome[] = [];
  let text: string | undefined;
  for (const { stream, correlationId, page } of events) {
    if (streamText(stream) !== text) {
      text = streamText(stream);
      const expect = { kind: 'exactly', nextSequence: page.sequence } as const;
      appends.push({ stream, correlationId, expect, pages: [] });
    }
    appends.at(-1)!.pages.push(page);
    const outcome = factOutcome(stream, correlationId, page);
    if (outcome !== undefined) outcomes.push(outcome);
  }
  return { unitId, appends, expectations: [], snapshots: [], outcomes };
}

function checkFacts(events: readonly ReadEvent[]): void {
  const keys = new Set<string>();
  for (const { line, stream, page } of events) {
    const key = factKeyOf(stream, page);
    if (key === undefined) continue;
    if (keys.has(key)) throw new CannotImport(`line ${line}: ${nameOf(stream)}: a unit records a fact once, not twice`);
    keys.add(key);
  }
}

function factKeyOf(stream: StreamKey, page: EventPage): string | undefined {
  const { externalSource = '', externalId = '' } = page.origin ?? {};
  return externalSource === '' || externalId === '' ? undefined : factKey(stream, externalSource, externalId);
}

/** What recording the fact has left: whoever sends it again learns that it is known. */
function factOutcome(stream: StreamKey, correlationId: string, page: EventPage): Outcome | undefined {
  const key = factKeyOf(stream, page);
  if (key === undefined) return undefined;
  return {
    tenant: stream.tenant,
    kind: 'fact',
    key,
    hash: factHash(stream, page),
    body: encodeOutcome({ kind: 'events', firstSequence: page.sequence, count: 1, correlationId }),
    expiresAtMicros: undefined,
    correlationId: undefined,
  };
}

function factKnown(unit: ReadUnit, outcome: Outcome): CannotImport {
  const { line, stream, page } = unit.events.find(({ stream, page }) => factKeyOf(stream, page) === outcome.key)!;
  const { externalSource, externalId } = page.origin!;
  return new CannotImport(
    `line ${line}: ${nameOf(stream)}: sequence ${page.sequence} is the fact ${JSON.stringify(externalId)} of ${externalSource}, ` +
      'and that is recorded by another event already',
  );
}

async function* batchesOf(units: AsyncIterable<ReadUnit>): AsyncGenerator<ReadUnit[]> {
  let batch: ReadUnit[] = [];
  let events = 0;
  let bytes = 0;
  try {
    for await (const unit of units) {
      batch.push(unit);
      events += unit.events.length;
      for (const { page } of unit.events) bytes += page.event!.value.length;
      if (events < BATCH_EVENTS && bytes < BATCH_BYTES) continue;
      yield batch;
      [batch, events, bytes] = [[], 0, 0];
    }
  } catch (error) {
    // What came before a wrong line is stored all the same.
    if (batch.length > 0) yield batch;
    throw error;
  }
  if (batch.length > 0) yield batch;
}

function nameOf({ tenant, domain, root }: StreamKey): string {
  return `${tenant === '' ? '' : `${tenant}/`}${domain}/${uuidText(root)}`;
}
