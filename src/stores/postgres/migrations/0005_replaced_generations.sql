-- What a generation had handled is kept until its successor has handled the same. Nobody works for it any more from the switch on: its leases
-- end with it, and it is not taken again.

CREATE OR REPLACE FUNCTION acquire(p_now bigint, p_subscription text, p_generation bigint, p_partition bigint, p_instance text,
  p_version bigint) RETURNS TABLE (at bigint, new_epoch bigint, taken_from text) LANGUAGE plpgsql AS $$
DECLARE
  held cursors;
BEGIN
  SELECT * INTO held FROM cursors
    WHERE subscription = p_subscription AND generation = p_generation AND partition = p_partition FOR NO KEY UPDATE;
  IF NOT FOUND OR p_version < held.definition_version THEN RETURN; END IF;
  IF EXISTS (SELECT 1 FROM active_generations WHERE projector = p_subscription AND generation > p_generation) THEN RETURN; END IF;
  IF held.owner <> p_instance AND
    EXISTS (SELECT 1 FROM instances WHERE instance = held.owner AND expires_at > now_micros(p_now)) THEN RETURN; END IF;
  UPDATE cursors SET owner = p_instance, epoch = held.epoch + 1, definition_version = p_version
    WHERE subscription = p_subscription AND generation = p_generation AND partition = p_partition;
  RETURN QUERY SELECT held.position, held.epoch + 1, held.owner;
END
$$;

-- The cursors of both generations stand still until this is over. With another number of partitions the least of the old ones counts.
CREATE OR REPLACE FUNCTION switch_generation(p_projector text, p_previous bigint, p_next bigint) RETURNS boolean
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
  UPDATE cursors SET owner = NULL, epoch = epoch + 1 WHERE subscription = p_projector AND generation = p_previous;
  RETURN true;
END
$$;

-- Its declaration goes last: as long as there are rows, somebody knows of whom. The one that readers get stays while there are others.
CREATE OR REPLACE FUNCTION remove_generation(p_name text, p_generation bigint, p_limit bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
  others boolean;
BEGIN
  PERFORM 1 FROM cursors WHERE subscription = p_name AND generation = p_generation ORDER BY partition FOR UPDATE;
  others := EXISTS (SELECT 1 FROM subscriptions WHERE name = p_name AND generation <> p_generation);
  IF others AND EXISTS (SELECT 1 FROM active_generations WHERE projector = p_name AND generation = p_generation)
    THEN RETURN true; END IF;
  DELETE FROM cursors WHERE subscription = p_name AND generation = p_generation;
  DELETE FROM done WHERE subscription = p_name AND generation = p_generation;
  DELETE FROM parked WHERE subscription = p_name AND generation = p_generation;
  DELETE FROM outbox WHERE subscription = p_name AND generation = p_generation;
  DELETE FROM projections WHERE (projector, generation, tenant, key) IN
    (SELECT projector, generation, tenant, key FROM projections
      WHERE projector = p_name AND generation = p_generation LIMIT p_limit);
  IF EXISTS (SELECT 1 FROM projections WHERE projector = p_name AND generation = p_generation) THEN RETURN false; END IF;
  DELETE FROM subscriptions WHERE name = p_name AND generation = p_generation;
  DELETE FROM active_generations WHERE projector = p_name AND generation = p_generation;
  IF NOT others THEN DELETE FROM timers WHERE subscription = p_name; END IF;
  RETURN true;
END
$$;

-- As in 0003: a function that is replaced loses its settings.
DO $$
DECLARE
  f regprocedure;
BEGIN
  FOREACH f IN ARRAY ARRAY['acquire', 'switch_generation', 'remove_generation']::regproc[]::oid[]::regprocedure[]
  LOOP
    EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', f, current_schema());
    EXECUTE format('ALTER FUNCTION %s SET plan_cache_mode = force_generic_plan', f);
    EXECUTE format('ALTER FUNCTION %s SET enable_seqscan = off', f);
    EXECUTE format('ALTER FUNCTION %s SET enable_bitmapscan = off', f);
    EXECUTE format('ALTER FUNCTION %s SET enable_hashjoin = off', f);
    EXECUTE format('ALTER FUNCTION %s SET enable_mergejoin = off', f);
    EXECUTE format('ALTER FUNCTION %s SET enable_sort = off', f);
    EXECUTE format('ALTER FUNCTION %s SET jit = off', f);
    EXECUTE format('ALTER FUNCTION %s SET lock_timeout = %L', f, '10s');
  END LOOP;
END
$$;
