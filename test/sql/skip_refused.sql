-- skip_refused: of many calls in one, those that the ledger refuses are rows with an SQLSTATE and a message, and the
-- rest is done.
--
-- Each refusal (class LC) is met once in each of the four functions; then long lists, half of which is refused, are
-- compared with single calls whose errors are caught. What is not the ledger's refusal refuses the whole call.
SET client_min_messages = warning;  -- repetitions say what became of theirs; test/sql/told.sql reads that
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include

SELECT (credit_grant(org, 100, 'opening')).balance_after FROM string_to_table('skip-a skip-b skip-frozen', ' ') AS org;
SELECT (credit_account_configure('skip-frozen', frozen => true)).frozen;
CREATE FUNCTION pg_temp.named_here(message text) RETURNS text LANGUAGE sql AS $$
  SELECT pg_temp.named(message, 'skip-a')
$$;

-- Authorize: each in turn, so that what one leaves the next can have. A refused item burns no key.
SELECT ord, campaign_id, status, amount, available, replayed, sqlstate, message
FROM credit_authorize_many('{skip-a,skip-a,skip-nobody,skip-a,skip-frozen,skip-b,skip-a,skip-a,skip-a}',
                           '{60,41,1,40,1,100,1,60,61}', '{c-1,c-2,c-1,c-2,c-1,c-1,c-3,c-1,c-1}', skip_refused => true);
SELECT org_id, campaign_id, status, amount FROM credit_ledger WHERE org_id LIKE 'skip-%' ORDER BY org_id, campaign_id;
SELECT b.* FROM string_to_table('skip-a skip-b skip-frozen', ' ') AS org, credit_balance(org) AS b ORDER BY b.org_id;

-- Without the argument, or false: all or nothing, as ever.
\pset tuples_only on
\pset format unaligned
SELECT pg_temp.refusal($$SELECT credit_authorize_many('{skip-b,skip-b}', '{1,1}', '{n-1,n-2}')$$);
SELECT pg_temp.refusal($$SELECT credit_authorize_many('{skip-b}', '{1}', '{n-1}', skip_refused => false)$$);
\pset tuples_only off
\pset format aligned

-- Commit and revert.
SELECT min(authorization_id) AS c1, max(authorization_id) AS c2 FROM credit_ledger WHERE org_id = 'skip-a' \gset
SELECT authorization_id AS other FROM credit_ledger WHERE org_id = 'skip-b' \gset
SELECT ord, campaign_id, status, amount, available, replayed, sqlstate, pg_temp.named_here(message) AS message
FROM credit_commit_many(ARRAY['auth-abc123', :'c1', :'c1', :'c1', :'other', :'c1'], '{1,61,50,49,100,NULL}',
                        skip_refused => true);
SELECT ord, campaign_id, status, amount, available, replayed, sqlstate, pg_temp.named_here(message) AS message
FROM credit_revert_many(ARRAY[:'c1', :'c2', 'auth-abc123', :'c2'], 'not sent', skip_refused => true);
SELECT ord, status, sqlstate, pg_temp.named_here(message) AS message
FROM credit_commit_many(ARRAY[:'c2'], skip_refused => true);
SELECT campaign_id, status, amount, reason FROM credit_ledger WHERE org_id = 'skip-a' ORDER BY campaign_id;

-- Charge.
SELECT ord, campaign_id, status, amount, settled_by, available, replayed, sqlstate, message
FROM credit_charge_many('{skip-a,skip-a,skip-nobody,skip-frozen,skip-a,skip-a,skip-b}', '{30,21,1,1,20,30,1}',
                        '{d-1,d-2,d-1,d-1,d-2,d-1,d-1}', skip_refused => true);
SELECT entry_no, kind, amount, balance_after FROM credit_statement('skip-a') ORDER BY entry_no;
-- A charge that was held by another name, and the other way round.
SELECT ord, campaign_id, status, amount, replayed, sqlstate
FROM credit_charge_many('{skip-a,skip-a}', '{60,61}', '{c-1,c-1}', skip_refused => true);
SELECT ord, campaign_id, status, amount, replayed, sqlstate
FROM credit_authorize_many('{skip-a,skip-a}', '{30,31}', '{d-1,d-1}', skip_refused => true);

-- All refused, none, nothing.
SELECT ord, status, sqlstate
FROM credit_authorize_many('{skip-a,skip-nobody}', '{1000,1}', '{n-1,n-2}', skip_refused => true);
SELECT * FROM credit_charge_many('{}', '{}', skip_refused => true);

-- What each item of an authorization may say for itself, and what is said for all.
SELECT (credit_grant('skip-a', 1000, 'top-up')).balance_after;
SELECT ord, campaign_id, amount, expires_at - created_at AS timeout
FROM credit_authorize_many('{skip-a,skip-a,skip-a}', '{1,2,3}', '{e-1,e-2,e-3}', timeout => '90 seconds',
                           timeout_action => 'revert', metadata => ARRAY['{"n": 1}', NULL, '{"n": 3}']::jsonb[]);
SELECT status, amount
FROM credit_charge_many('{skip-a,skip-a}', '{1,2}', '{e-4,e-5}', metadata => ARRAY['{"n": 4}', '{"n": 5}']::jsonb[]);
SELECT campaign_id, status, timeout_action, metadata FROM credit_ledger
WHERE org_id = 'skip-a' AND campaign_id IN ('e-1', 'e-2', 'e-3') ORDER BY campaign_id;
SELECT campaign_id, status, metadata FROM credit_ledger WHERE campaign_id IN ('e-4', 'e-5') ORDER BY campaign_id;

\pset tuples_only on
\pset format unaligned
-- Bad arguments refuse the whole call, and so does what is wrong with the server or a trigger.
SELECT pg_temp.refusal('SELECT ' || call)
FROM (VALUES
  (1, $$credit_authorize_many('{skip-a,skip-a}', '{1,0}', '{f-1,f-2}', skip_refused => true)$$),
  (2, $$credit_authorize_many('{skip-a,NULL}', '{1,1}', '{f-1,f-2}', skip_refused => true)$$),
  (3, $$credit_authorize_many('{skip-a,skip-a}', '{1,1}', '{f-1,NULL}', skip_refused => true)$$),
  (4, $$credit_authorize_many('{skip-a,skip-a}', '{1}', '{f-1,f-2}', skip_refused => true)$$),
  (5, $$credit_authorize_many('{skip-a}', '{1}', '{f-1}', skip_refused => NULL)$$),
  (6, $$credit_authorize_many('{skip-a}', '{1}', '{f-1}', metadata => '{}', skip_refused => true)$$),
  (7, $$credit_charge_many('{skip-a,skip-a}', '{1,0}', '{f-1,f-2}', skip_refused => true)$$),
  (8, $$credit_charge_many('{skip-a,skip-a}', '{1,1}', '{f-1,""}', skip_refused => true)$$),
  (9, $$credit_charge_many('{skip-a}', '{1}', '{f-1}', metadata => ARRAY[NULL, NULL]::jsonb[], skip_refused => true)$$),
  (10, $$credit_commit_many('{auth-abc123,NULL}', skip_refused => true)$$),
  (11, $$credit_commit_many('{auth-abc123}', '{-1}', skip_refused => true)$$),
  (12, $$credit_commit_many('{auth-abc123}', skip_refused => NULL)$$),
  (13, $$credit_revert_many('{auth-abc123,""}', skip_refused => true)$$),
  (14, $$credit_revert_many('{auth-abc123}', skip_refused => NULL)$$)
) AS v (n, call) ORDER BY n;
BEGIN;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE check_violation USING MESSAGE = 'no such campaign';
END
$$;
CREATE TRIGGER refuse BEFORE INSERT ON credit_ledger
  FOR EACH ROW WHEN (NEW.campaign_id = 'f-2') EXECUTE FUNCTION refuse();
SELECT pg_temp.refusal($$SELECT credit_authorize_many('{skip-a,skip-a}', '{1,1}', '{f-1,f-2}', skip_refused => true)$$);
SELECT pg_temp.refusal($$SELECT credit_charge_many('{skip-a,skip-a}', '{1,1}', '{f-1,f-2}', skip_refused => true)$$);
ROLLBACK;
SELECT count(*) FROM credit_ledger WHERE org_id LIKE 'skip-%' AND campaign_id LIKE 'f-%';
BEGIN READ ONLY;
SELECT pg_temp.refusal($$SELECT credit_charge_many('{skip-nobody}', '{1}', '{f-1}', skip_refused => true)$$);
COMMIT;
\pset tuples_only off
\pset format aligned

-- Long lists against as many single calls, of two organisations each, one of which has too few credits for its half:
-- keys of earlier items with another amount, organisations that are not there, and credits that run out.
CREATE TEMP TABLE item AS
SELECT n, CASE WHEN n % 17 = 0 THEN 'nobody' ELSE (n % 2)::text END AS org, 1 + n % 7 AS amount,
       'campaign-' || CASE WHEN n % 10 = 0 THEN n - 8 WHEN n % 4003 = 0 THEN n - 4002 ELSE n END AS campaign
FROM generate_series(1, 4100) AS n;
SELECT (credit_account_configure(org, overage_limit => 2)).org_id,
       (credit_grant(org, CASE WHEN org LIKE '%0' THEN 4000 ELSE 100000 END, 'opening')).available
FROM unnest(ARRAY['skip-one-0', 'skip-one-1', 'skip-many-0', 'skip-many-1']) AS org;
CREATE TEMP TABLE one (n bigint, call text, answer jsonb);
CREATE TEMP TABLE many (n bigint, answer jsonb);
CREATE INDEX ON one (n);
-- Makes the calls of one; each in a transaction of its own, since rows that one transaction locks and lets go a thousand
-- times are slow.
CREATE PROCEDURE pg_temp.call_singly() LANGUAGE plpgsql AS $$
DECLARE
  next one;
BEGIN
  FOR next IN SELECT * FROM one ORDER BY n LOOP
    BEGIN
      EXECUTE 'SELECT to_jsonb(a) FROM ' || next.call || ' AS a' INTO next.answer;
    EXCEPTION WHEN OTHERS THEN
      next.answer := jsonb_build_object('sqlstate', SQLSTATE, 'message', SQLERRM);
    END;
    DELETE FROM one WHERE n = next.n;
    INSERT INTO one SELECT next.*;
    COMMIT;
  END LOOP;
END
$$;
-- What an answer says, apart from ids and instants.
CREATE FUNCTION pg_temp.told(answer jsonb) RETURNS text LANGUAGE sql AS $$
  SELECT replace(concat_ws(' ', answer ->> 'org_id', answer ->> 'campaign_id', answer ->> 'status', answer ->> 'amount',
                           answer ->> 'available', answer ->> 'replayed', answer ->> 'sqlstate',
                           regexp_replace(answer ->> 'message', 'auth-\w{26}', 'auth-')), 'skip-many', 'skip-one')
  WHERE answer ->> 'status' IS NOT NULL
  UNION ALL
  SELECT replace(concat_ws(' ', answer ->> 'sqlstate', regexp_replace(answer ->> 'message', 'auth-\w{26}', 'auth-')),
                 'skip-many', 'skip-one')
  WHERE answer ->> 'status' IS NULL
$$;
CREATE FUNCTION pg_temp.books(org text) RETURNS text LANGUAGE sql AS $$
  SELECT md5(concat((SELECT (balance, held, last_entry_no) FROM credit_account WHERE org_id = org),
                    (SELECT string_agg((campaign_id, idempotency_key, status, amount, authorized_amount,
                                        settled_by, reason)::text, ' ' ORDER BY campaign_id)
                     FROM credit_ledger WHERE org_id = org),
                    (SELECT string_agg((kind, e.amount, campaign_id)::text, ' ' ORDER BY campaign_id, entry_no)
                     FROM credit_entry AS e LEFT JOIN credit_ledger AS l USING (authorization_id) WHERE e.org_id = org),
                    (SELECT string_agg((operation, idempotency_key, amount, campaign_id)::text,
                                       ' ' ORDER BY operation, idempotency_key)
                     FROM credit_idempotency WHERE org_id = org)))
$$;
CREATE TEMP VIEW comparison AS
SELECT count(*) FILTER (WHERE NOT (one.answer ->> 'replayed')::boolean) AS done,
       count(*) FILTER (WHERE (one.answer ->> 'replayed')::boolean) AS replayed,
       (SELECT jsonb_object_agg(sqlstate, times)
        FROM (SELECT o.answer ->> 'sqlstate' AS sqlstate, count(*) AS times FROM one AS o
              WHERE o.answer ->> 'sqlstate' IS NOT NULL GROUP BY 1) AS refused) AS refused,
       count(*) FILTER (WHERE pg_temp.told(one.answer) IS DISTINCT FROM pg_temp.told(many.answer)) AS differences,
       pg_temp.books('skip-one-0') = pg_temp.books('skip-many-0')
       AND pg_temp.books('skip-one-1') = pg_temp.books('skip-many-1') AS same_books
FROM one FULL JOIN many USING (n);

INSERT INTO one
SELECT n, format('credit_authorize(%L, %s, %L)', 'skip-one-' || org, amount, campaign) FROM item;
CALL pg_temp.call_singly();
INSERT INTO many
SELECT m.ord, to_jsonb(m)
FROM credit_authorize_many(ARRAY(SELECT 'skip-many-' || org FROM item ORDER BY n),
                           ARRAY(SELECT amount FROM item ORDER BY n),
                           ARRAY(SELECT campaign FROM item ORDER BY n), skip_refused => true) AS m;
SELECT * FROM comparison;

-- Charges, of keys that are new and of some that were used.
CREATE TEMP TABLE charge AS
SELECT n, org, amount, CASE WHEN n % 3 = 0 THEN campaign ELSE 'charge-' || campaign END AS campaign FROM item;
TRUNCATE one, many;
INSERT INTO one
SELECT n, format('credit_charge(%L, %s, %L)', 'skip-one-' || org, amount, campaign) FROM charge;
CALL pg_temp.call_singly();
INSERT INTO many
SELECT m.ord, to_jsonb(m)
FROM credit_charge_many(ARRAY(SELECT 'skip-many-' || org FROM charge ORDER BY n),
                        ARRAY(SELECT amount FROM charge ORDER BY n),
                        ARRAY(SELECT campaign FROM charge ORDER BY n), skip_refused => true) AS m;
SELECT * FROM comparison;

-- Commits: of nothing, some, all, more and too much; of ids that are not there; some twice. Then reverts of all.
CREATE TEMP TABLE settlement AS
SELECT row_number() OVER (ORDER BY md5(campaign), n) AS n, org, campaign,
       CASE n % 5 WHEN 0 THEN NULL WHEN 1 THEN amount + 1 WHEN 2 THEN amount + 9 ELSE amount / 2 END AS used
FROM item WHERE n % 4 > 0;
CREATE FUNCTION pg_temp.settlements(prefix text) RETURNS TABLE (n bigint, authorization_id text, used integer)
LANGUAGE sql AS $$
  SELECT s.n, coalesce(l.authorization_id, 'auth-none'), s.used
  FROM settlement AS s LEFT JOIN credit_ledger AS l ON l.org_id = prefix || s.org AND l.campaign_id = s.campaign
  ORDER BY s.n
$$;
TRUNCATE one, many;
INSERT INTO one
SELECT s.n, format('credit_commit(%L, %L)', s.authorization_id, s.used) FROM pg_temp.settlements('skip-one-') AS s;
CALL pg_temp.call_singly();
INSERT INTO many
SELECT m.ord, to_jsonb(m)
FROM credit_commit_many(ARRAY(SELECT authorization_id FROM pg_temp.settlements('skip-many-')),
                        ARRAY(SELECT used FROM settlement ORDER BY n), skip_refused => true) AS m;
SELECT * FROM comparison;
TRUNCATE settlement, one, many;
INSERT INTO settlement SELECT row_number() OVER (ORDER BY md5(campaign), n), org, campaign FROM item;
INSERT INTO one
SELECT s.n, format('credit_revert(%L, %L)', s.authorization_id, 'never sent')
FROM pg_temp.settlements('skip-one-') AS s;
CALL pg_temp.call_singly();
INSERT INTO many
SELECT m.ord, to_jsonb(m)
FROM credit_revert_many(ARRAY(SELECT authorization_id FROM pg_temp.settlements('skip-many-')), 'never sent',
                        skip_refused => true) AS m;
SELECT * FROM comparison;

SELECT * FROM credit_verify();
