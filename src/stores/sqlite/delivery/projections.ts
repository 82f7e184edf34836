// Read models: one function per statement.

import type { DatabaseSync } from 'node:sqlite';
import type { DeliveryStore, ProjectionKey, ProjectionRow } from '../../../store.ts';
import { comparePlaces } from '../../order.ts';
import { all, get, run } from '../statements.ts';

const PROJECTION = `projector, generation, tenant, key, stream_tenant, stream_domain, stream_root, sequence, position,
  type_url, payload`;

export const SQL = {
  findProjection: `SELECT ${PROJECTION} FROM projections
    WHERE projector = ? AND generation = ? AND tenant = ? AND key = ?`,
  putProjection: `INSERT INTO projections (${PROJECTION}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (projector, generation, tenant, key) DO UPDATE
    SET stream_tenant = excluded.stream_tenant, stream_domain = excluded.stream_domain,
      stream_root = excluded.stream_root, sequence = excluded.sequence, position = excluded.position,
      type_url = excluded.type_url, payload = excluded.payload`,
  listProjections: `SELECT ${PROJECTION} FROM projections
    WHERE projector = ? AND generation = ? AND tenant = ? AND key >= ? AND key < ? AND type_url IS NOT NULL
    ORDER BY key LIMIT ?`,
  projectionsOf: `SELECT ${PROJECTION} FROM projections
    WHERE projector = ? AND generation = ? AND stream_tenant = ? AND stream_domain = ? AND stream_root = ? AND position >= ?
    ORDER BY position, key LIMIT ?`,
  deleteProjections: `DELETE FROM projections WHERE rowid IN
    (SELECT rowid FROM projections WHERE projector = ? AND generation = ? LIMIT ?)`,
  findAnyProjection: 'SELECT 1 FROM projections WHERE projector = ? AND generation = ? LIMIT 1',
} as const;

type ProjectionTuple = [
  projector: string,
  generation: number,
  tenant: string,
  key: string,
  streamTenant: string,
  streamDomain: string,
  streamRoot: Uint8Array,
  sequence: number,
  position: number,
  typeUrl: string | null,
  payload: Uint8Array | null,
];

function projectionRow(row: ProjectionTuple): ProjectionRow {
  const [projector, generation, tenant, key, streamTenant, domain, root, sequence, position, typeUrl, value] = row;
  return {
    projector,
    generation,
    tenant,
    key,
    stream: { tenant: streamTenant, domain, root },
    sequence,
    position,
    payload: typeUrl === null ? undefined : { typeUrl, value: value! },
  };
}

export function findProjection(db: DatabaseSync, key: ProjectionKey): ProjectionRow | undefined {
  const row = get<ProjectionTuple>(db, SQL.findProjection, key.projector, key.generation, key.tenant, key.key);
  return row && projectionRow(row);
}

export function putProjection(db: DatabaseSync, row: ProjectionRow): void {
  const { projector, generation, tenant, key, stream, sequence, position, payload } = row;
  run(
    db,
    SQL.putProjection,
    projector,
    generation,
    tenant,
    key,
    stream.tenant,
    stream.domain,
    stream.root,
    sequence,
    position,
    payload?.typeUrl ?? null,
    payload?.value ?? null,
  );
}

export function listProjections(
  db: DatabaseSync,
  list: Parameters<DeliveryStore['listProjections']>[0],
): ProjectionRow[] {
  const { tenant, projector, generation, prefix, after, limit } = list;
  const next = after === undefined ? prefix : behind(after);
  const from = comparePlaces([next], [prefix]) > 0 ? next : prefix;
  const to = behindPrefix(prefix);
  return all<ProjectionTuple>(db, SQL.listProjections, projector, generation, tenant, from, to, limit).map(
    projectionRow,
  );
}

export function projectionsOf(db: DatabaseSync, of: Parameters<DeliveryStore['projectionsOf']>[0]): ProjectionRow[] {
  const { stream, projector, generation, from, limit } = of;
  const { tenant, domain, root } = stream;
  const rows = all<ProjectionTuple>(db, SQL.projectionsOf, projector, generation, tenant, domain, root, from, limit);
  return rows.map(projectionRow);
}

/** Returns how many. */
export function deleteProjections(db: DatabaseSync, projector: string, generation: number, limit: number): number {
  return run(db, SQL.deleteProjections, projector, generation, limit);
}

export function hasProjections(db: DatabaseSync, projector: string, generation: number): boolean {
  return get(db, SQL.findAnyProjection, projector, generation) !== undefined;
}

/** The first that sorts behind every text with the prefix; bytes sort behind all texts. */
function behindPrefix(prefix: string): string | Uint8Array {
  const characters = [...prefix];
  while (characters.length > 0) {
    const last = characters.pop()!.codePointAt(0)!;
    if (last === 0x10ffff) continue;
    // What lies between is no character.
    return characters.join('') + String.fromCodePoint(last === 0xd7ff ? 0xe000 : last + 1);
  }
  return new Uint8Array(0);
}

/** The next text: none lies between, as none contains a NUL. */
function behind(text: string): string {
  return `${text}\0`;
}
