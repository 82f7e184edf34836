// The one writer: commits units, forgets outcomes, carries out what delivery changes outside of units. Every check of a unit comes before its first write, so a unit that fails
// one leaves no trace and the transaction goes on.

import type { DatabaseSync } from 'node:sqlite';
import { assert } from '../../errors.ts';
import { correlationSlice } from '../../model/slice.ts';
import { type StreamKey, sameBytes, streamText } from '../../model/stream.ts';
import { holds, outcomeTwice, snapshotBeyondEnd } from '../unit-rules.ts';
import { isWorkAlone } from '../work-rules.ts';
import type { AppendRows, ResultRow, UnitRows } from './codec.ts';
import * as subscriptions from './delivery/subscriptions.ts';
import { WorkWriter } from './delivery/work.ts';
import * as queries from './queries.ts';

/** Heads in memory. Beyond this many all are dropped, to be read again as they are needed. */
const HEADS_MAX = 20_000;

interface Head extends queries.StreamRow {
  key: StreamKey;
  /** Whether its row is behind: it is written once, at the end of the transaction. */
  changed: 'no' | 'new' | 'moved';
}

/** Thrown by COMMIT itself: whether the units are stored may not be known. */
export class CommitFailed extends Error {}

export class Writer {
  readonly #db: DatabaseSync;
  readonly #work: WorkWriter;
  /** This is the only writer, so what it remembers of streams is true until a transaction fails. */
  readonly #heads = new Map<string, Head>();
  #changed: Head[] = [];
  #lastPosition = 0;
  #lastStreamId = 0;
  /** The latest time of all events. */
  #latest = 0;

  constructor(db: DatabaseSync) {
    this.#db = db;
    this.#work = new WorkWriter(db);
    this.#readEnds();
  }

  commit(units: readonly UnitRows[]): ResultRow[] {
    return this.#transaction(() => {
      const results = units.map((unit) => this.#check(unit) ?? this.#write(unit));
      this.#writeHeads();
      this.#work.writeEnds();
      return results;
    });
  }

  expireOutcomes(nowMicros: number, limit: number): number {
    return this.#transaction(() => queries.deleteExpired(this.#db, nowMicros, limit));
  }

  /** One transaction outside of units. */
  perform<T>(body: (db: DatabaseSync) => T): T {
    return this.#transaction(() => body(this.#db));
  }

  forgetInstances(): void {
    this.perform(subscriptions.deleteInstances);
  }

  #transaction<T>(body: () => T): T {
    this.#db.exec('BEGIN IMMEDIATE');
    let result: T;
    try {
      result = body();
    } catch (error) {
      this.#rollback();
      throw error;
    }
    try {
      this.#db.exec('COMMIT');
    } catch (error) {
      this.#rollback();
      throw new CommitFailed('COMMIT failed', { cause: error });
    }
    return result;
  }

  /** SQLite rolls some failures back by itself. What is remembered may be wrong now and is read again. */
  #rollback(): void {
    if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
    this.#heads.clear();
    this.#changed = [];
    this.#work.readEnds();
    this.#readEnds();
  }

  #readEnds(): void {
    this.#lastPosition = queries.findHead(this.#db).position;
    this.#lastStreamId = queries.findLastStreamId(this.#db);
    const row = queries.findLastTime(this.#db);
    const later = queries.findLatestAfter(this.#db, row?.position ?? 0);
    this.#latest = Math.max(row?.latest ?? Number.MIN_SAFE_INTEGER, later ?? Number.MIN_SAFE_INTEGER);
  }

  /** The answer to a unit that is not to be written. */
  #check(unit: UnitRows): ResultRow | undefined {
    for (let index = 0; index < unit.outcomes.length; index++) {
      const outcome = queries.findOutcome(this.#db, unit.outcomes[index]!);
      if (outcome === undefined) continue;
      if (!sameBytes(outcome.unitId, unit.unitId)) return { kind: 'duplicate', index, outcome };
      return this.#committed(unit, outcome.position);
    }
    if (unit.work !== undefined) {
      const stored = isWorkAlone(unit) ? this.#work.findAlone(unit.unitId) : undefined;
      if (stored !== undefined) return this.#committed(unit, stored);
      const what = this.#work.fencedBy(unit.work);
      if (what !== undefined) return this.#repeated(unit) ?? { kind: 'fenced', what };
    }
    let index = 0;
    for (const { stream, expect } of unit.appends) {
      const actual = this.#nextSequence(stream);
      if (!holds(expect, actual)) return this.#repeated(unit) ?? { kind: 'conflict', index, actual };
      index++;
    }
    for (const { stream, expect } of unit.expectations) {
      const actual = this.#nextSequence(stream);
      if (!holds(expect, actual)) return this.#repeated(unit) ?? { kind: 'conflict', index, actual };
      index++;
    }
    return expectsNothing(unit) ? this.#repeated(unit) : undefined;
  }

  /** The first answer again, if this very unit is in the log. */
  #repeated(unit: UnitRows): ResultRow | undefined {
    if (expectsNothing(unit)) {
      const position = queries.findUnit(this.#db, unit.unitId);
      return position === undefined ? undefined : this.#committed(unit, position);
    }
    let before = 0;
    for (const { stream, expect, pages } of unit.appends) {
      const head = this.#head(stream);
      if (head !== undefined && (expect.kind === 'exactly' || expect.kind === 'no-stream')) {
        const sequence = expect.kind === 'exactly' ? expect.nextSequence : 0;
        const found = queries.findUnitAt(this.#db, head.id, sequence);
        if (found !== undefined && sameBytes(found.unitId, unit.unitId)) {
          return this.#committed(unit, found.position - before);
        }
      }
      before += pages.length;
    }
    return undefined;
  }

  /** The events of a unit lie one behind the other, so its first position tells the rest. */
  #committed(unit: UnitRows, position: number): ResultRow {
    let at = position;
    const sequences = unit.appends.map(({ pages }) => {
      const sequence = queries.findSequenceAt(this.#db, at);
      assert(sequence !== undefined, 'a stored unit has its events');
      at += pages.length;
      return sequence;
    });
    return { kind: 'committed', position, sequences };
  }

  #write(unit: UnitRows): ResultRow {
    const position = unit.appends.length === 0 ? this.#lastPosition : this.#lastPosition + 1;
    const sequences = unit.appends.map((append) => this.#append(append, unit.unitId));
    if (expectsNothing(unit)) queries.insertUnit(this.#db, unit.unitId, position);
    for (const { stream, row } of unit.snapshots) {
      const head = this.#head(stream);
      if (head === undefined || row.sequence >= head.nextSequence) throw snapshotBeyondEnd();
      queries.putSnapshot(this.#db, head.id, row);
      queries.deleteOldSnapshots(this.#db, head.id, row.schemaVersion);
    }
    for (let i = 0; i < unit.outcomes.length; i++) {
      const outcome = unit.outcomes[i]!;
      if (i > 0 && queries.findOutcome(this.#db, outcome) !== undefined) throw outcomeTwice();
      queries.insertOutcome(this.#db, outcome, unit.unitId, position);
    }
    if (unit.work !== undefined) this.#work.write(unit.work);
    if (isWorkAlone(unit)) this.#work.rememberAlone(unit.unitId, position);
    return { kind: 'committed', position, sequences };
  }

  /** Returns the sequence of the first page. */
  #append(append: AppendRows, unitId: Uint8Array): number {
    const head = this.#head(append.stream) ?? this.#newHead(append.stream);
    const correlation = {
      id: append.correlationId,
      slice: correlationSlice(append.stream.tenant, append.correlationId),
    };
    const first = head.nextSequence;
    for (const page of append.pages) {
      const place = { position: ++this.#lastPosition, stream: head.id, sequence: head.nextSequence++, unitId };
      queries.insertEvent(this.#db, place, correlation, page);
      head.lastCreatedAt = page.createdAt;
      this.#latest = Math.max(this.#latest, page.createdAt);
      if (place.position % queries.TIMES_EVERY === 0) {
        queries.insertTime(this.#db, { latest: this.#latest, position: place.position });
      }
    }
    if (head.changed === 'no') {
      head.changed = 'moved';
      this.#changed.push(head);
    }
    return first;
  }

  #writeHeads(): void {
    if (this.#changed.length === 0) return;
    for (const head of this.#changed) {
      if (head.changed === 'new') queries.insertStream(this.#db, head.key, head);
      else queries.updateStream(this.#db, head);
      head.changed = 'no';
    }
    this.#changed = [];
    queries.setLastPosition(this.#db, this.#lastPosition);
    if (this.#heads.size > HEADS_MAX) this.#heads.clear();
  }

  #nextSequence(stream: StreamKey): number {
    return this.#head(stream)?.nextSequence ?? 0;
  }

  #head(key: StreamKey): Head | undefined {
    const text = streamText(key);
    const known = this.#heads.get(text);
    if (known !== undefined) return known;
    const row = queries.findStream(this.#db, key);
    if (row === undefined) return undefined;
    const head: Head = { ...row, key: copyKey(key), changed: 'no' };
    this.#heads.set(text, head);
    return head;
  }

  #newHead(key: StreamKey): Head {
    const id = ++this.#lastStreamId;
    const head: Head = { id, nextSequence: 0, lastCreatedAt: 0, key: copyKey(key), changed: 'new' };
    this.#heads.set(streamText(key), head);
    this.#changed.push(head);
    return head;
  }
}

/** Only a record of the unit itself can tell that such a unit is a repeat. */
function expectsNothing(unit: UnitRows): boolean {
  return (
    unit.appends.length > 0 && unit.appends.every(({ expect }) => expect.kind === 'any' || expect.kind === 'exists')
  );
}

/** Lest a head that is remembered keeps a whole message in memory. */
function copyKey(key: StreamKey): StreamKey {
  return { tenant: key.tenant, domain: key.domain, root: key.root.slice() };
}
