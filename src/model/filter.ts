import { type EventBook, typeName } from './book.ts';

/** Which books of the log somebody wants. Absent parts match everything. */
export interface LogFilter {
  tenant?: string;
  domains?: readonly string[];
  /** Full event type names, never suffixes. A book matches whole when one of its events does. */
  types?: readonly string[];
  correlationId?: string;
}

export function matches(filter: LogFilter, book: EventBook): boolean {
  const cover = book.cover!;
  if (filter.tenant !== undefined && cover.tenant !== filter.tenant) return false;
  if (filter.correlationId !== undefined && cover.correlationId !== filter.correlationId) return false;
  if (filter.domains !== undefined && !filter.domains.includes(cover.domain)) return false;
  const types = filter.types;
  return types === undefined || book.pages.some((page) => types.includes(typeName(page.event!.typeUrl)));
}
