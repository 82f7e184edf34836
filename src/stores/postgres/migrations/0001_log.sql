-- The log and what belongs to it from the first day. What later migrations rely on:
--
-- - Positions are given inside the committing transaction, under an advisory lock of the log, from the log's own index. No row is
--   updated for it, so nothing decays beside a snapshot that somebody holds open for long.
-- - That a stream has each sequence once is held by that lock: a stream's next sequence is read behind it, as the last entry of the index
--   by stream. So no unique index needs the sequence, the log can lie in partitions by position, and no row is updated for that either.
-- - Events name their stream by a small number. Tenant, domain, root and slice stand once in streams, whose rows do not change; but in
--   a log of several partitions they say in which of them the last event lies, once for each.
-- - Events are never changed or removed; triggers see to that, also when whole tables are emptied.
-- - Texts compare as their UTF-8 does, whatever the database's collation.

CREATE TABLE log (
  id               boolean PRIMARY KEY DEFAULT true CHECK (id),
  log_id           uuid NOT NULL,
  incarnation      uuid NOT NULL,
  -- Where this log lay when its incarnation was made: see log_place().
  place            text NOT NULL,
  -- So many positions lie in one partition; 0: the log is one table.
  partition_events bigint NOT NULL
);

CREATE SEQUENCE stream_ids;

CREATE TABLE streams (
  id     bigint PRIMARY KEY,
  tenant text COLLATE "C" NOT NULL,
  domain text COLLATE "C" NOT NULL,
  root   bytea NOT NULL,
  slice  smallint NOT NULL,
  -- The first position of the partition in which its last event lies, or of one before; 0 when the log is one table. Whoever looks for the
  -- last event names this as the only bound: of two bounds PostgreSQL thinks that they leave next to nothing, and reads everything between them.
  since  bigint NOT NULL
) WITH (fillfactor = 90);

CREATE UNIQUE INDEX streams_by_key ON streams (tenant, domain, root);

-- Times are microseconds since 1970. origin and metadata are JSON as text, NULL when empty; payloads are bytes and stay bytes.
DO $$
DECLARE
  size bigint := coalesce(nullif(current_setting('daybook.partition_events', true), ''), '0')::bigint;
BEGIN
  EXECUTE 'CREATE TABLE events (
    position          bigint NOT NULL,
    stream            bigint NOT NULL,
    sequence          bigint NOT NULL,
    created_at        bigint NOT NULL,
    occurred_at       bigint,
    unit_id           uuid NOT NULL,
    correlation_slice smallint NOT NULL,
    correlation_id    text COLLATE "C" NOT NULL,
    type_url          text COLLATE "C" NOT NULL,
    origin            text,
    metadata          text,
    payload           bytea NOT NULL,
    PRIMARY KEY (position)
  )' || CASE WHEN size > 0 THEN ' PARTITION BY RANGE (position)' ELSE '' END;
  INSERT INTO log (log_id, incarnation, place, partition_events)
    VALUES (gen_random_uuid(), gen_random_uuid(), '', size);
END
$$;

CREATE INDEX events_by_stream ON events (stream, sequence);
CREATE INDEX events_by_correlation ON events (correlation_id, position);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'events are never % (%)', CASE TG_OP WHEN 'UPDATE' THEN 'changed' ELSE 'removed' END, TG_TABLE_NAME
    USING ERRCODE = 'DBK13';
END
$$;

CREATE TRIGGER events_are_never_changed BEFORE UPDATE OR DELETE ON events
  FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER events_are_never_truncated BEFORE TRUNCATE ON events
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Makes the partitions that the next positions need, and one more. It runs with the rights of whoever migrated, so that the daemon's
-- role need not be able to make tables. A table is made first and attached then: that does not stop readers and writers.
CREATE FUNCTION make_partitions() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  size bigint;
  last bigint;
  part text;
BEGIN
  SELECT partition_events INTO size FROM log;
  IF size = 0 THEN RETURN; END IF;
  PERFORM pg_advisory_xact_lock(hashtextextended('daybook partitions ' || log_id, 0)) FROM log;
  SELECT coalesce(max(position), 0) INTO last FROM events;
  FOR n IN (last + 1) / size .. (last + 1) / size + 2 LOOP
    part := format('events_%s', n);
    CONTINUE WHEN to_regclass(part) IS NOT NULL;
    EXECUTE format('CREATE TABLE %I (LIKE events INCLUDING DEFAULTS)', part);
    EXECUTE format('CREATE TRIGGER events_are_never_truncated BEFORE TRUNCATE ON %I
      FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', part);
    EXECUTE format('ALTER TABLE events ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', part, n * size, (n + 1) * size);
  END LOOP;
END
$$;

SELECT make_partitions();

-- When the log reached which time: the latest created_at of all events up to a position, for every 1,024th position. With it
-- the first event since a time is found by looking at no more than 1,024 events, and no index on all of them is needed.
-- Clocks of daemons differ, so created_at itself may go back from one position to the next; its maximum does not.
CREATE TABLE times (
  latest   bigint NOT NULL,
  position bigint NOT NULL,
  PRIMARY KEY (latest, position)
);

-- Units that expect nothing of the streams they write, such as facts: only here can a repeat of one be noticed. Every
-- other unit is found by its id at the sequence it expects.
CREATE TABLE units (
  unit_id  uuid PRIMARY KEY,
  position bigint NOT NULL
);

-- retention: 0 latest, 1 keep.
CREATE TABLE snapshots (
  stream         bigint NOT NULL,
  schema_version bigint NOT NULL,
  sequence       bigint NOT NULL,
  retention      smallint NOT NULL,
  type_url       text NOT NULL,
  state          bytea NOT NULL,
  PRIMARY KEY (stream, schema_version, sequence)
) WITH (autovacuum_vacuum_scale_factor = 0.05);

-- kind: client, fact or reaction. The position is that of the unit's first event, or of the log's end without events. Only
-- outcomes that somebody may look for by their correlation id carry one: those of ordinary commands are found by the events.
CREATE TABLE outcomes (
  tenant         text COLLATE "C" NOT NULL,
  kind           text COLLATE "C" NOT NULL,
  key            text COLLATE "C" NOT NULL,
  position       bigint NOT NULL,
  expires_at     bigint,
  unit_id        uuid NOT NULL,
  hash           bytea NOT NULL,
  body           bytea NOT NULL,
  correlation_id text COLLATE "C",
  CONSTRAINT outcomes_by_key PRIMARY KEY (tenant, kind, key)
) WITH (autovacuum_vacuum_scale_factor = 0.05);

CREATE INDEX outcomes_by_expiry ON outcomes (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX outcomes_by_correlation ON outcomes (tenant, correlation_id, position, kind, key)
  WHERE correlation_id IS NOT NULL;

-- Which database this log lies in: the cluster, its timeline (which changes when a standby is promoted or a backup is restored), and
-- the numbers of database and table (which change when a dump is loaded). What the role may not see is left out.
CREATE FUNCTION log_place() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  cluster text := '-';
  timeline text := '-';
BEGIN
  BEGIN
    SELECT system_identifier INTO cluster FROM pg_control_system();
  EXCEPTION WHEN insufficient_privilege THEN NULL;
  END;
  BEGIN
    timeline := left(pg_walfile_name(pg_current_wal_lsn()), 8);
  EXCEPTION WHEN insufficient_privilege THEN NULL;
  END;
  RETURN format('%s/%s/%s/%s', cluster, timeline,
    (SELECT oid FROM pg_database WHERE datname = current_database()), 'log'::regclass::oid);
END
$$;
ALTER FUNCTION log_place() SET search_path FROM CURRENT;

-- Who this log is. In another place than before it was restored, or a standby took over: a new incarnation, made by whoever comes first.
CREATE FUNCTION recognise_log() RETURNS TABLE (log_id uuid, incarnation uuid) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  here text := log_place();
BEGIN
  IF (SELECT place FROM log) <> here THEN
    PERFORM pg_advisory_xact_lock(hashtext('daybook log'), 'log'::regclass::oid::integer);
    UPDATE log SET incarnation = CASE place WHEN '' THEN incarnation ELSE gen_random_uuid() END, place = here
      WHERE place <> here;
  END IF;
  RETURN QUERY SELECT log_id, incarnation FROM log;
END
$$;
ALTER FUNCTION recognise_log() SET search_path FROM CURRENT;
