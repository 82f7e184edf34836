// Projectors make read models. What they return is stored, in the unit that says that the events are handled.

import type { Reactor } from '../component.ts';
import { assert } from '../errors.ts';
import type { EventBook } from '../model/book.ts';
import type { Projection, ProjectorResponse } from '../model/reaction.ts';
import { hex, type StreamKey, sameBytes, streamText } from '../model/stream.ts';
import { checkPayload } from '../model/validation.ts';
import type { PartitionKey, ProjectionKey, ProjectionRow, Store } from '../store.ts';
import { TransientMap } from '../transient-map.ts';
import { ownPayload } from './own-bytes.ts';
import {
  aboutEvents,
  ask,
  asReactionFault,
  deliveryOf,
  type Effect,
  effectOf,
  type Occasion,
  type Place,
  type ReactionCoordinator,
  type ReactionParts,
  reactionFault,
  workOf,
} from './reaction.ts';

export type ProjectorParts = Pick<ReactionParts, 'asking' | 'limits'> & {
  store: Pick<Store, 'readProjection' | 'hasProjections'>;
};

/** Of rows that are remembered, so that the next event of an aggregate need not read them. */
const REMEMBERED_BYTES = 8 << 20;
const KEY_LENGTH = 512;
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what is looked for
const CONTROL = /[\x00-\x1f\x7f]/;

export class ProjectorCoordinator implements ReactionCoordinator {
  readonly #parts: ProjectorParts;
  /** Handled and not stored yet: the newest of each key, until its unit is over. */
  readonly #unstored = new TransientMap<string, Remembered & { row: ProjectionRow }>();
  /** As they are stored, in the order in which that became so. */
  readonly #rows = new TransientMap<string, Remembered>();
  #bytes = 0;
  /** Of each lease: rows were stored before it, or made in it. */
  readonly #haveRows = new WeakMap<PartitionKey, boolean>();
  /** Whether there are, as the store is asked once. */
  readonly #looks = new WeakMap<PartitionKey, Promise<boolean>>();

  constructor(parts: ProjectorParts) {
    this.#parts = parts;
  }

  async handle(occasion: Occasion, reactor: Reactor, place: Place): Promise<Effect> {
    assert(occasion.kind === 'events', 'a projector is handed events');
    const { book } = occasion;
    const projector = reactor as Reactor<'projector'>;
    const { declaration } = projector;
    const { generation } = place.partition;
    const stream = streamOfBook(book);
    const own = named({ tenant: stream.tenant, projector: declaration.name, generation, key: hex(stream.root) });
    const known = this.#known(own, place);
    const any = known !== undefined || (this.#haveRows.get(place.partition) ?? (await this.#lookForRows(place)));
    const current = known !== undefined ? known.row : any ? await this.#read(own, place) : undefined;
    const response = await this.#ask(book, projector, place, current, false);
    const some = response.projections.length > 0;
    const rows = some ? await this.#checked(response, book, projector, place, own) : NO_ROWS;
    const { epoch } = place;
    const { partition } = place.partition;
    if (rows.size > 0) this.#haveRows.set(place.partition, true);
    for (const [text, row] of rows) {
      const newest = this.#unstored.get(text);
      // An answer of a lease that is over does not take the place of what the next one has made of the row meanwhile.
      if (newest?.partition === partition && newest.epoch > epoch) continue;
      this.#unstored.set(text, { row, partition, epoch });
    }
    const over = (stored: boolean) => {
      for (const [text, row] of rows) {
        this.#remove(text);
        if (stored) this.#put(text, { row, partition, epoch });
        if (this.#unstored.get(text)?.row === row) this.#unstored.delete(text);
      }
    };
    const work = workOf({ projections: [...rows.values()] });
    const position = book.pages.at(-1)!.position;
    return effectOf(response, { work, position, committed: () => over(true), dropped: () => over(false) });
  }

  /** What it would store, from these events and the row that is there. */
  async dryRun(book: EventBook, reactor: Reactor<'projector'>, generation: number, place: Place) {
    const stream = streamOfBook(book);
    const { name: projector } = reactor.declaration;
    const own = named({ tenant: stream.tenant, projector, generation, key: hex(stream.root) });
    const current = await this.#parts.store.readProjection(own.key);
    const response = await this.#ask(book, reactor, place, current, true);
    const rows = await this.#checked(response, book, reactor, place, own);
    return { projections: [...rows.values()].map(projectionOf) };
  }

  #ask(
    book: EventBook,
    reactor: Reactor<'projector'>,
    place: Place,
    current: ProjectionRow | undefined,
    dryRun: boolean,
  ): Promise<ProjectorResponse> {
    const { name } = reactor.declaration;
    const delivery = { ...deliveryOf(place, book.pages.at(-1)!.position), dryRun };
    const own = current !== undefined && sameStream(current.stream, streamOfBook(book)) ? current : undefined;
    return ask(this.#parts, reactor, aboutEvents(name, book), book.pages, place, (workId) => ({
      events: book,
      delivery,
      projector: name,
      current: own?.payload && projectionOf(own),
      workId,
    }));
  }

  /** The rows to store, by their texts, or COMPONENT_FAULT. `own` is the one that the events' aggregate has by itself. */
  async #checked(
    response: ProjectorResponse,
    book: EventBook,
    { declaration }: Reactor<'projector'>,
    place: Place,
    own: Named,
  ): Promise<ReadonlyMap<string, ProjectionRow>> {
    const { limits } = this.#parts;
    const { name: projector, ordered } = declaration;
    const about = aboutEvents(projector, book);
    const fault = (what: string) => reactionFault(projector, about, what);
    const stream = streamOfBook(book);
    const last = book.pages.at(-1)!;
    const rows = new Map<string, ProjectionRow>();
    let bytes = 0;
    for (const [i, projection] of response.projections.entries()) {
      const isOwn = projection.key === '' || projection.key === own.key.key;
      const row = isOwn ? own : named({ ...own.key, key: projection.key });
      const { key, text } = row;
      const field = `projections[${i}]`;
      if (rows.has(text)) throw fault(`${field}: the key ${key.key} is there twice`);
      if (!isOwn && (key.key.length > KEY_LENGTH || CONTROL.test(key.key))) {
        throw fault(`${field}.key: expected at most ${KEY_LENGTH} characters and no control characters`);
      }
      if (projection.projector !== '' && projection.projector !== projector) {
        throw fault(`${field}.projector: expected ${projector}, found ${projection.projector}`);
      }
      if (!projection.deleted) {
        asReactionFault(projector, about, () => checkPayload(projection.projection, field, limits.payloadBytes));
        bytes += projection.projection!.value.length;
      }
      const known = this.#known(row, place);
      const before = known === undefined ? await this.#read(row, place) : known.row;
      if (!ordered && before !== undefined && !sameStream(before.stream, stream)) {
        throw fault(
          `${field}: the row ${key.key} belongs to ${streamText(before.stream)}, which wrote it first; let rows of different aggregates have keys of their own, or declare the projector ordered`,
        );
      }
      rows.set(text, {
        ...key,
        stream,
        sequence: last.sequence,
        position: last.position,
        payload: projection.deleted ? undefined : ownPayload(projection.projection!),
      });
    }
    if (rows.size > limits.eventsPerReply || bytes > limits.eventBytesPerReply) {
      throw fault(
        `expected at most ${limits.eventsPerReply} rows and ${limits.eventBytesPerReply} bytes in one reply, found ${rows.size} and ${bytes}`,
      );
    }
    return rows;
  }

  #known({ text }: Named, { partition: { partition }, epoch }: Place): Remembered | undefined {
    const unstored = this.#unstored.get(text);
    // What was answered under an earlier lease will not be stored any more, although its answer may have come just now.
    if (unstored !== undefined && (unstored.partition !== partition || unstored.epoch === epoch)) return unstored;
    const remembered = this.#rows.get(text);
    // Between two leases of a partition others may have written.
    return remembered?.partition === partition && remembered.epoch === epoch ? remembered : undefined;
  }

  /**
   * Many projectors keep their rows elsewhere, and would look for one with each event. A row that an aggregate's events see is one that they
   * made, and they are of one partition: what nobody had when the lease began, and nobody made in it, is not there.
   */
  #lookForRows({ partition }: Place): Promise<boolean> {
    let look = this.#looks.get(partition);
    if (look === undefined) {
      look = this.#parts.store.hasProjections(partition.subscription, partition.generation).then((found) => {
        // Meanwhile some may have been made.
        const have = found || this.#haveRows.get(partition) === true;
        this.#haveRows.set(partition, have);
        return have;
      });
      // One that fails is made anew.
      look.catch(() => this.#looks.delete(partition));
      this.#looks.set(partition, look);
    }
    return look;
  }

  async #read({ key, text }: Named, { partition: { partition }, epoch }: Place): Promise<ProjectionRow | undefined> {
    const row = await this.#parts.store.readProjection(key);
    this.#remove(text);
    this.#put(text, { row, partition, epoch });
    return row;
  }

  /** It is not there. */
  #put(text: string, remembered: Remembered): void {
    this.#rows.set(text, remembered);
    this.#bytes += rowBytes(text, remembered.row);
    while (this.#bytes > REMEMBERED_BYTES) this.#remove(this.#rows.keys().next().value!);
  }

  #remove(text: string): void {
    const remembered = this.#rows.get(text);
    if (remembered === undefined) return;
    this.#bytes -= rowBytes(text, remembered.row);
    this.#rows.delete(text);
  }
}

/** A row as it was while a partition was held. */
interface Remembered {
  row: ProjectionRow | undefined;
  partition: number;
  epoch: number;
}

function rowBytes(text: string, row: ProjectionRow | undefined): number {
  return 200 + text.length + (row?.payload?.value.length ?? 0);
}

export function projectionOf(row: ProjectionRow): Projection {
  const { tenant, domain, root } = row.stream;
  return {
    cover: { root: { value: root }, domain, correlationId: '', tenant },
    projector: row.projector,
    sequence: row.sequence,
    projection: row.payload,
    key: row.key,
    position: row.position,
    deleted: row.payload === undefined,
  };
}

export function streamOfBook({ cover }: EventBook): StreamKey {
  const { tenant, domain, root } = cover!;
  return { tenant, domain, root: root!.value };
}

function sameStream(a: StreamKey, b: StreamKey): boolean {
  return a.tenant === b.tenant && a.domain === b.domain && sameBytes(a.root, b.root);
}

/** A row's key, and the same as one text. That is made once for an event: a text that was just put together is copied and hashed at its first use. */
interface Named {
  key: ProjectionKey;
  text: string;
}

function named(key: ProjectionKey): Named {
  const { projector, generation, tenant } = key;
  return { key, text: `${projector}\0${generation}\0${tenant}\0${key.key}` };
}

const NO_ROWS: ReadonlyMap<string, ProjectionRow> = new Map();
