// The log as lines, in order of positions and in whole units.

import type { EventBook } from '../model/book.ts';
import { sameBytes } from '../model/stream.ts';
import type { EventStore } from '../store.ts';
import { eventLine } from './event-line.ts';

export interface ExportOptions {
  /** Where to begin; 1 unless given. */
  fromPosition?: number | undefined;
  /** Everything that is absent is exported. Of a unit over several domains, the wanted part is exported as if it were all. */
  tenant?: string | undefined;
  domains?: readonly string[] | undefined;
  signal?: AbortSignal | undefined;
}

export interface ExportedPart {
  /** Lines with their ends; may be empty. */
  text: string;
  events: number;
  /** Everything up to this position was looked at. */
  through: number;
  /** Where the export will end: the log's end when it began. */
  end: number;
}

/** No export can begin there. The message is a sentence. */
export class CannotExport extends Error {
  override readonly name = 'CannotExport';
}

const PART_EVENTS = 2_000;
const PART_BYTES = 2 * 1024 * 1024;

/** Throws CannotExport. Ends where the log ended when it began, whatever is written meanwhile. */
export async function* exportLog(store: EventStore, options: ExportOptions = {}): AsyncGenerator<ExportedPart> {
  const { fromPosition = 1, tenant, domains, signal } = options;
  const { position: end } = await store.head();
  await checkBeginning(store, fromPosition, end);
  const filter = { ...(tenant !== undefined && { tenant }), ...(domains !== undefined && { domains }) };
  const read = (after: number) =>
    store.readLog({ after, to: end, filter, maxEvents: PART_EVENTS, maxBytes: PART_BYTES });

  // The unit whose books are not all there yet: the next part may begin with more of them.
  let unit: EventBook[] = [];
  for (let after = fromPosition - 1; after < end; ) {
    signal?.throwIfAborted();
    const { books, through } = await read(after);
    let text = '';
    let events = 0;
    const take = () => {
      const unitEvents = unit.reduce((sum, book) => sum + book.pages.length, 0);
      for (const book of unit) text += bookLines(book, unitEvents);
      events += unitEvents;
      unit = [];
    };
    for (const book of books) {
      if (unit.length > 0 && !sameBytes(unit[0]!.pages[0]!.unitId, book.pages[0]!.unitId)) take();
      unit.push(book);
    }
    if (through >= end && unit.length > 0) take();
    yield { text, events, through, end };
    after = through;
  }
}

function bookLines(book: EventBook, unitEvents: number): string {
  const { tenant, domain, root, correlationId } = book.cover!;
  const stream = { tenant, domain, root: root!.value };
  let text = '';
  for (const page of book.pages) text += `${eventLine({ stream, correlationId, page, unitEvents })}\n`;
  return text;
}

/** Half a unit cannot be imported, so none is exported. */
async function checkBeginning(store: EventStore, fromPosition: number, end: number): Promise<void> {
  if (fromPosition > end + 1) {
    throw new CannotExport(`position ${fromPosition} lies beyond the log: it ends at position ${end}`);
  }
  if (fromPosition === 1 || fromPosition > end) return;
  const unitIdAt = async (position: number) => {
    const read = { after: position - 1, to: position, filter: {}, maxEvents: 1, maxBytes: 1 };
    return (await store.readLog(read)).books[0]!.pages[0]!.unitId;
  };
  const unitId = await unitIdAt(fromPosition);
  let begin = fromPosition;
  while (begin > 1 && sameBytes(await unitIdAt(begin - 1), unitId)) begin--;
  if (begin === fromPosition) return;
  throw new CannotExport(
    `position ${fromPosition} lies within a unit, and units are exported whole: begin at ${begin}`,
  );
}
