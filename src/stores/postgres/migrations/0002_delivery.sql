-- What delivery remembers: subscriptions and how far they are, who holds them, what is held up, what is to be sent and
-- when, and the read models that are kept here. A command writes none of this. Decisions:
--
-- - Rows that change carry a version from one sequence, so that a version never comes twice, not even when its row has gone and
--   comes again.
-- - The first row of each lane of the outbox is marked as its head, when rows are added and when the head goes. So what is due
--   is a range of one small index, however many rows and lanes wait.
-- - Whoever writes for a partition locks its cursor's row first. That is what makes fences hold until the commit, and what keeps the
--   heads of lanes right when two transactions meet.
-- - Small tables that change all the time are vacuumed early and leave room in their pages.
--
-- Times are microseconds since 1970, by the database's clock.

CREATE SEQUENCE versions;

-- domains and types are JSON arrays, empty for all.
CREATE TABLE subscriptions (
  name        text COLLATE "C" NOT NULL,
  generation  bigint NOT NULL,
  kind        text NOT NULL,
  version     bigint NOT NULL,
  domains     text NOT NULL,
  types       text NOT NULL,
  partitions  bigint NOT NULL,
  start_after bigint NOT NULL,
  sync        boolean NOT NULL,
  paused      boolean NOT NULL,
  PRIMARY KEY (name, generation)
);

-- Which generation of a projector its readers get.
CREATE TABLE active_generations (
  projector  text COLLATE "C" PRIMARY KEY,
  generation bigint NOT NULL
);

CREATE TABLE instances (
  instance     text COLLATE "C" PRIMARY KEY,
  body         bytea NOT NULL,
  heartbeat_at bigint NOT NULL,
  expires_at   bigint NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- The lease is part of the cursor, so that a take-over and a move of the cursor can never both win.
CREATE TABLE cursors (
  subscription       text COLLATE "C" NOT NULL,
  generation         bigint NOT NULL,
  partition          bigint NOT NULL,
  position           bigint NOT NULL,
  epoch              bigint NOT NULL,
  definition_version bigint NOT NULL,
  owner              text,
  PRIMARY KEY (subscription, generation, partition)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Finished beyond the cursor.
CREATE TABLE done (
  subscription text COLLATE "C" NOT NULL,
  generation   bigint NOT NULL,
  partition    bigint NOT NULL,
  position     bigint NOT NULL,
  CONSTRAINT done_by_position PRIMARY KEY (subscription, generation, partition, position)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000);

-- state: retrying, dead or draining.
CREATE TABLE parked (
  subscription   text COLLATE "C" NOT NULL,
  generation     bigint NOT NULL,
  partition      bigint NOT NULL,
  key            text COLLATE "C" NOT NULL,
  state          text COLLATE "C" NOT NULL,
  position       bigint NOT NULL,
  first_position bigint NOT NULL,
  through        bigint NOT NULL,
  attempts       bigint NOT NULL,
  due_at         bigint NOT NULL,
  parked_at      bigint NOT NULL,
  reason         text NOT NULL,
  message        text NOT NULL,
  version        bigint NOT NULL,
  CONSTRAINT parked_by_key PRIMARY KEY (subscription, generation, partition, key)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

-- Every move of a cursor asks whether a key has drained.
CREATE INDEX parked_draining ON parked (subscription, generation, partition, through) WHERE state = 'draining';

-- state: ready or dead. head: whether it is the first row of its lane. expires_at: NULL is never.
CREATE TABLE outbox (
  id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  log_id         text COLLATE "C" NOT NULL,
  incarnation    text COLLATE "C" NOT NULL,
  subscription   text COLLATE "C" NOT NULL,
  generation     bigint NOT NULL,
  position       bigint NOT NULL,
  index          bigint NOT NULL,
  partition      bigint NOT NULL,
  lane           text COLLATE "C" NOT NULL,
  head           boolean NOT NULL,
  state          text COLLATE "C" NOT NULL,
  tenant         text COLLATE "C" NOT NULL,
  domain         text COLLATE "C" NOT NULL,
  root           bytea NOT NULL,
  correlation_id text COLLATE "C" NOT NULL,
  kind           text NOT NULL,
  body           bytea NOT NULL,
  attempts       bigint NOT NULL,
  due_at         bigint NOT NULL,
  expires_at     bigint,
  created_at     bigint NOT NULL,
  reason         text NOT NULL,
  message        text NOT NULL,
  version        bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

CREATE UNIQUE INDEX outbox_by_key ON outbox (subscription, generation, position, index, log_id, incarnation);
-- The lane first: else a plan that was made on an empty table takes this one to find a row by its key.
CREATE INDEX outbox_by_lane ON outbox (lane, subscription, generation, partition, position, index, id);
CREATE INDEX outbox_by_correlation ON outbox (correlation_id, tenant);
CREATE INDEX outbox_due ON outbox (subscription, generation, partition, due_at, position, index, id)
  WHERE head AND state = 'ready';
CREATE INDEX outbox_dead ON outbox (subscription, generation, position, index, log_id, incarnation)
  WHERE state = 'dead';

CREATE TABLE timers (
  tenant         text COLLATE "C" NOT NULL,
  subscription   text COLLATE "C" NOT NULL,
  process        text COLLATE "C" NOT NULL,
  name           text COLLATE "C" NOT NULL,
  partition      bigint NOT NULL,
  correlation_id text NOT NULL,
  due_at         bigint NOT NULL,
  body           bytea NOT NULL,
  version        bigint NOT NULL,
  CONSTRAINT timers_by_key PRIMARY KEY (subscription, tenant, process, name)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

CREATE INDEX timers_due ON timers (subscription, partition, due_at, tenant, process, name);

-- type_url and payload are NULL when the row is gone, which is remembered.
CREATE TABLE projections (
  projector     text COLLATE "C" NOT NULL,
  generation    bigint NOT NULL,
  tenant        text COLLATE "C" NOT NULL,
  key           text COLLATE "C" NOT NULL,
  stream_tenant text COLLATE "C" NOT NULL,
  stream_domain text COLLATE "C" NOT NULL,
  stream_root   bytea NOT NULL,
  sequence      bigint NOT NULL,
  position      bigint NOT NULL,
  type_url      text,
  payload       bytea,
  CONSTRAINT projections_by_key PRIMARY KEY (projector, generation, tenant, key)
) WITH (autovacuum_vacuum_scale_factor = 0.05);

-- A caller that waits for its command's projections asks for those of its aggregate, under whatever keys they are. The root first, as above.
CREATE INDEX projections_by_stream
  ON projections (stream_root, stream_tenant, stream_domain, projector, generation, position, key);

-- Units with neither events nor outcomes, the latest of them: only here can a repeat of one be noticed. Ids grow with each
-- unit, so that the oldest go by them.
CREATE TABLE work_units (
  id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  unit_id  uuid NOT NULL,
  position bigint NOT NULL,
  CONSTRAINT work_units_by_unit UNIQUE (unit_id)
) WITH (autovacuum_vacuum_scale_factor = 0.1);

-- The time that was given (by tests, which own it), or the database's.
CREATE FUNCTION now_micros(given bigint) RETURNS bigint LANGUAGE sql VOLATILE AS $$
  SELECT coalesce(given, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
$$;

CREATE FUNCTION heartbeat(p_now bigint, p_instance text, p_body bytea, p_ttl bigint) RETURNS SETOF instances
LANGUAGE plpgsql AS $$
DECLARE
  now_at bigint := now_micros(p_now);
BEGIN
  -- What another daemon removes at this moment need not be waited for.
  DELETE FROM instances WHERE instance IN
    (SELECT i.instance FROM instances i WHERE i.expires_at <= now_at AND i.instance <> p_instance
      FOR UPDATE SKIP LOCKED);
  INSERT INTO instances VALUES (p_instance, p_body, now_at, now_at + p_ttl)
    ON CONFLICT (instance) DO UPDATE
    SET body = excluded.body, heartbeat_at = excluded.heartbeat_at, expires_at = excluded.expires_at;
  RETURN QUERY SELECT * FROM instances i WHERE i.expires_at > now_at ORDER BY i.instance;
END
$$;

CREATE FUNCTION leave(p_instance text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM instances WHERE instance = p_instance;
  PERFORM 1 FROM cursors WHERE owner = p_instance ORDER BY subscription, generation, partition FOR NO KEY UPDATE;
  UPDATE cursors SET owner = NULL WHERE owner = p_instance;
END
$$;

CREATE FUNCTION declare_subscription(p_name text, p_generation bigint, p_kind text, p_version bigint, p_domains text,
  p_types text, p_partitions bigint, p_start_after bigint, p_sync boolean, p_paused boolean) RETURNS SETOF subscriptions
LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO subscriptions VALUES (p_name, p_generation, p_kind, p_version, p_domains, p_types, p_partitions,
    p_start_after, p_sync, p_paused) ON CONFLICT DO NOTHING;
  IF FOUND THEN
    INSERT INTO cursors SELECT p_name, p_generation, n, p_start_after, 0, 0, NULL
      FROM generate_series(0, p_partitions - 1) AS n;
    IF p_kind = 'projector' THEN
      INSERT INTO active_generations VALUES (p_name, p_generation) ON CONFLICT DO NOTHING;
    END IF;
  ELSE
    UPDATE subscriptions SET kind = p_kind, version = p_version, domains = p_domains, types = p_types, sync = p_sync
      WHERE name = p_name AND generation = p_generation AND version < p_version;
  END IF;
  RETURN QUERY SELECT * FROM subscriptions WHERE name = p_name AND generation = p_generation;
END
$$;

CREATE FUNCTION remove_generation(p_name text, p_generation bigint, p_limit bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM 1 FROM cursors WHERE subscription = p_name AND generation = p_generation ORDER BY partition FOR UPDATE;
  DELETE FROM cursors WHERE subscription = p_name AND generation = p_generation;
  DELETE FROM subscriptions WHERE name = p_name AND generation = p_generation;
  DELETE FROM active_generations WHERE projector = p_name AND generation = p_generation;
  DELETE FROM done WHERE subscription = p_name AND generation = p_generation;
  DELETE FROM parked WHERE subscription = p_name AND generation = p_generation;
  DELETE FROM outbox WHERE subscription = p_name AND generation = p_generation;
  IF NOT EXISTS (SELECT 1 FROM subscriptions WHERE name = p_name) THEN
    DELETE FROM timers WHERE subscription = p_name;
  END IF;
  DELETE FROM projections WHERE (projector, generation, tenant, key) IN
    (SELECT projector, generation, tenant, key FROM projections
      WHERE projector = p_name AND generation = p_generation LIMIT p_limit);
  RETURN NOT EXISTS (SELECT 1 FROM projections WHERE projector = p_name AND generation = p_generation);
END
$$;

CREATE FUNCTION acquire(p_now bigint, p_subscription text, p_generation bigint, p_partition bigint, p_instance text,
  p_version bigint) RETURNS TABLE (at bigint, new_epoch bigint, taken_from text) LANGUAGE plpgsql AS $$
DECLARE
  held cursors;
BEGIN
  SELECT * INTO held FROM cursors
    WHERE subscription = p_subscription AND generation = p_generation AND partition = p_partition FOR NO KEY UPDATE;
  IF NOT FOUND OR p_version < held.definition_version THEN RETURN; END IF;
  IF held.owner <> p_instance AND
    EXISTS (SELECT 1 FROM instances WHERE instance = held.owner AND expires_at > now_micros(p_now)) THEN RETURN; END IF;
  UPDATE cursors SET owner = p_instance, epoch = held.epoch + 1, definition_version = p_version
    WHERE subscription = p_subscription AND generation = p_generation AND partition = p_partition;
  RETURN QUERY SELECT held.position, held.epoch + 1, held.owner;
END
$$;

-- The cursors of both generations stand still until this is over. With another number of partitions the least of the old ones counts.
CREATE FUNCTION switch_generation(p_projector text, p_previous bigint, p_next bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
  fresh bigint;
  same boolean;
BEGIN
  PERFORM 1 FROM cursors WHERE subscription = p_projector AND generation IN (p_previous, p_next)
    ORDER BY generation, partition FOR NO KEY UPDATE;
  IF coalesce((SELECT generation FROM active_generations WHERE projector = p_projector FOR UPDATE), 0) <> p_previous
    THEN RETURN false; END IF;
  SELECT count(*), count(*) = (SELECT count(*) FROM cursors WHERE subscription = p_projector AND generation = p_previous)
    INTO fresh, same FROM cursors WHERE subscription = p_projector AND generation = p_next;
  IF fresh = 0 OR EXISTS (SELECT 1 FROM parked WHERE subscription = p_projector AND generation = p_next AND state <> 'draining')
    THEN RETURN false; END IF;
  IF EXISTS (SELECT 1 FROM cursors f WHERE f.subscription = p_projector AND f.generation = p_next AND f.position <
    (SELECT coalesce(min(o.position), 0) FROM cursors o WHERE o.subscription = p_projector AND o.generation = p_previous
      AND (NOT same OR o.partition = f.partition))) THEN RETURN false; END IF;
  INSERT INTO active_generations VALUES (p_projector, p_next)
    ON CONFLICT (projector) DO UPDATE SET generation = excluded.generation;
  RETURN true;
END
$$;
