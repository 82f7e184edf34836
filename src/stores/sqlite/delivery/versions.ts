// The counter of versions, and the units that are known by their id alone: one function per statement.

import type { DatabaseSync } from 'node:sqlite';
import { get, run, statement } from '../statements.ts';

export const SQL = {
  findLastVersion: 'SELECT last_version FROM log WHERE id = 1',
  setLastVersion: 'UPDATE log SET last_version = ? WHERE id = 1',
  findWorkUnit: 'SELECT position FROM work_units WHERE unit_id = ?',
  insertWorkUnit: 'INSERT INTO work_units (unit_id, position) VALUES (?, ?)',
  deleteWorkUnits: 'DELETE FROM work_units WHERE id <= ?',
} as const;

export function findLastVersion(db: DatabaseSync): number {
  return get<[number]>(db, SQL.findLastVersion)![0];
}

export function setLastVersion(db: DatabaseSync, version: number): void {
  run(db, SQL.setLastVersion, version);
}

export function findWorkUnit(db: DatabaseSync, unitId: Uint8Array): number | undefined {
  return get<[number]>(db, SQL.findWorkUnit, unitId)?.[0];
}

/** Returns its id. */
export function insertWorkUnit(db: DatabaseSync, unitId: Uint8Array, position: number): number {
  return Number(statement(db, SQL.insertWorkUnit).run(unitId, position).lastInsertRowid);
}

export function deleteWorkUnits(db: DatabaseSync, upTo: number): void {
  run(db, SQL.deleteWorkUnits, upTo);
}
