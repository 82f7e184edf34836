-- One unit alone, as it comes when nobody else is there: one event to a stream that is there, and at most one outcome. commit_units does
-- the same in arrays, and to set those up takes PostgreSQL longer than to write the rows. NULL, with nothing written, whenever something
-- is not as simple as that: then commit_units is asked, which says what it was.
--
-- p_partition_events is that of the log: it never changes, and whoever calls knows it.
CREATE FUNCTION commit_plain_unit(
  p_tenant text, p_domain text, p_root bytea, p_unit uuid, p_expected bigint, p_correlation_id text, p_correlation_slice smallint,
  p_created bigint, p_occurred bigint, p_type text, p_origin text, p_metadata text, p_payload bytea,
  p_key_tenant text, p_key_kind text, p_key text, p_outcome_hash bytea, p_outcome_body bytea, p_outcome_expiry bigint,
  p_outcome_correlation text, p_partition_events bigint
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  at bigint;
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN RETURN NULL; END IF;
  -- Durable before acknowledged, whatever the role's default says.
  IF current_setting('synchronous_commit') = 'off' THEN PERFORM set_config('synchronous_commit', 'on', true); END IF;
  PERFORM pg_advisory_xact_lock(hashtext('daybook log'), 'log'::regclass::oid::integer);
  -- Not the event that has a row of times with it, nor the first one of a stream in a partition. OFFSET 0: the last position is looked up once,
  -- and not wherever it is named.
  INSERT INTO events (position, stream, sequence, created_at, occurred_at, unit_id, correlation_slice, correlation_id, type_url, origin,
      metadata, payload)
    SELECT w.next, h.id, p_expected, p_created, p_occurred, p_unit, p_correlation_slice, p_correlation_id, p_type, p_origin, p_metadata,
        p_payload
      FROM (SELECT coalesce((SELECT v.position FROM events v ORDER BY v.position DESC LIMIT 1), 0) + 1 AS next OFFSET 0) w
      CROSS JOIN streams h
      WHERE h.tenant = p_tenant AND h.domain = p_domain AND h.root = p_root
        AND (SELECT x.sequence FROM events x
          WHERE x.stream = h.id AND x.position >= h.since
          ORDER BY x.sequence DESC LIMIT 1) = p_expected - 1
        AND (SELECT o.position FROM outcomes o
          WHERE o.tenant = p_key_tenant AND o.kind = p_key_kind AND o.key = p_key) IS NULL
        AND w.next % 1024 <> 0
        AND h.since = CASE WHEN p_partition_events > 0 THEN w.next / p_partition_events * p_partition_events ELSE 0 END
    RETURNING position INTO at;
  IF FOUND AND p_key IS NOT NULL THEN
    INSERT INTO outcomes (tenant, kind, key, position, expires_at, unit_id, hash, body, correlation_id)
      VALUES (p_key_tenant, p_key_kind, p_key, at, p_outcome_expiry, p_unit, p_outcome_hash, p_outcome_body, p_outcome_correlation);
  END IF;
  RETURN at;
END
$$;

-- As in 0003, as far as these statements have a choice.
DO $$
DECLARE
  f regprocedure := 'commit_plain_unit'::regproc::oid::regprocedure;
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
