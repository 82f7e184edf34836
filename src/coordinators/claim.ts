// A row of the outbox on its way into the log: what it wants happens in the unit in which it goes.

import type { Rejection } from '../model/book.ts';
import type { OutcomeKey, WorkPart } from '../store.ts';

export interface Claim {
  /** Under which a rejection is remembered, so that people and waiting callers find it. */
  readonly key: OutcomeKey;
  /** Goes into the unit of the outcome. */
  work(rejection: Rejection | undefined): WorkPart;
}

/** Somebody else has taken or changed the row; nothing was stored. */
export class ClaimLost extends Error {
  constructor(what: string) {
    super(what);
    this.name = 'ClaimLost';
  }
}
