-- Committing units: one call, in one round trip, so that no client holds the log's lock while it thinks or stands still.
--
-- A unit's checks and its place in the log are worked out in arrays, in memory; what plain units need of the tables is read before, in one
-- statement for all of them, and what they write is written after, in one statement for each table. Only work parts are taken row by
-- row: each sees what earlier units of the batch wrote.
--
-- Errors of our own: DBK01 the transaction's isolation is not READ COMMITTED; DBK02 a unit carries the same outcome key twice; DBK03 a
-- snapshot lies beyond the end of its stream; DBK13 the log is never changed.

-- Locks what the work parts of a batch are about: cursors, then timers, then rows of the outbox, each in order.
CREATE FUNCTION lock_work(p_locks json) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM 1 FROM
    (SELECT k.subscription, k.generation, k.partition
        FROM json_to_recordset(p_locks->'partitions') AS k(subscription text, generation bigint, partition bigint)
      UNION
      SELECT o.subscription, o.generation, o.partition
        FROM json_to_recordset(p_locks->'outbox')
          AS k(subscription text, generation bigint, position bigint, index bigint, log_id text, incarnation text)
        JOIN outbox o USING (subscription, generation, position, index, log_id, incarnation)) AS k
    JOIN cursors c USING (subscription, generation, partition)
    ORDER BY c.subscription, c.generation, c.partition FOR NO KEY UPDATE OF c;
  PERFORM 1 FROM json_to_recordset(p_locks->'timers') AS k(subscription text, tenant text, process text, name text)
    JOIN timers t USING (subscription, tenant, process, name)
    ORDER BY t.subscription, t.tenant, t.process, t.name FOR UPDATE OF t;
  PERFORM 1 FROM json_to_recordset(p_locks->'outbox')
      AS k(subscription text, generation bigint, position bigint, index bigint, log_id text, incarnation text)
    JOIN outbox o USING (subscription, generation, position, index, log_id, incarnation)
    ORDER BY o.subscription, o.generation, o.position, o.index, o.log_id, o.incarnation FOR UPDATE OF o;
END
$$;

CREATE FUNCTION partition_text(subscription text, generation bigint, partition bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT 'partition ' || partition || ' of ' || subscription || ', generation ' || generation
$$;

CREATE FUNCTION version_changed(actual bigint, expected bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE
    WHEN expected IS NULL OR coalesce(actual, 0) = expected THEN NULL
    WHEN coalesce(actual, 0) = 0 THEN 'is gone'
    WHEN expected = 0 THEN 'is there already'
    ELSE 'has version ' || actual || ', not ' || expected
  END
$$;

-- What a work part builds on and is not so any more, in the words of work-rules.ts; NULL when it may be written.
CREATE FUNCTION fenced_by(p_work json) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  r record;
BEGIN
  -- Fences and then moves of cursors, which are fences that also say where the cursor is.
  FOR r IN
    SELECT x.subscription, x.generation, x.partition, x.epoch, x.from_position, c.epoch AS held, c.owner, c.position
      FROM json_to_recordset(p_work->'fences')
        AS x(subscription text, generation bigint, partition bigint, epoch bigint, from_position bigint)
      LEFT JOIN cursors c USING (subscription, generation, partition)
  LOOP
    IF r.held IS NULL THEN RETURN 'there is no ' || partition_text(r.subscription, r.generation, r.partition); END IF;
    IF r.held <> r.epoch THEN
      RETURN partition_text(r.subscription, r.generation, r.partition) || ' is held with epoch ' || r.held || ', not ' || r.epoch;
    END IF;
    IF r.owner IS NULL THEN
      RETURN partition_text(r.subscription, r.generation, r.partition) || ' is not held any more';
    END IF;
    IF r.from_position <> r.position THEN
      RETURN 'the cursor of ' || partition_text(r.subscription, r.generation, r.partition)
        || ' is at ' || r.position || ', not at ' || r.from_position;
    END IF;
  END LOOP;
  IF p_work->'done' IS NOT NULL THEN
    FOR r IN
      SELECT x.subscription, x.generation, x.partition, x.position, c.position AS cursor, d.position AS marked
        FROM json_to_recordset(p_work->'done')
          AS x(subscription text, generation bigint, partition bigint, position bigint)
        LEFT JOIN cursors c USING (subscription, generation, partition)
        LEFT JOIN done d ON d.subscription = x.subscription AND d.generation = x.generation
          AND d.partition = x.partition AND d.position = x.position
    LOOP
      IF r.cursor IS NULL THEN RETURN 'there is no ' || partition_text(r.subscription, r.generation, r.partition); END IF;
      CONTINUE WHEN r.position > r.cursor AND r.marked IS NULL;
      RETURN 'position ' || r.position || ' is finished for ' || partition_text(r.subscription, r.generation, r.partition);
    END LOOP;
  END IF;
  IF p_work->'parked' IS NOT NULL THEN
    FOR r IN
      SELECT x.subscription, x.generation, x.partition, x.key, version_changed(p.version, x.builds_on) AS changed
        FROM json_to_recordset(p_work->'parked')
          AS x(subscription text, generation bigint, partition bigint, key text, builds_on bigint)
        LEFT JOIN parked p USING (subscription, generation, partition, key)
    LOOP
      CONTINUE WHEN r.changed IS NULL;
      RETURN 'key ' || r.key || ' of ' || partition_text(r.subscription, r.generation, r.partition) || ' ' || r.changed;
    END LOOP;
  END IF;
  -- Those that are added build on version 0, and come first.
  IF p_work->'outbox' IS NOT NULL THEN
    FOR r IN
      SELECT x.subscription, x.generation, x.position, x.index, version_changed(o.version, x.builds_on) AS changed
        FROM json_to_recordset(p_work->'outbox') AS x(subscription text, generation bigint, position bigint, index bigint,
          log_id text, incarnation text, builds_on bigint)
        LEFT JOIN outbox o USING (subscription, generation, position, index, log_id, incarnation)
    LOOP
      CONTINUE WHEN r.changed IS NULL;
      RETURN 'output ' || r.index || ' of position ' || r.position || ' by ' || r.subscription || ', generation '
        || r.generation || ', ' || r.changed;
    END LOOP;
  END IF;
  IF p_work->'timers' IS NOT NULL THEN
    FOR r IN
      SELECT x.subscription, x.process, x.name, version_changed(t.version, x.builds_on) AS changed
        FROM json_to_recordset(p_work->'timers')
          AS x(subscription text, tenant text, process text, name text, builds_on bigint)
        LEFT JOIN timers t USING (subscription, tenant, process, name)
    LOOP
      CONTINUE WHEN r.changed IS NULL;
      RETURN 'timer ' || r.name || ' of ' || r.subscription || ' and process ' || r.process || ' ' || r.changed;
    END LOOP;
  END IF;
  RETURN NULL;
END
$$;

-- Writes a work part in the order of its parts, the cursors last. p_bytes holds what JSON cannot, by numbers from 1.
CREATE FUNCTION write_work(p_work json, p_bytes bytea[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  r record;
  first record;
  is_head boolean;
BEGIN
  IF p_work->'done' IS NOT NULL THEN
    INSERT INTO done SELECT x.subscription, x.generation, x.partition, x.position
      FROM json_to_recordset(p_work->'done') AS x(subscription text, generation bigint, partition bigint, position bigint);
  END IF;
  IF p_work->'parked' IS NOT NULL THEN
    DELETE FROM parked p USING json_to_recordset(p_work->'parked')
        AS x(subscription text, generation bigint, partition bigint, key text, state text)
      WHERE x.state IS NULL AND p.subscription = x.subscription AND p.generation = x.generation
        AND p.partition = x.partition AND p.key = x.key;
    INSERT INTO parked AS p
      SELECT x.subscription, x.generation, x.partition, x.key, x.state, x.position, x.first_position, x.through, x.attempts,
          x.due_at, x.parked_at, x.reason, x.message, nextval('versions')
        FROM json_to_recordset(p_work->'parked') AS x(subscription text, generation bigint, partition bigint, key text,
          state text, position bigint, first_position bigint, through bigint, attempts bigint, due_at bigint,
          parked_at bigint, reason text, message text)
        WHERE x.state IS NOT NULL
      ON CONFLICT ON CONSTRAINT parked_by_key DO UPDATE
        SET state = excluded.state, position = excluded.position, first_position = excluded.first_position,
          through = excluded.through, attempts = excluded.attempts, due_at = excluded.due_at,
          parked_at = excluded.parked_at, reason = excluded.reason, message = excluded.message,
          version = excluded.version;
  END IF;
  -- Rows of a lane come in order, but for retries; either way the first one is the head.
  IF p_work->'outbox' IS NOT NULL THEN
    FOR r IN
      SELECT * FROM json_to_recordset(p_work->'outbox') AS x(subscription text, generation bigint, position bigint,
        index bigint, log_id text, incarnation text, builds_on bigint, partition bigint, lane text, state text, tenant text,
        domain text, root bigint, correlation_id text, kind text, body bigint, attempts bigint, due_at bigint,
        expires_at bigint, created_at bigint, reason text, message text)
    LOOP
      IF r.builds_on = 0 THEN
        SELECT o.id, o.position, o.index INTO first FROM outbox o
          WHERE o.subscription = r.subscription AND o.generation = r.generation AND o.partition = r.partition
            AND o.lane = r.lane
          ORDER BY o.position, o.index, o.id LIMIT 1;
        is_head := first.id IS NULL OR (r.position, r.index) < (first.position, first.index);
        IF is_head AND first.id IS NOT NULL THEN UPDATE outbox SET head = false WHERE id = first.id; END IF;
        INSERT INTO outbox (log_id, incarnation, subscription, generation, position, index, partition, lane, head, state,
            tenant, domain, root, correlation_id, kind, body, attempts, due_at, expires_at, created_at, reason, message, version)
          VALUES (r.log_id, r.incarnation, r.subscription, r.generation, r.position, r.index, r.partition, r.lane, is_head,
            r.state, r.tenant, r.domain, p_bytes[r.root], r.correlation_id, r.kind, p_bytes[r.body], r.attempts, r.due_at,
            r.expires_at, r.created_at, r.reason, r.message, nextval('versions'));
      ELSIF r.state IS NULL THEN
        DELETE FROM outbox o
          WHERE o.subscription = r.subscription AND o.generation = r.generation AND o.position = r.position
            AND o.index = r.index AND o.log_id = r.log_id AND o.incarnation = r.incarnation
          RETURNING o.head, o.partition, o.lane INTO first;
        IF first.head THEN
          UPDATE outbox SET head = true WHERE id =
            (SELECT o.id FROM outbox o
              WHERE o.subscription = r.subscription AND o.generation = r.generation AND o.partition = first.partition
                AND o.lane = first.lane
              ORDER BY o.position, o.index, o.id LIMIT 1);
        END IF;
      ELSE
        UPDATE outbox o
          SET state = r.state, attempts = r.attempts, due_at = r.due_at, expires_at = r.expires_at, reason = r.reason,
            message = r.message, version = nextval('versions')
          WHERE o.subscription = r.subscription AND o.generation = r.generation AND o.position = r.position
            AND o.index = r.index AND o.log_id = r.log_id AND o.incarnation = r.incarnation;
      END IF;
    END LOOP;
  END IF;
  IF p_work->'timers' IS NOT NULL THEN
    DELETE FROM timers t USING json_to_recordset(p_work->'timers')
        AS x(subscription text, tenant text, process text, name text, due_at bigint)
      WHERE x.due_at IS NULL AND t.subscription = x.subscription AND t.tenant = x.tenant AND t.process = x.process
        AND t.name = x.name;
    -- One that must not be there and is there all the same was set at this moment by somebody else: a unique violation.
    INSERT INTO timers (tenant, subscription, process, name, partition, correlation_id, due_at, body, version)
      SELECT x.tenant, x.subscription, x.process, x.name, x.partition, x.correlation_id, x.due_at, p_bytes[x.body],
          nextval('versions')
        FROM json_to_recordset(p_work->'timers') AS x(subscription text, tenant text, process text, name text,
          builds_on bigint, partition bigint, correlation_id text, due_at bigint, body bigint)
        WHERE x.due_at IS NOT NULL
      ON CONFLICT ON CONSTRAINT timers_by_key DO UPDATE
        SET partition = excluded.partition, correlation_id = excluded.correlation_id, due_at = excluded.due_at,
          body = excluded.body, version = excluded.version;
  END IF;
  IF p_work->'ended' IS NOT NULL THEN
    DELETE FROM timers t USING json_to_recordset(p_work->'ended') AS x(subscription text, tenant text, process text)
      WHERE t.subscription = x.subscription AND t.tenant = x.tenant AND t.process = x.process;
  END IF;
  IF p_work->'projections' IS NOT NULL THEN
    INSERT INTO projections AS p (projector, generation, tenant, key, stream_tenant, stream_domain, stream_root, sequence,
        position, type_url, payload)
      SELECT x.projector, x.generation, x.tenant, x.key, x.stream_tenant, x.stream_domain, p_bytes[x.stream_root],
          x.sequence, x.position, x.type_url, p_bytes[x.payload]
        FROM json_to_recordset(p_work->'projections') AS x(projector text, generation bigint, tenant text, key text,
          stream_tenant text, stream_domain text, stream_root bigint, sequence bigint, position bigint, type_url text,
          payload bigint)
        ORDER BY x.projector, x.generation, x.tenant, x.key
      ON CONFLICT ON CONSTRAINT projections_by_key DO UPDATE
        SET stream_tenant = excluded.stream_tenant, stream_domain = excluded.stream_domain,
          stream_root = excluded.stream_root, sequence = excluded.sequence, position = excluded.position,
          type_url = excluded.type_url, payload = excluded.payload;
  END IF;
  FOR r IN
    SELECT * FROM json_to_recordset(p_work->'fences')
      AS x(subscription text, generation bigint, partition bigint, from_position bigint, to_position bigint)
      WHERE from_position IS NOT NULL
  LOOP
    UPDATE cursors c SET position = r.to_position
      WHERE c.subscription = r.subscription AND c.generation = r.generation AND c.partition = r.partition;
    DELETE FROM done d
      WHERE d.subscription = r.subscription AND d.generation = r.generation AND d.partition = r.partition
        AND d.position <= r.to_position;
    DELETE FROM parked p
      WHERE p.subscription = r.subscription AND p.generation = r.generation AND p.partition = r.partition
        AND p.through <= r.to_position AND p.state = 'draining';
  END LOOP;
END
$$;

-- places: the position of each unit; sequences: that of the first page of each append. A place of -1 is one that is not committed, for what
-- the next numbers of refusals say: 1, the number of the expectation and the stream's next sequence, when it conflicts; 2 and the number of
-- the outcome, when that is known from another unit; 3, when it is fenced, for what the next of fences says.
CREATE TYPE commit_answer AS (places bigint[], sequences bigint[], refusals bigint[], fences text[]);

-- Arrays of one kind of thing go together, and name others by their number, from 1. Element u + 1 of p_appends, p_outcomes, p_expectations
-- and p_snapshots says how many of those the first u units have. What no unit of the batch has is NULL, so that it costs nothing.
-- Streams stand once; p_key_firsts says which outcome is the first of the batch with the same key, when some is not. p_expected is the next
-- sequence, or -1 exists, -2 any. Of the units: p_same names an earlier unit of the batch with the same id (or 0), p_kinds is 1 for one that
-- expects nothing of the streams it writes, 2 for one that is known by its id alone, else 0. Of the pages, how many of their unit and of their
-- append come before: p_unit_offsets, p_append_offsets.
--
-- PostgreSQL sets up every expression of a function anew in each transaction, and that takes longer than to evaluate it once. So there are
-- few of them on the way of a plain unit, and what others need stands behind one question. A statement is set up anew as well, a join or a set
-- for each array more than anything: so elements of arrays are taken by their number.
CREATE FUNCTION commit_units(
  p_tenants text[], p_domains text[], p_roots bytea[], p_slices smallint[],
  p_units uuid[], p_unit_pages integer[], p_appends integer[], p_kinds smallint[], p_same integer[],
  p_streams integer[], p_expected bigint[], p_append_pages integer[], p_correlation_ids text[], p_correlation_slices smallint[],
  p_page_units integer[], p_page_appends integer[], p_unit_offsets integer[], p_append_offsets integer[], p_created bigint[],
  p_occurred bigint[], p_types text[], p_origins text[], p_metadata text[], p_payloads bytea[],
  p_outcomes integer[], p_outcome_units integer[], p_key_tenants text[], p_key_kinds text[], p_keys text[], p_key_firsts integer[],
  p_outcome_hashes bytea[], p_outcome_bodies bytea[], p_outcome_expiries bigint[], p_outcome_correlations text[],
  p_expectations integer[], p_other_streams integer[], p_other_expected bigint[],
  p_snapshots integer[], p_snapshot_streams integer[], p_snapshot_versions bigint[], p_snapshot_sequences bigint[],
  p_snapshot_retentions smallint[], p_snapshot_types text[], p_snapshot_states bytea[],
  p_locks json, p_work text[], p_bytes bytea[]
) RETURNS commit_answer LANGUAGE plpgsql AS $$
DECLARE
  places bigint[];
  sequences bigint[];
  refusals bigint[];
  fences text[];
  -- Whether a unit of the batch is more than appends that expect something, and outcomes that are new.
  odd boolean;
  size bigint;
  last bigint;
  old_last bigint;
  -- Of streams; one that is not there has its number already.
  ids bigint[];
  nexts bigint[];
  some_fresh boolean;
  -- Of outcomes: which unit stored it, and where.
  key_units uuid[];
  key_positions bigint[];
  some_known boolean;
  -- Of units: true for those that are not written now.
  left_out boolean[];
  unit uuid;
  document json;
  -- NULL as long as nothing speaks against it; repeated: committed the first time that it came; twice: the same, in this very batch.
  verdict text;
  number integer;
  actual bigint;
  at bigint;
  before bigint;
  what text;
  k integer;
  alone bigint;
  -- The first position of the partition that the first event comes into; 0 when the log is one table.
  part bigint;
BEGIN
  -- Durable before acknowledged, whatever the role's default says.
  IF current_setting('transaction_isolation') <> 'read committed' OR current_setting('synchronous_commit') = 'off' THEN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
      RAISE EXCEPTION 'the isolation of transactions is %, not read committed', current_setting('transaction_isolation')
        USING ERRCODE = 'DBK01';
    END IF;
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;

  IF p_work IS NOT NULL THEN PERFORM lock_work(p_locks); END IF;
  IF p_payloads IS NOT NULL THEN PERFORM pg_advisory_xact_lock(hashtext('daybook log'), 'log'::regclass::oid::integer); END IF;
  SELECT coalesce((SELECT v.position FROM events v ORDER BY v.position DESC LIMIT 1), 0), (SELECT l.partition_events FROM log l),
      array_agg(w.id), array_agg(w.next), bool_or(w.fresh)
    INTO last, size, ids, nexts, some_fresh
    FROM (SELECT coalesce(h.id, nextval('stream_ids')) AS id, coalesce(v.sequence + 1, 0) AS next, h.id IS NULL AS fresh
      FROM unnest(p_roots) WITH ORDINALITY AS n(root, n)
      LEFT JOIN streams h ON h.tenant = p_tenants[n.n] AND h.domain = p_domains[n.n] AND h.root = n.root
      LEFT JOIN LATERAL (SELECT x.sequence FROM events x
        WHERE x.stream = h.id AND x.position >= h.since
        ORDER BY x.sequence DESC LIMIT 1) v ON true
      ORDER BY n.n) w;
  old_last := last;
  IF p_keys IS NOT NULL THEN
    SELECT array_agg(w.unit_id), array_agg(w.position), count(w.position) > 0 INTO key_units, key_positions, some_known
      FROM (SELECT o.unit_id, o.position
        FROM unnest(p_keys) WITH ORDINALITY AS n(key, n)
        LEFT JOIN outcomes o ON o.tenant = p_key_tenants[n.n] AND o.kind = p_key_kinds[n.n] AND o.key = n.key
        ORDER BY n.n) w;
  END IF;
  odd := coalesce(some_known, false) OR p_kinds IS NOT NULL OR p_same IS NOT NULL OR p_key_firsts IS NOT NULL OR p_expectations IS NOT NULL
    OR p_snapshots IS NOT NULL OR p_work IS NOT NULL;
  -- For now; none has another length.
  sequences := p_expected;

  FOR u IN 1 .. cardinality(p_units) LOOP
    <<checks>>
    BEGIN
      IF odd THEN
        unit := p_units[u];
        document := p_work[u]::json;
        IF p_same[u] > 0 THEN
          IF places[p_same[u]] >= 0
            AND (p_kinds[u] = 2 OR p_appends[u + 1] > p_appends[u] OR p_outcomes[u + 1] > p_outcomes[u]) THEN
            verdict := 'twice';
            EXIT checks;
          END IF;
        END IF;
        IF p_keys IS NOT NULL THEN
          FOR i IN p_outcomes[u] + 1 .. p_outcomes[u + 1] LOOP
            k := coalesce(p_key_firsts[i], i);
            CONTINUE WHEN key_units[k] IS NULL;
            IF key_units[k] = unit THEN
              verdict := 'repeated';
              at := key_positions[k];
            ELSE
              verdict := 'duplicate';
              number := i - p_outcomes[u] - 1;
            END IF;
            EXIT checks;
          END LOOP;
        END IF;
        IF p_kinds[u] > 0 THEN
          IF p_kinds[u] = 1 THEN
            SELECT w.position INTO at FROM units w WHERE w.unit_id = unit;
          ELSE
            SELECT w.position INTO at FROM work_units w WHERE w.unit_id = unit;
          END IF;
          IF FOUND THEN
            verdict := 'repeated';
            EXIT checks;
          END IF;
        END IF;
        IF document IS NOT NULL THEN
          what := fenced_by(document);
          IF what IS NOT NULL THEN
            verdict := 'fenced';
            EXIT checks;
          END IF;
        END IF;
      END IF;
      FOR i IN p_appends[u] + 1 .. p_appends[u + 1] LOOP
        CONTINUE WHEN nexts[p_streams[i]] = p_expected[i];
        actual := nexts[p_streams[i]];
        IF p_expected[i] >= 0 OR (p_expected[i] = -1 AND actual = 0) THEN
          verdict := 'conflict';
          number := i - p_appends[u] - 1;
          EXIT checks;
        END IF;
      END LOOP;
      IF odd AND p_expectations IS NOT NULL THEN
        FOR i IN p_expectations[u] + 1 .. p_expectations[u + 1] LOOP
          actual := nexts[p_other_streams[i]];
          IF actual <> p_other_expected[i] AND (p_other_expected[i] >= 0 OR (p_other_expected[i] = -1 AND actual = 0)) THEN
            verdict := 'conflict';
            number := p_appends[u + 1] - p_appends[u] + i - p_expectations[u] - 1;
            EXIT checks;
          END IF;
        END LOOP;
      END IF;
    END;

    IF verdict IS NULL THEN
      -- That of its first event, or the log's end.
      places[u] := last + least(p_unit_pages[u], 1);
      last := last + p_unit_pages[u];
      FOR i IN p_appends[u] + 1 .. p_appends[u + 1] LOOP
        sequences[i] := nexts[p_streams[i]];
        nexts[p_streams[i]] := sequences[i] + p_append_pages[i];
      END LOOP;
      CONTINUE WHEN NOT odd;
      at := places[u];
      IF p_kinds[u] = 1 THEN INSERT INTO units VALUES (unit, at); END IF;
      IF p_snapshots IS NOT NULL THEN
        FOR i IN p_snapshots[u] + 1 .. p_snapshots[u + 1] LOOP
          k := p_snapshot_streams[i];
          IF p_snapshot_sequences[i] >= nexts[k] THEN
            RAISE EXCEPTION 'a snapshot lies beyond the end of its stream' USING ERRCODE = 'DBK03';
          END IF;
          INSERT INTO snapshots AS x (stream, schema_version, sequence, retention, type_url, state)
            VALUES (ids[k], p_snapshot_versions[i], p_snapshot_sequences[i], p_snapshot_retentions[i], p_snapshot_types[i],
              p_snapshot_states[i])
            ON CONFLICT (stream, schema_version, sequence) DO UPDATE
            SET retention = greatest(x.retention, excluded.retention), type_url = excluded.type_url, state = excluded.state;
          DELETE FROM snapshots x
            WHERE x.stream = ids[k] AND x.schema_version = p_snapshot_versions[i] AND x.retention = 0 AND x.sequence <
              (SELECT max(y.sequence) FROM snapshots y WHERE y.stream = ids[k] AND y.schema_version = p_snapshot_versions[i]);
        END LOOP;
      END IF;
      IF p_key_firsts IS NOT NULL THEN
        FOR i IN p_outcomes[u] + 1 .. p_outcomes[u + 1] LOOP
          k := p_key_firsts[i];
          IF key_units[k] IS NOT NULL THEN
            RAISE EXCEPTION 'a unit carries the same outcome key twice' USING ERRCODE = 'DBK02';
          END IF;
          key_units[k] := unit;
          key_positions[k] := at;
        END LOOP;
      END IF;
      IF document IS NOT NULL THEN PERFORM write_work(document, p_bytes); END IF;
      IF p_kinds[u] = 2 THEN
        INSERT INTO work_units (unit_id, position) VALUES (unit, at) RETURNING id INTO alone;
        -- Now and then: what nobody will send again. Numbers of transactions that failed are missing, so twice as many are kept as are promised.
        IF alone % 1024 = 0 AND alone > 131072 THEN
          DELETE FROM work_units w WHERE w.id IN
            (SELECT v.id FROM work_units v WHERE v.id <= alone - 131072 FOR UPDATE SKIP LOCKED);
        END IF;
      END IF;
      CONTINUE;
    END IF;

    left_out[u] := true;
    places[u] := -1;
    -- Is this very unit in the log? Those that expect nothing were looked for above.
    IF verdict IN ('conflict', 'fenced') AND p_kinds[u] IS DISTINCT FROM 1 THEN
      before := 0;
      FOR i IN p_appends[u] + 1 .. p_appends[u + 1] LOOP
        IF p_expected[i] >= 0 THEN
          SELECT v.position - before INTO at FROM events v
            WHERE v.stream = ids[p_streams[i]] AND v.sequence = p_expected[i] AND v.unit_id = p_units[u];
          IF FOUND THEN
            verdict := 'repeated';
            EXIT;
          END IF;
        END IF;
        before := before + p_append_pages[i];
      END LOOP;
    END IF;
    CASE verdict
      WHEN 'twice' THEN
        places[u] := places[p_same[u]];
        FOR i IN 1 .. p_appends[u + 1] - p_appends[u] LOOP
          sequences[p_appends[u] + i] := sequences[p_appends[p_same[u]] + i];
        END LOOP;
      WHEN 'repeated' THEN
        places[u] := at;
        FOR i IN p_appends[u] + 1 .. p_appends[u + 1] LOOP
          -- The events of a unit lie one behind the other.
          SELECT v.sequence INTO STRICT actual FROM events v WHERE v.position = at;
          sequences[i] := actual;
          at := at + p_append_pages[i];
        END LOOP;
      WHEN 'conflict' THEN refusals := refusals || ARRAY[1, number, actual];
      WHEN 'duplicate' THEN refusals := refusals || ARRAY[2::bigint, number];
      ELSE
        refusals := array_append(refusals, 3::bigint);
        fences := array_append(fences, what);
    END CASE;
    verdict := NULL;
  END LOOP;

  IF last > old_last THEN
    INSERT INTO events (position, stream, sequence, created_at, occurred_at, unit_id, correlation_slice, correlation_id, type_url,
        origin, metadata, payload)
      SELECT places[p_page_units[n]] + coalesce(p_unit_offsets[n], 0), ids[p_streams[p_page_appends[n]]],
          sequences[p_page_appends[n]] + coalesce(p_append_offsets[n], 0), p_created[n], p_occurred[n], p_units[p_page_units[n]],
          p_correlation_slices[p_page_appends[n]], p_correlation_ids[p_page_appends[n]], p_types[n], p_origins[n],
          p_metadata[n], p_payloads[n]
        FROM (SELECT generate_series(1, cardinality(p_payloads)) AS n) w
        WHERE left_out[p_page_units[n]] IS NULL;
    IF some_fresh OR size > 0 THEN
      part := CASE WHEN size > 0 THEN (old_last + 1) / size * size ELSE 0 END;
      -- A stream comes with its first event.
      INSERT INTO streams (id, tenant, domain, root, slice, since)
        SELECT ids[w.k], p_tenants[w.k], p_domains[w.k], p_roots[w.k], p_slices[w.k], part
          FROM (SELECT p_streams[p_page_appends[n]] AS k
            FROM generate_series(1, cardinality(p_payloads)) AS n
            WHERE left_out[p_page_units[n]] IS NULL AND sequences[p_page_appends[n]] + coalesce(p_append_offsets[n], 0) = 0) w;
      IF size > 0 THEN
        UPDATE streams h SET since = part FROM generate_series(1, cardinality(p_payloads)) AS n
          WHERE h.id = ids[p_streams[p_page_appends[n]]] AND h.since <> part AND left_out[p_page_units[n]] IS NULL;
      END IF;
    END IF;
    IF last / 1024 > old_last / 1024 THEN
      FOR n IN old_last / 1024 + 1 .. last / 1024 LOOP
        INSERT INTO times
          SELECT greatest(max(v.created_at), (SELECT max(t.latest) FROM times t)), n * 1024::bigint
            FROM events v WHERE v.position > (n - 1) * 1024::bigint AND v.position <= n * 1024::bigint;
      END LOOP;
    END IF;
  END IF;
  IF p_keys IS NOT NULL THEN
    -- In order, lest two transactions with the same keys wait for each other.
    INSERT INTO outcomes (tenant, kind, key, position, expires_at, unit_id, hash, body, correlation_id)
      SELECT p_key_tenants[n], p_key_kinds[n], p_keys[n], places[p_outcome_units[n]], p_outcome_expiries[n],
          p_units[p_outcome_units[n]], p_outcome_hashes[n], p_outcome_bodies[n], p_outcome_correlations[n]
        FROM (SELECT generate_series(1, cardinality(p_keys)) AS n) w
        WHERE left_out[p_outcome_units[n]] IS NULL
        ORDER BY p_key_tenants[n] COLLATE "C", p_key_kinds[n] COLLATE "C", p_keys[n] COLLATE "C";
  END IF;
  RETURN (places, sequences, refusals, fences)::commit_answer;
END
$$;

-- Every function that is called from outside finds its own log, whatever the caller's path; those inside run as it does. Plans are made
-- once and held, and use the indexes that were made for them: a plan from the day when the tables were empty would else be a scan of
-- them for a long time after. A wait for a lock has an end.
DO $$
DECLARE
  f regprocedure;
BEGIN
  FOREACH f IN ARRAY ARRAY['heartbeat', 'leave', 'declare_subscription', 'remove_generation', 'acquire', 'switch_generation',
    'commit_units']::regproc[]::oid[]::regprocedure[]
  LOOP
    EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', f, current_schema());
    EXECUTE format('ALTER FUNCTION %s SET plan_cache_mode = force_generic_plan', f);
    EXECUTE format('ALTER FUNCTION %s SET enable_seqscan = off', f);
    EXECUTE format('ALTER FUNCTION %s SET enable_bitmapscan = off', f);
    EXECUTE format('ALTER FUNCTION %s SET enable_hashjoin = off', f);
    EXECUTE format('ALTER FUNCTION %s SET enable_mergejoin = off', f);
    -- What an index gives in order is never gathered and sorted instead.
    EXECUTE format('ALTER FUNCTION %s SET enable_sort = off', f);
    EXECUTE format('ALTER FUNCTION %s SET jit = off', f);
    EXECUTE format('ALTER FUNCTION %s SET lock_timeout = %L', f, '10s');
  END LOOP;
END
$$;
