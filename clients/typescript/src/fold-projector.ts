// The commonest projector: one row for each aggregate, which follows from its events.

import type { Any } from './gen/google/protobuf/any.ts';
import type { Projector, Row } from './projector.ts';
import type { RecordedPage } from './reactor.ts';

export interface RowFold<S> extends Omit<Projector, 'project' | 'ordered'> {
  /** Before the first event that it sees. */
  initial(): S;
  /** The row after one more event; undefined: it is gone. */
  evolve(row: S, event: Any, page: RecordedPage): S | undefined;
  encode(row: S): Any;
  decode(row: Any): S;
}

/**
 * Keeps one row for each aggregate under the aggregate's own key. Daybook gives the row back with the next events, so nothing is kept here.
 * Events that the row includes already are passed over: it may count and sum without counting anything twice.
 */
export function foldProjector<S>(rowFold: RowFold<S>): Projector {
  return {
    ...rowFold,
    project(pages, context): Row[] {
      // A dry run asks what follows from the given history and nothing else.
      const current = context.delivery.dryRun ? undefined : context.current;
      const fresh = current === undefined ? pages : pages.filter((page) => page.sequence > current.sequence);
      if (fresh.length === 0) return [];
      let row = current?.projection && !current.deleted ? rowFold.decode(current.projection) : undefined;
      for (const page of fresh) row = rowFold.evolve(row ?? rowFold.initial(), page.event, page);
      return [row === undefined ? { deleted: true } : { payload: rowFold.encode(row) }];
    },
  };
}
