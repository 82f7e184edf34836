// Units for tests of stores: everything that a test does not care about is filled in.

import { randomBytes, randomUUID } from 'node:crypto';
import type { EventPage, Snapshot } from '../../src/model/book.ts';
import type { StreamKey } from '../../src/model/stream.ts';
import { toTimestamp } from '../../src/model/time.ts';
import { systemRuntime } from '../../src/runtime.ts';
import type { Append, Expectation, Outcome, OutcomeKey, Unit } from '../../src/store.ts';

const runtime = systemRuntime();

export const ANY: Expectation = { kind: 'any' };
export const NO_STREAM: Expectation = { kind: 'no-stream' };
export const EXISTS: Expectation = { kind: 'exists' };
export const exactly = (nextSequence: number): Expectation => ({ kind: 'exactly', nextSequence });

export const MANY = { maxEvents: 100_000, maxBytes: 1 << 30 };

export function freshTenant(): string {
  return `t-${randomUUID()}`;
}

export function freshStream(parts: Partial<StreamKey> = {}): StreamKey {
  return { tenant: '', domain: 'order', root: new Uint8Array(randomBytes(16)), ...parts };
}

export function page(parts: Partial<EventPage> & { type?: string; value?: Uint8Array } = {}): EventPage {
  const { type = 'test.v1.Happened', value = new Uint8Array(randomBytes(8)), ...rest } = parts;
  return {
    sequence: 0,
    createdAt: toTimestamp(1_700_000_000_000_000),
    event: { typeUrl: `type.googleapis.com/${type}`, value },
    position: 0,
    origin: undefined,
    metadata: {},
    unitId: new Uint8Array(0),
    occurredAt: undefined,
    ...rest,
  };
}

export function append(stream: StreamKey, expect: Expectation, pages: number | EventPage[] = 1): Append {
  return {
    stream,
    correlationId: randomUUID(),
    expect,
    pages: typeof pages === 'number' ? Array.from({ length: pages }, () => page()) : pages,
  };
}

export function unit(parts: Partial<Unit> = {}): Unit {
  return { unitId: runtime.uuid(), appends: [], expectations: [], snapshots: [], outcomes: [], ...parts };
}

/** A unit with one append. */
export function writing(stream: StreamKey, expect: Expectation, pages: number | EventPage[] = 1): Unit {
  return unit({ appends: [append(stream, expect, pages)] });
}

export function freshKey(parts: Partial<OutcomeKey> = {}): OutcomeKey {
  return { tenant: '', kind: 'client', key: randomUUID(), ...parts };
}

export function outcome(key: OutcomeKey, parts: Partial<Outcome> = {}): Outcome {
  return {
    ...key,
    hash: new Uint8Array(randomBytes(32)),
    body: new Uint8Array(randomBytes(20)),
    expiresAtMicros: undefined,
    correlationId: undefined,
    ...parts,
  };
}

export function snapshot(sequence: number, parts: Partial<Snapshot> = {}): Snapshot {
  return {
    sequence,
    state: { typeUrl: 'type.googleapis.com/test.v1.State', value: new Uint8Array(randomBytes(12)) },
    retention: 0,
    schemaVersion: 1,
    ...parts,
  };
}
