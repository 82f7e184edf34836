// The reads that take more than one statement. What they read never changes, so that each is of one instant all the same.

import { type EventBook, type EventPage, typeName } from '../../model/book.ts';
import type { LogFilter } from '../../model/filter.ts';
import type { StreamKey } from '../../model/stream.ts';
import type { LogBooks, OpenStream, ReadLog, StreamOpening, StreamPages, StreamRange } from '../../store.ts';
import { collectBooks, sameBook } from '../books.ts';
import type { Connection } from './connect.ts';
import type { LogEvent, LogSql, Measured, Scan } from './queries.ts';
import * as queries from './queries.ts';
import type { StreamName } from './stream-names.ts';

/** Of a stream, by the first statement; each further one asks for four times as many. */
const PAGES_FIRST = 256;

export interface OpenOne {
  stream: StreamKey;
  open: OpenStream;
}

/** When several are opened together, each of them has so many bytes: whoever needs more is read alone afterwards. */
const TOGETHER_BYTES = 128 * 1024;

/** In the order in which they were asked for. */
export async function openStreams(
  connection: Connection,
  sql: LogSql,
  asked: readonly OpenOne[],
): Promise<StreamOpening[]> {
  const mostBytes = asked.length === 1 ? Infinity : TOGETHER_BYTES;
  const openings = asked.map(({ stream, open }) => ({
    stream,
    from: open.from,
    version: open.snapshotVersion,
    outcomeKey: open.outcomeKey,
    maxBytes: Math.min(open.maxBytes, mostBytes),
  }));
  const found = await queries.openStreams(connection, sql, openings, PAGES_FIRST);
  const opened: StreamOpening[] = [];
  for (let i = 0; i < asked.length; i++) {
    const { stream, open } = asked[i]!;
    const { newest, nextSequence, start, lastCreatedAt, outcome, pages: first } = found[i]!;
    const pages = new Pages(open.maxBytes);
    if (pages.take(first) && start + first.length < nextSequence) {
      const from = start + first.length;
      await readPages(connection, sql, stream, { from, to: nextSequence - 1 }, pages);
    }
    opened.push({
      pages: pages.taken,
      nextSequence,
      snapshot: open.from > 0 ? undefined : newest,
      snapshotNext: newest === undefined ? 0 : newest.sequence + 1,
      from: start,
      lastCreatedAtMicros: lastCreatedAt,
      outcome,
    });
  }
  return opened;
}

export async function readStream(
  connection: Connection,
  sql: LogSql,
  key: StreamKey,
  range: StreamRange,
): Promise<StreamPages> {
  const { from, to = Number.MAX_SAFE_INTEGER, maxBytes } = range;
  const pages = new Pages(maxBytes);
  const nextSequence = await readPages(connection, sql, key, { from, to }, pages);
  return { pages: pages.taken, nextSequence };
}

/** Returns the stream's next sequence, as it was at the first statement: nothing beyond it is taken. */
async function readPages(
  connection: Connection,
  sql: LogSql,
  key: StreamKey,
  range: { from: number; to: number },
  into: Pages,
): Promise<number> {
  let { from, to } = range;
  let next: number | undefined;
  for (let count = PAGES_FIRST; ; count *= 4) {
    const end = Math.min(to, from + count - 1);
    const part = await queries.scanStream(connection, sql, key, { from, to: end, maxBytes: into.leftBytes });
    next ??= part.nextSequence;
    to = Math.min(to, next - 1);
    if (!into.take(part.pages) || end >= to) return next;
    from = end + 1;
  }
}

/** Pages until a limit of bytes, which the first one may exceed. */
class Pages {
  readonly taken: EventPage[] = [];
  leftBytes: number;

  constructor(maxBytes: number) {
    this.leftBytes = maxBytes;
  }

  /** False when the limit was reached. */
  take(pages: readonly Measured[]): boolean {
    for (const { page, bytes } of pages) {
      if (this.taken.length > 0 && bytes > this.leftBytes) return false;
      this.leftBytes -= bytes;
      this.taken.push(page);
    }
    return this.leftBytes > 0 || this.taken.length === 0;
  }
}

/** How far the log goes, or may: so many events are there to be read, as positions have no gaps. */
export class Reach {
  #position = 0;

  get position(): number {
    return this.#position;
  }

  saw(position: number): void {
    this.#position = Math.max(this.#position, position);
  }
}

/** From so many events on it pays to copy them. */
const MANY = 256;

/**
 * Positions have no gaps, so a range of them is a number of events. Where a range or a limit of bytes may have cut a book, the
 * book is left for the next read; when it is the only one, more is read.
 */
export async function readLog(connection: Connection, sql: LogSql, reach: Reach, read: ReadLog): Promise<LogBooks> {
  const { after, filter, maxEvents } = read;
  const to = read.to ?? Number.MAX_SAFE_INTEGER;
  let events = maxEvents;
  let maxBytes = read.maxBytes;
  for (;;) {
    const {
      seen,
      upTo,
      events: found,
      cut,
    } = await scan(connection, sql, reach, filter, { after, to, maxBytes }, events);
    const end = Math.min(to, seen);
    const bytes = found.reduce((sum, event) => sum + event.bytes, 0);
    const cutByBytes = bytes > maxBytes;
    const last = found.at(-1)?.position ?? after;
    // Everything up to here was looked at.
    const looked = cutByBytes || cut ? last : Math.min(upTo, end);
    const open = cutByBytes || ((cut || upTo < end) && last === looked);
    const whole = open && found.length > 0 ? withoutLastBook(found) : found;
    if (whole.length === 0 && found.length > 0) {
      events = events * 4 + 128;
      maxBytes = maxBytes * 4 + (1 << 20);
      continue;
    }
    const through = whole.length < found.length ? found[whole.length]!.position - 1 : looked;
    await learnNames(connection, sql, whole);
    const nameOf = ({ stream }: LogEvent) => connection.streams.of(stream);
    const collected = collectBooks(whole, read, through, (book) => wanted(filter, nameOf(book[0]!), book));
    const books = collected.books.map((book) => bookOf(book, nameOf(book[0]!)));
    return { books, through: Math.max(after, collected.through) };
  }
}

/**
 * `events` up to `upTo`, unless the limit of bytes was reached before, or their number (`cut`). The log goes to `seen`, or further if that is beyond
 * `upTo`.
 */
async function scan(
  connection: Connection,
  sql: LogSql,
  reach: Reach,
  { correlationId }: LogFilter,
  { after, to, maxBytes }: Scan,
  most: number,
): Promise<{ events: readonly LogEvent[]; upTo: number; seen: number; cut: boolean }> {
  if (correlationId !== undefined) {
    const asked = { after, to, maxBytes, correlationId, limit: most + 1 };
    const { head, events } = await queries.scanCorrelation(connection, sql, asked);
    return { events, upTo: to, seen: head, cut: events.length > most };
  }
  const upTo = Math.min(to, after + most);
  const many = Math.min(upTo, reach.position) - after >= MANY;
  // One more tells whether there are more.
  const events = await queries.scanLog(connection, sql, { after, to: Math.min(to, upTo + 1), maxBytes }, many);
  const last = events.at(-1)?.position;
  if (last === undefined) return { events, upTo, seen: after, cut: false };
  // Where there are more, there may be as many again.
  reach.saw(last > upTo ? upTo + most : last);
  if (last > upTo) events.pop();
  return { events, upTo, seen: last, cut: false };
}

async function learnNames(connection: Connection, sql: LogSql, events: readonly LogEvent[]): Promise<void> {
  const { streams } = connection;
  const unknown = streams.unknown(events);
  if (unknown.length > 0) streams.tell(await queries.findStreams(connection, sql, unknown));
}

function withoutLastBook(events: readonly LogEvent[]): readonly LogEvent[] {
  const last = events.at(-1)!;
  let count = events.length;
  while (count > 0 && sameBook(events[count - 1]!, last)) count--;
  return events.slice(0, count);
}

/** The correlation is the statement's. */
function wanted({ tenant, domains, types }: LogFilter, name: StreamName, book: readonly LogEvent[]): boolean {
  if (tenant !== undefined && name.tenant !== tenant) return false;
  if (domains !== undefined && !domains.includes(name.domain)) return false;
  return types === undefined || book.some(({ page }) => types.includes(typeName(page.event!.typeUrl)));
}

function bookOf(events: readonly LogEvent[], { tenant, domain, root }: StreamName): EventBook {
  const { correlationId } = events[0]!;
  const pages = events.map(({ page }) => page);
  return {
    cover: { root, domain, correlationId, tenant },
    snapshot: undefined,
    pages,
    nextSequence: pages.at(-1)!.sequence + 1,
    consistencyToken: '',
  };
}

/** The table of times says between which two of its rows the first event since the time lies, or that it lies behind them all. */
export async function positionBefore(connection: Connection, sql: LogSql, timeMicros: number): Promise<number> {
  const { since, last, end } = await queries.findTimes(connection, sql, timeMicros);
  const after = since === undefined ? last : since - queries.TIMES_EVERY;
  const first = await queries.findEventSince(connection, sql, after, since ?? end, timeMicros);
  return first === undefined ? end : first - 1;
}
