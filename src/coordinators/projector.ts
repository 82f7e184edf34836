// Projectors make read models. What they return is stored, in the unit that says that the events are handled.

import type { Reactor } from '../component.ts';
import { assert } from '../errors.ts';
import type { EventBook } from '../model/book.ts';
import type { Projection, ProjectorResponse } from '../model/reaction.ts';
import { hex, type StreamKey, sameBytes, streamText } from '../model/stream.ts';
import { checkPayload } from '../model/validation.ts';
import type { ProjectionKey, ProjectionRow, Store } from '../store.ts';
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

export type ProjectorParts = Pick<ReactionParts, 'asking' | 'limits'> & { store: Pick<Store, 'readProjection'> };

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
    const own = { tenant: stream.tenant, projector: declaration.name, generation, key: hex(stream.root) };
    const known = this.#known(rowText(own), place);
    const current = known === undefined ? await this.#read(own, place) : known.row;
    const response = await this.#ask(book, projector, place, current, false);
    const rows = await this.#checked(response, book, projector, place, generation);
    const texts = rows.map(rowText);
    const { epoch } = place;
    const { partition } = place.partition;
    rows.forEach((row, i) => {
      const newest = this.#unstored.get(texts[i]!);
      // An answer of a lease that is over does not take the place of what the next one has made of the row meanwhile.
      if (newest?.partition === partition && newest.epoch > epoch) return;
      this.#unstored.set(texts[i]!, { row, partition, epoch });
    });
    const over = (stored: boolean) =>
      rows.forEach((row, i) => {
        const text = texts[i]!;
        this.#remove(text);
        if (stored) this.#put(text, { row, partition, epoch });
        if (this.#unstored.get(text)?.row === row) this.#unstored.delete(text);
      });
    const work = workOf({ projections: rows });
    const position = book.pages.at(-1)!.position;
    return effectOf(response, { work, position, committed: () => over(true), dropped: () => over(false) });
  }

  /** What it would store, from these events and the row that is there. */
  async dryRun(book: EventBook, reactor: Reactor<'projector'>, generation: number, place: Place) {
    const stream = streamOfBook(book);
    const key = { tenant: stream.tenant, projector: reactor.declaration.name, generation, key: hex(stream.root) };
    const current = await this.#parts.store.readProjection(key);
    const response = await this.#ask(book, reactor, place, current, true);
    const rows = await this.#checked(response, book, reactor, place, generation);
    return { projections: rows.map(projectionOf) };
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

  /** The rows to store, or COMPONENT_FAULT. */
  async #checked(
    response: ProjectorResponse,
    book: EventBook,
    { declaration }: Reactor<'projector'>,
    place: Place,
    generation: number,
  ): Promise<ProjectionRow[]> {
    if (response.projections.length === 0) return [];
    const { limits } = this.#parts;
    const { name: projector, ordered } = declaration;
    const about = aboutEvents(projector, book);
    const fault = (what: string) => reactionFault(projector, about, what);
    const stream = streamOfBook(book);
    const last = book.pages.at(-1)!;
    const rows = new Map<string, ProjectionRow>();
    let bytes = 0;
    for (const [i, projection] of response.projections.entries()) {
      const key = projection.key === '' ? hex(stream.root) : projection.key;
      const named = `projections[${i}]`;
      if (rows.has(key)) throw fault(`${named}: the key ${key} is there twice`);
      if (key.length > KEY_LENGTH || CONTROL.test(key)) {
        throw fault(`${named}.key: expected at most ${KEY_LENGTH} characters and no control characters`);
      }
      if (projection.projector !== '' && projection.projector !== projector) {
        throw fault(`${named}.projector: expected ${projector}, found ${projection.projector}`);
      }
      if (!projection.deleted) {
        asReactionFault(projector, about, () => checkPayload(projection.projection, named, limits.payloadBytes));
        bytes += projection.projection!.value.length;
      }
      const whole = { tenant: stream.tenant, projector, generation, key };
      const known = this.#known(rowText(whole), place);
      const before = known === undefined ? await this.#read(whole, place) : known.row;
      if (!ordered && before !== undefined && !sameStream(before.stream, stream)) {
        throw fault(
          `${named}: the row ${key} belongs to ${streamText(before.stream)}, which wrote it first; let rows of different aggregates have keys of their own, or declare the projector ordered`,
        );
      }
      rows.set(key, {
        tenant: stream.tenant,
        projector,
        generation,
        key,
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
    return [...rows.values()];
  }

  #known(text: string, { partition: { partition }, epoch }: Place): Remembered | undefined {
    const unstored = this.#unstored.get(text);
    // What was answered under an earlier lease will not be stored any more, although its answer may have come just now.
    if (unstored !== undefined && (unstored.partition !== partition || unstored.epoch === epoch)) return unstored;
    const remembered = this.#rows.get(text);
    // Between two leases of a partition others may have written.
    return remembered?.partition === partition && remembered.epoch === epoch ? remembered : undefined;
  }

  async #read(key: ProjectionKey, { partition: { partition }, epoch }: Place): Promise<ProjectionRow | undefined> {
    const text = rowText(key);
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

function rowText({ projector, generation, tenant, key }: ProjectionKey): string {
  return `${projector}\0${generation}\0${tenant}\0${key}`;
}
