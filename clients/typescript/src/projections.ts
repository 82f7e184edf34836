// Reading the rows that projectors made.

import { status } from '@grpc/grpc-js';
import type { CallOptions, Calls } from './calls.ts';
import { cover } from './command.ts';
import { DaybookError } from './errors.ts';
import { type ListProjectionsResponse, ProjectionsDefinition } from './gen/daybook/v1/projections.ts';
import type { Projection } from './gen/daybook/v1/types.ts';
import { methodOf } from './transport.ts';

/** One row: by its key, or that of an aggregate. */
export type ProjectionQuery = ProjectionReading & ({ key: string } | { domain: string; root: Uint8Array });

export interface ProjectionsQuery extends ProjectionReading {
  /** Only keys that begin with this. */
  keyPrefix?: string;
}

interface ProjectionReading {
  projector: string;
  tenant?: string;
  /** From an answer: waits until the projector has passed it. So you read what you wrote. */
  consistencyToken?: string;
}

export class Projections {
  readonly #calls: Calls;
  readonly #tenant: string;

  constructor(calls: Calls, tenant = '') {
    this.#calls = calls;
    this.#tenant = tenant;
  }

  /** Undefined: there is no such row. */
  async get(query: ProjectionQuery, options?: CallOptions): Promise<Projection | undefined> {
    const [key, of] = 'key' in query ? [query.key, undefined] : ['', this.#cover(query)];
    try {
      const row = await this.#calls.repeated(GET, { ...this.#reading(query), key, cover: of }, options);
      return row.deleted || row.projection === undefined ? undefined : row;
    } catch (error) {
      if (isNoSuchRow(error)) return undefined;
      throw error;
    }
  }

  /** In order of keys; `nextPageToken` is empty after the last. A page has 100 rows unless you say otherwise, up to 1,000. */
  list(
    query: ProjectionsQuery & { pageSize?: number; pageToken?: string },
    options?: CallOptions,
  ): Promise<ListProjectionsResponse> {
    const { keyPrefix = '', pageSize = 0, pageToken = '' } = query;
    return this.#calls.repeated(LIST, { ...this.#reading(query), keyPrefix, pageSize, pageToken }, options);
  }

  /** What is there, unless you want `changesOnly`, then every change, until you leave the loop. Rows may come that are `deleted`. */
  watch(
    query: ProjectionsQuery & { changesOnly?: boolean },
    options?: CallOptions,
  ): AsyncGenerator<Projection, void, undefined> {
    const { keyPrefix = '', changesOnly = false } = query;
    return this.#calls.stream(WATCH, { ...this.#reading(query), keyPrefix, changesOnly }, options);
  }

  #reading({ projector, tenant = this.#tenant, consistencyToken = '' }: ProjectionReading) {
    return { projector, tenant, consistencyToken };
  }

  #cover({ domain, root, tenant = this.#tenant }: { domain: string; root: Uint8Array; tenant?: string }) {
    return cover({ domain, root, tenant });
  }
}

function isNoSuchRow(error: unknown): boolean {
  return error instanceof DaybookError && error.code === status.NOT_FOUND && error.reason !== 'UNKNOWN_DOMAIN';
}

const { methods } = ProjectionsDefinition;
const GET = methodOf(ProjectionsDefinition, methods.get);
const LIST = methodOf(ProjectionsDefinition, methods.list);
const WATCH = methodOf(ProjectionsDefinition, methods.watch);
