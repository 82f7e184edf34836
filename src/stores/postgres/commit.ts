// A batch of units as the arrays that `commit_units` takes (migrations/0003_commit.sql says what they mean), one unit as the values that
// `commit_plain_unit` takes, and their answers.

import type { EventPage, Snapshot } from '../../model/book.ts';
import { correlationSlice, streamSlice } from '../../model/slice.ts';
import { hex, type StreamKey, streamText } from '../../model/stream.ts';
import { toMicros } from '../../model/time.ts';
import type { Expectation, Outcome, Unit, UnitResult } from '../../store.ts';
import { metadataJson, originJson } from '../page-texts.ts';
import { isWorkAlone } from '../work-rules.ts';
import { byteas, int2s, int4s, int8s, texts, uuids } from './arrays.ts';
import { workOf } from './work.ts';

/** As many as `commitValues` gives. */
export const COMMIT_PARAMETERS = 47;

const EXPECTS_NOTHING = 1;
const KNOWN_BY_ID = 2;

/** The parameters, in their order. What no unit has is `null`. */
export function commitValues(units: readonly Unit[]): (Buffer | string | null)[] {
  const streams: StreamKey[] = [];
  const streamNumbers = new Map<string, number>();
  const numberOf = (stream: StreamKey): number => {
    const text = streamText(stream);
    let number = streamNumbers.get(text);
    if (number === undefined) {
      number = streams.push(stream);
      streamNumbers.set(text, number);
    }
    return number;
  };
  const firstUnits = new Map<string, number>();
  const firstKeys = new Map<string, number>();

  const unitPages: number[] = [];
  const kinds: number[] = [];
  const same: number[] = [];
  const appends: number[] = [0];
  const outcomes: number[] = [0];
  const expectations: number[] = [0];
  const snapshots: number[] = [0];
  const appendStreams: number[] = [];
  const expected: number[] = [];
  const appendPages: number[] = [];
  const correlationIds: string[] = [];
  const correlationSlices: number[] = [];
  const pages: EventPage[] = [];
  const pageUnits: number[] = [];
  const pageAppends: number[] = [];
  const unitOffsets: number[] = [];
  const appendOffsets: number[] = [];
  const stored: Outcome[] = [];
  const outcomeUnits: number[] = [];
  const keyFirsts: number[] = [];
  const others: { stream: StreamKey; expect: Expectation }[] = [];
  const taken: { stream: StreamKey; snapshot: Snapshot }[] = [];

  for (const unit of units) {
    const number = kinds.push(kindOf(unit));
    const id = hex(unit.unitId);
    same.push(firstUnits.get(id) ?? 0);
    firstUnits.set(id, number);
    let unitOffset = 0;
    for (const append of unit.appends) {
      const appendNumber = appendStreams.push(numberOf(append.stream));
      expected.push(expectedNumber(append.expect));
      appendPages.push(append.pages.length);
      correlationIds.push(append.correlationId);
      correlationSlices.push(correlationSlice(append.stream.tenant, append.correlationId));
      for (let i = 0; i < append.pages.length; i++) {
        pages.push(append.pages[i]!);
        pageUnits.push(number);
        pageAppends.push(appendNumber);
        unitOffsets.push(unitOffset++);
        appendOffsets.push(i);
      }
    }
    for (const outcome of unit.outcomes) {
      const outcomeNumber = stored.push(outcome);
      outcomeUnits.push(number);
      const text = `${outcome.tenant}\0${outcome.kind}\0${outcome.key}`;
      const first = firstKeys.get(text) ?? outcomeNumber;
      firstKeys.set(text, first);
      keyFirsts.push(first);
    }
    others.push(...unit.expectations);
    taken.push(...unit.snapshots);
    unitPages.push(unitOffset);
    appends.push(appendStreams.length);
    outcomes.push(stored.length);
    expectations.push(others.length);
    snapshots.push(taken.length);
  }
  const otherStreams = others.map(({ stream }) => numberOf(stream));
  const snapshotStreams = taken.map(({ stream }) => numberOf(stream));
  const work = workOf(units);

  return [
    texts(streams.map(({ tenant }) => tenant)),
    texts(streams.map(({ domain }) => domain)),
    byteas(streams.map(({ root }) => root)),
    int2s(streams.map(streamSlice)),
    uuids(units.map(({ unitId }) => unitId)),
    int4s(unitPages),
    int4s(appends),
    kinds.some(Boolean) ? int2s(kinds) : null,
    same.some(Boolean) ? int4s(same) : null,
    int4s(appendStreams),
    int8s(expected),
    int4s(appendPages),
    texts(correlationIds),
    int2s(correlationSlices),
    int4s(pageUnits),
    int4s(pageAppends),
    unitOffsets.some(Boolean) ? int4s(unitOffsets) : null,
    appendOffsets.some(Boolean) ? int4s(appendOffsets) : null,
    int8s(pages.map(({ createdAt }) => toMicros(createdAt!))),
    int8s(pages.map(({ occurredAt }) => occurredAt && toMicros(occurredAt))),
    texts(pages.map(({ event }) => event!.typeUrl)),
    texts(pages.map(({ origin }) => origin && originJson(origin))),
    texts(pages.map(({ metadata }) => metadataJson(metadata) || undefined)),
    byteas(pages.map(({ event }) => event!.value)),
    stored.length > 0 ? int4s(outcomes) : null,
    int4s(outcomeUnits),
    texts(stored.map(({ tenant }) => tenant)),
    texts(stored.map(({ kind }) => kind)),
    texts(stored.map(({ key }) => key)),
    firstKeys.size < stored.length ? int4s(keyFirsts) : null,
    byteas(stored.map(({ hash }) => hash)),
    byteas(stored.map(({ body }) => body)),
    int8s(stored.map(({ expiresAtMicros }) => expiresAtMicros)),
    texts(stored.map(({ correlationId }) => correlationId)),
    others.length > 0 ? int4s(expectations) : null,
    int4s(otherStreams),
    int8s(others.map(({ expect }) => expectedNumber(expect))),
    taken.length > 0 ? int4s(snapshots) : null,
    int4s(snapshotStreams),
    int8s(taken.map(({ snapshot }) => snapshot.schemaVersion)),
    int8s(taken.map(({ snapshot }) => snapshot.sequence)),
    int2s(taken.map(({ snapshot }) => snapshot.retention)),
    texts(taken.map(({ snapshot }) => snapshot.state!.typeUrl)),
    byteas(taken.map(({ snapshot }) => snapshot.state!.value)),
    work === undefined ? null : work.locks,
    work === undefined ? null : texts(work.documents),
    work === undefined ? null : byteas(work.bytes),
  ];
}

/** As many as `plainValues` gives. */
export const PLAIN_PARAMETERS = 21;

/**
 * The parameters of `commit_plain_unit` (migrations/0007_plain_unit.sql), in their order, when the batch is one unit that it may take.
 * `partitionEvents` is that of the log.
 */
export function plainValues(units: readonly Unit[], partitionEvents: number): unknown[] | undefined {
  const [unit] = units;
  if (units.length !== 1 || unit === undefined) return undefined;
  const { appends, outcomes, expectations, snapshots, work } = unit;
  const [append] = appends;
  if (appends.length !== 1 || append === undefined || append.pages.length !== 1 || outcomes.length > 1)
    return undefined;
  const { stream, expect, correlationId } = append;
  if (expect.kind !== 'exactly' || expect.nextSequence === 0) return undefined;
  if (expectations.length > 0 || snapshots.length > 0 || work !== undefined) return undefined;
  const page = append.pages[0]!;
  const [outcome] = outcomes;
  return [
    stream.tenant,
    stream.domain,
    stream.root,
    unit.unitId,
    expect.nextSequence,
    correlationId,
    correlationSlice(stream.tenant, correlationId),
    toMicros(page.createdAt!),
    page.occurredAt && toMicros(page.occurredAt),
    page.event!.typeUrl,
    page.origin && originJson(page.origin),
    metadataJson(page.metadata) || undefined,
    page.event!.value,
    outcome?.tenant,
    outcome?.kind,
    outcome?.key,
    outcome?.hash,
    outcome?.body,
    outcome?.expiresAtMicros,
    outcome?.correlationId,
    partitionEvents,
  ];
}

/** An answer; a duplicate's outcome is read afterwards, so that nothing large is sent while the log is locked. */
export type Answer =
  | Exclude<UnitResult, { kind: 'duplicate' }>
  /** At this index of the unit's outcomes. */
  | { kind: 'duplicate'; index: number };

/** `position` is what `commit_plain_unit` gives. */
export function plainAnswer({ appends }: Unit, position: number): Answer {
  const { expect } = appends[0]!;
  return { kind: 'committed', position, sequences: [expectedNumber(expect)] };
}

/** What `commit_units` gives, in its order; what has nothing in it is `null`. */
export type CommitRow = [
  places: readonly number[],
  sequences: readonly number[] | null,
  refusals: readonly number[] | null,
  fences: readonly string[] | null,
];

export function readAnswers(units: readonly Unit[], [places, sequences, refusals, fences]: CommitRow): Answer[] {
  let append = 0;
  let at = 0;
  let fence = 0;
  return units.map((unit, i): Answer => {
    const first = append;
    append += unit.appends.length;
    const position = places[i]!;
    if (position >= 0) return { kind: 'committed', position, sequences: sequences?.slice(first, append) ?? [] };
    switch (refusals![at++]) {
      case 1: {
        const index = refusals![at++]!;
        const failed = unit.appends[index] ?? unit.expectations[index - unit.appends.length]!;
        return { kind: 'conflict', stream: failed.stream, expected: failed.expect, actual: refusals![at++]! };
      }
      case 2:
        return { kind: 'duplicate', index: refusals![at++]! };
      default:
        return { kind: 'fenced', what: fences![fence++]! };
    }
  });
}

function kindOf(unit: Unit): number {
  if (isWorkAlone(unit)) return KNOWN_BY_ID;
  const nothing = unit.appends.every(({ expect }) => expect.kind === 'any' || expect.kind === 'exists');
  return unit.appends.length > 0 && nothing ? EXPECTS_NOTHING : 0;
}

function expectedNumber(expect: Expectation): number {
  switch (expect.kind) {
    case 'exactly':
      return expect.nextSequence;
    case 'no-stream':
      return 0;
    case 'exists':
      return -1;
    case 'any':
      return -2;
  }
}
