-- Views for a dashboard. They read what is open and the last eight days, by organisation through an index, so one
-- organisation is quick and all of them take as long as their days. Days are those of UTC.

CREATE VIEW @extschema@.credit_account_overview AS
SELECT a.org_id, n.balance, a.held, n.available, a.credit_limit, a.low_balance_threshold,
       coalesce(n.available < a.low_balance_threshold, false) AS is_low, a.frozen,
       s.spent_today, round(s.burn_rate, 2) AS burn_rate,
       round(greatest(n.available, 0) / nullif(s.burn_rate, 0), 1) AS days_left, x.expiring
FROM @extschema@.credit_account a
CROSS JOIN LATERAL (
  SELECT a.balance - lost.credits AS balance, a.balance - lost.credits - a.held + a.credit_limit AS available
  FROM (SELECT coalesce(sum(e.lost), 0)::bigint AS credits
        FROM credit_ledger_internal.lots_ended(a.org_id, statement_timestamp()) e
        WHERE a.lot_expires_at <= statement_timestamp()) lost
) n
CROSS JOIN LATERAL (
  SELECT coalesce(sum(l.free), 0)::bigint AS expiring
  FROM credit_ledger_internal.lots_expiring() l
  WHERE a.lot_balance > 0 AND l.org_id = a.org_id
) x
CROSS JOIN LATERAL (
  SELECT coalesce(sum(c.charged) FILTER (WHERE c.created_at >= date_trunc('day', now(), 'UTC')), 0) AS spent_today,
         coalesce(sum(c.charged) FILTER (WHERE c.created_at >= now() - interval '168 hours'), 0)
           / least(greatest(extract(epoch FROM now() - a.created_at) / 86400, 1), 7) AS burn_rate
  FROM (
    SELECT l.created_at, CASE l.status WHEN 'committed' THEN l.amount - l.refunded_amount
      ELSE l.committed_amount END AS charged
    FROM @extschema@.credit_ledger l
    WHERE l.org_id = a.org_id AND l.created_at >= now() - interval '192 hours' AND l.status <> 'reverted'
  ) c
) s;
COMMENT ON VIEW @extschema@.credit_account_overview IS 'every organisation as a dashboard shows it';
COMMENT ON COLUMN @extschema@.credit_account_overview.spent_today IS
  'credits charged, net of refunds, for authorizations made since midnight UTC';
COMMENT ON COLUMN @extschema@.credit_account_overview.burn_rate IS
  'credits a day charged, net of refunds, for authorizations of the last seven days, or since the account is there if '
  'that is less, one day at least';
COMMENT ON COLUMN @extschema@.credit_account_overview.days_left IS
  'how long available lasts at this burn rate; NULL if nothing was spent';
COMMENT ON COLUMN @extschema@.credit_account_overview.expiring IS
  'free credits in lots that end within credit_ledger.expiry_notice';

CREATE VIEW @extschema@.credit_totals AS
SELECT a.accounts, a.balance, a.held, a.available, a.low_accounts, a.frozen_accounts,
       o.open_authorizations, o.overdue_authorizations, o.orphaned_authorizations, o.sweep_lag_seconds,
       r.open_findings, r.last_run_at, r.overdue_at, x.expiring, x.expiring_accounts
FROM (SELECT count(*) AS accounts, coalesce(sum(n.balance), 0) AS balance, coalesce(sum(a.held), 0) AS held,
             coalesce(sum(n.balance - a.held + a.credit_limit), 0) AS available,
             count(*) FILTER (WHERE n.balance - a.held + a.credit_limit < a.low_balance_threshold) AS low_accounts,
             count(*) FILTER (WHERE a.frozen) AS frozen_accounts
      FROM @extschema@.credit_account a
      CROSS JOIN LATERAL (SELECT a.balance - coalesce(sum(e.lost), 0)::bigint AS balance
                          FROM credit_ledger_internal.lots_ended(a.org_id, statement_timestamp()) e
                          WHERE a.lot_expires_at <= statement_timestamp()) n) a,
     (SELECT count(*) AS open_authorizations, count(*) FILTER (WHERE l.expires_at < now()) AS overdue_authorizations,
             count(*) FILTER (WHERE l.created_at < now() - interval '1 hour') AS orphaned_authorizations,
             coalesce(greatest(extract(epoch FROM now() - min(l.expires_at)), 0), 0) AS sweep_lag_seconds
      FROM @extschema@.credit_ledger_open l) o,
     (SELECT h.findings_open AS open_findings, h.last_run_at, h.overdue_at
       FROM @extschema@.credit_reconciliation_health() h) r,
     (SELECT coalesce(sum(l.free), 0) AS expiring, count(DISTINCT l.org_id) AS expiring_accounts
      FROM credit_ledger_internal.lots_expiring() l) x;
COMMENT ON VIEW @extschema@.credit_totals IS 'the ledger in one row, as a dashboard shows it';
COMMENT ON COLUMN @extschema@.credit_totals.expiring IS
  'free credits in lots that end within credit_ledger.expiry_notice';
COMMENT ON COLUMN @extschema@.credit_totals.expiring_accounts IS 'organisations that have such credits';
COMMENT ON COLUMN @extschema@.credit_totals.overdue_authorizations IS 'holds that expired and that nobody settled yet';
COMMENT ON COLUMN @extschema@.credit_totals.orphaned_authorizations IS
  'authorizations neither committed nor reverted that are older than an hour';
COMMENT ON COLUMN @extschema@.credit_totals.sweep_lag_seconds IS 'how long ago the first of the overdue holds expired';
