// The order within which a subscription handles events, and the partition that this belongs to.

import type { Cover } from './book.ts';
import type { ReactorKind } from './reaction.ts';
import { correlationSlice, SLICES, streamSlice } from './slice.ts';
import { hex, type StreamKey } from './stream.ts';

export type Ordering =
  /** Of each aggregate by itself. */
  | 'stream'
  /** Of everything with one tenant and correlation id: a process. */
  | 'correlation'
  /** Of the whole log. */
  | 'log';

export function orderingOf(kind: ReactorKind, ordered: boolean): Ordering {
  if (kind === 'process_manager') return 'correlation';
  return ordered ? 'log' : 'stream';
}

const LOG_KEY = '*';

/** The key of events of this aggregate and correlation, as it is stored. Unambiguous: tenants and domains hold no slash. */
export function orderingKey(ordering: Ordering, cover: Cover): string {
  switch (ordering) {
    case 'stream':
      return `${cover.tenant}/${cover.domain}/${hex(cover.root!.value)}`;
    case 'correlation':
      return `${cover.tenant}/${cover.correlationId}`;
    case 'log':
      return LOG_KEY;
  }
}

/** Where to look for the events of a key. */
export type KeyPlace =
  | { ordering: 'stream'; stream: StreamKey }
  | { ordering: 'correlation'; tenant: string; correlationId: string }
  | { ordering: 'log' };

/** The way back from a key. */
export function placeOf(ordering: Ordering, key: string): KeyPlace {
  if (ordering === 'log') return { ordering };
  const first = key.indexOf('/');
  const tenant = key.slice(0, first);
  if (ordering === 'correlation') return { ordering, tenant, correlationId: key.slice(first + 1) };
  const second = key.indexOf('/', first + 1);
  const root = Uint8Array.from(key.slice(second + 1).match(/../g) ?? [], (digits) => Number.parseInt(digits, 16));
  return { ordering, stream: { tenant, domain: key.slice(first + 1, second), root } };
}

/** Partitions are ranges of slices. */
export function partitionOf(ordering: Ordering, cover: Cover, partitions: number): number {
  const { tenant, domain, root, correlationId } = cover;
  switch (ordering) {
    case 'stream':
      return inRange(streamSlice({ tenant, domain, root: root!.value }), partitions);
    case 'correlation':
      return inRange(correlationSlice(tenant, correlationId), partitions);
    case 'log':
      return 0;
  }
}

function inRange(slice: number, partitions: number): number {
  return Math.floor((slice * partitions) / SLICES);
}
