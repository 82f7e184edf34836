-- The log and what belongs to it from the first day. Three decisions that later migrations rely on:
--
-- - Positions are given by the one writer from a counter of its own (log.last_position), never by SQLite: a rowid
--   can be given twice, a position cannot.
-- - Events name their stream by a small number. Tenant, domain, root and slice stand once in streams, beside the head,
--   so that a row is little more than its payload.
-- - Events are never changed or removed; two triggers see to that.

CREATE TABLE log (
  id            INTEGER PRIMARY KEY CHECK (id = 1),
  log_id        TEXT NOT NULL,
  incarnation   TEXT NOT NULL,
  last_position INTEGER NOT NULL
) STRICT;

CREATE TABLE streams (
  id              INTEGER PRIMARY KEY,
  tenant          TEXT NOT NULL,
  domain          TEXT NOT NULL,
  root            BLOB NOT NULL,
  slice           INTEGER NOT NULL,
  next_sequence   INTEGER NOT NULL,
  last_created_at INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX streams_by_key ON streams (tenant, domain, root);

-- Times are microseconds since 1970. origin and metadata are JSON, NULL when empty; payloads are bytes and stay bytes.
CREATE TABLE events (
  position          INTEGER PRIMARY KEY,
  stream            INTEGER NOT NULL,
  sequence          INTEGER NOT NULL,
  unit_id           BLOB NOT NULL,
  created_at        INTEGER NOT NULL,
  occurred_at       INTEGER,
  correlation_id    TEXT NOT NULL,
  correlation_slice INTEGER NOT NULL,
  type_url          TEXT NOT NULL,
  origin            TEXT,
  metadata          TEXT,
  payload           BLOB NOT NULL
) STRICT;

-- When the log reached which time: the latest created_at of all events up to a position, for every 1,024th position. With it
-- the first event since a time is found by looking at no more than 1,024 events, and no index on all of them is needed.
-- Clocks of daemons differ, so created_at itself may go back from one position to the next; its maximum does not.
CREATE TABLE times (
  latest   INTEGER NOT NULL,
  position INTEGER NOT NULL,
  PRIMARY KEY (latest, position)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX events_by_stream ON events (stream, sequence);
CREATE INDEX events_by_correlation ON events (correlation_id);

CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
BEGIN SELECT raise(ABORT, 'events are never changed'); END;

CREATE TRIGGER events_are_never_removed BEFORE DELETE ON events
BEGIN SELECT raise(ABORT, 'events are never removed'); END;

-- Units that expect nothing of the streams they write, such as facts: only here can a repeat of one be noticed. Every
-- other unit is found by its id at the sequence it expects.
CREATE TABLE units (
  unit_id  BLOB PRIMARY KEY,
  position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- retention: 0 latest, 1 keep.
CREATE TABLE snapshots (
  stream         INTEGER NOT NULL,
  schema_version INTEGER NOT NULL,
  sequence       INTEGER NOT NULL,
  retention      INTEGER NOT NULL,
  type_url       TEXT NOT NULL,
  state          BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX snapshots_by_stream ON snapshots (stream, schema_version, sequence);

-- kind: client, fact or reaction. The position is that of the unit's first event, or of the log's end without events. Only
-- outcomes that somebody may look for by their correlation id carry one: those of ordinary commands are found by the events.
CREATE TABLE outcomes (
  tenant         TEXT NOT NULL,
  kind           TEXT NOT NULL,
  key            TEXT NOT NULL,
  hash           BLOB NOT NULL,
  body           BLOB NOT NULL,
  unit_id        BLOB NOT NULL,
  position       INTEGER NOT NULL,
  expires_at     INTEGER,
  correlation_id TEXT
) STRICT;

CREATE UNIQUE INDEX outcomes_by_key ON outcomes (tenant, kind, key);
CREATE INDEX outcomes_by_expiry ON outcomes (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX outcomes_by_correlation ON outcomes (tenant, correlation_id, position, kind, key)
  WHERE correlation_id IS NOT NULL;
