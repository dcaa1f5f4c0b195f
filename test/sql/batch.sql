-- Many calls in one: the answers, rows and entries of credit_authorize_many, credit_commit_many and credit_revert_many
-- are those of single calls made one after the other, all or nothing.
--
-- The same items are called singly for one pair of organisations and in one call for another; answers and books are then
-- compared, across several chunks of the arrays. Refusals are printed with the item that they name.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include

SELECT (credit_grant(org, 100, 'opening')).balance_after FROM (VALUES ('batch-a'), ('batch-b')) AS v (org);

-- Items of several organisations, in the order of the arrays; what is available is what was left after each.
SELECT ord, org_id, campaign_id, status, amount, authorized_amount, refunded_amount, settled_at, settled_by, reason,
       available, replayed, expires_at - created_at AS timeout
FROM credit_authorize_many('{batch-b,batch-a,batch-b,batch-a}', '{10,20,30,40}', '{c-1,c-1,c-2,c-2}');
SELECT b.* FROM (VALUES ('batch-a'), ('batch-b')) AS v (org), credit_balance(v.org) AS b ORDER BY b.org_id;

-- Keys beside campaigns or instead of them, and a timeout for all.
SELECT ord, campaign_id, amount, available, replayed, expires_at - created_at AS timeout
FROM credit_authorize_many('{batch-a,batch-a,batch-a}', '{1,2,3}', '{c-3,NULL,c-1}', '{NULL,no-campaign,second-key}', '90 seconds');
SELECT campaign_id, idempotency_key, amount, timeout_action FROM credit_ledger WHERE org_id = 'batch-a' ORDER BY idempotency_key;

-- Replays, of earlier calls and of items in the same call.
SELECT ord, campaign_id, amount, available, replayed
FROM credit_authorize_many('{batch-a,batch-a,batch-b,batch-a,batch-b}', '{20,5,10,5,10}', '{c-1,c-4,c-3,c-4,c-3}');

-- Nothing to do.
SELECT * FROM credit_authorize_many('{}', '{}');
SELECT * FROM credit_commit_many('{}');
SELECT * FROM credit_revert_many('{}');

-- Settled in one call: in full, in part, not at all, and again.
SELECT array_agg(authorization_id ORDER BY campaign_id, idempotency_key) AS ids FROM credit_ledger WHERE org_id = 'batch-a' \gset
SELECT ord, campaign_id, status, amount, authorized_amount, settled_by, available, replayed
FROM credit_commit_many((:'ids'::text[])[1:3] || (:'ids'::text[])[1], '{15,NULL,0,15}');
SELECT ord, campaign_id, status, amount, available, replayed FROM credit_commit_many((:'ids'::text[])[1:2], '{NULL,NULL}');
SELECT ord, campaign_id, status, amount, reason, available, replayed
FROM credit_revert_many((:'ids'::text[])[4:5] || (:'ids'::text[])[4], 'never sent');
SELECT ord, campaign_id, status, amount, available, replayed
FROM credit_commit_many(ARRAY(SELECT authorization_id FROM credit_ledger WHERE org_id = 'batch-b' ORDER BY campaign_id));
SELECT entry_no, kind, amount, balance_after FROM credit_statement('batch-a');
SELECT tableoid::regclass, campaign_id, idempotency_key, status, amount, reason
FROM credit_ledger WHERE org_id = 'batch-a' ORDER BY campaign_id, idempotency_key;

-- A large batch against as many single calls: of two organisations each, some of them twice, near by or far
-- apart.
CREATE TEMP TABLE item AS
SELECT n, n % 2 AS org, 1 + n % 7 AS amount,
       'campaign-' || CASE WHEN n % 10 = 0 THEN n - 8 WHEN n % 1001 = 0 THEN n - 1000 WHEN n % 4003 = 0 THEN n - 4002 ELSE n END AS campaign
FROM generate_series(1, 10000) AS n;
UPDATE item SET (org, amount) = (twin.org, twin.amount)
FROM (SELECT DISTINCT ON (campaign) * FROM item ORDER BY campaign, n) AS twin
WHERE twin.campaign = item.campaign AND twin.n < item.n;
SELECT (credit_account_configure(org, overage_limit => 2)).org_id, (credit_grant(org, 100000, 'opening')).available
FROM (VALUES ('batch-one-0'), ('batch-one-1'), ('batch-many-0'), ('batch-many-1')) AS v (org);
CREATE TEMP TABLE one AS
SELECT i.n, a.* FROM (SELECT * FROM item ORDER BY n) AS i, credit_authorize('batch-one-' || i.org, i.amount, i.campaign) AS a;
CREATE TEMP TABLE many AS
SELECT * FROM credit_authorize_many(ARRAY(SELECT 'batch-many-' || org FROM item ORDER BY n),
                                    ARRAY(SELECT amount FROM item ORDER BY n),
                                    ARRAY(SELECT campaign FROM item ORDER BY n));
CREATE FUNCTION pg_temp.differences() RETURNS SETOF integer LANGUAGE sql AS $$
  SELECT one.n FROM one FULL JOIN many ON one.n = many.ord
  WHERE (replace(one.org_id, 'one', 'many'), one.campaign_id, one.status, one.amount, one.authorized_amount,
         one.settled_by, one.reason, one.available, one.replayed)
        IS DISTINCT FROM
        (many.org_id, many.campaign_id, many.status, many.amount, many.authorized_amount,
         many.settled_by, many.reason, many.available, many.replayed)
$$;
CREATE FUNCTION pg_temp.books(org text) RETURNS text LANGUAGE sql AS $$
  SELECT md5(concat((SELECT (balance, held, last_entry_no) FROM credit_account WHERE org_id = org),
                    (SELECT string_agg((campaign_id, idempotency_key, status, amount, authorized_amount, settled_by, reason)::text,
                                       ' ' ORDER BY campaign_id)
                     FROM credit_ledger WHERE org_id = org),
                    (SELECT string_agg((kind, e.amount, campaign_id)::text, ' ' ORDER BY campaign_id, entry_no)
                     FROM credit_entry AS e LEFT JOIN credit_ledger AS l USING (authorization_id) WHERE e.org_id = org),
                    (SELECT string_agg((operation, idempotency_key, amount, campaign_id)::text,
                                       ' ' ORDER BY operation, idempotency_key)
                     FROM credit_idempotency WHERE org_id = org)))
$$;
CREATE TEMP VIEW comparison AS
SELECT (SELECT count(*) FROM one WHERE NOT replayed) AS done, (SELECT count(*) FROM one WHERE replayed) AS replayed,
       (SELECT count(*) FROM pg_temp.differences()) AS differences,
       pg_temp.books('batch-one-0') = pg_temp.books('batch-many-0')
       AND pg_temp.books('batch-one-1') = pg_temp.books('batch-many-1') AS same_books;
SELECT * FROM comparison;

-- One in three is settled by timeout first, so that commits and reverts true up; the items come in another order.
UPDATE credit_ledger
SET expires_at = '2000-01-01',
    timeout_action = CASE length(campaign_id) WHEN 12 THEN 'commit' ELSE 'revert' END::credit_timeout_action
WHERE (org_id LIKE 'batch-one-%' OR org_id LIKE 'batch-many-%') AND campaign_id ~ '[134]$';
SELECT credit_sweep('2000-01-02', 100000);
CREATE TEMP TABLE settlement AS
SELECT row_number() OVER (ORDER BY md5(campaign), n) AS n, org, campaign,
       CASE length(campaign) % 3 WHEN 0 THEN NULL WHEN 1 THEN amount + 1 ELSE amount / 2 END AS used
FROM item WHERE campaign !~ '[36]$';
CREATE FUNCTION pg_temp.settlements(prefix text) RETURNS TABLE (n bigint, authorization_id text, used integer) LANGUAGE sql AS $$
  SELECT s.n, l.authorization_id, s.used
  FROM settlement AS s JOIN credit_ledger AS l ON l.org_id = prefix || s.org AND l.campaign_id = s.campaign
  ORDER BY s.n
$$;
TRUNCATE one, many;
INSERT INTO one
SELECT s.n, c.* FROM pg_temp.settlements('batch-one-') AS s, credit_commit(s.authorization_id, s.used) AS c;
INSERT INTO many
SELECT * FROM credit_commit_many(ARRAY(SELECT authorization_id FROM pg_temp.settlements('batch-many-')),
                                 ARRAY(SELECT used FROM settlement ORDER BY n));
SELECT * FROM comparison;
DELETE FROM settlement;
INSERT INTO settlement SELECT row_number() OVER (ORDER BY md5(campaign), n), org, campaign FROM item WHERE campaign ~ '[36]$';
TRUNCATE one, many;
INSERT INTO one
SELECT s.n, c.* FROM pg_temp.settlements('batch-one-') AS s, credit_revert(s.authorization_id, 'never sent') AS c;
INSERT INTO many
SELECT * FROM credit_revert_many(ARRAY(SELECT authorization_id FROM pg_temp.settlements('batch-many-')), 'never sent');
SELECT * FROM comparison;
SELECT count(*) FROM credit_ledger_open WHERE org_id LIKE 'batch-%-_';

-- Keys that nobody used before, one of them twice, and far apart.
SELECT count(DISTINCT authorization_id) AS authorizations, array_agg(ord) FILTER (WHERE replayed) AS replayed
FROM credit_authorize_many(array_fill('batch-many-0'::text, '{5000}'), array_fill(1::bigint, '{5000}'),
                           ARRAY(SELECT 'new-' || CASE n WHEN 4500 THEN 7 ELSE n END FROM generate_series(1, 5000) AS n));

-- Arrays of every shape: any lower bound, one dimension.
SELECT ord, campaign_id, replayed FROM credit_authorize_many('[0:1]={batch-a,batch-a}', '[5:6]={20,40}', '[-1:0]={c-1,c-2}');
\pset tuples_only on
\pset format unaligned
SELECT pg_temp.refusal('SELECT ' || call)
FROM (VALUES
  (1, $$credit_authorize_many(NULL, '{1}')$$),
  (2, $$credit_authorize_many('{batch-a}', NULL)$$),
  (3, $$credit_commit_many(NULL)$$),
  (4, $$credit_revert_many(NULL)$$),
  (5, $$credit_authorize_many('{batch-a,batch-a}', '{1}', '{c,d}')$$),
  (6, $$credit_authorize_many('{batch-a}', '{1}', '{c,d}')$$),
  (7, $$credit_authorize_many('{batch-a}', '{1}', '{c}', '{}')$$),
  (8, $$credit_commit_many('{auth-abc123,auth-def456}', '{1}')$$),
  (9, $$credit_authorize_many('{{batch-a},{batch-b}}', '{{1},{2}}', '{{c},{d}}')$$),
  (10, $$credit_authorize_many('{batch-a}', '{1}', '{c}', timeout => '0')$$)
) AS v (n, call) ORDER BY n;

-- What is wrong with an item is told of it, and none of them is done.
SELECT array_agg(authorization_id ORDER BY campaign_id) AS ids FROM credit_ledger WHERE org_id = 'batch-b' \gset
SELECT pg_temp.named(pg_temp.refusal('SELECT ' || replace(call, '<c-2>', (:'ids'::text[])[2])), 'batch-b')
FROM (VALUES
  (1, $$credit_authorize_many('{batch-a,NULL}', '{1,1}', '{new,new}')$$),
  (2, $$credit_authorize_many('{batch-a,batch-a}', '{1,NULL}', '{new,newer}')$$),
  (3, $$credit_authorize_many('{batch-a,batch-a}', '{1,1}', '{new,NULL}')$$),
  (4, $$credit_authorize_many('{batch-a,batch-a}', '{1,1}')$$),
  (5, $$credit_authorize_many('{batch-a,""}', '{1,1}', '{new,new}')$$),
  (6, $$credit_authorize_many('{batch-a,batch-a}', '{1,1}', '{new,""}')$$),
  (7, $$credit_authorize_many('{batch-a,batch-a}', '{1,0}', '{new,newer}')$$),
  (8, $$credit_authorize_many('{batch-a,batch-nobody}', '{1,1}', '{new,new}')$$),
  (9, $$credit_authorize_many('{batch-a,batch-a}', '{1,2}', '{new,new}')$$),
  (10, $$credit_authorize_many('{batch-b,batch-b}', '{1,11}', '{new,c-1}')$$),
  (11, $$credit_authorize_many('{batch-b,batch-b,batch-b}', '{1,100000,1}', '{new,newer,newest}')$$),
  (12, $$credit_commit_many('{<c-2>,NULL}')$$),
  (13, $$credit_commit_many('{<c-2>,auth-abc123}')$$),
  (14, $$credit_commit_many('{<c-2>,<c-2>}', '{NULL,7}')$$),
  (15, $$credit_commit_many('{<c-2>}', '{-1}')$$),
  (16, $$credit_commit_many('{<c-2>}', '{100}')$$),
  (17, $$credit_revert_many('{<c-2>,""}')$$),
  (18, $$credit_revert_many('{<c-2>}')$$)
) AS v (n, call) ORDER BY n;
SELECT count(*) FROM credit_ledger WHERE org_id LIKE 'batch-_' AND campaign_id LIKE 'new%';

-- A frozen account refuses new holds; replays are answered.
SELECT frozen FROM credit_account_configure('batch-a', frozen => true);
SELECT pg_temp.refusal($$SELECT credit_authorize_many('{batch-b,batch-a}', '{1,1}', '{new,new}')$$);
SELECT ord, amount, replayed FROM credit_authorize_many('{batch-b,batch-a}', '{10,20}', '{c-1,c-1}');
BEGIN READ ONLY;
SELECT pg_temp.refusal($$SELECT credit_authorize_many('{batch-b}', '{1}', '{new}')$$);
SELECT pg_temp.refusal($$SELECT credit_commit_many('{auth-abc123}')$$);
SELECT pg_temp.refusal($$SELECT credit_revert_many('{auth-abc123}')$$);
COMMIT;

-- A million items are taken, and no more.
SELECT pg_temp.refusal($$SELECT credit_authorize_many(array_fill('batch-b'::text, '{1000001}'), array_fill(1::bigint, '{1000001}'))$$);
SELECT pg_temp.refusal($$SELECT credit_commit_many(array_fill('auth-abc123'::text, '{4500000}'), skip_refused => true)$$);

-- Triggers see every row.
BEGIN;
CREATE TABLE seen (n integer GENERATED ALWAYS AS IDENTITY, what text);
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO seen (what)
  VALUES (format('%s %s on %s: %s', TG_WHEN, TG_OP, TG_TABLE_NAME, coalesce(to_jsonb(NEW), to_jsonb(OLD)) -> 'amount'));
  RETURN coalesce(NEW, OLD);
END
$$;
CREATE TRIGGER watch_before BEFORE INSERT OR DELETE ON credit_ledger FOR EACH ROW EXECUTE FUNCTION watch();
CREATE TRIGGER watch_after AFTER INSERT OR DELETE ON credit_ledger FOR EACH ROW EXECUTE FUNCTION watch();
SELECT array_agg(authorization_id) AS ids FROM credit_authorize_many('{batch-b,batch-b}', '{3,4}', '{seen-1,seen-2}') \gset
SELECT count(*) FROM credit_commit_many(:'ids', '{2,NULL}');
SELECT what FROM seen ORDER BY n;
CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER swallow BEFORE INSERT ON credit_ledger_open FOR EACH ROW WHEN (NEW.amount = 4) EXECUTE FUNCTION swallow();
SELECT pg_temp.refusal($$SELECT credit_authorize_many('{batch-b,batch-b}', '{3,4}', '{seen-3,seen-4}')$$);
ROLLBACK;

SELECT * FROM credit_verify();
