-- What an account's entries tell: its balance at an instant, its statement. Row level security that would hide a part
-- of them is an error (row_security = off).

-- The entries of an account are in the order of the instants they count from (when they were written, or the end of a
-- lot), so the place of an instant among them is found by halving the numbers in between: however long the history is,
-- twenty to thirty entries are looked at. Entries up to low count from before the instant, those from high on do not;
-- numbers whose entries were detached go with those before.
CREATE FUNCTION credit_ledger_internal.last_entry_before(org_id text, at timestamptz)
  RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  WITH RECURSIVE search (low, high) AS (
    SELECT 0::bigint, a.last_entry_no + 1
    FROM @extschema@.credit_account a
    WHERE a.org_id = last_entry_before.org_id
  UNION ALL
    SELECT CASE WHEN m.at >= last_entry_before.at THEN s.low ELSE s.middle END,
           CASE WHEN m.at >= last_entry_before.at THEN m.entry_no ELSE s.high END
    FROM (SELECT s.low, s.high, (s.low + s.high) / 2 AS middle FROM search s WHERE s.high - s.low > 1) s
    LEFT JOIN LATERAL (
      SELECT e.entry_no, coalesce(e.effective_at, e.created_at) AS at
      FROM @extschema@.credit_entry e
      WHERE e.org_id = last_entry_before.org_id AND e.entry_no > s.low AND e.entry_no <= s.middle
      ORDER BY e.entry_no DESC
      LIMIT 1) m ON true
  )
  SELECT max(s.low) FROM search s;
END;
COMMENT ON FUNCTION credit_ledger_internal.last_entry_before(text, timestamptz) IS
  'finds a number that the entries of an organisation up to an instant (excluded) do not exceed, and later ones do';

CREATE FUNCTION @extschema@.credit_balance_at(org_id text, at timestamptz)
  RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE
  SET row_security = off
BEGIN ATOMIC
  SELECT credit_ledger_internal.require_account(org_id), credit_ledger_internal.require_argument('at', at IS NULL);
  WITH l AS MATERIALIZED (SELECT credit_ledger_internal.last_entry_before(org_id, at) AS entry_no)
  SELECT coalesce(
    (SELECT b.balance_after
     FROM ((SELECT e.entry_no, e.balance_after
            FROM @extschema@.credit_entry e
            WHERE e.org_id = credit_balance_at.org_id AND e.entry_no <= (SELECT l.entry_no FROM l)
            ORDER BY e.entry_no DESC
            LIMIT 1)
           UNION ALL
           SELECT c.last_entry_no, c.balance_after
           FROM credit_ledger_internal.entry_carry c
           WHERE c.org_id = credit_balance_at.org_id AND c.last_entry_no <= (SELECT l.entry_no FROM l)
             AND c.last_at < at) b
     ORDER BY b.entry_no DESC
     LIMIT 1),
    -- What came before was detached, or there was nothing.
    (SELECT b.balance_before
     FROM ((SELECT e.entry_no, e.balance_after - e.amount::numeric AS balance_before
            FROM @extschema@.credit_entry e
            WHERE e.org_id = credit_balance_at.org_id AND e.entry_no > (SELECT l.entry_no FROM l)
            ORDER BY e.entry_no
            LIMIT 1)
           UNION ALL
           SELECT c.last_entry_no, c.balance_after - c.amount
           FROM credit_ledger_internal.entry_carry c
           WHERE c.org_id = credit_balance_at.org_id AND c.last_at >= at) b
     ORDER BY b.entry_no
     LIMIT 1),
    0)
    -- After the last entry, what lots lose by their ends.
    - coalesce((SELECT sum(d.lost)
                FROM @extschema@.credit_account a
                CROSS JOIN LATERAL credit_ledger_internal.lots_ended(a.org_id, at) d
                WHERE a.org_id = credit_balance_at.org_id AND a.last_entry_no = (SELECT l.entry_no FROM l)
                  AND d.effective_at < at), 0)::bigint;
END;
COMMENT ON FUNCTION @extschema@.credit_balance_at(text, timestamptz) IS
  'tells the balance that an organisation had just before an instant (0 before its first entry), from its entries; of '
  'an instant to come, what it will be if only lots end; of one among entries that credit_detach_partitions() put '
  'away, the balance before the first of them; LC002';

CREATE TYPE @extschema@.credit_statement_line AS (
  org_id           text COLLATE "C",
  entry_no         bigint,
  kind             @extschema@.credit_entry_kind,
  amount           bigint,
  authorization_id text COLLATE "C",
  idempotency_key  text COLLATE "C",
  reason           text,
  balance_after    bigint,
  created_at       timestamptz,
  metadata         jsonb,
  lots             bigint[],
  effective_at     timestamptz,
  campaign_id      text COLLATE "C",
  settled_by       @extschema@.credit_actor
);
COMMENT ON TYPE @extschema@.credit_statement_line IS
  'an entry as credit_statement shows it; created_at is NULL of what left a lot at its end and the '
  'next call will write. campaign_id and settled_by are those of its authorization as it stands now; timeout: nobody '
  'committed it. NULL where its partition was put away';

CREATE FUNCTION @extschema@.credit_statement(org_id text, since timestamptz = NULL, until timestamptz = NULL,
    after_entry_no bigint = NULL, max_rows integer = NULL, period interval = NULL)
  RETURNS SETOF @extschema@.credit_statement_line LANGUAGE sql STABLE PARALLEL SAFE
  SET row_security = off
BEGIN ATOMIC
  SELECT credit_ledger_internal.require_account(org_id), credit_ledger_internal.require_one_start(since, period);
  SELECT s.*, l.campaign_id, l.settled_by
  FROM (
    (SELECT e.org_id, e.entry_no, e.kind, e.amount, e.authorization_id, e.idempotency_key, e.reason, e.balance_after,
            e.created_at, e.metadata, e.lots, e.effective_at
     FROM @extschema@.credit_entry e
     WHERE e.org_id = credit_statement.org_id
       AND e.entry_no > (SELECT greatest(after_entry_no, 0, CASE
         WHEN num_nonnulls(since, period) > 0 THEN credit_ledger_internal.last_entry_before(
           credit_statement.org_id, credit_ledger_internal.window_start(since, until, period)) END))
       AND e.entry_no <= (SELECT CASE WHEN until IS NULL THEN 9223372036854775807
                                      ELSE credit_ledger_internal.last_entry_before(credit_statement.org_id, until) END)
       -- No entry counts from a later instant than it was written at: partitions before since are not looked into.
       AND e.created_at >= coalesce(credit_ledger_internal.window_start(since, until, period), '-infinity')
     ORDER BY e.entry_no
     LIMIT max_rows)
  UNION ALL
    SELECT a.org_id, d.entry_no, 'expiry', -d.lost, NULL, NULL, NULL, a.balance - d.lost_so_far,
           NULL, NULL, ARRAY[ARRAY[d.lot_no, -d.lost]], d.effective_at
    FROM @extschema@.credit_account a
    CROSS JOIN LATERAL credit_ledger_internal.lots_ended(a.org_id, clock_timestamp()) d
    WHERE a.org_id = credit_statement.org_id AND d.lost > 0
      AND d.entry_no > coalesce(after_entry_no, 0)
      AND d.effective_at >= coalesce(credit_ledger_internal.window_start(since, until, period), '-infinity')
      AND d.effective_at < coalesce(until, 'infinity')) s
  -- One by one, whatever the planner thinks of how many lines there are.
  LEFT JOIN LATERAL (
    SELECT l.campaign_id, l.settled_by
    FROM @extschema@.credit_ledger l
    WHERE l.authorization_id = s.authorization_id
    LIMIT 1) l ON true
  ORDER BY s.entry_no
  LIMIT max_rows;
END;
COMMENT ON FUNCTION @extschema@.credit_statement(text, timestamptz, timestamptz, bigint, integer, interval) IS
  'lists the entries of an organisation, oldest first, from since (or for a period) until until; by page, if '
  'max_rows';
