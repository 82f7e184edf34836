-- What delivery remembers: subscriptions and how far they are, who holds them, what is held up, what is to be sent and
-- when, and the read models that are kept here. A command writes none of this. Four decisions:
--
-- - Rows that change carry a version from one counter (log.last_version), so that a version never comes twice, not even
--   when its row has gone and comes again.
-- - The first row of each lane of the outbox is marked as its head, when rows are added and when the head goes. So what is due
--   is a range of one small index, however many rows and lanes wait: neither a lane behind its head nor one that is
--   blocked is looked at.
-- - Whatever is looked for by its time has an index that holds only what can be due.
-- - Names and keys stand in the rows as they are: there are few subscriptions, and rows of the outbox do not live long.
--
-- Times are microseconds since 1970, by the store's clock.

ALTER TABLE log ADD COLUMN last_version INTEGER NOT NULL DEFAULT 0;

-- domains and types are JSON arrays, empty for all.
CREATE TABLE subscriptions (
  name        TEXT NOT NULL,
  generation  INTEGER NOT NULL,
  kind        TEXT NOT NULL,
  version     INTEGER NOT NULL,
  domains     TEXT NOT NULL,
  types       TEXT NOT NULL,
  partitions  INTEGER NOT NULL,
  start_after INTEGER NOT NULL,
  sync        INTEGER NOT NULL,
  paused      INTEGER NOT NULL,
  PRIMARY KEY (name, generation)
) STRICT, WITHOUT ROWID;

-- Which generation of a projector its readers get.
CREATE TABLE active_generations (
  projector  TEXT PRIMARY KEY,
  generation INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE instances (
  instance     TEXT PRIMARY KEY,
  body         BLOB NOT NULL,
  heartbeat_at INTEGER NOT NULL,
  expires_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The lease is part of the cursor, so that a take-over and a move of the cursor can never both win.
CREATE TABLE cursors (
  subscription       TEXT NOT NULL,
  generation         INTEGER NOT NULL,
  partition          INTEGER NOT NULL,
  position           INTEGER NOT NULL,
  epoch              INTEGER NOT NULL,
  owner              TEXT,
  definition_version INTEGER NOT NULL,
  PRIMARY KEY (subscription, generation, partition)
) STRICT, WITHOUT ROWID;

-- Finished beyond the cursor.
CREATE TABLE done (
  subscription TEXT NOT NULL,
  generation   INTEGER NOT NULL,
  partition    INTEGER NOT NULL,
  position     INTEGER NOT NULL,
  PRIMARY KEY (subscription, generation, partition, position)
) STRICT, WITHOUT ROWID;

-- state: retrying, dead or draining.
CREATE TABLE parked (
  subscription   TEXT NOT NULL,
  generation     INTEGER NOT NULL,
  partition      INTEGER NOT NULL,
  key            TEXT NOT NULL,
  state          TEXT NOT NULL,
  position       INTEGER NOT NULL,
  first_position INTEGER NOT NULL,
  through        INTEGER NOT NULL,
  attempts       INTEGER NOT NULL,
  due_at         INTEGER NOT NULL,
  parked_at      INTEGER NOT NULL,
  reason         TEXT NOT NULL,
  message        TEXT NOT NULL,
  version        INTEGER NOT NULL,
  PRIMARY KEY (subscription, generation, partition, key)
) STRICT, WITHOUT ROWID;

-- Every move of a cursor asks whether a key has drained.
CREATE INDEX parked_draining ON parked (subscription, generation, partition, through) WHERE state = 'draining';

-- state: ready or dead. head: 1 for the first row of its lane, else 0. expires_at: NULL is never.
CREATE TABLE outbox (
  id             INTEGER PRIMARY KEY,
  log_id         TEXT NOT NULL,
  incarnation    TEXT NOT NULL,
  subscription   TEXT NOT NULL,
  generation     INTEGER NOT NULL,
  position       INTEGER NOT NULL,
  "index"        INTEGER NOT NULL,
  partition      INTEGER NOT NULL,
  lane           TEXT NOT NULL,
  head           INTEGER NOT NULL,
  state          TEXT NOT NULL,
  tenant         TEXT NOT NULL,
  domain         TEXT NOT NULL,
  root           BLOB NOT NULL,
  correlation_id TEXT NOT NULL,
  kind           TEXT NOT NULL,
  body           BLOB NOT NULL,
  attempts       INTEGER NOT NULL,
  due_at         INTEGER NOT NULL,
  expires_at     INTEGER,
  created_at     INTEGER NOT NULL,
  reason         TEXT NOT NULL,
  message        TEXT NOT NULL,
  version        INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX outbox_by_key ON outbox (subscription, generation, position, "index", log_id, incarnation);
CREATE INDEX outbox_by_lane ON outbox (subscription, generation, partition, lane, position, "index");
CREATE INDEX outbox_by_correlation ON outbox (correlation_id, tenant);
CREATE INDEX outbox_due ON outbox (subscription, generation, partition, due_at, position, "index")
  WHERE head = 1 AND state = 'ready';
CREATE INDEX outbox_dead ON outbox (subscription, generation, position, "index", log_id, incarnation)
  WHERE state = 'dead';

CREATE TABLE timers (
  tenant         TEXT NOT NULL,
  subscription   TEXT NOT NULL,
  process        TEXT NOT NULL,
  name           TEXT NOT NULL,
  partition      INTEGER NOT NULL,
  correlation_id TEXT NOT NULL,
  due_at         INTEGER NOT NULL,
  body           BLOB NOT NULL,
  version        INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX timers_by_key ON timers (subscription, tenant, process, name);
CREATE INDEX timers_due ON timers (subscription, partition, due_at, tenant, process, name);

-- type_url and payload are NULL when the row is gone, which is remembered.
CREATE TABLE projections (
  projector     TEXT NOT NULL,
  generation    INTEGER NOT NULL,
  tenant        TEXT NOT NULL,
  key           TEXT NOT NULL,
  stream_tenant TEXT NOT NULL,
  stream_domain TEXT NOT NULL,
  stream_root   BLOB NOT NULL,
  sequence      INTEGER NOT NULL,
  position      INTEGER NOT NULL,
  type_url      TEXT,
  payload       BLOB
) STRICT;

CREATE UNIQUE INDEX projections_by_key ON projections (projector, generation, tenant, key);

-- Units with neither events nor outcomes, the latest of them: only here can a repeat of one be noticed. Ids grow with each
-- unit, so that the oldest go by them.
CREATE TABLE work_units (
  id       INTEGER PRIMARY KEY,
  unit_id  BLOB NOT NULL,
  position INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX work_units_by_unit ON work_units (unit_id);
