// From history to state, and the events and snapshots that go back.

import { type EventBook, type EventPage, type Snapshot, SnapshotRetention } from './gen/daybook/v1/types.ts';
import type { Any } from './gen/google/protobuf/any.ts';

/** How the state of an aggregate, or of a process, follows from its events. */
export interface Folding<S> {
  /** The state before the first event. */
  initial(): S;

  /** The state after one more event. May change and return the state it was given. Must not fail on what is history. */
  evolve(state: S, event: Any, page: EventPage): S;

  /** Makes long histories short. Raise `version` when the layout changes: snapshots of other versions are not given to you. */
  snapshot?: {
    version: number;
    encode(state: S): Any;
    decode(state: Any): S;
  };
}

/** The state after the events before `next`. */
export interface Held<S> {
  state: S;
  next: number;
}

export function before<S>(folding: Folding<S>): Held<S> {
  return { state: folding.initial(), next: 0 };
}

/** `of` is what is folded, for messages. */
export function fold<S>(folding: Folding<S>, held: Held<S>, book: EventBook, of: string): Held<S> {
  if (book.snapshot !== undefined) {
    const snapshot = folding.snapshot ?? fail(`got a snapshot, but ${of} declares none`);
    held.state = snapshot.decode(book.snapshot.state!);
    held.next = book.snapshot.sequence + 1;
  }
  for (const page of book.pages) {
    if (page.sequence !== held.next) fail(`the history goes on with event ${page.sequence}, expected ${held.next}`);
    held.state = folding.evolve(held.state, page.event!, page);
    held.next++;
  }
  return held;
}

/** What a handler returned, with the snapshot that includes it if one is wanted. `of` is whose handler, for messages. */
export function eventsBook<S>(
  folding: Folding<S>,
  held: Held<S>,
  events: readonly Any[],
  options: { of: string; snapshotWanted: boolean },
): EventBook {
  if (!Array.isArray(events)) fail(`${options.of} must return an array of events`);
  const pages = events.map((event, i) => draftPage(held.next + i, event));
  const wanted = options.snapshotWanted && pages.length > 0;
  return draftBook(pages, wanted ? snapshotOf(folding, held, pages) : undefined);
}

/**
 * A snapshot includes the events of its own reply, which may never be stored: so they are folded into a copy, made by writing
 * and reading the state.
 */
function snapshotOf<S>(folding: Folding<S>, held: Held<S>, pages: readonly EventPage[]): Snapshot | undefined {
  if (folding.snapshot === undefined) return undefined;
  const { version, encode, decode } = folding.snapshot;
  let copy = decode(encode(held.state));
  for (const page of pages) copy = folding.evolve(copy, page.event!, page);
  return {
    sequence: held.next + pages.length - 1,
    state: encode(copy),
    retention: SnapshotRetention.SNAPSHOT_RETENTION_LATEST,
    schemaVersion: version,
  };
}

/** A page as a component sends it: Daybook stamps the rest. */
export function draftPage(sequence: number, event: Any): EventPage {
  return {
    sequence,
    createdAt: undefined,
    event,
    position: 0,
    origin: undefined,
    metadata: {},
    unitId: NO_BYTES,
    occurredAt: undefined,
  };
}

export function draftBook(pages: EventPage[], snapshot?: Snapshot): EventBook {
  return { cover: undefined, snapshot, pages, nextSequence: 0, consistencyToken: '' };
}

function fail(message: string): never {
  throw new Error(message);
}

const NO_BYTES = new Uint8Array(0);
