-- Lots: credits that expire, and the order in which credits are used. Here is what tells of them; functions.sql has
-- what makes and ends them. What a lot lost at its end is subtracted by all that reads, posted or not.

-- What leaves a lot at its end is what is free in it, but for what the main pool owes: with the lots in the order of
-- their ends, the first credits of all that is free pay for that.
CREATE FUNCTION credit_ledger_internal.lots_ended(org_id text, at timestamptz)
  RETURNS TABLE (lot_no bigint, effective_at timestamptz, free bigint, lost bigint, lost_so_far bigint, entry_no bigint)
  LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT l.lot_no, l.effective_at, l.free,
         (greatest(l.free_so_far - l.owed, 0) - greatest(l.free_so_far - l.free - l.owed, 0))::bigint,
         greatest(l.free_so_far - l.owed, 0)::bigint,
         l.last_entry_no + count(*) FILTER (WHERE l.free_so_far > l.owed) OVER (ORDER BY l.expires_at, l.lot_no)
  FROM (
    SELECT l.lot_no, l.expires_at, greatest(l.expires_at, a.updated_at) AS effective_at, a.last_entry_no,
           l.remaining - l.held AS free,
           sum(l.remaining - l.held) OVER (ORDER BY l.expires_at, l.lot_no) AS free_so_far,
           greatest(a.lot_balance - a.lot_held::numeric - a.balance + a.held, 0) AS owed
    FROM @extschema@.credit_account a
    JOIN @extschema@.credit_lot l USING (org_id)
    WHERE a.org_id = lots_ended.org_id AND a.lot_expires_at <= at
      AND l.closed_at IS NULL AND l.expires_at <= at AND NOT l.voided AND l.held < l.remaining) l;
END;
COMMENT ON FUNCTION credit_ledger_internal.lots_ended(text, timestamptz) IS
  'lists the lots of an account that ended by an instant and whose loss nobody posted, in the order of '
  'their ends: from when it counts, what is free in it, what of that is lost, what is lost with the lots before, and '
  'the number that its entry will have';

CREATE FUNCTION @extschema@.credit_lots(org_id text)
  RETURNS TABLE (lot_no bigint, priority integer, expires_at timestamptz, amount bigint, remaining bigint, held bigint,
                 free bigint)
  LANGUAGE sql STABLE PARALLEL SAFE
  SET row_security = off
BEGIN ATOMIC
  SELECT credit_ledger_internal.require_account(org_id);
  WITH ended AS MATERIALIZED (
    SELECT e.lot_no, e.free, e.lost
    FROM credit_ledger_internal.lots_ended(credit_lots.org_id, clock_timestamp()) e
  ), lot AS (
    SELECT l.lot_no, l.priority, l.expires_at, l.amount, l.remaining - coalesce(e.free, 0) AS remaining, l.held
    FROM @extschema@.credit_lot l LEFT JOIN ended e USING (lot_no)
    WHERE l.org_id = credit_lots.org_id AND l.closed_at IS NULL
  ), pool AS (
    SELECT a.balance - coalesce((SELECT sum(e.lost) FROM ended e), 0)
                     - coalesce((SELECT sum(l.remaining) FROM lot l), 0) AS remaining,
           a.held - coalesce(a.lot_held, 0) AS held
    FROM @extschema@.credit_account a
    WHERE a.org_id = credit_lots.org_id
  )
  SELECT l.lot_no, l.priority, l.expires_at, l.amount, l.remaining, l.held, l.remaining - l.held
  FROM (SELECT l.* FROM lot l WHERE l.remaining > 0
        UNION ALL
        SELECT NULL, NULL, NULL, NULL, p.remaining::bigint, p.held FROM pool p) l
  ORDER BY l.lot_no IS NULL, l.priority, l.expires_at, l.lot_no;
END;
COMMENT ON FUNCTION @extschema@.credit_lots(text) IS
  'lists the open lots of an organisation as of now in the order in which they are used, and last, with lot_no '
  'NULL, the main pool; LC002';

CREATE VIEW @extschema@.credit_lot_movement AS
SELECT e.org_id, e.entry_no, p.lot_no, e.kind, p.amount, e.authorization_id, e.created_at,
       coalesce(e.effective_at, e.created_at) AS effective_at
FROM @extschema@.credit_entry e
CROSS JOIN LATERAL (
  SELECT e.lots[i][1] AS lot_no, sum(e.lots[i][2])::bigint AS amount
  FROM generate_subscripts(e.lots, 1) i
  GROUP BY e.lots[i][1]
UNION ALL
  SELECT NULL, (e.amount - coalesce((SELECT sum(e.lots[i][2]) FROM generate_subscripts(e.lots, 1) i), 0))::bigint
) p
WHERE p.amount <> 0
UNION ALL
SELECT a.org_id, e.entry_no, e.lot_no, 'expiry', -e.lost, NULL, NULL, e.effective_at
FROM @extschema@.credit_account a
CROSS JOIN LATERAL credit_ledger_internal.lots_ended(a.org_id, statement_timestamp()) e
WHERE a.lot_expires_at <= statement_timestamp() AND e.lost > 0;
COMMENT ON VIEW @extschema@.credit_lot_movement IS
  'what moved in which lot: a row an entry and lot, signed like the entry. The sum of an organisation''s rows '
  'is its balance, unless entries were put away';
COMMENT ON COLUMN @extschema@.credit_lot_movement.lot_no IS 'NULL: the main pool';
COMMENT ON COLUMN @extschema@.credit_lot_movement.created_at IS
  'when the entry was written; NULL: it is not yet, the lot has ended, and the next call will write it '
  'with this number';
COMMENT ON COLUMN @extschema@.credit_lot_movement.effective_at IS
  'when it took effect: of what left a lot at its end, the end';

-- The notice of credits that end.

CREATE FUNCTION credit_ledger_internal.expiry_horizon()
  RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
RETURN statement_timestamp() + make_interval(
  secs => nullif(extract(epoch FROM credit_ledger_internal.setting('expiry_notice')::interval), 0)::double precision);
COMMENT ON FUNCTION credit_ledger_internal.expiry_horizon() IS
  'tells now + credit_ledger.expiry_notice; NULL if that is 0';

CREATE FUNCTION credit_ledger_internal.lots_expiring()
  RETURNS TABLE (org_id text, lot_no bigint, free bigint, expires_at timestamptz) LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT l.org_id, l.lot_no, l.remaining - l.held, l.expires_at
  FROM @extschema@.credit_lot l
  WHERE l.closed_at IS NULL AND NOT l.voided AND l.held < l.remaining
    AND l.expires_at > statement_timestamp() AND l.expires_at <= (SELECT credit_ledger_internal.expiry_horizon());
END;
COMMENT ON FUNCTION credit_ledger_internal.lots_expiring() IS
  'lists the lots that end within credit_ledger.expiry_notice with something free in them';

-- An alert names the lots that it is about. When another lot comes so near, there is another alert.
CREATE FUNCTION credit_ledger_internal.expiring_follow()
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  of record;
BEGIN
  FOR of IN
    SELECT a.org_id
    FROM @extschema@.credit_alert a
    LEFT JOIN credit_ledger_internal.lots_expiring() l USING (org_id)
    WHERE a.kind = 'credits_expiring' AND a.closed_at IS NULL
    GROUP BY a.alert_id
    HAVING coalesce(bool_or(NOT a.details -> 'lots' @> jsonb_build_array(jsonb_build_object('lot_no', l.lot_no))), true)
    ORDER BY a.org_id
    LIMIT 1000
  LOOP
    PERFORM credit_ledger_internal.alert_close('credits_expiring', of.org_id);
  END LOOP;
  FOR of IN
    SELECT l.org_id, sum(l.free) AS credits, min(l.expires_at) AS first_end,
           jsonb_agg(jsonb_build_object('lot_no', l.lot_no, 'credits', l.free, 'expires_at', l.expires_at)
                     ORDER BY l.expires_at, l.lot_no) AS lots
    FROM credit_ledger_internal.lots_expiring() l
    WHERE NOT EXISTS (SELECT FROM @extschema@.credit_alert a
                      WHERE a.kind = 'credits_expiring' AND a.org_id = l.org_id AND a.closed_at IS NULL)
    GROUP BY l.org_id
    ORDER BY min(l.expires_at), l.org_id
    LIMIT 1000
  LOOP
    PERFORM credit_ledger_internal.alert_open('credits_expiring', of.org_id,
      format('organisation "%s" loses %s credits unless they are used, the first of them at %s',
             of.org_id, of.credits, of.first_end),
      jsonb_build_object('credits', of.credits, 'first_end', of.first_end, 'lots', of.lots));
  END LOOP;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.expiring_follow() IS
  'opens and closes the alerts credits_expiring, of a thousand organisations at most; for credit_maintain()';

-- What credit_verify() asks of lots. Free credits in a lot that is over are no error: they leave with the next call.
CREATE FUNCTION credit_ledger_internal.lot_discrepancies(org_id text, since timestamptz)
  RETURNS SETOF @extschema@.credit_discrepancy LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  WITH lot AS MATERIALIZED (
    SELECT l.org_id, l.lot_no, l.amount, l.remaining, l.held, l.absorbed, l.voided, l.expires_at, l.created_at
    FROM @extschema@.credit_lot l
    WHERE lot_discrepancies.org_id IS NULL OR l.org_id = lot_discrepancies.org_id
  ), entry AS MATERIALIZED (
    SELECT e.org_id, e.entry_no, e.kind, e.amount, e.authorization_id, e.lots
    FROM @extschema@.credit_entry e
    WHERE e.lots IS NOT NULL
      AND (lot_discrepancies.org_id IS NULL OR e.org_id = lot_discrepancies.org_id)
      AND (since IS NULL OR e.created_at >= since)
  ), share_of_entry AS MATERIALIZED (
    SELECT e.org_id, e.entry_no, e.kind, e.authorization_id, e.lots[i][1] AS lot_no, e.lots[i][2] AS credits
    FROM entry e CROSS JOIN LATERAL generate_subscripts(e.lots, 1) i
  ), ledger AS MATERIALIZED (
    SELECT l.org_id, l.authorization_id, l.created_at, l.status, l.amount - l.refunded_amount AS amount, l.lots,
           CASE l.status WHEN 'committed' THEN l.lots WHEN 'authorized' THEN l.committed_lots END AS charged_lots
    FROM @extschema@.credit_ledger l
    WHERE (lot_discrepancies.org_id IS NULL OR l.org_id = lot_discrepancies.org_id)
      AND (since IS NULL OR l.created_at >= since OR l.status = 'authorized')
      AND (l.lots IS NOT NULL OR l.committed_lots IS NOT NULL
           OR l.authorization_id IN (SELECT e.authorization_id FROM share_of_entry e))
  ), kept AS (
    -- Of lots and authorizations that are older, entries may have been put away.
    SELECT coalesce(credit_ledger_internal.put_away_until('credit_entry'), '-infinity') AS since
  ), lots_of_account AS (
    SELECT l.org_id, sum(l.remaining) AS remaining, sum(l.held) AS held,
           min(coalesce(l.expires_at, 'infinity')) AS first_end
    FROM lot l
    WHERE l.remaining > 0
    GROUP BY l.org_id
  ), share_of_hold AS (
    SELECT l.org_id, l.lots[i][1] AS lot_no, l.lots[i][2] AS credits
    FROM ledger l CROSS JOIN LATERAL generate_subscripts(l.lots, 1) i
    WHERE l.status = 'authorized'
  ), of_lot (org_id, lot_no, held, entries) AS (
    SELECT u.org_id, u.lot_no, sum(u.held), sum(u.credits)
    FROM (SELECT h.org_id, h.lot_no, h.credits AS held, 0 AS credits FROM share_of_hold h
          UNION ALL SELECT e.org_id, e.lot_no, 0, e.credits FROM share_of_entry e) u
    GROUP BY u.org_id, u.lot_no
  ), discrepancy (org_id, check_name, expected, actual, detail) AS (
    SELECT a.org_id, 'lot_balance_is_sum_of_lots', o.remaining::text, a.lot_balance::text,
           'credit_account.lot_balance against what remains in the account''s lots'
    FROM @extschema@.credit_account a LEFT JOIN lots_of_account o USING (org_id)
    WHERE (lot_discrepancies.org_id IS NULL OR a.org_id = lot_discrepancies.org_id)
      AND a.lot_balance IS DISTINCT FROM o.remaining
  UNION ALL
    SELECT a.org_id, 'lot_held_is_sum_of_lots', o.held::text, a.lot_held::text,
           'credit_account.lot_held against what is held in the account''s lots'
    FROM @extschema@.credit_account a LEFT JOIN lots_of_account o USING (org_id)
    WHERE (lot_discrepancies.org_id IS NULL OR a.org_id = lot_discrepancies.org_id)
      AND a.lot_held IS DISTINCT FROM o.held
  UNION ALL
    SELECT a.org_id, 'lot_expires_at_not_late', 'not after ' || o.first_end, a.lot_expires_at::text,
           'credit_account.lot_expires_at against the first end of an open lot'
    FROM @extschema@.credit_account a JOIN lots_of_account o USING (org_id)
    WHERE a.lot_expires_at > o.first_end
  UNION ALL
    SELECT l.org_id, 'lot_held_is_sum_of_open', coalesce(o.held, 0)::text, l.held::text,
           'credit_lot.held of lot ' || l.lot_no || ' against its share in open authorizations'
    FROM lot l LEFT JOIN of_lot o USING (org_id, lot_no)
    WHERE l.held <> coalesce(o.held, 0)
  UNION ALL
    SELECT o.org_id, 'lot_of_share_exists', 'a lot', 'none', 'lot ' || o.lot_no
    FROM of_lot o
    WHERE NOT EXISTS (SELECT FROM lot l WHERE l.org_id = o.org_id AND l.lot_no = o.lot_no)
  UNION ALL
    SELECT l.org_id, 'lot_is_sum_of_entries', coalesce(o.entries, 0)::text, (l.remaining + l.absorbed)::text,
           'what remains in lot ' || l.lot_no || ' and was absorbed, against its parts of all entries'
    FROM lot l LEFT JOIN of_lot o USING (org_id, lot_no)
    WHERE since IS NULL AND l.remaining + l.absorbed <> coalesce(o.entries, 0)
      AND l.created_at >= (SELECT k.since FROM kept k)
  UNION ALL
    SELECT l.org_id, 'lot_has_its_grant', format('%s, {{%s,%s}}', l.amount, l.lot_no, l.amount),
           e.amount || ', ' || e.lots::text, 'amount and lots of the grant of lot ' || l.lot_no
    FROM lot l LEFT JOIN entry e ON e.org_id = l.org_id AND e.entry_no = l.lot_no AND e.kind = 'grant'
    WHERE (since IS NULL OR l.created_at >= since) AND l.created_at >= (SELECT k.since FROM kept k)
      AND (e.amount IS DISTINCT FROM l.amount OR e.lots IS DISTINCT FROM ARRAY[ARRAY[l.lot_no, l.amount]])
  UNION ALL
    SELECT l.org_id, 'lots_of_charge_are_sum_of_entries', sum(l.charged)::text, sum(l.posted)::text,
           format('authorization %s, lot %s: its share in the charge, against its entries',
                  l.authorization_id, l.lot_no)
    FROM (SELECT l.org_id, l.authorization_id, l.charged_lots[i][1] AS lot_no, l.charged_lots[i][2] AS charged,
                 0 AS posted
          FROM ledger l CROSS JOIN LATERAL generate_subscripts(l.charged_lots, 1) i
          WHERE l.created_at >= (SELECT k.since FROM kept k)
          UNION ALL
          SELECT l.org_id, l.authorization_id, e.lot_no, 0, -e.credits
          FROM ledger l JOIN share_of_entry e USING (org_id, authorization_id)
          WHERE e.kind IN ('commit', 'true_up', 'refund') AND l.created_at >= (SELECT k.since FROM kept k)) l
    WHERE since IS NULL
    GROUP BY l.org_id, l.authorization_id, l.lot_no
    HAVING sum(l.charged) <> sum(l.posted)
  UNION ALL
    SELECT s.org_id, 'lots_within_amount', 'at most ' || s.amount, s.credits::text, s.of
    FROM (SELECT e.org_id, abs(e.amount) AS amount, sum(e.lots[i][2] * sign(e.amount)) AS credits,
                 'lots of entry ' || e.entry_no AS of, min(e.lots[i][2] * sign(e.amount)) AS least
          FROM entry e CROSS JOIN LATERAL generate_subscripts(e.lots, 1) i
          GROUP BY e.org_id, e.entry_no, e.amount
          UNION ALL
          SELECT l.org_id, l.amount, sum(l.lots[i][2]), 'lots of authorization ' || l.authorization_id,
                 min(l.lots[i][2])
          FROM ledger l CROSS JOIN LATERAL generate_subscripts(l.lots, 1) i
          GROUP BY l.org_id, l.authorization_id, l.amount) s
    WHERE s.credits > s.amount OR s.least <= 0
  UNION ALL
    SELECT l.org_id, 'rows_have_an_account', 'an account', 'none', 'rows in credit_lot'
    FROM lot l
    WHERE NOT EXISTS (SELECT FROM @extschema@.credit_account a WHERE a.org_id = l.org_id)
    GROUP BY l.org_id
  )
  SELECT d.org_id, d.check_name, d.expected, d.actual, d.detail
  FROM discrepancy d;
END;
COMMENT ON FUNCTION credit_ledger_internal.lot_discrepancies(text, timestamptz) IS
  'finds what does not add up in lots, of one organisation or (NULL) of all, of all time or (since) of what is new';
