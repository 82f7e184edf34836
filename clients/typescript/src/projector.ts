// What your code says to make a read model.

import type { Client } from './client.ts';
import type { ProjectorHosting, ProjectorRequest, ProjectorResponse, Work } from './gen/daybook/v1/component.ts';
import type { Delivery, Projection } from './gen/daybook/v1/types.ts';
import type { Any } from './gen/google/protobuf/any.ts';
import {
  coverOf,
  deliveryOf,
  hostingOf,
  type ReactionContext,
  type RecordedPage,
  type Subscription,
  whenDone,
} from './reactor.ts';
import { WorkInHand } from './work-in-hand.ts';

/**
 * Makes rows from events. It is given the events of one aggregate in order; now and then some of them again, after a failure. Rows
 * that it returns are stored by Daybook; it may as well write somewhere else, and return nothing. For one row for each
 * aggregate, `foldProjector` makes it of two pure functions.
 */
export interface Projector extends Subscription {
  /**
   * The rows that are new, changed or gone. Domain and root of the context are those of the aggregate. Whatever is thrown is a failure:
   * the same events are tried again later, and those after them wait.
   */
  project(pages: readonly RecordedPage[], context: ProjectContext): Projected | Promise<Projected>;

  /** Raise it when rows change incompatibly: they are then made anew beside the old ones, and shown when complete. Default: 1. */
  generation?: number;
  /** Whether callers that wait with `simple` wait for it. Default: true. */
  sync?: boolean;
  /** Everything in the order of the log, one after the other: needed where one row is made from several aggregates. */
  ordered?: boolean;
  /** Events of one aggregate at once, at most. Default: 100. */
  maxPages?: number;
}

/** One row. Without a key it is the row of the aggregate itself. */
export type Row = { key?: string; payload: Any; deleted?: false } | { key?: string; deleted: true };

/** Undefined and no rows mean the same. */
// biome-ignore lint/suspicious/noConfusingVoidType: a handler that writes elsewhere has nothing to return.
export type Projected = readonly Row[] | undefined | void;

export interface ProjectContext extends ReactionContext {
  /** The row that is stored under the aggregate's own key, if any. */
  readonly current: Projection | undefined;
}

export class ProjectorWork extends WorkInHand implements ProjectContext {
  readonly delivery: Delivery;
  readonly current: Projection | undefined;

  constructor(work: Work, request: ProjectorRequest, client: Client) {
    super(work, coverOf(request.events), client);
    this.delivery = deliveryOf(request.delivery);
    this.current = request.current;
  }
}

export function projected(
  projector: Projector,
  request: ProjectorRequest,
  context: ProjectContext,
): ProjectorResponse | Promise<ProjectorResponse> {
  const { cover, pages } = request.events!;
  const { sequence } = pages.at(-1) ?? { sequence: 0 };
  const projections = (rows: Projected): ProjectorResponse => ({
    projections: (rows ?? []).map((row) => ({
      cover,
      projector: projector.name,
      sequence,
      projection: row.deleted ? undefined : row.payload,
      key: row.key ?? '',
      position: 0,
      deleted: row.deleted ?? false,
    })),
  });
  return whenDone(projector.project(pages as RecordedPage[], context), projections);
}

export function projectorHosting(projector: Projector): ProjectorHosting {
  const { sync, ordered = false, generation = 0, maxPages = 0 } = projector;
  return { ...hostingOf(projector), sync, ordered, generation, maxPages };
}
