import { typeName } from '../model/book.ts';
import type { EventStore } from '../store.ts';

/** Positions at the end of the log in which types are looked for. */
const POSITIONS = 1000;

/** Full names of the event and command types that the newest part of the log holds of a domain. */
export async function recentTypes(store: Pick<EventStore, 'head' | 'readLog'>, domain: string): Promise<string[]> {
  const { position } = await store.head();
  const types = new Set<string>();
  let after = Math.max(0, position - POSITIONS);
  while (after < position) {
    const read = await store.readLog({
      after,
      to: position,
      filter: { domains: [domain] },
      maxEvents: POSITIONS,
      maxBytes: 1 << 20,
    });
    for (const page of read.books.flatMap(({ pages }) => pages)) {
      types.add(typeName(page.event!.typeUrl));
      for (const command of page.origin?.commands ?? []) types.add(command);
    }
    if (read.through === after) break;
    after = read.through;
  }
  return [...types];
}
