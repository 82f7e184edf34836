// A batch of units as the arrays that `commit_units` takes (migrations/0003_commit.sql says what they mean), and its answer.

import { correlationSlice, streamSlice } from '../../model/slice.ts';
import { hex, type StreamKey, streamText } from '../../model/stream.ts';
import { toMicros } from '../../model/time.ts';
import type { Expectation, Unit, UnitResult } from '../../store.ts';
import { metadataJson, originJson } from '../page-texts.ts';
import { isWorkAlone } from '../work-rules.ts';
import { byteas, int2s, int4s, int8s, texts, uuids } from './arrays.ts';
import { workOf } from './work.ts';

/** As many as `commitValues` gives. */
export const COMMIT_PARAMETERS = 40;

const EXPECTS_NOTHING = 1;
const KNOWN_BY_ID = 2;

/** The parameters, in their order. */
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

  const kinds: number[] = [];
  const same: number[] = [];
  const expected: number[] = [];
  const expectedStreams: number[] = [];
  const expectedPages: number[] = [];
  const pageUnits: Uint8Array[] = [];
  const created: number[] = [];
  const occurred: (number | undefined)[] = [];
  const correlationIds: string[] = [];
  const correlationSlices: number[] = [];
  const types: string[] = [];
  const origins: (string | undefined)[] = [];
  const metadata: (string | undefined)[] = [];
  const payloads: Uint8Array[] = [];
  const keyFirsts: number[] = [];
  const outcomes = units.flatMap((unit) => unit.outcomes);
  const snapshots = units.flatMap((unit) => unit.snapshots);

  let outcomeNumber = 0;
  for (let i = 0; i < units.length; i++) {
    const unit = units[i]!;
    const id = hex(unit.unitId);
    same.push(firstUnits.get(id) ?? 0);
    firstUnits.set(id, i + 1);
    kinds.push(kindOf(unit));
    for (const { stream, correlationId, expect, pages } of unit.appends) {
      expected.push(expectedNumber(expect));
      expectedStreams.push(numberOf(stream));
      expectedPages.push(pages.length);
      const slice = correlationSlice(stream.tenant, correlationId);
      for (const page of pages) {
        pageUnits.push(unit.unitId);
        created.push(toMicros(page.createdAt!));
        occurred.push(page.occurredAt && toMicros(page.occurredAt));
        correlationIds.push(correlationId);
        correlationSlices.push(slice);
        types.push(page.event!.typeUrl);
        origins.push(page.origin && originJson(page.origin));
        metadata.push(metadataJson(page.metadata) || undefined);
        payloads.push(page.event!.value);
      }
    }
    for (const { stream, expect } of unit.expectations) {
      expected.push(expectedNumber(expect));
      expectedStreams.push(numberOf(stream));
      expectedPages.push(0);
    }
    for (const { tenant, kind, key } of unit.outcomes) {
      outcomeNumber++;
      const text = `${tenant}\0${kind}\0${key}`;
      const first = firstKeys.get(text) ?? outcomeNumber;
      firstKeys.set(text, first);
      keyFirsts.push(first);
    }
  }
  const snapshotStreams = snapshots.map(({ stream }) => numberOf(stream));
  const work = workOf(units);

  return [
    texts(streams.map(({ tenant }) => tenant)),
    texts(streams.map(({ domain }) => domain)),
    byteas(streams.map(({ root }) => root)),
    int2s(streams.map(streamSlice)),
    uuids(units.map(({ unitId }) => unitId)),
    int2s(kinds),
    int4s(same),
    int4s(units.map(({ appends }) => appends.length)),
    int4s(units.map(({ expectations }) => expectations.length)),
    int4s(units.map(({ outcomes }) => outcomes.length)),
    int4s(units.map(({ snapshots }) => snapshots.length)),
    int8s(expected),
    int4s(expectedStreams),
    int4s(expectedPages),
    uuids(pageUnits),
    int8s(created),
    int8s(occurred),
    texts(correlationIds),
    int2s(correlationSlices),
    texts(types),
    texts(origins),
    texts(metadata),
    byteas(payloads),
    texts(outcomes.map(({ tenant }) => tenant)),
    texts(outcomes.map(({ kind }) => kind)),
    texts(outcomes.map(({ key }) => key)),
    int4s(keyFirsts),
    byteas(outcomes.map(({ hash }) => hash)),
    byteas(outcomes.map(({ body }) => body)),
    int8s(outcomes.map(({ expiresAtMicros }) => expiresAtMicros)),
    texts(outcomes.map(({ correlationId }) => correlationId)),
    int4s(snapshotStreams),
    int8s(snapshots.map(({ snapshot }) => snapshot.schemaVersion)),
    int8s(snapshots.map(({ snapshot }) => snapshot.sequence)),
    int2s(snapshots.map(({ snapshot }) => snapshot.retention)),
    texts(snapshots.map(({ snapshot }) => snapshot.state!.typeUrl)),
    byteas(snapshots.map(({ snapshot }) => snapshot.state!.value)),
    work === undefined ? null : work.locks,
    work === undefined ? null : texts(work.documents),
    work === undefined ? null : byteas(work.bytes),
  ];
}

/** An answer; a duplicate's outcome is read afterwards, so that nothing large is sent while the log is locked. */
export type Answer =
  | Exclude<UnitResult, { kind: 'duplicate' }>
  /** At this index of the unit's outcomes. */
  | { kind: 'duplicate'; index: number };

/** `answers` and `fences` as `commit_units` gives them. */
export function readAnswers(units: readonly Unit[], answers: readonly number[], fences: readonly string[]): Answer[] {
  let at = 0;
  let fence = 0;
  return units.map((unit): Answer => {
    switch (answers[at++]) {
      case 0: {
        const position = answers[at++]!;
        const sequences = answers.slice(at, at + unit.appends.length);
        at += unit.appends.length;
        return { kind: 'committed', position, sequences };
      }
      case 1: {
        const index = answers[at++]!;
        const failed = unit.appends[index] ?? unit.expectations[index - unit.appends.length]!;
        return { kind: 'conflict', stream: failed.stream, expected: failed.expect, actual: answers[at++]! };
      }
      case 2:
        return { kind: 'duplicate', index: answers[at++]! };
      default:
        return { kind: 'fenced', what: fences[fence++]! };
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
      return -1;
    case 'exists':
      return -2;
    case 'any':
      return -3;
  }
}
