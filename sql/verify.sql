-- credit_verify: the invariants of the ledger, each as the query that finds where it does not hold. One statement,
-- so one snapshot: a sound ledger gives no row at whatever moment and under whatever load it is asked.

CREATE FUNCTION @extschema@.credit_verify(org_id text = NULL)
  RETURNS SETOF @extschema@.credit_discrepancy LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  WITH account AS (
    SELECT a.* FROM @extschema@.credit_account a
    WHERE credit_verify.org_id IS NULL OR a.org_id = credit_verify.org_id
  ), ledger AS (
    SELECT l.*, l.tableoid AS leaf FROM @extschema@.credit_ledger l
    WHERE credit_verify.org_id IS NULL OR l.org_id = credit_verify.org_id
  ), entry AS (
    SELECT e.*,
           lag(e.entry_no, 1, 0::bigint) OVER chain AS entry_no_before,
           lag(e.balance_after, 1, 0::bigint) OVER chain AS balance_before,
           lead(e.entry_no) OVER chain IS NULL AS is_last
    FROM @extschema@.credit_entry e
    WHERE credit_verify.org_id IS NULL OR e.org_id = credit_verify.org_id
    WINDOW chain AS (PARTITION BY e.org_id ORDER BY e.entry_no)
  ), entries_of_account AS (
    SELECT e.org_id, sum(e.amount) AS total, max(e.entry_no) AS last_entry_no,
           max(e.balance_after) FILTER (WHERE e.is_last) AS last_balance
    FROM entry e GROUP BY e.org_id
  ), entries_of_authorization AS (
    SELECT e.org_id, e.authorization_id, -sum(e.amount) AS charged
    FROM entry e
    WHERE e.kind IN ('commit', 'true_up', 'refund')
    GROUP BY e.org_id, e.authorization_id
  ), open_of_account AS (
    SELECT l.org_id, sum(l.amount) AS held FROM ledger l WHERE l.status = 'authorized' GROUP BY l.org_id
  ), discrepancy (org_id, check_name, expected, actual, detail) AS (
    SELECT a.org_id, 'balance_is_sum_of_entries', coalesce(e.total, 0)::text, a.balance::text,
           'credit_account.balance against the sum of the account''s entries'
    FROM account a LEFT JOIN entries_of_account e USING (org_id)
    WHERE a.balance <> coalesce(e.total, 0)
  UNION ALL
    SELECT a.org_id, 'balance_is_last_balance_after', coalesce(e.last_balance, 0)::text, a.balance::text,
           'credit_account.balance against balance_after of its last entry'
    FROM account a LEFT JOIN entries_of_account e USING (org_id)
    WHERE a.balance <> coalesce(e.last_balance, 0)
  UNION ALL
    SELECT a.org_id, 'last_entry_no', coalesce(e.last_entry_no, 0)::text, a.last_entry_no::text,
           'credit_account.last_entry_no against the number of its last entry'
    FROM account a LEFT JOIN entries_of_account e USING (org_id)
    WHERE a.last_entry_no <> coalesce(e.last_entry_no, 0)
  UNION ALL
    SELECT e.org_id, 'entry_no_without_gap', (e.entry_no_before + 1)::text, e.entry_no::text,
           'the entry after entry ' || e.entry_no_before
    FROM entry e
    WHERE e.entry_no <> e.entry_no_before + 1
  UNION ALL
    SELECT e.org_id, 'balance_after_chain', (e.balance_before::numeric + e.amount)::text, e.balance_after::text,
           'balance_after of entry ' || e.entry_no || ' against the one before + amount'
    FROM entry e
    WHERE e.balance_after <> e.balance_before::numeric + e.amount
  UNION ALL
    SELECT a.org_id, 'held_is_sum_of_open', coalesce(o.held, 0)::text, a.held::text,
           'credit_account.held against the sum of the account''s open authorizations'
    FROM account a LEFT JOIN open_of_account o USING (org_id)
    WHERE a.held <> coalesce(o.held, 0)
  UNION ALL
    SELECT l.org_id, 'charged_is_sum_of_entries',
           (CASE l.status WHEN 'committed' THEN l.amount - l.refunded_amount WHEN 'authorized' THEN coalesce(l.committed_amount, 0) ELSE 0 END)::text,
           coalesce(e.charged, 0)::text,
           'authorization ' || l.authorization_id || ' (' || l.status::text || '): charged less refunded, against its entries'
    FROM ledger l LEFT JOIN entries_of_authorization e USING (org_id, authorization_id)
    WHERE coalesce(e.charged, 0) <>
          CASE l.status WHEN 'committed' THEN l.amount - l.refunded_amount WHEN 'authorized' THEN coalesce(l.committed_amount, 0) ELSE 0 END
  UNION ALL
    SELECT l.org_id, 'refunded_within_charged',
           '0 to ' || CASE l.status WHEN 'committed' THEN l.amount ELSE 0 END, l.refunded_amount::text,
           'authorization ' || l.authorization_id
    FROM ledger l
    WHERE l.refunded_amount NOT BETWEEN 0 AND CASE l.status WHEN 'committed' THEN l.amount ELSE 0 END
  UNION ALL
    SELECT min(l.org_id), 'authorization_stands_once', '1', count(*)::text,
           'authorization ' || l.authorization_id || ' in ' || string_agg(l.leaf::regclass::text, ', ' ORDER BY l.leaf::regclass::text)
    FROM ledger l
    GROUP BY l.authorization_id
    HAVING count(*) > 1
  UNION ALL
    SELECT l.org_id, 'authorization_has_idempotency_row', l.authorization_id, i.authorization_id,
           'credit_idempotency (authorize, ' || l.idempotency_key || ')'
    FROM ledger l
    LEFT JOIN @extschema@.credit_idempotency i
      ON i.org_id = l.org_id AND i.operation = 'authorize' AND i.idempotency_key = l.idempotency_key
    WHERE i.authorization_id IS DISTINCT FROM l.authorization_id
  UNION ALL
    SELECT r.org_id, 'rows_have_an_account', 'an account', 'none', 'rows in ' || string_agg(r.source, ', ' ORDER BY r.source)
    FROM (SELECT DISTINCT l.org_id, 'credit_ledger' AS source FROM ledger l
          UNION ALL SELECT DISTINCT e.org_id, 'credit_entry' FROM entry e
          UNION ALL SELECT DISTINCT i.org_id, 'credit_idempotency' FROM @extschema@.credit_idempotency i WHERE credit_verify.org_id IS NULL
          -- Its index begins with the key, so of one organisation it is read only where no account is there.
          UNION ALL SELECT DISTINCT i.org_id, 'credit_idempotency' FROM @extschema@.credit_idempotency i
                    WHERE i.org_id = credit_verify.org_id
                      AND NOT EXISTS (SELECT FROM @extschema@.credit_account a WHERE a.org_id = credit_verify.org_id)) r
    WHERE NOT EXISTS (SELECT FROM @extschema@.credit_account a WHERE a.org_id = r.org_id)
    GROUP BY r.org_id
  )
  SELECT d.org_id, d.check_name, d.expected, d.actual, d.detail
  FROM discrepancy d
  ORDER BY d.org_id, d.check_name, d.detail;
END;
COMMENT ON FUNCTION @extschema@.credit_verify(text) IS
  'every invariant of the ledger that does not hold, of one organisation or (NULL) of all; no rows: the ledger is sound. Reads all history, takes no row lock';
