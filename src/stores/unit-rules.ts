// What no store can hold. Coordinators validate at the door, so a unit that fails here is a defect of ours: the whole
// commit call is refused before anything is written, and whoever batches finds the culprit by halving.

import type { DaybookError } from '../errors.ts';
import { type StreamKey, sameBytes } from '../model/stream.ts';
import type { Append, Expectation, Unit } from '../store.ts';
import { cannotHold, checkCount, checkSafe, checkStream, checkText, refuse } from './values.ts';
import { checkWork } from './work-rules.ts';

/** Throws INTERNAL with a sentence. */
export function checkUnit(unit: Unit): void {
  if (unit.unitId.length !== 16) refuse('a unit id', 'is not 16 bytes long');
  for (let i = 0; i < unit.appends.length; i++) {
    const append = unit.appends[i]!;
    checkAppend(append);
    for (let j = 0; j < i; j++) {
      if (sameStream(append.stream, unit.appends[j]!.stream)) refuse('a unit', 'names a stream twice');
    }
  }
  for (const { stream } of unit.expectations) checkStream(stream);
  for (const { stream, snapshot } of unit.snapshots) {
    checkStream(stream);
    checkCount(snapshot.sequence, 'a snapshot sequence');
    checkCount(snapshot.schemaVersion, 'a schema version');
    if (snapshot.state === undefined) refuse('a snapshot', 'has no state');
    else checkText(snapshot.state.typeUrl, 'a type URL');
  }
  for (const outcome of unit.outcomes) {
    checkText(outcome.tenant, 'a tenant');
    checkText(outcome.key, 'an outcome key');
    if (outcome.correlationId !== undefined) checkText(outcome.correlationId, 'a correlation id');
    if (outcome.expiresAtMicros !== undefined) checkSafe(outcome.expiresAtMicros, 'an expiry');
  }
  if (unit.work !== undefined) checkWork(unit.work);
}

/** Whether a stream with this next sequence is what was expected. */
export function holds(expect: Expectation, actual: number): boolean {
  switch (expect.kind) {
    case 'exactly':
      return actual === expect.nextSequence;
    case 'no-stream':
      return actual === 0;
    case 'exists':
      return actual > 0;
    case 'any':
      return true;
  }
}

export function snapshotBeyondEnd(): DaybookError {
  return cannotHold('a snapshot lies beyond the end of its stream');
}

export function outcomeTwice(): DaybookError {
  return cannotHold('a unit carries the same outcome key twice');
}

function checkAppend(append: Append): void {
  checkStream(append.stream);
  checkText(append.correlationId, 'a correlation id');
  if (append.pages.length === 0) refuse('an append', 'has no pages');
  for (const page of append.pages) {
    if (page.event === undefined) refuse('a page', 'has no event');
    else checkText(page.event.typeUrl, 'a type URL');
    if (page.createdAt === undefined) refuse('a page', 'has no time');
    else checkSafe(page.createdAt.seconds * 1e6, 'a time');
    if (page.occurredAt !== undefined) checkSafe(page.occurredAt.seconds * 1e6, 'a time');
  }
}

function sameStream(a: StreamKey, b: StreamKey): boolean {
  return a.tenant === b.tenant && a.domain === b.domain && sameBytes(a.root, b.root);
}
