-- Transactions: a call is part of its caller's, sees what was done before it in the same statement, and leaves nothing
-- behind where it is rolled back or refused.
--
-- The rows of the account are counted and compared around savepoints, exception blocks and refusals.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include

SELECT balance_after FROM credit_grant('transactions', 1000, 'opening');

-- All that stands in the ledger's tables for this file's organisations, as one value.
CREATE FUNCTION pg_temp.everything() RETURNS text LANGUAGE sql AS $$
  SELECT md5(string_agg(line, '' ORDER BY line))
  FROM (SELECT to_jsonb(a)::text FROM credit_account AS a WHERE a.org_id LIKE 'transactions%'
        UNION ALL SELECT to_jsonb(l)::text FROM credit_ledger AS l WHERE l.org_id LIKE 'transactions%'
        UNION ALL SELECT to_jsonb(e)::text FROM credit_entry AS e WHERE e.org_id LIKE 'transactions%'
        UNION ALL SELECT to_jsonb(i)::text FROM credit_idempotency AS i WHERE i.org_id LIKE 'transactions%') AS r (line)
$$;
CREATE FUNCTION pg_temp.counts(OUT accounts bigint, OUT authorizations bigint, OUT entries bigint, OUT keys bigint) LANGUAGE sql AS $$
  SELECT (SELECT count(*) FROM credit_account WHERE org_id LIKE 'transactions%'),
         (SELECT count(*) FROM credit_ledger WHERE org_id LIKE 'transactions%'),
         (SELECT count(*) FROM credit_entry WHERE org_id LIKE 'transactions%'),
         (SELECT count(*) FROM credit_idempotency WHERE org_id LIKE 'transactions%')
$$;

-- Rolled back, as a whole and to a savepoint.
SELECT pg_temp.everything() AS before \gset
BEGIN;
SELECT (credit_commit(a.authorization_id, 60)).available FROM credit_authorize('transactions', 100, 'campaign') AS a;
SELECT balance_after FROM credit_grant('transactions-new', 1, 'opening');
SELECT * FROM pg_temp.counts();
ROLLBACK;
SELECT * FROM pg_temp.counts();
SELECT pg_temp.everything() = :'before' AS as_before;

BEGIN;
SELECT available FROM credit_authorize('transactions', 100, 'campaign-1');
SAVEPOINT one;
SELECT available FROM credit_authorize('transactions', 200, 'campaign-2');
SAVEPOINT two;
SELECT (credit_commit(authorization_id)).available FROM credit_ledger WHERE org_id = 'transactions' AND campaign_id = 'campaign-1';
SELECT balance_after FROM credit_grant('transactions-new', 1, 'opening');
ROLLBACK TO two;
SELECT * FROM credit_balance('transactions');
SELECT * FROM pg_temp.counts();
ROLLBACK TO one;
SELECT * FROM credit_balance('transactions');
SELECT available, replayed FROM credit_authorize('transactions', 300, 'campaign-2');
RELEASE one;
COMMIT;
SELECT campaign_id, status, amount FROM credit_ledger WHERE org_id = 'transactions' ORDER BY campaign_id;
SELECT * FROM credit_balance('transactions');

-- A refused call aborts the transaction as any error does, and a savepoint gets it back.
BEGIN;
SELECT available FROM credit_authorize('transactions', 1, 'lost');
SELECT available FROM credit_authorize('transactions', 10000, 'too much');
SELECT available FROM credit_authorize('transactions', 1, 'not heard');
ROLLBACK;
BEGIN;
SAVEPOINT one;
SELECT available FROM credit_authorize('transactions', 10000, 'too much');
ROLLBACK TO one;
SELECT available FROM credit_authorize('transactions', 1, 'kept');
COMMIT;
SELECT campaign_id, status, amount FROM credit_ledger WHERE org_id = 'transactions' ORDER BY campaign_id;

-- PL/pgSQL: what an exception block catches is undone, what stands around it is not.
DO $$
DECLARE
  refused integer := 0;
BEGIN
  PERFORM credit_authorize('transactions', 10, 'block-' || n) FROM generate_series(1, 3) AS n;
  FOR n IN 1 .. 5 LOOP
    BEGIN
      PERFORM credit_authorize('transactions', 10, 'block-' || n || '-inner');
      PERFORM credit_authorize('transactions', 200 * n, 'block-' || n || '-big');
    EXCEPTION WHEN SQLSTATE 'LC001' THEN
      refused := refused + 1;
    END;
  END LOOP;
  RAISE NOTICE '% refused', refused;
END
$$;
SELECT campaign_id, status, amount FROM credit_ledger WHERE org_id = 'transactions' AND campaign_id LIKE 'block-%' ORDER BY campaign_id;
SELECT * FROM credit_balance('transactions');

-- A procedure that commits between its calls.
CREATE PROCEDURE pg_temp.settle_all(org text) LANGUAGE plpgsql AS $$
DECLARE
  id text;
BEGIN
  FOR id IN SELECT authorization_id FROM credit_ledger WHERE org_id = org AND status = 'authorized' ORDER BY campaign_id LOOP
    PERFORM credit_commit(id);
    COMMIT;
  END LOOP;
END
$$;
CALL pg_temp.settle_all('transactions');
SELECT entry_no, amount, balance_after FROM credit_statement('transactions');

-- Many calls in one statement see each other's effects: the tenth takes the last of it.
SELECT balance_after FROM credit_grant('transactions-batch', 100, 'opening');
SELECT n, a.amount, a.available, a.replayed
FROM generate_series(1, 10) AS n, credit_authorize('transactions-batch', 10, 'campaign-' || n % 9) AS a ORDER BY n;
SELECT count(*), count(DISTINCT a.authorization_id), max(a.available)
FROM generate_series(1, 10) AS n, credit_authorize('transactions-batch', 10, 'campaign-' || n) AS a;
SELECT * FROM credit_balance('transactions-batch');
SELECT n, (credit_authorize('transactions-batch', 1, 'one too many')).available FROM generate_series(1, 2) AS n;
SELECT campaign_id, (credit_commit(authorization_id, 9)).available, (credit_commit(authorization_id, 9)).replayed
FROM credit_ledger WHERE org_id = 'transactions-batch' AND amount = 10 ORDER BY campaign_id;
SELECT n, m.entry_no, m.balance_after, m.replayed
FROM generate_series(1, 4) AS n, credit_grant('transactions-batch', 5, 'top up ' || n % 2) AS m ORDER BY n;

-- Different verbs in one statement, the later ones on what the earlier made.
SELECT g.available, a.available, c.available, r.available, b.balance
FROM credit_grant('transactions-chain', 100, 'opening') AS g,
     LATERAL credit_authorize(g.org_id, g.amount, 'campaign') AS a,
     LATERAL credit_commit(a.authorization_id, a.amount - 10) AS c,
     LATERAL credit_refund(c.authorization_id, 'refund-1', 20) AS r,
     LATERAL credit_adjust(r.org_id, -r.balance_after + 1, 'correction-1', 'leave one') AS d,
     LATERAL (SELECT d.balance_after AS balance) AS b;
SELECT entry_no, kind, amount, balance_after FROM credit_statement('transactions-chain');

-- In data-modifying statements of the application: all or nothing.
CREATE TEMP TABLE campaign (id text PRIMARY KEY, authorization_id text);
INSERT INTO campaign SELECT 'c-' || n, (credit_authorize('transactions', 10, 'c-' || n)).authorization_id FROM generate_series(1, 3) AS n;
INSERT INTO campaign SELECT 'c-' || n, (credit_authorize('transactions', 10, 'c-' || n)).authorization_id FROM generate_series(4, 1, -1) AS n;
SELECT l.campaign_id, l.status FROM credit_ledger AS l JOIN campaign USING (authorization_id) ORDER BY l.campaign_id;
SELECT count(*) FROM credit_ledger WHERE org_id = 'transactions' AND campaign_id LIKE 'c-%';
WITH done AS (DELETE FROM campaign RETURNING authorization_id)
SELECT c.campaign_id, c.status FROM done, credit_revert(done.authorization_id) AS c ORDER BY c.campaign_id;

-- Prepared, and under a cursor that outlives its transaction.
PREPARE hold (text, bigint) AS SELECT available, replayed FROM credit_authorize('transactions-batch', $2, $1);
EXECUTE hold ('prepared', 1);
EXECUTE hold ('prepared', 1);
EXECUTE hold ('prepared too', 2);
DEALLOCATE hold;
DECLARE held CURSOR WITH HOLD FOR
  SELECT n, (credit_authorize('transactions-batch', 1, 'cursor-' || n)).available FROM generate_series(1, 3) AS n;
FETCH ALL FROM held;
CLOSE held;

-- Reading only: what reads, reads; what moves or holds credits is refused, replays too.
SELECT pg_temp.everything() AS before \gset
BEGIN READ ONLY;
\pset tuples_only on
\pset format unaligned
SELECT available FROM credit_balance('transactions-chain');
SELECT count(*) FROM credit_statement('transactions-chain');
SELECT credit_balance_at('transactions-chain', 'infinity');
SELECT count(*) FROM credit_verify('transactions-chain');
SELECT pg_temp.refusal('SELECT ' || call)
FROM (VALUES
  (1, $$credit_grant('transactions', 1, 'read only')$$),
  (2, $$credit_grant('transactions', 1000, 'opening')$$),
  (3, $$credit_adjust('transactions', 1, 'read only', 'r')$$),
  (4, $$credit_authorize('transactions', 1, 'read only')$$),
  (5, $$credit_commit('auth-any')$$),
  (6, $$credit_revert('auth-any')$$),
  (7, $$credit_extend('auth-any', '1 hour')$$),
  (8, $$credit_refund('auth-any', 'read only')$$),
  (9, $$credit_account_configure('transactions')$$),
  (10, $$credit_sweep('2000-01-01')$$)
) AS v (n, call) ORDER BY n;
COMMIT;
SELECT pg_temp.everything() = :'before' AS as_before;

-- A refused call leaves no trace: everything is the same before and after, whatever the reason.
CREATE FUNCTION pg_temp.trace(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  before text := pg_temp.everything();
  refusal text := pg_temp.refusal(statement);
BEGIN
  RETURN format('%s%s', substring(refusal FROM '\n  (\w+)'), CASE WHEN pg_temp.everything() <> before THEN ', left a trace' END);
END
$$;
SELECT available FROM credit_account_configure('transactions', overage_limit => 10) AS c, credit_balance(c.org_id);
SELECT authorization_id AS live FROM credit_authorize('transactions', 10, 'live') \gset
SELECT authorization_id AS committed FROM credit_authorize('transactions', 10, 'committed') \gset
SELECT authorization_id AS reverted FROM credit_authorize('transactions', 10, 'reverted') \gset
SELECT (credit_commit(:'committed', 5)).status, (credit_revert(:'reverted')).status;
SELECT frozen FROM credit_account_configure('transactions-chain', frozen => true);
SELECT n, pg_temp.trace('SELECT ' || call)
FROM (VALUES
  (1, $$credit_grant('transactions-none', 0, 'k')$$),
  (2, $$credit_grant('transactions', 9223372036854775807, 'k')$$),
  (3, $$credit_grant('transactions', 7, 'opening')$$),
  (4, $$credit_adjust('transactions-none', 7, 'k', 'r')$$),
  (5, $$credit_adjust('transactions', 9223372036854775807, 'k', 'r')$$),
  (6, $$credit_authorize('transactions-none', 7, 'k')$$),
  (7, $$credit_authorize('transactions', 1000000, 'k')$$),
  (8, $$credit_authorize('transactions', 7, 'live')$$),
  (9, $$credit_authorize('transactions-chain', 1, 'k')$$),
  (10, format('credit_commit(%L, 21)', :'live')),
  (11, format('credit_commit(%L, 6)', :'committed')),
  (12, format('credit_commit(%L)', :'reverted')),
  (13, format('credit_revert(%L)', :'committed')),
  (14, format('credit_extend(%L, %L)', :'committed', '1 hour')),
  (15, format('credit_refund(%L, %L, 6)', :'committed', 'k')),
  (16, format('credit_refund(%L, %L)', :'live', 'k')),
  (17, $$credit_account_configure('transactions-none', -1)$$)
) AS v (n, call) ORDER BY n;

-- Nor does one that fails in the middle of writing.
BEGIN;
ALTER TABLE credit_idempotency ADD CONSTRAINT not_this_key CHECK (idempotency_key <> 'not this') NOT VALID;
ALTER TABLE credit_account ADD CONSTRAINT not_below_300 CHECK (org_id <> 'transactions' OR balance - held >= 300) NOT VALID;
SELECT n, pg_temp.trace('SELECT ' || call)
FROM (VALUES
  (1, $$credit_grant('transactions', 1, 'not this')$$),
  (2, $$credit_adjust('transactions', 1, 'not this', 'r')$$),
  (3, $$credit_authorize('transactions', 1, 'not this')$$),
  (4, format('credit_refund(%L, %L)', :'committed', 'not this')),
  (5, $$credit_adjust('transactions', -300, 'k', 'r')$$),
  (6, $$credit_authorize('transactions', 300, 'k')$$),
  (7, $$credit_authorize('transactions', 1, 'not this') FROM credit_grant('transactions-none', 100, 'k')$$)
) AS v (n, call) ORDER BY n;
ROLLBACK;

SELECT * FROM credit_verify();
