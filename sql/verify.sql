-- credit_verify: the invariants of the ledger, each as the query that finds where it does not hold. All of it is read
-- in one snapshot: a sound ledger gives no row at whatever moment and under whatever load it is asked.

-- Whether an authorization's row and its entries come to the same is not asked of each. The checksums over all of an
-- organisation are equal on both sides only if none differs, but for a chance too small to count with. So the rows of a
-- sound ledger are read in no order, with nothing to remember of them; where the checksums differ, those organisations
-- are compared authorization by authorization.
CREATE FUNCTION credit_ledger_internal.checksum_add(bigint, text, bigint)
  RETURNS bigint LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'credit_checksum_add';
COMMENT ON FUNCTION credit_ledger_internal.checksum_add(bigint, text, bigint) IS
  'adds to a checksum the credits of an authorization, times a hash of its id, modulo 2^64';
CREATE FUNCTION credit_ledger_internal.checksum_combine(bigint, bigint)
  RETURNS bigint LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'credit_checksum_combine';
COMMENT ON FUNCTION credit_ledger_internal.checksum_combine(bigint, bigint) IS
  'adds two checksums, modulo 2^64';
CREATE AGGREGATE credit_ledger_internal.checksum(authorization_id text, credits bigint) (
  SFUNC = credit_ledger_internal.checksum_add, STYPE = bigint, INITCOND = '0',
  COMBINEFUNC = credit_ledger_internal.checksum_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE credit_ledger_internal.checksum(text, bigint) IS
  'sums up credits by authorization, as one number: the same for two sets of rows if all sums of theirs are the same';

CREATE FUNCTION credit_ledger_internal.chain_add(internal, bigint, bigint, bigint, timestamptz)
  RETURNS internal LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'credit_chain_add';
COMMENT ON FUNCTION credit_ledger_internal.chain_add(internal, bigint, bigint, bigint, timestamptz) IS
  'holds an entry against the one before';
CREATE FUNCTION credit_ledger_internal.chain_finish(internal)
  RETURNS bigint[] LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'credit_chain_finish';
COMMENT ON FUNCTION credit_ledger_internal.chain_finish(internal) IS
  'tells the numbers of the entries that do not follow from the one before';
CREATE AGGREGATE credit_ledger_internal.chain_breaks(entry_no bigint, amount bigint, balance_after bigint,
                                                     at timestamptz) (
  SFUNC = credit_ledger_internal.chain_add, STYPE = internal, FINALFUNC = credit_ledger_internal.chain_finish,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE credit_ledger_internal.chain_breaks(bigint, bigint, bigint, timestamptz) IS
  'finds the numbers of an account''s entries that do not follow from the one before, the first among them; its rows '
  'come in the order of entry_no';

-- Conditions on org_id and since are decided when the plan is made, since credit_verify has this function's body
-- planned for its arguments: of one organisation only its rows are read, and since an instant only what is newer.
CREATE FUNCTION credit_ledger_internal.discrepancies(org_id text, since timestamptz)
  RETURNS SETOF @extschema@.credit_discrepancy LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  WITH account AS (
    SELECT a.org_id, a.balance, a.held, a.last_entry_no, a.updated_at
    FROM @extschema@.credit_account a
    WHERE discrepancies.org_id IS NULL OR a.org_id = discrepancies.org_id
  ), ledger AS NOT MATERIALIZED (
    SELECT l.org_id, l.authorization_id, l.idempotency_key, l.status, l.amount, l.refunded_amount, l.created_at,
           l.tableoid AS leaf,
           CASE l.status WHEN 'committed' THEN l.amount
                         WHEN 'authorized' THEN coalesce(l.committed_amount, 0)
                         ELSE 0
           END AS charged,
           CASE l.status WHEN 'committed' THEN l.refunded_amount ELSE 0 END AS refunded
    FROM @extschema@.credit_ledger l
    WHERE (discrepancies.org_id IS NULL OR l.org_id = discrepancies.org_id)
      AND (since IS NULL OR l.created_at >= since AND l.settled_at >= since)
  ), entry AS NOT MATERIALIZED (
    SELECT e.org_id, e.entry_no, e.kind, e.amount, e.authorization_id, e.balance_after,
           coalesce(e.effective_at, e.created_at) AS at
    FROM @extschema@.credit_entry e
    WHERE (discrepancies.org_id IS NULL OR e.org_id = discrepancies.org_id)
      AND (since IS NULL OR e.created_at >= since)
  ), carry AS NOT MATERIALIZED (
    -- Of entries that were put away, what they came to.
    SELECT c.* FROM credit_ledger_internal.entry_carry c
    WHERE discrepancies.org_id IS NULL OR c.org_id = discrepancies.org_id
  ), ledger_sum AS MATERIALIZED (
    SELECT l.org_id, count(*) AS rows, bool_or(l.refunded_amount NOT BETWEEN 0 AND l.charged) AS is_refund_wrong,
           credit_ledger_internal.checksum(l.authorization_id, l.charged - l.refunded)
             FILTER (WHERE since IS NULL) AS checksum
    FROM ledger l
    GROUP BY l.org_id
  ), entry_sum AS MATERIALIZED (
    SELECT e.org_id, sum(e.amount) AS amount,
           credit_ledger_internal.checksum(e.authorization_id, -e.amount)
             FILTER (WHERE since IS NULL AND e.kind IN ('commit', 'true_up', 'refund')) AS checksum
    FROM entry e
    GROUP BY e.org_id
  ), is_id_repeated (answer) AS MATERIALIZED (
    SELECT count(*) > count(DISTINCT hashtextextended(l.authorization_id, 0)) FROM ledger l
  ), loose AS MATERIALIZED (
    -- Entries that do not follow from the one before by what was read: the first of each account, those after others
    -- that were put away, and what is wrong. Sums that may be too great for bigint are left to numeric.
    SELECT e.org_id, e.entry_no AS first_no, e.entry_no, e.amount::numeric AS amount, e.balance_after,
           coalesce(e.effective_at, e.created_at) AS at, e.tableoid AS leaf, e.ctid AS place
    FROM (SELECT e.org_id,
                 unnest(credit_ledger_internal.chain_breaks(e.entry_no, e.amount, e.balance_after, e.at)) AS entry_no
          FROM (SELECT e.org_id, e.entry_no, e.amount, e.balance_after, e.at
                FROM entry e
                ORDER BY e.org_id, e.entry_no) e
          GROUP BY e.org_id) b
    JOIN @extschema@.credit_entry e USING (org_id, entry_no)
    UNION ALL
    SELECT c.org_id, c.first_entry_no, c.last_entry_no, c.amount, c.balance_after, c.first_at, NULL, NULL
    FROM carry c
    WHERE since IS NULL
  ), link AS MATERIALIZED (
    -- The same beside the one before, which may be older than since, or put away.
    SELECT e.org_id, e.first_no, e.entry_no, e.amount, e.balance_after, e.at,
           coalesce(b.entry_no, 0) AS entry_no_before, coalesce(b.balance_after, 0) AS balance_before,
           coalesce(b.at, '-infinity') AS at_before
    FROM loose e
    LEFT JOIN LATERAL (
      (SELECT b.entry_no, b.balance_after, coalesce(b.effective_at, b.created_at) AS at
       FROM @extschema@.credit_entry b
       WHERE b.org_id = e.org_id AND b.entry_no <= e.entry_no
         AND (e.leaf IS NULL OR b.tableoid <> e.leaf OR b.ctid <> e.place)
       ORDER BY b.entry_no DESC
       LIMIT 1)
      UNION ALL
      SELECT c.last_entry_no, c.balance_after, c.last_at
      FROM credit_ledger_internal.entry_carry c
      WHERE c.org_id = e.org_id AND c.last_entry_no < e.entry_no
      ORDER BY 1 DESC
      LIMIT 1) b ON true
  ), last_of_account AS (
    SELECT a.org_id, a.balance, a.last_entry_no AS expected_no, coalesce(e.entry_no, 0) AS entry_no,
           coalesce(e.balance_after, 0) AS balance_after
    FROM account a
    LEFT JOIN LATERAL (
      (SELECT e.entry_no, e.balance_after FROM @extschema@.credit_entry e WHERE e.org_id = a.org_id
       ORDER BY e.entry_no DESC
       LIMIT 1)
      UNION ALL
      SELECT c.last_entry_no, c.balance_after FROM credit_ledger_internal.entry_carry c WHERE c.org_id = a.org_id
      ORDER BY 1 DESC
      LIMIT 1) e ON true
    WHERE since IS NULL OR a.updated_at >= since
  ), doubtful AS MATERIALIZED (
    SELECT l.org_id
    FROM ledger_sum l LEFT JOIN entry_sum e USING (org_id)
    WHERE since IS NOT NULL OR l.checksum <> coalesce(e.checksum, 0) OR (SELECT r.answer FROM is_id_repeated r)
  ), unequal AS MATERIALIZED (
    -- Authorizations whose rows and entries do not come to the same, or that stand more than once.
    SELECT t.org_id, t.authorization_id, sum(t.amount) AS difference, count(t.place) AS places
    FROM (SELECT l.org_id, l.authorization_id, l.charged - l.refunded AS amount, 1 AS place FROM ledger l
          UNION ALL
          SELECT e.org_id, e.authorization_id, e.amount, NULL FROM entry e
            WHERE e.kind IN ('commit', 'true_up', 'refund')) t
    JOIN doubtful d USING (org_id)
    GROUP BY t.org_id, t.authorization_id
    HAVING count(t.place) > 1 OR count(t.place) = 1 AND sum(t.amount) <> 0
  ), keyed (rows) AS MATERIALIZED (
    -- How many have their idempotency row; which ones lack it is asked only if some do.
    SELECT count(*) FILTER (WHERE i.authorization_id = l.authorization_id)
    FROM ledger l
    JOIN @extschema@.credit_idempotency i
      ON i.org_id = l.org_id AND i.operation = 'authorize' AND i.idempotency_key = l.idempotency_key
  ), discrepancy (org_id, check_name, expected, actual, detail) AS (
    SELECT a.org_id, 'balance_is_sum_of_entries', coalesce(e.total, 0)::text, a.balance::text,
           'credit_account.balance against the sum of the account''s entries'
    FROM account a
    LEFT JOIN (SELECT e.org_id, sum(e.amount) AS total
               FROM (SELECT e.org_id, e.amount FROM entry_sum e
                     UNION ALL SELECT c.org_id, c.amount FROM carry c) e
               GROUP BY e.org_id) e USING (org_id)
    WHERE since IS NULL AND a.balance <> coalesce(e.total, 0)
  UNION ALL
    SELECT a.org_id, 'balance_is_last_balance_after', a.balance_after::text, a.balance::text,
           'credit_account.balance against balance_after of its last entry'
    FROM last_of_account a
    WHERE a.balance <> a.balance_after
  UNION ALL
    SELECT a.org_id, 'last_entry_no', a.entry_no::text, a.expected_no::text,
           'credit_account.last_entry_no against the number of its last entry'
    FROM last_of_account a
    WHERE a.expected_no <> a.entry_no
  UNION ALL
    SELECT e.org_id, 'entry_no_without_gap', (e.entry_no_before + 1)::text, e.first_no::text,
           'the entry after entry ' || e.entry_no_before
    FROM link e
    WHERE e.first_no <> e.entry_no_before + 1
  UNION ALL
    SELECT e.org_id, 'balance_after_chain', (e.balance_before + e.amount)::text, e.balance_after::text,
           'balance_after of entry ' || e.entry_no || ' against the one before + amount'
    FROM link e
    WHERE e.balance_after <> e.balance_before + e.amount
  UNION ALL
    SELECT e.org_id, 'entries_in_order_of_time', 'not before ' || e.at_before, e.at::text,
           'the instant of entry ' || e.first_no || ' against the one before'
    FROM link e
    WHERE e.at < e.at_before
  UNION ALL
    SELECT a.org_id, 'held_is_sum_of_open', coalesce(o.held, 0)::text, a.held::text,
           'credit_account.held against the sum of the account''s open authorizations'
    FROM account a
    LEFT JOIN (SELECT o.org_id, sum(o.amount) AS held
               FROM @extschema@.credit_ledger_open o
               WHERE discrepancies.org_id IS NULL OR o.org_id = discrepancies.org_id
               GROUP BY o.org_id) o USING (org_id)
    WHERE a.held <> coalesce(o.held, 0)
  UNION ALL
    SELECT u.org_id, 'charged_is_sum_of_entries', (l.charged - l.refunded)::text,
           (l.charged - l.refunded - u.difference)::text,
           'authorization ' || u.authorization_id || ' (' || l.status::text
             || '): charged less refunded, against its entries'
    FROM unequal u
    CROSS JOIN LATERAL (
      SELECT l.status, l.charged, l.refunded
      FROM ledger l
      WHERE l.authorization_id = u.authorization_id AND l.org_id = u.org_id
        -- Of older ones, entries may have been put away.
        AND l.created_at >= coalesce((SELECT credit_ledger_internal.put_away_until('credit_entry')), '-infinity')
      OFFSET 0) l
    WHERE u.places = 1
  UNION ALL
    SELECT l.org_id, 'refunded_within_charged', '0 to ' || l.charged, l.refunded_amount::text,
           'authorization ' || l.authorization_id
    FROM ledger l JOIN ledger_sum s USING (org_id)
    WHERE s.is_refund_wrong AND l.refunded_amount NOT BETWEEN 0 AND l.charged
  UNION ALL
    SELECT s.org_id, 'authorization_stands_once', '1', s.places::text,
           'authorization ' || s.authorization_id || ' in '
           || (SELECT string_agg(l.leaf::regclass::text, ', ' ORDER BY l.leaf::regclass::text)
               FROM ledger l WHERE l.authorization_id = s.authorization_id)
    FROM (SELECT u.org_id, u.authorization_id, u.places FROM unequal u WHERE u.places > 1
          UNION ALL
          SELECT min(l.org_id), l.authorization_id, count(*)
          FROM ledger l
          WHERE discrepancies.org_id IS NULL AND since IS NULL AND (SELECT r.answer FROM is_id_repeated r)
          GROUP BY l.authorization_id
          HAVING min(l.org_id) <> max(l.org_id)) s
  UNION ALL
    SELECT l.org_id, 'authorization_has_idempotency_row', l.authorization_id, i.authorization_id,
           'credit_idempotency (authorize, ' || l.idempotency_key || ')'
    FROM ledger l
    LEFT JOIN @extschema@.credit_idempotency i
      ON i.org_id = l.org_id AND i.operation = 'authorize' AND i.idempotency_key = l.idempotency_key
    WHERE since IS NULL AND i.authorization_id IS DISTINCT FROM l.authorization_id
      AND (SELECT k.rows FROM keyed k) < (SELECT sum(s.rows) FROM ledger_sum s)
      -- A key that was removed may have been used again.
      AND NOT (l.status <> 'authorized' AND coalesce(i.created_at > l.created_at, true)
               AND coalesce(l.created_at < (SELECT r.removed_until FROM @extschema@.credit_key_removal r), false))
  UNION ALL
    SELECT r.org_id, 'rows_have_an_account', 'an account', 'none', 'rows in ' || string_agg(DISTINCT r.source, ', ')
    FROM (SELECT l.org_id, 'credit_ledger' AS source FROM ledger_sum l
          UNION ALL SELECT e.org_id, 'credit_entry' FROM entry_sum e
          UNION ALL SELECT c.org_id, 'credit_entry' FROM carry c WHERE since IS NULL
          UNION ALL SELECT i.org_id, 'credit_idempotency'
                    FROM @extschema@.credit_idempotency i
                    WHERE discrepancies.org_id IS NULL AND since IS NULL
          -- Its index begins with the key, so of one organisation it is read only where no account is there.
          UNION ALL SELECT i.org_id, 'credit_idempotency'
                    FROM @extschema@.credit_idempotency i
                    WHERE i.org_id = discrepancies.org_id
                      AND NOT EXISTS (SELECT FROM @extschema@.credit_account a WHERE a.org_id = discrepancies.org_id)) r
    WHERE NOT EXISTS (SELECT FROM @extschema@.credit_account a WHERE a.org_id = r.org_id)
    GROUP BY r.org_id
  )
  SELECT d.org_id, d.check_name, d.expected, d.actual, d.detail
  FROM discrepancy d;
END;
COMMENT ON FUNCTION credit_ledger_internal.discrepancies(text, timestamptz) IS
  'finds what does not add up in the rows of one organisation or (NULL) of all, of all time or (since) of what is '
  'new';

-- A partition's bounds are held against its rows when they are written, but not again: a clock or a time zone's rules
-- that change, or a row written while the partition was attached, leave rows where nobody looks for them.
CREATE FUNCTION credit_ledger_internal.leaves()
  RETURNS SETOF regclass LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT p.relid FROM pg_partition_tree('@extschema@.credit_ledger'::regclass) p WHERE p.isleaf
  UNION ALL
  SELECT p.relid FROM pg_partition_tree('@extschema@.credit_entry'::regclass) p WHERE p.isleaf;
END;
COMMENT ON FUNCTION credit_ledger_internal.leaves() IS 'lists the partitions that hold authorizations or entries';

-- SECURITY DEFINER, since whoever may read a table may not read its partitions by their names.
CREATE FUNCTION credit_ledger_internal.misplaced_rows(org_id text, since timestamptz)
  RETURNS SETOF @extschema@.credit_discrepancy LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  query text;
BEGIN
  SELECT string_agg(format(
    $query$
      SELECT r.org_id, 'row_in_its_partition', %L, %L,
             format('rows outside of the partition''s bounds: %%s, the first of %%s', count(*), min(r.created_at))
      FROM (SELECT org_id, created_at FROM %s
            WHERE ($1 IS NULL OR org_id = $1) AND ($2 IS NULL OR created_at >= $2) AND NOT (%s)) r
      GROUP BY r.org_id
    $query$,
    pg_get_expr(c.relpartbound, c.oid), c.oid::regclass, c.oid::regclass,
    coalesce(pg_get_partition_constraintdef(c.oid), 'true')), 'UNION ALL')
  INTO query
  FROM credit_ledger_internal.leaves() leaf JOIN pg_class c ON c.oid = leaf;
  RETURN QUERY EXECUTE query USING org_id, since;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.misplaced_rows(text, timestamptz) IS
  'finds rows of authorizations and entries that stand in a partition whose bounds they do not meet';

CREATE FUNCTION credit_ledger_internal.verify_in_steps(org_id text, since timestamptz)
  RETURNS SETOF @extschema@.credit_discrepancy LANGUAGE plpgsql STABLE PARALLEL SAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  is_told constant boolean := org_id IS NULL;
BEGIN
  PERFORM credit_ledger_internal.tell_step('credit_verify: accounts, authorizations, keys and entries (1 of 3)')
  WHERE is_told;
  RETURN QUERY SELECT d.* FROM credit_ledger_internal.discrepancies(verify_in_steps.org_id, since) d;
  PERFORM credit_ledger_internal.tell_step('credit_verify: lots (2 of 3)') WHERE is_told;
  RETURN QUERY SELECT d.* FROM credit_ledger_internal.lot_discrepancies(verify_in_steps.org_id, since) d;
  PERFORM credit_ledger_internal.tell_step('credit_verify: the bounds of partitions (3 of 3)') WHERE is_told;
  RETURN QUERY SELECT d.* FROM credit_ledger_internal.misplaced_rows(verify_in_steps.org_id, since) d;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.verify_in_steps(text, timestamptz) IS
  'finds what credit_verify() tells, in no order, and says how far it is; under the settings of credit_verify()';

CREATE FUNCTION @extschema@.credit_verify(org_id text = NULL, since timestamptz = NULL, period interval = NULL)
  RETURNS SETOF @extschema@.credit_discrepancy LANGUAGE plpgsql STABLE PARALLEL SAFE
  SET search_path = pg_catalog, pg_temp
  SET row_security = off
  SET datestyle = 'ISO'
  SET timezone = 'UTC'
  SET plan_cache_mode = force_custom_plan
  SET jit = off
AS $$
BEGIN
  PERFORM credit_ledger_internal.require_one_start(since, period);
  since := credit_ledger_internal.window_start(since, NULL, period);
  RETURN QUERY
  SELECT d.*
  FROM credit_ledger_internal.verify_in_steps(credit_verify.org_id, since) d
  ORDER BY d.org_id, d.check_name, d.detail;
  -- Nothing at all is sound only of an organisation that is there.
  IF NOT FOUND AND org_id IS NOT NULL THEN
    PERFORM credit_ledger_internal.require_account(org_id);
  END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_verify(text, timestamptz, interval) IS
  'finds every invariant that does not hold, of one organisation or (NULL) all; with since or period, of what is new';
