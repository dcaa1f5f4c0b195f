-- Statements and past balances: what the entries of an account tell.
--
-- Entries are made by the verbs, then dated by the tables' owner (with the trigger that keeps entries append-only off
-- for that moment), so that instants can be asked for by name.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include

SELECT balance_after FROM credit_grant('statement', 1000, 'invoice-1', 'first purchase', '{"invoice": 1}');
SELECT (credit_commit(authorization_id, 60)).status FROM credit_authorize('statement', 100, 'campaign');
SELECT m.balance_after FROM credit_ledger AS l, credit_refund(l.authorization_id, 'refund-1', 10, 'bounced') AS m
WHERE l.org_id = 'statement';
SELECT balance_after FROM credit_adjust('statement', -50, 'correction-1', 'sold twice');
SELECT status FROM credit_authorize('statement', 100, 'still open');
SELECT balance_after FROM credit_grant('statement-b', 1, 'invoice-1');
SELECT org_id FROM credit_account_configure('statement-c');

BEGIN;
ALTER TABLE credit_entry DISABLE TRIGGER credit_entry_append_only;
UPDATE credit_entry SET created_at = '2026-01-01 00:00Z'::timestamptz + entry_no * interval '1 day' WHERE org_id = 'statement';
ALTER TABLE credit_entry ENABLE TRIGGER credit_entry_append_only;
COMMIT;

-- All of it, oldest first: the columns are those of credit_entry, also where that was given one more.
SELECT entry_no, kind, amount, authorization_id IS NOT NULL AS of_authorization, idempotency_key, reason, balance_after,
       created_at AT TIME ZONE 'UTC' AS created_at, metadata
FROM credit_statement('statement');
SELECT count(*) FROM credit_statement('statement') AS s JOIN credit_entry AS e ON to_jsonb(s) - '{campaign_id,settled_by}'::text[] = to_jsonb(e);
BEGIN;
ALTER TABLE credit_entry ADD COLUMN booked_by text DEFAULT 'somebody';
SELECT count(*) FROM credit_statement('statement') AS s JOIN credit_entry AS e ON to_jsonb(s) - '{campaign_id,settled_by}'::text[] = to_jsonb(e) - 'booked_by';
ROLLBACK;

-- From since, which is included, until until, which is not; each may be left out; none in an empty or upturned span.
SELECT array_agg(entry_no) FROM credit_statement('statement', since => '2026-01-03Z');
SELECT array_agg(entry_no) FROM credit_statement('statement', since => '2026-01-03 00:00:00.000001Z');
SELECT array_agg(entry_no) FROM credit_statement('statement', until => '2026-01-05Z', period => '2 days');
SELECT count(*) FROM credit_statement('statement', period => '0');
SELECT * FROM credit_statement('statement', since => '2026-01-03Z', period => '2 days');
SELECT * FROM credit_statement('statement', period => '-2 days');
SELECT array_agg(entry_no) FROM credit_statement('statement', until => '2026-01-03Z');
SELECT array_agg(entry_no) FROM credit_statement('statement', until => '2026-01-03 00:00:00.000001Z');
SELECT array_agg(entry_no) FROM credit_statement('statement', '2026-01-03Z', '2026-01-05Z');
SELECT array_agg(entry_no) FROM credit_statement('statement', '2026-01-03Z', '2026-01-03Z');
SELECT array_agg(entry_no) FROM credit_statement('statement', '2026-01-05Z', '2026-01-03Z');
SELECT array_agg(entry_no) FROM credit_statement('statement', '-infinity', 'infinity');

-- By page: at most max_rows after the entry after_entry_no, inside the span.
SELECT array_agg(entry_no) FROM credit_statement('statement', max_rows => 2);
SELECT array_agg(entry_no) FROM credit_statement('statement', after_entry_no => 2, max_rows => 2);
SELECT array_agg(entry_no) FROM credit_statement('statement', after_entry_no => 4, max_rows => 2);
SELECT array_agg(entry_no) FROM credit_statement('statement', after_entry_no => 1, max_rows => 1, since => '2026-01-04Z');
SELECT array_agg(entry_no) FROM credit_statement('statement', after_entry_no => 3, until => '2026-01-04Z');
SELECT array_agg(entry_no) FROM credit_statement('statement', after_entry_no => -1, max_rows => 0);
SELECT pg_temp.refusal($$SELECT * FROM credit_statement('statement', max_rows => -1)$$);

-- Other accounts have entries of their own, or none.
SELECT entry_no, kind, amount FROM credit_statement('statement-b');
SELECT count(*) FROM credit_statement('statement-c');

-- The balance at an instant is what the entries before it came to, without those of that instant; before the first it is
-- 0, and holds do not show.
SELECT at, credit_balance_at('statement', ('2026-01-' || at || 'Z')::timestamptz)
FROM (VALUES ('01 00:00'), ('01 23:59:59.999999'), ('02 00:00'), ('03 00:00'), ('04 12:00'), ('05 00:00'), ('06 00:00')) AS v (at) ORDER BY at;
SELECT credit_balance_at('statement', '-infinity'), credit_balance_at('statement', 'infinity'),
       credit_balance_at('statement-c', 'infinity');

-- Opening and lines are the closing, for every pair of instants: on an entry's edge, beside it, and where several entries
-- have the same; whatever part of the history is detached.
CREATE FUNCTION pg_temp.unequal() RETURNS bigint LANGUAGE sql AS $$
  WITH instant AS (
    SELECT DISTINCT e.created_at + shift * interval '1 us' AS at
    FROM credit_entry AS e, generate_series(-1, 1) AS shift WHERE e.org_id = 'statement-d'
    UNION SELECT '-infinity' UNION SELECT 'infinity'
  ), known AS MATERIALIZED (
    SELECT at, credit_balance_at('statement-d', at) AS balance FROM instant
  )
  SELECT count(*)
  FROM known AS opening JOIN known AS closing ON opening.at <= closing.at
  WHERE closing.balance IS DISTINCT FROM opening.balance + (
    SELECT coalesce(sum(s.amount), 0) FROM credit_statement('statement-d', opening.at, closing.at) AS s)
$$;
BEGIN;
SELECT count(*) FROM generate_series(1, 9) AS i, credit_grant('statement-d', i * i, 'k' || i);
CREATE TABLE statement_d_2 PARTITION OF credit_entry FOR VALUES FROM ('2020-01-02Z') TO ('2020-01-04Z');
ALTER TABLE credit_entry DISABLE TRIGGER credit_entry_append_only;
UPDATE credit_entry SET created_at = '2020-01-01Z'::timestamptz + (entry_no / 2) * interval '1 day' WHERE org_id = 'statement-d';
ALTER TABLE credit_entry ENABLE TRIGGER credit_entry_append_only;
SELECT pg_temp.unequal();
SELECT array_agg(amount) FROM credit_statement('statement-d', '2020-01-02Z', '2020-01-05Z');
ALTER TABLE credit_entry DETACH PARTITION statement_d_2;
SELECT pg_temp.unequal() > 0 AS only_across_what_was_detached;
SELECT credit_balance_at('statement-d', '2020-01-01Z'), credit_balance_at('statement-d', '2020-01-05Z');
ROLLBACK;

-- Months apart in partitions of their own, the entries are still one statement.
BEGIN;
CREATE TABLE statement_january PARTITION OF credit_entry FOR VALUES FROM ('2025-01-01') TO ('2025-02-01');
ALTER TABLE credit_entry DISABLE TRIGGER credit_entry_append_only;
UPDATE credit_entry SET created_at = '2025-01-01 00:00Z'::timestamptz + entry_no * interval '1 day'
WHERE org_id = 'statement' AND entry_no < 3;
ALTER TABLE credit_entry ENABLE TRIGGER credit_entry_append_only;
SELECT tableoid::regclass, count(*) FROM credit_entry WHERE org_id = 'statement' GROUP BY 1 ORDER BY 1;
SELECT entry_no, kind, amount, balance_after FROM credit_statement('statement');
SELECT credit_balance_at('statement', '2025-02-01'), credit_balance_at('statement', 'infinity');
SELECT balance_after FROM credit_adjust('statement', 1, 'correction-2', 'goes on');
SELECT * FROM credit_verify('statement');
ROLLBACK;

SELECT * FROM credit_verify();
