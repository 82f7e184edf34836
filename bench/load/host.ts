// Domain code: aggregates that say yes to everything, a projector that counts and may measure how late it is called, a saga that sends a command on.

import {
  type Any,
  attach,
  foldProjector,
  type Host,
  type Projector,
  packJson,
  type Saga,
  unpackJson,
} from '@daybook/client';
import { serve } from '../lib/processes.ts';
import { Latencies, type Latency } from './latencies.ts';
import { DOMAIN, TYPE_URL } from './messages.ts';

export interface HostOptions {
  address: string;
  /** Default: the host keeps its states. */
  snapshots?: boolean;
  /** Its name. */
  projector?: string;
  /** It measures how late it is called. */
  lag?: boolean;
  /** It keeps a row for each aggregate, and counts nothing. */
  rows?: boolean;
  saga?: boolean;
  /** Of the aggregate. */
  credits?: { items: number; bytes: number };
  /** How long a decision takes; so many at once as there are credits. */
  decisionMs?: number;
}

export type HostJob = { kind: 'attach'; options: HostOptions } | { kind: 'projected' };

export interface Projected {
  events: number;
  /** Of the projector. */
  calls: number;
  /** From when an event was stamped, before its commit, until the projector was called. */
  lag: Latency;
  firstMs: number;
  lastMs: number;
}

const CREDITS = { items: 1000, bytes: 16 << 20 };

let host: Host | undefined;
let lags = new Latencies();
let projected = { events: 0, calls: 0, firstMs: 0, lastMs: 0 };

function counts(name: string, lag = false): Projector {
  return {
    name,
    domains: [DOMAIN],
    credits: CREDITS,
    project(pages) {
      const now = performance.timeOrigin + performance.now();
      if (projected.events === 0) projected.firstMs = now;
      projected.calls++;
      projected.events += pages.length;
      projected.lastMs = now;
      if (!lag) return;
      for (const { createdAt } of pages) lags.add(now - (createdAt!.seconds * 1000 + createdAt!.nanos / 1e6));
    },
  };
}

const rows = {
  domains: [DOMAIN],
  credits: CREDITS,
  initial: () => 0,
  evolve: (count: number) => count + 1,
  encode: (count: number) => packJson('bench.Total', { count }),
  decode: (row: Any) => (unpackJson(row).value as { count: number }).count,
};

const saga: Saga = {
  name: 'sends-on',
  domains: [DOMAIN],
  react: (event, { root }) => [{ domain: 'follower', root, payload: event }],
};

async function attachTo(options: HostOptions): Promise<void> {
  const { address, snapshots = false, credits = CREDITS, decisionMs, projector } = options;
  const decide = (_: number, commands: readonly Any[]) => [...commands];
  const slowly = async (_: number, commands: readonly Any[]) => {
    await new Promise((resolve) => setTimeout(resolve, decisionMs));
    return [...commands];
  };
  const counter = {
    initial: () => 0,
    evolve: (count: number) => count + 1,
    decide: decisionMs === undefined ? decide : slowly,
    credits,
    ...(snapshots && { keepsState: false, snapshot: SNAPSHOT }),
  };
  await host?.close();
  host = attach({
    address,
    name: 'bench',
    aggregates: [
      { ...counter, domain: DOMAIN },
      { ...counter, domain: 'follower' },
    ],
    ...(projector !== undefined && {
      projectors: [options.rows ? foldProjector({ ...rows, name: projector }) : counts(projector, options.lag)],
    }),
    ...(options.saga && { sagas: [saga] }),
  });
  await host.ready();
}

const SNAPSHOT = {
  version: 1,
  encode: (count: number) => ({ typeUrl: TYPE_URL, value: Buffer.from(String(count)) }),
  decode: (state: Any) => Number(Buffer.from(state.value).toString()),
};

serve<HostJob, Projected>(
  async (job) => {
    if (job.kind === 'attach') await attachTo(job.options);
    const result = { ...projected, lag: lags.result() };
    lags = new Latencies();
    projected = { events: 0, calls: 0, firstMs: 0, lastMs: 0 };
    return result;
  },
  () => host?.close(),
);
