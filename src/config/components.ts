// Served components, as the configuration names them: a kind, a name, an address, and what an attached one would say in Hello.

import * as z from 'zod';
import type { ReactorDeclaration, StartPoint } from '../component.ts';
import type { ReactorKind } from '../model/reaction.ts';
import { FILTER_VERSION, MAX_PAGES, PARTITIONS } from '../model/subscription.ts';
import { timeText } from '../model/time.ts';
import { DOMAIN, TYPE_NAME } from '../model/validation.ts';
import { readHostPort } from './addresses.ts';
import { isBlock, shown } from './tree.ts';
import { block, chosen, flag, leaf, list, nearest, text, textOf, whole } from './values.ts';

export type ServedComponent = ServedAggregate | ServedUpcaster | ServedReactor;

export interface ServedAggregate {
  readonly kind: 'aggregate';
  readonly domain: string;
  /** A gRPC target: `host:port` or `unix:/path`. */
  readonly address: string;
  /** Of the snapshots that it writes and can read. */
  readonly snapshotSchemaVersion: number;
}

export interface ServedUpcaster {
  readonly kind: 'upcaster';
  readonly domain: string;
  /** A gRPC target: `host:port` or `unix:/path`. */
  readonly address: string;
  /** Full names of the old types that it wants to see; empty: all of the domain. */
  readonly types: readonly string[];
}

/** A projector, saga or process manager. */
export interface ServedReactor {
  readonly kind: ReactorKind;
  /** A gRPC target: `host:port` or `unix:/path`. */
  readonly address: string;
  /** Requests in hand at once, at most. */
  readonly concurrency: number;
  /** Of the same kind. */
  readonly declaration: ReactorDeclaration;
}

/** The domain or the name that stands behind the kind. */
export function nameOf(entry: ServedComponent): string {
  return 'declaration' in entry ? entry.declaration.name : entry.domain;
}

/** The domain whose events this daemon appends because of it; `undefined`: none. */
export function ownDomain(entry: ServedComponent): string | undefined {
  if (entry.kind === 'aggregate') return entry.domain;
  return entry.kind === 'process_manager' ? entry.declaration.domain : undefined;
}

/** The domains of whose payloads these may know the types, each with where to ask. */
export function typesKnownOf(entries: readonly ServedComponent[]): { domain: string; address: string }[] {
  return entries.flatMap((entry) => {
    const domain = 'declaration' in entry ? entry.declaration.domain : entry.domain;
    return domain === '' ? [] : [{ domain, address: entry.address }];
  });
}

export const domain = text('a domain as [a-z][a-z0-9_-]{0,63}', (given) => DOMAIN.test(given));

const name = text('a name as [a-z][a-z0-9_-]{0,63}', (given) => DOMAIN.test(given));

const target = text('host:port with a port from 1 to 65535, or unix:/path', (given) => {
  if (given.startsWith('unix:')) return given.length > 'unix:'.length;
  const parsed = readHostPort(given);
  return parsed !== undefined && parsed.port > 0;
});

const typeName = text("a full event type name, without '/' and commas", (given) => TYPE_NAME.test(given));
const types = list(typeName, 'a list of full event type names', 0).default([]);

const generation = whole(1, 0xffffffff).default(1);
const version = whole(FILTER_VERSION.min, FILTER_VERSION.max).default(1);
const snapshotSchemaVersion = whole(0, 0xffffffff).default(0);

const time = leaf('a time as "2026-01-31T12:00:00Z"', (value) => {
  const [, seconds, fraction = '', zone] =
    /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(\d{1,6}))?(Z|[+-]\d{2}:\d{2})$/.exec(textOf(value) ?? '') ?? [];
  const milliseconds = Date.parse(`${seconds}${zone}`);
  return Number.isNaN(milliseconds) ? undefined : milliseconds * 1000 + Number(fraction.padEnd(6, '0'));
});

const STARTS = 'beginning, now, { after_position: number } or { from_time: time }';
const start = chosen<StartPoint>((value) => {
  const word = textOf(value);
  if (word === 'beginning' || word === 'now') return z.unknown().transform((): StartPoint => ({ kind: word }));
  if (isBlock(value) && Object.keys(value).length === 1) {
    if ('after_position' in value) return after;
    if ('from_time' in value) return fromTime;
  }
  return `expected ${STARTS}, found ${shown(value)}`;
});
const after = block({ after_position: whole(0, Number.MAX_SAFE_INTEGER) }).transform(
  (given): StartPoint => ({ kind: 'after', position: given.after_position }),
);
const fromTime = block({ from_time: time }).transform(
  (given): StartPoint => ({ kind: 'time', timeMicros: given.from_time }),
);

/** What all three have. A missing start is the beginning. */
const reacting = {
  address: target,
  domains: list(domain, 'a list of domains', 0).default([]),
  types,
  version,
  start: start.prefault('beginning'),
  partitions: whole(PARTITIONS.min, PARTITIONS.max).optional(),
  concurrency: whole(1, 1024).default(64),
};

interface Reacting {
  address: string;
  domains: string[];
  types: string[];
  version: number;
  start: StartPoint;
  partitions?: number | undefined;
  concurrency: number;
}

function served(
  given: Reacting,
  own: Pick<ReactorDeclaration, 'kind' | 'name'> & Partial<ReactorDeclaration>,
): ServedReactor {
  return {
    kind: own.kind,
    address: given.address,
    concurrency: given.concurrency,
    declaration: {
      domains: [...new Set(given.domains)],
      types: [...new Set(given.types)],
      generation: 1,
      version: given.version,
      start: given.start,
      partitions: given.partitions ?? PARTITIONS.fallback,
      sync: false,
      ordered: false,
      maxPages: 1,
      domain: '',
      snapshotSchemaVersion: 0,
      ...own,
    },
  };
}

const servedProjector = block({
  projector: name,
  ...reacting,
  generation,
  sync: flag.default(true),
  ordered: flag.default(false),
  max_pages: whole(MAX_PAGES.min, MAX_PAGES.max).default(MAX_PAGES.fallback),
}).transform((given, context) => {
  const { generation, sync, ordered, partitions = ordered ? 1 : PARTITIONS.fallback } = given;
  if (ordered && partitions !== 1) {
    const message = `expected 1 or no such key, because ordered is true, found ${partitions}`;
    context.addIssue({ code: 'custom', message, path: ['partitions'] });
  }
  const own = { generation, sync, ordered, partitions, maxPages: given.max_pages };
  return served(given, { kind: 'projector', name: given.projector, ...own });
});

const servedSaga = block({ saga: name, ...reacting }).transform((given) =>
  served(given, { kind: 'saga', name: given.saga }),
);

const servedProcessManager = block({
  process_manager: name,
  ...reacting,
  domain: domain.optional(),
  snapshot_schema_version: snapshotSchemaVersion,
}).transform((given) =>
  served(given, {
    kind: 'process_manager',
    name: given.process_manager,
    domain: given.domain ?? given.process_manager,
    snapshotSchemaVersion: given.snapshot_schema_version,
  }),
);

const servedAggregate = block({
  aggregate: domain,
  address: target,
  snapshot_schema_version: snapshotSchemaVersion,
}).transform(
  (entry): ServedAggregate => ({
    kind: 'aggregate',
    domain: entry.aggregate,
    address: entry.address,
    snapshotSchemaVersion: entry.snapshot_schema_version,
  }),
);

const servedUpcaster = block({ upcaster: domain, address: target, types }).transform(
  (entry): ServedUpcaster => ({ kind: 'upcaster', domain: entry.upcaster, address: entry.address, types: entry.types }),
);

const KINDS: { readonly [kind in ServedComponent['kind']]: z.ZodType<ServedComponent> } = {
  aggregate: servedAggregate,
  projector: servedProjector,
  saga: servedSaga,
  process_manager: servedProcessManager,
  upcaster: servedUpcaster,
};

/** One entry of the list; its kind is the key that it has. */
export const component = chosen<ServedComponent>((value) => {
  if (!isBlock(value)) return `expected keys and values, found ${shown(value)}`;
  const keys = Object.keys(value);
  const known = Object.keys(KINDS) as ServedComponent['kind'][];
  const kinds = known.filter((kind) => keys.includes(kind));
  if (kinds.length === 1) return KINDS[kinds[0]!];
  const near = keys.find((key) => nearest(key, known) !== undefined);
  const found = near === undefined ? 'none' : `none but ${shown(near)}`;
  return `expected one of the keys ${known.join(', ')}, found ${kinds.length === 0 ? found : kinds.join(' and ')}`;
});

/** An entry for people: keys as in the file. */
export function redactedComponent(entry: ServedComponent): Record<string, unknown> {
  const { address } = entry;
  if (entry.kind === 'aggregate') {
    return { aggregate: entry.domain, address, snapshot_schema_version: entry.snapshotSchemaVersion };
  }
  if (entry.kind === 'upcaster') return { upcaster: entry.domain, address, types: entry.types };
  const { kind, concurrency, declaration } = entry;
  const { domains, types, generation, version, partitions, sync, ordered, maxPages, snapshotSchemaVersion } =
    declaration;
  return {
    [kind]: declaration.name,
    address,
    domains,
    types,
    ...(kind === 'projector' && { generation }),
    version,
    start: redactedStart(declaration.start),
    partitions,
    concurrency,
    ...(kind === 'projector' && { sync, ordered, max_pages: maxPages }),
    ...(kind === 'process_manager' && {
      domain: declaration.domain,
      snapshot_schema_version: snapshotSchemaVersion,
    }),
  };
}

function redactedStart(start: StartPoint): unknown {
  if (start.kind === 'after') return { after_position: start.position };
  return start.kind === 'time' ? { from_time: timeText(start.timeMicros) } : start.kind;
}
