import fc from 'fast-check';
import { encodeOutcome, factHash } from '../../src/coordinators/outcome.ts';
import type { EventPage, Origin } from '../../src/model/book.ts';
import { factKey } from '../../src/model/fact.ts';
import type { StreamKey } from '../../src/model/stream.ts';
import { toTimestamp } from '../../src/model/time.ts';
import type { EventStore, Outcome, Store, Unit } from '../../src/store.ts';
import { type ExportOptions, exportLog } from '../../src/transfer/export.ts';
import { type ImportOptions, importLog } from '../../src/transfer/import.ts';
import { append, exactly, freshStream, page, unit } from '../support/store-units.ts';

export async function exported(store: EventStore, options?: ExportOptions): Promise<string> {
  let text = '';
  for await (const part of exportLog(store, options)) text += part.text;
  return text;
}

/** In pieces, as they come from a file or a pipe. */
export function imported(store: Store, text: string | Uint8Array, options?: ImportOptions, pieceBytes = 1000) {
  const bytes = Buffer.from(text);
  async function* pieces() {
    for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
  }
  return importLog(store, pieces(), options);
}

export interface PlannedEvent {
  value: Uint8Array;
  type: string;
  metadata: { [key: string]: string };
  origin: Origin | undefined;
  occurredAt: number | undefined;
  fact: boolean;
  skew: number;
}

/** For each unit, for each of its streams, the events. */
export type Plan = { stream: number; correlationId: string; events: PlannedEvent[] }[][];

export function plan(): fc.Arbitrary<Plan> {
  const text = fc.string({ unit: 'binary', maxLength: 12 });
  const printable = fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 20 });
  const micros = fc.integer({ min: -8e15, max: 8e15 });
  const source = fc.record({
    tenant: fc.constantFrom('', 'acme'),
    domain: fc.constantFrom('stock', ''),
    root: fc.option(
      fc.uint8Array({ minLength: 16, maxLength: 16 }).map((value) => ({ value })),
      { nil: undefined },
    ),
    correlationId: text,
  });
  const origin: fc.Arbitrary<Origin> = fc.record({
    component: text,
    source: fc.option(source, { nil: undefined }),
    sourceSequence: fc.constantFrom(0, 1, 0xffffffff),
    sourcePosition: fc.constantFrom(0, Number.MAX_SAFE_INTEGER),
    logId: fc.constantFrom('', 'a log'),
    index: fc.nat(3),
    depth: fc.nat(3),
    externalSource: fc.constant(''),
    externalId: fc.constant(''),
    commands: fc.array(text, { maxLength: 2 }),
  });
  const event = fc.record({
    value: fc.uint8Array({ maxLength: 40 }),
    type: fc.constantFrom('shop.v1.Placed', 'shop.v1.Ärger', 'Paid').filter((name) => /^[\x21-\x7e]+$/.test(name)),
    metadata: fc.dictionary(text, text, { maxKeys: 3, noNullPrototype: true }),
    origin: fc.option(origin, { nil: undefined }),
    occurredAt: fc.option(micros, { nil: undefined }),
    fact: fc.boolean(),
    skew: fc.integer({ min: 0, max: 3_000_000 }),
  });
  const writes = fc.record({
    stream: fc.nat(5),
    correlationId: printable,
    events: fc.array(event, { minLength: 1, maxLength: 4 }),
  });
  return fc.array(fc.uniqueArray(writes, { minLength: 1, maxLength: 3, selector: ({ stream }) => stream }), {
    maxLength: 12,
  });
}

/** Units as the daemon makes them: times of a stream never decrease, those of different streams may; facts with outcomes. */
export function unitsOfPlan(planned: Plan): Unit[] {
  const tenants = ['', 'acme', 'a%c?me"', '', 'acme', ''];
  const streams = tenants.map((tenant, i) => freshStream({ tenant, domain: i % 2 === 0 ? 'order' : 'stock' }));
  const next = streams.map((_, i) => ({ sequence: 0, time: 1_700_000_000_000_000 - i * 1_000_000 }));
  let facts = 0;
  return planned.map((writes) => {
    const outcomes: Outcome[] = [];
    const appends = writes.map(({ stream: number, correlationId, events }) => {
      const stream = streams[number]!;
      const at = next[number]!;
      const from = at.sequence;
      const pages = events.map((event): EventPage => {
        at.time += event.skew;
        const external = { externalSource: 'stripe', externalId: `evt_${facts}/é "${facts}"` };
        const origin = event.fact ? { ...NO_ORIGIN, ...event.origin, ...external } : event.origin;
        const one = page({
          type: event.type,
          value: event.value,
          metadata: event.metadata,
          origin,
          createdAt: toTimestamp(at.time),
          occurredAt: event.occurredAt === undefined ? undefined : toTimestamp(event.occurredAt),
        });
        if (event.fact) {
          facts++;
          outcomes.push(factOutcome(stream, correlationId, one, at.sequence));
        }
        at.sequence++;
        return one;
      });
      return { ...append(stream, exactly(from), pages), correlationId };
    });
    return unit({ appends, outcomes });
  });
}

const NO_ORIGIN: Omit<Origin, 'externalSource' | 'externalId'> = {
  component: '',
  source: undefined,
  sourceSequence: 0,
  sourcePosition: 0,
  logId: '',
  index: 0,
  depth: 0,
  commands: [],
};

/** As recording the fact leaves it. */
export function factOutcome(stream: StreamKey, correlationId: string, page: EventPage, sequence: number): Outcome {
  const { externalSource, externalId } = page.origin!;
  return {
    tenant: stream.tenant,
    kind: 'fact',
    key: factKey(stream, externalSource, externalId),
    hash: factHash(stream, page),
    body: encodeOutcome({ kind: 'events', firstSequence: sequence, count: 1, correlationId }),
    expiresAtMicros: undefined,
    correlationId: undefined,
  };
}
