// The one place where errors of the database get their meaning: by SQLSTATE and by the names of constraints, never by text.

import pg from 'pg';
import { DaybookError } from '../../errors.ts';
import { outcomeTwice, snapshotBeyondEnd } from '../unit-rules.ts';

/** The connection was lost, or never came about. */
export class Lost extends Error {
  /** Whether the statement may have reached the database. */
  readonly sent: boolean;

  constructor(why: string, sent: boolean, cause: unknown) {
    super(why, { cause });
    this.sent = sent;
  }
}

/** Somebody else wrote the same at the same moment: the next try finds it there. */
export function isRace(error: unknown): boolean {
  if (!(error instanceof pg.DatabaseError)) return false;
  if (RETRIED.has(error.code ?? '')) return true;
  return error.code === UNIQUE_VIOLATION && RACES.has(error.constraint ?? '');
}

/** A row of the log found no table to lie in. */
export function isPartitionMissing(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === CHECK_VIOLATION;
}

const CHECK_VIOLATION = '23514';
const UNIQUE_VIOLATION = '23505';
const SERIALIZATION_FAILURE = '40001';
const DEADLOCK_DETECTED = '40P01';
const RETRIED = new Set([SERIALIZATION_FAILURE, DEADLOCK_DETECTED]);

/** Those that pass by themselves, or when somebody starts the server again: whoever waits is not told to mend anything. */
const PASSING = new Set(['08', '53', '57', '25006']);
/** When asking again makes sense. */
const PASSING_MS = 1000;

/** What two transactions may insert at once that do not wait for each other before. */
const RACES = new Set([
  'outcomes_by_key',
  'work_units_by_unit',
  'done_by_position',
  'parked_by_key',
  'outbox_by_key',
  'timers_by_key',
  'snapshots_pkey',
  'units_pkey',
]);

/** Codes, or the classes that their first two characters name, of a database that cannot be used now. */
const UNAVAILABLE = new Set([
  '08', // connection
  '28', // authorization
  '3D', // no such database
  '3F', // no such schema
  '40', // rolled back
  '53', // resources
  '55', // locks, and what is not in the right state
  '57', // an operator intervened
  '58', // the system
  '25006', // read-only: a standby, or a primary that became one
  '42501', // rights
  '42P01', // no such table: nobody migrated
  '42883', // no such function: the same
  'DBK01', // our own: the isolation is not READ COMMITTED
  'XX', // damaged
]);

/** What `thrown` means to the daemon. `writing`: a statement that changes something was under way. */
export function translate(thrown: unknown, writing: boolean, description: string): DaybookError {
  if (thrown instanceof DaybookError) return thrown;
  if (thrown instanceof Lost) {
    if (writing && thrown.sent) return unknown(description, thrown.message, thrown);
    return unavailable(description, thrown.message, thrown, true);
  }
  if (!(thrown instanceof pg.DatabaseError)) {
    return new DaybookError('INTERNAL', 'a defect in the store', { cause: thrown });
  }
  const { code = '', message } = thrown;
  if (code === 'DBK02') return outcomeTwice();
  if (code === 'DBK03') return snapshotBeyondEnd();
  if (isRace(thrown)) return unavailable(description, 'others write the same again and again', thrown, true);
  if (!UNAVAILABLE.has(code) && !UNAVAILABLE.has(code.slice(0, 2))) {
    return new DaybookError('INTERNAL', `the store failed: ${message} (${code})`, { cause: thrown });
  }
  // An error ends the transaction, and nothing of it is stored. One that ends the session may come after the commit.
  if (writing && thrown.severity !== 'ERROR') return unknown(description, message, thrown);
  return unavailable(description, message, thrown, PASSING.has(code) || PASSING.has(code.slice(0, 2)));
}

/** `passing`: it may be used again without anybody mending anything here. */
export function unavailable(description: string, why: string, cause?: unknown, passing = false): DaybookError {
  const details = { cause, ...(passing && { retryDelayMs: PASSING_MS }) };
  return new DaybookError('STORE_UNAVAILABLE', `${description} cannot be used: ${why}`, details);
}

function unknown(description: string, why: string, cause: unknown): DaybookError {
  return new DaybookError('OUTCOME_UNKNOWN', `${description}: ${why}, in the middle of a commit`, { cause });
}
