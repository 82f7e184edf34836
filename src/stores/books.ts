import { sameBytes } from '../model/stream.ts';
import type { ReadLog } from '../store.ts';

/** An event as a scan of the log finds it. */
export interface LogRow {
  position: number;
  unitId: Uint8Array;
  /** Whatever is the same for two events of one stream. */
  stream: unknown;
  /** As `pageBytes` counts. */
  bytes: number;
}

/**
 * Groups the rows of a scan into books and applies the limits of `readLog`. Rows come in order of positions and lie
 * within `after` and `to`; what does not come between them was looked at all the same. `end` is where a scan that nothing
 * stops has arrived.
 */
export function collectBooks<Row extends LogRow>(
  rows: Iterable<Row>,
  read: ReadLog,
  end: number,
  wanted: (book: readonly Row[]) => boolean,
): { books: Row[][]; through: number } {
  const books: Row[][] = [];
  let through = read.after;
  let looked = 0;
  let bytes = 0;

  /** False when the book has no room any more: the scan ends before it. */
  function take(book: Row[]): boolean {
    if (wanted(book)) {
      for (const row of book) bytes += row.bytes;
      if (books.length > 0 && bytes > read.maxBytes) {
        through = book[0]!.position - 1;
        return false;
      }
      books.push(book);
    }
    through = book.at(-1)!.position;
    return true;
  }

  let book: Row[] | undefined;
  for (const row of rows) {
    if (book !== undefined && sameBook(book[0]!, row)) book.push(row);
    else {
      if (book !== undefined && (!take(book) || looked >= read.maxEvents)) return { books, through };
      book = [row];
    }
    looked++;
  }
  if (book !== undefined && !take(book)) return { books, through };
  return { books, through: Math.max(through, end) };
}

/** Rows of one scan. */
export function sameBook(a: LogRow, b: LogRow): boolean {
  return a.stream === b.stream && sameBytes(a.unitId, b.unitId);
}
