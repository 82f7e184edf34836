// Events on their way through a partition, in the portions in which they are handled.

import { type Cover, type EventBook, type EventPage, pageBytes } from '../model/book.ts';
import type { Windowed } from '../model/window.ts';

/** Consecutive pages of one lane that came in one book. */
export interface EventItem extends Windowed {
  readonly kind: 'events';
  readonly cover: Cover;
  readonly pages: EventPage[];
}

/** The pages of one book, in portions of at most so many. */
export function* itemsOf(cover: Cover, pages: EventPage[], maxPages: number): Generator<EventItem, void, void> {
  for (let begin = 0; begin < pages.length; begin += maxPages) {
    const part = pages.slice(begin, begin + maxPages);
    const bytes = part.reduce((sum, page) => sum + pageBytes(page), 0);
    yield {
      kind: 'events',
      cover,
      pages: part,
      first: part[0]!.position,
      last: part.at(-1)!.position,
      events: part.length,
      bytes,
    };
  }
}

/** Items of one lane and stream, as one book. */
export function bookOf(items: readonly EventItem[]): EventBook {
  const pages = items.length === 1 ? items[0]!.pages : items.flatMap((item) => item.pages);
  // Books of one stream may have different correlation ids: that of the last is the newest.
  const { cover } = items.at(-1)!;
  return { cover, snapshot: undefined, pages, nextSequence: pages.at(-1)!.sequence + 1, consistencyToken: '' };
}
