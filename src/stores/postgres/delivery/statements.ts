// The texts of delivery's statements for a schema; what a unit changes is in migrations/0003_commit.sql.

import { quoted } from '../migrate.ts';

const SUBSCRIPTION = 'name, generation, kind, version, domains, types, partitions, start_after, sync, paused';
const CURSOR = 'subscription, generation, partition, position, epoch, owner, definition_version';
const PARTITION = 'subscription = $1 AND generation = $2 AND partition = $3';
const PARKED = `subscription, generation, partition, key, state, position, first_position, through, attempts, due_at,
  parked_at, reason, message, version`;
const OUTBOX = `log_id, incarnation, subscription, generation, position, index, partition, lane, state, tenant, domain,
  root, correlation_id, kind, body, attempts, due_at, expires_at, created_at, reason, message, version`;
const OUTBOX_PLACE = 'subscription, generation, position, index, log_id, incarnation';
const TIMER = 'tenant, subscription, process, name, partition, correlation_id, due_at, body, version';
const PROJECTION = `projector, generation, tenant, key, stream_tenant, stream_domain, stream_root, sequence, position,
  type_url, payload`;

/** A test pins how PostgreSQL executes the hot ones. */
export function deliverySql(schema: string) {
  const s = quoted(schema);
  const outboxAfter = `FROM ${s}.outbox WHERE (${OUTBOX_PLACE}) > ($1, $2, $3, $4, $5, $6) AND subscription <= $7`;
  const projections = (lower: string, upper: string) => `SELECT ${PROJECTION} FROM ${s}.projections
    WHERE projector = $1 AND generation = $2 AND tenant = $3 AND key ${lower} $4 ${upper} AND type_url IS NOT NULL
    ORDER BY key LIMIT $5`;
  return {
    heartbeat: `SELECT instance, body, heartbeat_at, expires_at FROM ${s}.heartbeat($1, $2, $3, $4)`,
    leave: `SELECT ${s}.leave($1)`,
    declare: `SELECT ${SUBSCRIPTION} FROM ${s}.declare_subscription($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
    listSubscriptions: `SELECT ${SUBSCRIPTION} FROM ${s}.subscriptions ORDER BY name, generation`,
    setPaused: `UPDATE ${s}.subscriptions SET paused = $2 WHERE name = $1`,
    removeGeneration: `SELECT ${s}.remove_generation($1, $2, $3)`,
    listCursors: `SELECT ${CURSOR} FROM ${s}.cursors WHERE subscription >= $1 AND subscription <= $2
      ORDER BY subscription, generation, partition`,
    acquire: `SELECT at, new_epoch, taken_from FROM ${s}.acquire($1, $2, $3, $4, $5, $6)`,
    release: `UPDATE ${s}.cursors SET owner = NULL WHERE ${PARTITION} AND epoch = $4`,
    listDone: `SELECT position FROM ${s}.done WHERE ${PARTITION} ORDER BY position`,
    findParked: `SELECT ${PARKED} FROM ${s}.parked WHERE ${PARTITION} AND key = $4`,
    listParked: `SELECT ${PARKED} FROM ${s}.parked
      WHERE (subscription, generation, partition, key) > ($1, $2, $3, $4)
        AND (subscription, generation, partition) <= ($5, $6, $7) AND ($8::text IS NULL OR state = $8)
      ORDER BY subscription, generation, partition, key LIMIT $9`,
    countParked: `SELECT subscription, generation, state, count(*) FROM ${s}.parked
      GROUP BY subscription, generation, state ORDER BY subscription, generation, state`,
    dueOutbox: `SELECT ${OUTBOX} FROM ${s}.outbox WHERE ${PARTITION} AND due_at <= $4 AND head AND state = 'ready'
      ORDER BY due_at, position, index, id LIMIT $5`,
    nextOutboxDue: `SELECT due_at FROM ${s}.outbox WHERE ${PARTITION} AND head AND state = 'ready' ORDER BY due_at LIMIT 1`,
    dueForwarded: `SELECT r.* FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS h(host_domain, part, parts)
      CROSS JOIN LATERAL (SELECT ${OUTBOX} FROM ${s}.outbox o
        WHERE o.domain = h.host_domain AND o.due_at <= $4 AND o.head AND o.state = 'forwarded'
          AND o.partition % h.parts = h.part
        ORDER BY o.due_at, o.position, o.index, o.id LIMIT $5) r
      ORDER BY r.due_at, r.position, r.index LIMIT $5`,
    nextDue: `SELECT c.subscription, c.generation, c.partition, o.due_at, t.due_at FROM ${s}.cursors c
      LEFT JOIN LATERAL (SELECT due_at FROM ${s}.outbox x WHERE x.subscription = c.subscription
          AND x.generation = c.generation AND x.partition = c.partition AND x.head AND x.state = 'ready'
        ORDER BY x.due_at LIMIT 1) o ON true
      LEFT JOIN LATERAL (SELECT due_at FROM ${s}.timers x WHERE x.subscription = c.subscription
          AND x.partition = c.partition ORDER BY x.due_at LIMIT 1) t ON true
      WHERE c.owner = $1 AND (o.due_at IS NOT NULL OR t.due_at IS NOT NULL)
      ORDER BY c.subscription, c.generation, c.partition`,
    findOutbox: `SELECT ${OUTBOX} FROM ${s}.outbox WHERE subscription = $1 AND generation = $2 AND position = $3
      AND index = $4 AND log_id = $5 AND incarnation = $6`,
    listOutbox: `SELECT ${OUTBOX} ${outboxAfter} AND ($8::text IS NULL OR state = $8) ORDER BY ${OUTBOX_PLACE} LIMIT $9`,
    listDeadOutbox: `SELECT ${OUTBOX} ${outboxAfter} AND state = 'dead' ORDER BY ${OUTBOX_PLACE} LIMIT $8`,
    // Few rows are of one correlation: those are sorted.
    listCorrelatedOutbox: `SELECT * FROM (SELECT ${OUTBOX} FROM ${s}.outbox
        WHERE correlation_id = $10 AND tenant = $11 OFFSET 0) o
      WHERE (${OUTBOX_PLACE}) > ($1, $2, $3, $4, $5, $6) AND subscription <= $7 AND ($8::text IS NULL OR state = $8)
      ORDER BY ${OUTBOX_PLACE} LIMIT $9`,
    dueTimers: `SELECT ${TIMER} FROM ${s}.timers WHERE subscription = $1 AND partition = $2 AND due_at <= $3
      ORDER BY due_at, tenant, process, name LIMIT $4`,
    nextTimerDue: `SELECT due_at FROM ${s}.timers WHERE subscription = $1 AND partition = $2 ORDER BY due_at LIMIT 1`,
    findTimer: `SELECT ${TIMER} FROM ${s}.timers WHERE subscription = $1 AND tenant = $2 AND process = $3 AND name = $4`,
    findProjections: `SELECT q.n, p.* FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[])
        WITH ORDINALITY q(projector, generation, tenant, key, n)
      CROSS JOIN LATERAL (SELECT ${PROJECTION} FROM ${s}.projections x WHERE x.projector = q.projector
        AND x.generation = q.generation AND x.tenant = q.tenant AND x.key = q.key OFFSET 0) p`,
    findAnyProjection: `SELECT 1 FROM ${s}.projections WHERE projector = $1 AND generation = $2 LIMIT 1`,
    listProjectionsFrom: projections('>=', ''),
    listProjectionsAfter: projections('>', ''),
    listProjectionsFromTo: projections('>=', 'AND key < $6'),
    listProjectionsAfterTo: projections('>', 'AND key < $6'),
    projectionsOf: `SELECT ${PROJECTION} FROM ${s}.projections WHERE projector = $1 AND generation = $2
      AND stream_tenant = $3 AND stream_domain = $4 AND stream_root = $5 AND position >= $6 ORDER BY position, key LIMIT $7`,
    findActive: `SELECT generation FROM ${s}.active_generations WHERE projector = $1`,
    listActive: `SELECT projector, generation FROM ${s}.active_generations ORDER BY projector`,
    switchGeneration: `SELECT ${s}.switch_generation($1, $2, $3)`,
  } as const;
}

export type DeliverySql = ReturnType<typeof deliverySql>;
