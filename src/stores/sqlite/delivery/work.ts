// The work parts of units, for the writer.

import type { DatabaseSync } from 'node:sqlite';
import type { OutboxKey, OutboxRow, WorkPart } from '../../../store.ts';
import { comparePlaces } from '../../order.ts';
import { fencedBy, REPEATS_KEPT, type WorkState } from '../../work-rules.ts';
import * as outbox from './outbox.ts';
import * as parked from './parked.ts';
import * as projections from './projections.ts';
import * as subscriptions from './subscriptions.ts';
import * as timers from './timers.ts';
import * as versions from './versions.ts';

export class WorkWriter {
  readonly #db: DatabaseSync;
  readonly #state: WorkState;
  #lastVersion = 0;
  #storedVersion = 0;
  #lastWorkUnit = 0;

  constructor(db: DatabaseSync) {
    this.#db = db;
    this.#state = {
      cursor: (partition) => subscriptions.findCursor(db, partition),
      isDone: (partition, position) => parked.isDone(db, partition, position),
      parkedVersion: (partition, key) => parked.findParkedVersion(db, partition, key),
      outboxVersion: (key) => outbox.findOutboxVersion(db, key),
      timerVersion: (key) => timers.findTimerVersion(db, key),
    };
    this.readEnds();
  }

  /** After a transaction failed. */
  readEnds(): void {
    this.#lastVersion = versions.findLastVersion(this.#db);
    this.#storedVersion = this.#lastVersion;
    this.#lastWorkUnit = 0;
  }

  /** At the end of a transaction. */
  writeEnds(): void {
    if (this.#lastVersion !== this.#storedVersion) versions.setLastVersion(this.#db, this.#lastVersion);
    this.#storedVersion = this.#lastVersion;
    if (this.#lastWorkUnit > REPEATS_KEPT) versions.deleteWorkUnits(this.#db, this.#lastWorkUnit - REPEATS_KEPT);
    this.#lastWorkUnit = 0;
  }

  /** The position of a unit that is known by its id alone. */
  findAlone(unitId: Uint8Array): number | undefined {
    return versions.findWorkUnit(this.#db, unitId);
  }

  rememberAlone(unitId: Uint8Array, position: number): void {
    this.#lastWorkUnit = versions.insertWorkUnit(this.#db, unitId, position);
  }

  /** What the work part builds on and is not so any more. */
  fencedBy(work: WorkPart): string | undefined {
    return fencedBy(work, this.#state);
  }

  write(work: WorkPart): void {
    const db = this.#db;
    for (const { partition, position } of work.done) parked.insertDone(db, partition, position);
    for (const { partition, key, row } of work.parked) {
      if (row === undefined) parked.deleteParked(db, partition, key);
      else parked.putParked(db, row, ++this.#lastVersion);
    }
    for (const row of work.outboxAdded) this.#addToOutbox(row);
    for (const { key, row } of work.outboxChanged) {
      if (row === undefined) this.#removeFromOutbox(key);
      else outbox.updateOutbox(db, row, ++this.#lastVersion);
    }
    for (const { key, row } of work.timers) {
      if (row === undefined) timers.deleteTimer(db, key);
      else timers.putTimer(db, row, ++this.#lastVersion);
    }
    for (const { tenant, subscription, process } of work.timersEnded) {
      timers.deleteTimersOfProcess(db, subscription, tenant, process);
    }
    for (const row of work.projections) projections.putProjection(db, row);
    for (const { partition, to } of work.cursors) {
      subscriptions.moveCursor(db, partition, to);
      parked.deleteDone(db, partition, to);
      parked.deleteDrained(db, partition, to);
    }
  }

  /** Rows of a lane come in order, but for retries; either way the first one is the head. */
  #addToOutbox(row: OutboxRow): void {
    const first = outbox.findFirstOfLane(this.#db, row);
    const isHead = first === undefined || comparePlaces([row.position, row.index], [first.position, first.index]) < 0;
    if (isHead && first !== undefined) outbox.setHead(this.#db, first.id, false);
    outbox.insertOutbox(this.#db, row, ++this.#lastVersion, isHead);
  }

  #removeFromOutbox(key: OutboxKey): void {
    const place = outbox.findOutboxPlace(this.#db, key)!;
    outbox.deleteOutbox(this.#db, place.id);
    if (!place.isHead) return;
    const next = outbox.findFirstOfLane(this.#db, place);
    if (next !== undefined) outbox.setHead(this.#db, next.id, true);
  }
}
