-- Arguments: what each function refuses before it touches anything.
--
-- Every argument of every function in turn is NULL, empty, too long, out of range, with the others sound; each
-- refusal is printed with its SQLSTATE. What is just within the bounds is accepted.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include
\pset tuples_only on
\pset format unaligned

SELECT balance_after FROM credit_grant('args', 1000, 'opening');
SELECT authorization_id AS held FROM credit_authorize('args', 10, 'campaign', timeout => '1 hour') \gset
SET args.held = :'held';

-- NULL where a value is needed.
SELECT pg_temp.refusal('SELECT ' || call)
FROM (VALUES
  (1, $$credit_grant(NULL, 1, 'k')$$),
  (2, $$credit_grant('args', NULL, 'k')$$),
  (3, $$credit_grant('args', 1, NULL)$$),
  (4, $$credit_adjust(NULL, 1, 'k', 'r')$$),
  (5, $$credit_adjust('args', NULL, 'k', 'r')$$),
  (6, $$credit_adjust('args', 1, NULL, 'r')$$),
  (7, $$credit_adjust('args', 1, 'k', NULL)$$),
  (8, $$credit_authorize(NULL, 1, 'c')$$),
  (9, $$credit_authorize('args', NULL, 'c')$$),
  (10, $$credit_authorize('args', 1)$$),
  (11, $$credit_commit(NULL)$$),
  (12, $$credit_commit(NULL, 1)$$),
  (13, $$credit_revert(NULL)$$),
  (14, $$credit_extend(NULL, '1 hour')$$),
  (15, $$credit_extend('auth-any', NULL)$$),
  (16, $$credit_refund(NULL, 'k')$$),
  (17, $$credit_refund('auth-any', NULL)$$),
  (18, $$credit_account_configure(NULL, 1)$$),
  (19, $$credit_sweep(max_rows => NULL)$$),
  (20, $$credit_balance(NULL)$$),
  (21, $$credit_balance_at(NULL, '2026-01-01')$$),
  (22, $$credit_balance_at('args', NULL)$$),
  (23, $$credit_statement(NULL)$$)
) AS v (n, call) ORDER BY n;

-- Empty identifiers.
SELECT pg_temp.refusal('SELECT ' || call)
FROM (VALUES
  (1, $$credit_grant('', 1, 'k')$$),
  (2, $$credit_grant('args', 1, '')$$),
  (3, $$credit_adjust('', 1, 'k', 'r')$$),
  (4, $$credit_adjust('args', 1, '', 'r')$$),
  (5, $$credit_authorize('', 1, 'c')$$),
  (6, $$credit_authorize('args', 1, '')$$),
  (7, $$credit_authorize('args', 1, '', 'k')$$),
  (8, $$credit_authorize('args', 1, 'c', '')$$),
  (9, $$credit_authorize('args', 1, NULL, '')$$),
  (10, $$credit_commit('')$$),
  (11, $$credit_revert('')$$),
  (12, $$credit_extend('', '1 hour')$$),
  (13, $$credit_refund('', 'k')$$),
  (14, $$credit_refund('auth-any', '')$$),
  (15, $$credit_account_configure('')$$),
  (16, $$credit_balance('')$$),
  (17, $$credit_balance_at('', '2026-01-01')$$),
  (18, $$credit_statement('')$$)
) AS v (n, call) ORDER BY n;

-- A reason that is required says something.
SELECT pg_temp.refusal($$SELECT credit_adjust('args', 1, 'k', '')$$);

-- Identifiers of 257 bytes, which 129 letters of two bytes are as well; the format keeps them out of the output.
SELECT replace(replace(pg_temp.refusal(format('SELECT ' || call, long)), long, '<' || octet_length(long) || ' bytes>'), E'\n', ' --')
FROM (VALUES
  (1, $$credit_grant(%L, 1, 'k')$$),
  (2, $$credit_grant('args', 1, %L)$$),
  (3, $$credit_adjust(%L, 1, 'k', 'r')$$),
  (4, $$credit_adjust('args', 1, %L, 'r')$$),
  (5, $$credit_authorize(%L, 1, 'c')$$),
  (6, $$credit_authorize('args', 1, %L)$$),
  (7, $$credit_authorize('args', 1, %L, 'k')$$),
  (8, $$credit_authorize('args', 1, 'c', %L)$$),
  (9, $$credit_commit(%L)$$),
  (10, $$credit_revert(%L)$$),
  (11, $$credit_extend(%L, '1 hour')$$),
  (12, $$credit_refund(%L, 'k')$$),
  (13, $$credit_refund('auth-any', %L)$$),
  (14, $$credit_account_configure(%L)$$),
  (15, $$credit_balance(%L)$$),
  (16, $$credit_balance_at(%L, '2026-01-01')$$),
  (17, $$credit_statement(%L)$$)
) AS v (n, call),
(VALUES (1, repeat('x', 257)), (2, repeat('é', 129))) AS w (m, long)
ORDER BY n, m;

-- 256 bytes are taken, in letters of one byte and of two, by the functions and by the tables.
SELECT octet_length((credit_grant(id, 100, id)).org_id), octet_length((credit_authorize(id, 10, id, id)).campaign_id)
FROM (VALUES (1, repeat('x', 256)), (2, repeat('é', 128))) AS v (n, id) ORDER BY n;
SELECT octet_length(idempotency_key), (credit_commit(authorization_id)).status
FROM credit_ledger WHERE octet_length(org_id) = 256 ORDER BY org_id;
SELECT octet_length(org_id), balance, held FROM credit_account WHERE octet_length(org_id) = 256 ORDER BY org_id;

-- Text is compared as bytes and not trimmed: these are three organisations.
SELECT o.org_id, m.balance_after, m.replayed
FROM (VALUES ('args-Case'), ('args-case'), ('args-case ')) AS o (org_id), credit_grant(o.org_id, 1, 'k') AS m
ORDER BY o.org_id COLLATE "C";

-- Amounts out of range.
SELECT pg_temp.refusal('SELECT ' || call)
FROM (VALUES
  (1, $$credit_grant('args', 0, 'k')$$),
  (2, $$credit_grant('args', -1, 'k')$$),
  (3, $$credit_adjust('args', 0, 'k', 'r')$$),
  (4, $$credit_authorize('args', 0, 'c')$$),
  (5, $$credit_authorize('args', -1, 'c')$$),
  (6, $$credit_commit(current_setting('args.held'), -1)$$),
  (7, $$credit_commit('auth-any', -1)$$),
  (8, $$credit_refund('auth-any', 'k', 0)$$),
  (9, $$credit_refund('auth-any', 'k', -1)$$),
  (10, $$credit_account_configure('args', credit_limit => -1)$$),
  (11, $$credit_account_configure('args', overage_limit => -1)$$),
  (12, $$credit_sweep(max_rows => 0)$$),
  (13, $$credit_sweep(max_rows => -1)$$)
) AS v (n, call) ORDER BY n;

-- Timeouts that are no time to come: zero, negative, of mixed signs that add up to nothing or less.
SELECT pg_temp.refusal('SELECT ' || format(call, timeout))
FROM (VALUES
  (1, $$credit_authorize('args', 1, 'c', timeout => %L)$$),
  (2, $$credit_extend(current_setting('args.held'), %L)$$)
) AS v (n, call),
(VALUES (1, '0'), (2, '-1 hour'), (3, '1 day -25 hours'), (4, '1 month -40 days')) AS w (m, timeout)
ORDER BY n, m;

-- An infinite timeout exists from version 17 on, and is refused there.
SELECT current_setting('server_version_num')::integer < 170000
       OR pg_temp.refusal('SELECT ' || call) ~ '\n  22023: ' AS infinite_is_refused
FROM (VALUES
  (1, $$credit_authorize('args', 1, 'c', timeout => 'infinity')$$),
  (2, $$credit_authorize('args', 1, 'c', timeout => '-infinity')$$),
  (3, $$credit_extend(current_setting('args.held'), 'infinity')$$),
  (4, $$credit_extend(current_setting('args.held'), '-infinity')$$)
) AS v (n, call) ORDER BY n;

-- Timeouts of several units, of mixed signs that come to something, and the shortest.
SELECT timeout, a.expires_at = a.created_at + timeout AS as_told
FROM (VALUES (1, interval '2 days 3 hours'), (2, interval '1 day -1 hour'), (3, interval '1 microsecond')) AS v (n, timeout),
     credit_authorize('args', 1, 'timeout ' || n, timeout => timeout) AS a
ORDER BY n;
SELECT count(*) FROM (SELECT (credit_revert(authorization_id)).status FROM credit_ledger
                      WHERE org_id = 'args' AND campaign_id LIKE 'timeout %') AS r;

-- Whatever is not a label of the enum never gets to the function.
SELECT pg_temp.refusal($$SELECT credit_authorize('args', 1, 'c', timeout_action => 'forget')$$);

-- Unknown accounts and authorizations.
SELECT pg_temp.refusal('SELECT ' || call)
FROM (VALUES
  (1, $$credit_adjust('args-nobody', 1, 'k', 'r')$$),
  (2, $$credit_authorize('args-nobody', 1, 'c')$$),
  (3, $$credit_balance('args-nobody')$$),
  (4, $$credit_balance_at('args-nobody', '2026-01-01')$$),
  (5, $$credit_statement('args-nobody')$$),
  (6, $$credit_commit('auth-abc123')$$),
  (7, $$credit_commit('auth-00000000000000000000000000', 1)$$),
  (8, $$credit_commit('auth-7ZZZZZZZZZZZZZZZZZZZZZZZZZ', 1)$$),
  (9, $$credit_commit('auth-ZZZZZZZZZZZZZZZZZZZZZZZZZZ', 1)$$),
  (10, $$credit_commit('args', 1)$$),
  (11, $$credit_revert('auth-abc123')$$),
  (12, $$credit_extend('auth-abc123', '1 hour')$$),
  (13, $$credit_refund('auth-abc123', 'k')$$)
) AS v (n, call) ORDER BY n;

-- None of this left anything behind.
SELECT org_id, balance, held, last_entry_no FROM credit_account WHERE org_id LIKE 'args%' ORDER BY org_id;
SELECT count(*) FROM credit_idempotency WHERE org_id = 'args';

SELECT * FROM credit_verify();
