-- Partitions that are put away: which ones go, what calls, statements, verification and reconciliation say afterwards, and
-- that what is wrong is still seen.
--
-- A history is made by calls, then moved a hundred days back, into partitions that were made for it.
BEGIN;
SET LOCAL client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS credit_ledger;
SELECT plan(44);

CREATE TEMP TABLE days_back AS SELECT date_trunc('day', now(), 'UTC') - d * interval '1 day' AS at, d FROM generate_series(0, 210) d;
CREATE FUNCTION pg_temp.day(back integer) RETURNS timestamptz LANGUAGE sql AS 'SELECT at FROM days_back WHERE d = back';
CREATE FUNCTION pg_temp.charged(org text, name text, amount bigint) RETURNS text LANGUAGE sql AS
  'SELECT authorization_id FROM credit_commit((credit_authorize(org, amount, name)).authorization_id)';
-- A hundred days more than they are ago.
CREATE FUNCTION pg_temp.move_back() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  SET LOCAL session_replication_role = replica;
  UPDATE credit_entry SET created_at = created_at - interval '100 days';
  UPDATE credit_ledger SET created_at = created_at - interval '100 days', settled_at = settled_at - interval '100 days',
                           expires_at = expires_at - interval '100 days';
  UPDATE credit_idempotency SET created_at = created_at - interval '100 days';
  UPDATE credit_account SET created_at = created_at - interval '100 days', updated_at = updated_at - interval '100 days';
  UPDATE credit_lot SET created_at = created_at - interval '100 days';
  SET LOCAL session_replication_role = origin;
END
$$;
CREATE FUNCTION pg_temp.refusal(statement text, OUT detail text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE statement;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  detail := nullif(detail, '');
  hint := nullif(hint, '');
END
$$;
CREATE FUNCTION pg_temp.leaves(parent regclass) RETURNS bigint LANGUAGE sql AS
  'SELECT count(*) FROM pg_inherits WHERE inhparent = parent';
CREATE TEMP TABLE used (org_id text, campaign_id text, used_at timestamptz, quantity bigint);
SELECT credit_usage_source_register('put_away', 'used');

SELECT credit_create_partition(p, pg_temp.day(110), pg_temp.day(90)) FROM unnest('{credit_ledger_settled,credit_entry}'::regclass[]) p;
SELECT credit_create_partition(p, pg_temp.day(205), pg_temp.day(195)) FROM unnest('{credit_ledger_settled,credit_entry}'::regclass[]) p;

-- Of two periods, and of now. The first has a grant, a lot, charges, a refund; the second an organisation that is quiet since.
SELECT credit_grant('away', 1000, 'first'), credit_grant('away', 100, 'lot', priority => 1), credit_grant('quiet', 50, 'first');
SELECT pg_temp.charged('away', 'long ago', 150) AS long_ago \gset
SELECT credit_refund(:'long_ago', 'refund', 10);
SELECT pg_temp.move_back();
SELECT credit_grant('away', 7, 'second');
SELECT pg_temp.charged('away', 'before', 20) AS before \gset
SELECT pg_temp.charged('quiet', 'before', 20) AS quiet \gset
SELECT pg_temp.move_back();
SELECT pg_temp.charged('away', 'now', 30) AS now \gset
INSERT INTO used VALUES ('away', 'long ago', pg_temp.day(200), 140), ('away', 'before', pg_temp.day(100), 20), ('away', 'now', now(), 30);
CREATE TEMP TABLE told AS SELECT o, credit_balance(o) AS balance, credit_balance_at(o, now() + interval '1 hour') AS at FROM unnest('{away,quiet}'::text[]) o;
SELECT is_empty('SELECT * FROM credit_verify()', 'a sound ledger of two periods and now');
SELECT is_empty($$SELECT * FROM credit_reconcile_campaigns(tolerance => 0) WHERE org_id = 'away'$$, 'that is what was used');

-- What goes, however strings are read.
SET LOCAL standard_conforming_strings = off;
SELECT is((SELECT count(*) FROM credit_detach_partitions('300 days')), 0::bigint, 'nothing is as old as that');
SELECT is((SELECT count(*) FROM credit_detach_partitions('5 days')), 4::bigint, 'both periods are older than that');
SELECT is(pg_temp.leaves('credit_entry') + pg_temp.leaves('credit_ledger_settled'), 2::bigint, 'the partitions for the rest stay');
SELECT is((SELECT count(*) FROM credit_detach_partitions('5 days')), 0::bigint, 'no more of them');
SELECT is((SELECT sum(credit_ledger_internal.row_count(name::regclass)) FROM credit_detached_partition), 11::numeric, 'their rows are in tables of their own');
RESET standard_conforming_strings;

-- What is left.
SELECT is_empty('SELECT * FROM credit_verify()', 'the rest is sound');
SELECT is_empty($$SELECT * FROM credit_verify('away')$$, 'of one organisation');
SELECT is_empty($$SELECT * FROM credit_verify('quiet')$$, 'of one without entries');
SELECT is_empty('SELECT * FROM credit_verify(since => pg_temp.day(1))', 'since an instant');
SELECT is_empty('SELECT * FROM credit_verify(since => pg_temp.day(150))', 'since one among what was put away');
SELECT bag_eq($$SELECT o, credit_balance(o), credit_balance_at(o, now() + interval '1 hour') FROM unnest('{away,quiet}'::text[]) o$$,
              'SELECT * FROM told', 'balances are the same');
SELECT results_eq($$SELECT d, credit_balance_at('away', pg_temp.day(d)), credit_balance_at('quiet', pg_temp.day(d)) FROM unnest('{0,50,150,210}'::integer[]) d$$,
                  $$VALUES (0, 947::bigint, 30::bigint), (50, 947, 30), (150, 960, 50), (210, 0, 0)$$, 'those of the past, between what was put away');
SELECT is((SELECT count(*) FROM credit_statement('away')), 1::bigint, 'the statement begins with what is there');
SELECT throws_ok(format('SELECT credit_refund(%L, %L)', :'before', 'late'), 'LC003', NULL, 'what was put away cannot be refunded');
SELECT results_eq($$SELECT detail, hint FROM pg_temp.refusal($q$SELECT credit_commit('auth-01ARZ3NDEKTSV4RRFFQ69G5FAV')$q$)$$,
                  $$SELECT format('Authorizations made before %s may have been put away with a partition.', pg_temp.day(90)),
                           'Those that were are named in credit_detached_partition; ALTER TABLE ... ATTACH PARTITION brings one back.'$$,
                  'of what is as old, it is said why');
SELECT results_eq($$SELECT detail FROM pg_temp.refusal($q$SELECT credit_commit('auth-imported')$q$)$$,
                  $$SELECT format('Authorizations made before %s may have been put away with a partition.', pg_temp.day(90))$$,
                  'of an identifier that tells no time, too');
SELECT results_eq(format($$SELECT detail FROM pg_temp.refusal($q$SELECT credit_commit(%L)$q$)$$, overlay(:'now' placing 'ZZZZ' from 28)),
                  'VALUES (NULL::text)', 'not of one that would be younger');
SELECT throws_ok($$SELECT credit_authorize('away', 20, 'before')$$, 'LC003', NULL, 'made again, it is named');
SELECT results_eq($$SELECT amount, balance_after, replayed FROM credit_grant('away', 7, 'second')$$, 'VALUES (7::bigint, NULL::bigint, true)',
                  'so is a grant, without its balance_after');
SELECT is((SELECT credit_refund(:'now', 'refund now', 5)).amount, 5::bigint, 'what is there can be refunded');
SELECT is_empty('SELECT * FROM credit_verify()', 'sound');
SELECT bag_eq($$SELECT campaign_id, verdict FROM credit_campaign_status('before', 'away') UNION ALL SELECT campaign_id, verdict FROM credit_campaign_status('long ago')$$,
              $$VALUES ('before'::text COLLATE "C", 'detached'::credit_verdict), ('long ago', 'detached')$$, 'campaigns that cannot be judged');

-- It does not move to another database: there nothing would stand for what is missing.
SELECT throws_ok($$SELECT credit_account_export('away')$$, '55000', 'entries or authorizations of organisation "away" were put away with a partition',
                 'an account of which entries were put away cannot be exported');
SAVEPOINT entries;
DO $$
DECLARE
  d credit_detached_partition;
BEGIN
  FOR d IN SELECT * FROM credit_detached_partition WHERE parent = 'credit_entry' LOOP
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', d.parent, d.name, d.lower_bound, d.upper_bound);
  END LOOP;
END
$$;
SELECT throws_ok($$SELECT credit_account_export('away')$$, '55000', NULL, 'nor one of which authorizations were');
ROLLBACK TO entries;

-- Without their keys, too, old usage is no alarm; new usage without a charge is.
SAVEPOINT keys;
DELETE FROM credit_idempotency WHERE created_at < pg_temp.day(50);
INSERT INTO credit_key_removal VALUES (true, pg_temp.day(50), pg_temp.day(50), NULL);
INSERT INTO used VALUES ('away', 'never', now(), 1);
SELECT is_empty('SELECT * FROM credit_verify()', 'sound without keys');
SELECT bag_eq($$SELECT campaign_id, verdict FROM credit_reconcile_campaigns(tolerance => 0) WHERE org_id = 'away'$$,
              $$VALUES ('before'::text COLLATE "C", 'detached'::credit_verdict), ('long ago', 'detached'), ('never', 'unauthorized_usage')$$,
              'what was used before cannot be judged');
ROLLBACK TO keys;

-- What is wrong is seen.
SAVEPOINT wrong;
SET LOCAL session_replication_role = replica;
DELETE FROM credit_entry WHERE org_id = 'away' AND kind = 'commit';
SELECT isnt_empty($$SELECT * FROM credit_verify('away') WHERE check_name = 'entry_no_without_gap'$$, 'a gap after what was put away');
ROLLBACK TO wrong;
UPDATE credit_entry_carry SET balance_after = balance_after + 1, amount = amount + 1 WHERE org_id = 'quiet' AND last_entry_no = 2;
SELECT isnt_empty($$SELECT * FROM credit_verify('quiet')$$, 'a carry that is not the account''s balance');
ROLLBACK TO wrong;

-- What is attached under the name of one that was put away, but is another one, stands for nothing of it.
DO $$
DECLARE
  d credit_detached_partition;
BEGIN
  FOR d IN SELECT * FROM credit_detached_partition LOOP
    EXECUTE format('ALTER TABLE %I RENAME TO %I', d.name, 'archived_' || d.name);
    PERFORM credit_create_partition(d.parent::regclass, d.lower_bound, d.upper_bound);
  END LOOP;
END
$$;
SELECT is_empty('SELECT * FROM credit_verify()', 'sound with other partitions of their names');
SELECT is(credit_balance_at('away', pg_temp.day(150)), 960::bigint, 'balances of the past are the same');
SELECT is((credit_campaign_status('before', 'away')).verdict, 'detached'::credit_verdict, 'campaigns are still put away');
SELECT is_empty($$SELECT p FROM credit_detach_partitions('5 days', 'credit_entry') p$$, 'entries cannot go under the name of others');
ROLLBACK TO wrong;

-- Attached again, all of it counts again; entries that do not follow from each other stay where they are.
DO $$
DECLARE
  d credit_detached_partition;
BEGIN
  FOR d IN SELECT * FROM credit_detached_partition LOOP
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', d.parent, d.name, d.lower_bound, d.upper_bound);
  END LOOP;
END
$$;
SELECT is_empty('SELECT * FROM credit_verify()', 'attached again, it is sound');
SELECT is((SELECT count(*) FROM credit_statement('away')), 8::bigint, 'and told');
SAVEPOINT attached;
CREATE TEMP TABLE leaving AS SELECT * FROM credit_account_export('away', 'elsewhere');
SELECT is((SELECT count(*) FROM leaving WHERE relation = 'credit_entry'), 8::bigint, 'and moves with all of it');
SELECT is(credit_account_import('leaving'), 'away', 'and arrives');
ROLLBACK TO attached;
SET LOCAL session_replication_role = replica;
DELETE FROM credit_entry WHERE org_id = 'away' AND entry_no = 2;
SET LOCAL session_replication_role = origin;
-- A hold that is live, and a timeout's decision that is not final, keep their months.
UPDATE credit_ledger_settled SET settled_by = 'timeout', settled_at = now() WHERE authorization_id = :'before';
SELECT is((SELECT count(*) FROM credit_detach_partitions('5 days')), 2::bigint, 'what is no chain, and what may still be settled otherwise, stay');
SELECT isnt_empty($$SELECT * FROM credit_verify('away') WHERE check_name = 'entry_no_without_gap'$$, 'and the gap is seen');
ROLLBACK TO wrong;

-- A name stands for what was put away, so that of two of one name neither goes.
CREATE SCHEMA elsewhere;
CREATE TABLE twin (LIKE credit_entry_default INCLUDING ALL);
CREATE TABLE elsewhere.twin (LIKE credit_ledger_settled_default INCLUDING ALL);
ALTER TABLE credit_entry ATTACH PARTITION twin FOR VALUES FROM ('2001-01-01') TO ('2001-02-01');
ALTER TABLE credit_ledger_settled ATTACH PARTITION elsewhere.twin FOR VALUES FROM ('2001-01-01') TO ('2001-02-01');
SELECT is_empty($$SELECT p FROM credit_detach_partitions('5 days') p WHERE p::text ~ 'twin'$$, 'of two of one name neither goes');

SELECT throws_ok('SELECT credit_detach_partitions(NULL)', '22004', NULL, 'older_than is needed');
SELECT throws_ok($$SELECT credit_detach_partitions('-1 day')$$, '22023', NULL, 'not before now');
SELECT throws_ok($$SELECT credit_detach_partitions('1 day', 'credit_account')$$, '22023', NULL, 'only of what has partitions by date');
SELECT * FROM finish();
ROLLBACK;
