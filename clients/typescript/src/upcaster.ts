// What your code says to turn the old events of a domain into today's.

import type { UpcasterHosting, UpcastRequest, UpcastResponse } from './gen/daybook/v1/component.ts';
import type { EventPage } from './gen/daybook/v1/types.ts';
import type { Any } from './gen/google/protobuf/any.ts';

/** What is stored never changes: everybody who reads gets what this makes of it. */
export interface Upcaster {
  domain: string;
  /** Full names of the old types that it wants to see. Default: all of the domain. */
  types?: readonly string[];
  /** Today's form of the event, or the event itself. Must be pure: what it returns is kept. */
  upcast(event: Any, page: EventPage): Any;
  credits?: { items: number; bytes: number };
}

export function upcasted(upcaster: Upcaster, request: UpcastRequest): UpcastResponse {
  const pages = request.events?.pages ?? [];
  return { pages: pages.map((page) => ({ ...page, event: upcaster.upcast(page.event!, page) })) };
}

export function upcasterHosting({ domain, types = [], credits }: Upcaster): UpcasterHosting {
  return { domain, types: [...types], credits };
}
