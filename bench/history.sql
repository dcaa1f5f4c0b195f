-- Fills the extension's tables with :rows authorizations committed over the last :span, spread over the :orgs organisations of
-- accounts.sql, as if they had been made through the functions: credit_verify finds nothing. Straight INSERTs, since
-- what the functions would take hours for is not what is measured. Wants search_path = extension and no holds yet.

\if :{?span}
\else
  \set span '1 year'
\endif
\if :{?orgs}
\else
  \set orgs 10000
\endif

CREATE FUNCTION pg_temp.five_digits(p_number bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', 1 + (p_number >> 20 & 31)::integer, 1)
    || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', 1 + (p_number >> 15 & 31)::integer, 1)
    || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', 1 + (p_number >> 10 & 31)::integer, 1)
    || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', 1 + (p_number >> 5 & 31)::integer, 1)
    || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', 1 + (p_number & 31)::integer, 1)
$$;

-- One row an authorization: the organisations take turns, so the ordinal of an authorization within its account is known.
-- OFFSET 0 has each instant computed once.
CREATE TEMP TABLE history AS
SELECT 'auth-' || pg_temp.five_digits(ms >> 25) || pg_temp.five_digits(ms) || upper(left(md5(no::text), 16)) AS id,
       'org-' || 1 + no % :orgs AS org, 'h-' || no AS campaign, at, 2 + no / :orgs AS entry_no
FROM (SELECT no, at, (extract(epoch FROM at) * 1000)::bigint AS ms
      FROM (SELECT no, now() - :'span'::interval + :'span'::interval * (no::double precision / :rows) AS at
            FROM generate_series(0, :rows - 1) no) i
      OFFSET 0) t;

INSERT INTO credit_ledger_settled (authorization_id, org_id, campaign_id, idempotency_key, status, amount, authorized_amount,
  refunded_amount, timeout_action, created_at, expires_at, settled_at, settled_by)
SELECT id, org, campaign, campaign, 'committed', 90, 100, 0, 'commit', at, at + interval '10 min', at + interval '1 s', 'caller'
FROM history;
INSERT INTO credit_idempotency (org_id, operation, idempotency_key, amount, campaign_id, authorization_id, entry_no, created_at)
SELECT org, 'authorize', campaign, 100, campaign, id, NULL, at FROM history;
INSERT INTO credit_entry (org_id, entry_no, kind, amount, authorization_id, balance_after, created_at)
SELECT h.org, h.entry_no, 'commit', -90, h.id, a.balance - 90 * (h.entry_no - 1), h.at + interval '1 s'
FROM history h JOIN credit_account a ON a.org_id = h.org;
SET session_replication_role = replica;
UPDATE credit_account a SET balance = a.balance - 90 * h.charges, last_entry_no = 1 + h.charges
FROM (SELECT org, count(*) AS charges FROM history GROUP BY org) h
WHERE h.org = a.org_id;


-- The credits were there before they were used.
UPDATE credit_entry SET created_at = now() - :'span'::interval - interval '1 hour' WHERE entry_no = 1;
RESET session_replication_role;
UPDATE credit_idempotency SET created_at = now() - :'span'::interval - interval '1 hour' WHERE operation = 'grant';

DROP TABLE history;
