// Long logs, written straight into the store: the events are as a daemon would have written them.

import { NO_ORIGIN } from '../../src/model/book.ts';
import { toTimestamp } from '../../src/model/time.ts';
import { systemRuntime } from '../../src/runtime.ts';
import type { Store, Unit } from '../../src/store.ts';
import { DOMAIN, payload, rootBytes, TYPE_URL } from '../load/messages.ts';
import { progress } from './bench.ts';

const runtime = systemRuntime();
const event = { typeUrl: TYPE_URL, value: payload() };
const origin = { ...NO_ORIGIN, commands: ['bench.v1.Counted'] };
const BATCH = 500;

/** Events of aggregates that take turns, from `first` on; one unit each. */
export async function seed(store: Store, events: number, aggregates: number, first = 0): Promise<void> {
  const begunMs = performance.now();
  for (let written = 0; written < events; ) {
    const units: Unit[] = [];
    for (let i = 0; i < BATCH && written < events; i++, written++) {
      units.push(unitOf(first + (written % aggregates), Math.floor(written / aggregates), written));
    }
    await commit(store, units);
    if (written % 100_000 === 0) {
      const perSecond = Math.round((written * 1000) / (performance.now() - begunMs));
      progress(`seeded ${written} of ${events} events, ${perSecond}/s`);
    }
  }
}

/** One aggregate with a long history, in units of a thousand events. */
export async function seedAggregate(store: Store, aggregate: number, events: number): Promise<void> {
  for (let sequence = 0; sequence < events; sequence += 1000) {
    const count = Math.min(1000, events - sequence);
    await commit(store, [unitOf(aggregate, sequence, sequence, count)]);
  }
}

async function commit(store: Store, units: Unit[]): Promise<void> {
  for (const { kind } of await store.commit(units))
    if (kind !== 'committed') throw new Error(`a unit ended as ${kind}`);
}

function unitOf(aggregate: number, sequence: number, number: number, count = 1): Unit {
  const stream = { tenant: '', domain: DOMAIN, root: rootBytes(aggregate) };
  const createdAt = toTimestamp(runtime.nowMicros());
  const pages = Array.from({ length: count }, () => ({
    sequence: 0,
    createdAt,
    event,
    position: 0,
    origin,
    metadata: {},
    unitId: new Uint8Array(),
    occurredAt: undefined,
  }));
  const correlationId = `019a0000-0000-7000-8000-${number.toString(16).padStart(12, '0')}`;
  const expect = { kind: 'exactly', nextSequence: sequence } as const;
  const appends = [{ stream, correlationId, expect, pages }];
  return { unitId: runtime.uuid(), appends, expectations: [], snapshots: [], outcomes: [] };
}
