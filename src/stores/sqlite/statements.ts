import type { DatabaseSync, StatementSync } from 'node:sqlite';

/** What SQLite takes and gives. */
export type Parameter = string | number | null | Uint8Array;

const prepared = new WeakMap<DatabaseSync, Map<string, StatementSync>>();

/** Prepared once per connection; rows come as arrays. */
export function statement(db: DatabaseSync, sql: string): StatementSync {
  let known = prepared.get(db);
  if (known === undefined) {
    known = new Map();
    prepared.set(db, known);
  }
  let found = known.get(sql);
  if (found === undefined) {
    found = db.prepare(sql);
    found.setReturnArrays(true);
    known.set(sql, found);
  }
  return found;
}

export function get<Row>(db: DatabaseSync, sql: string, ...parameters: Parameter[]): Row | undefined {
  return statement(db, sql).get(...parameters) as unknown as Row | undefined;
}

export function all<Row>(db: DatabaseSync, sql: string, ...parameters: Parameter[]): Row[] {
  return statement(db, sql).all(...parameters) as unknown as Row[];
}

/** Returns how many rows it changed. */
export function run(db: DatabaseSync, sql: string, ...parameters: Parameter[]): number {
  return Number(statement(db, sql).run(...parameters).changes);
}
