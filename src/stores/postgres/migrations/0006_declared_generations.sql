-- Two who declare different generations of a component at once may come to the same number: the second one changes nothing, and takes the next.
-- A version is a million times the generation that the component declared, plus the version of its filter.

CREATE OR REPLACE FUNCTION declare_subscription(p_name text, p_generation bigint, p_kind text, p_version bigint, p_domains text,
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
      WHERE name = p_name AND generation = p_generation AND version < p_version AND version / 1000000 = p_version / 1000000;
  END IF;
  RETURN QUERY SELECT * FROM subscriptions WHERE name = p_name AND generation = p_generation;
END
$$;

-- As in 0003: a function that is replaced loses its settings.
DO $$
DECLARE
  f regprocedure := 'declare_subscription'::regproc::oid::regprocedure;
BEGIN
  EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', f, current_schema());
  EXECUTE format('ALTER FUNCTION %s SET plan_cache_mode = force_generic_plan', f);
  EXECUTE format('ALTER FUNCTION %s SET enable_seqscan = off', f);
  EXECUTE format('ALTER FUNCTION %s SET enable_bitmapscan = off', f);
  EXECUTE format('ALTER FUNCTION %s SET enable_hashjoin = off', f);
  EXECUTE format('ALTER FUNCTION %s SET enable_mergejoin = off', f);
  EXECUTE format('ALTER FUNCTION %s SET enable_sort = off', f);
  EXECUTE format('ALTER FUNCTION %s SET jit = off', f);
  EXECUTE format('ALTER FUNCTION %s SET lock_timeout = %L', f, '10s');
END
$$;
