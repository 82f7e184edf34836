// Events on their way through a partition, in the portions in which they are handled.

import { type Cover, type EventBook, type EventPage, pageBytes } from '../model/book.ts';
import type { Windowed } from '../model/window.ts';

/** Consecutive pages of one lane that came in one book. */
export interface EventItem extends Windowed {
  readonly kind: 'events';
  readonly cover: Cover;
  readonly pages: readonly EventPage[];
}

/** Those that are wanted; nearly always all, and then no array is made. */
export function kept(pages: readonly EventPage[], wanted: (page: EventPage) => boolean): readonly EventPage[] {
  return pages.every(wanted) ? pages : pages.filter(wanted);
}

/** The pages of one book, in portions of at most so many. */
export function itemsOf(cover: Cover, pages: readonly EventPage[], maxPages: number): EventItem[] {
  if (pages.length <= maxPages) return [itemOf(cover, pages)];
  const items: EventItem[] = [];
  for (let begin = 0; begin < pages.length; begin += maxPages) {
    items.push(itemOf(cover, pages.slice(begin, begin + maxPages)));
  }
  return items;
}

function itemOf(cover: Cover, pages: readonly EventPage[]): EventItem {
  let bytes = 0;
  for (const page of pages) bytes += pageBytes(page);
  const [first, last] = [pages[0]!.position, pages.at(-1)!.position];
  return { kind: 'events', cover, pages, first, last, events: pages.length, bytes, finished: false, assumed: false };
}

/** Items of one lane and stream, as one book. */
export function bookOf(items: readonly EventItem[]): EventBook {
  const pages: EventPage[] = [];
  for (const item of items) pages.push(...item.pages);
  // Books of one stream may have different correlation ids: that of the last is the newest.
  const { cover } = items.at(-1)!;
  return { cover, snapshot: undefined, pages, nextSequence: pages.at(-1)!.sequence + 1, consistencyToken: '' };
}
