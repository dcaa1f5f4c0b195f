-- Many calls in one beyond everyday lists: repetitions far apart, large values, triggers, constraints, partitions, a
-- hundred thousand items.
--
-- What is compared with single calls is what the triggers see. The rest is asked of the rows that the calls left.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include

SELECT (credit_grant('many-' || n, 100, 'opening')).balance_after FROM generate_series(1, 3) AS n;

-- The call is made as a whole, however little of its answer is asked for.
SELECT ord, campaign_id FROM credit_authorize_many('{many-1,many-1}', '{7,8}', '{z-1,z-2}') LIMIT 1;
SELECT campaign_id, status FROM credit_ledger WHERE org_id = 'many-1' ORDER BY campaign_id;

\pset tuples_only on
\pset format unaligned
-- Every item is looked at before any is worked on: the third is out of range, the second would be refused.
SELECT pg_temp.refusal($$SELECT credit_authorize_many('{many-1,many-1,many-1}', '{1,1000000,0}', '{n-1,n-2,n-3}')$$);

-- The same key again long after its first use in the same call, with another amount; credits that run out on the way.
SELECT pg_temp.refusal($$SELECT credit_authorize_many(array_fill('many-1'::text, '{1500}'),
  array_fill(1::bigint, '{1499}') || 2::bigint, array_fill('n-1'::text, '{1500}'))$$);
SELECT pg_temp.refusal($$SELECT credit_authorize_many(array_fill('many-1'::text, '{2500}'),
  array_fill(1::bigint, '{2500}'), (SELECT array_agg('n-' || i ORDER BY i) FROM generate_series(1, 2500) AS i))$$);
SELECT count(*) FROM credit_ledger WHERE org_id = 'many-1' AND campaign_id LIKE 'n-%';
\pset tuples_only off
\pset format aligned

-- Large values are kept when their rows move: metadata of a hold, the reason of its revert.
SELECT string_agg(md5(n::text), '') AS large FROM generate_series(1, 2000) AS n \gset
SELECT (credit_authorize('many-3', 1, 'large-' || n, metadata => jsonb_build_object('n', n, 'text', :'large'))).available
FROM generate_series(1, 4) AS n;
SELECT count(*)
FROM credit_commit_many(ARRAY(SELECT authorization_id FROM credit_ledger_open WHERE campaign_id ~ '^large-[12]'));
SELECT count(*)
FROM credit_revert_many(ARRAY(SELECT authorization_id FROM credit_ledger_open WHERE campaign_id ~ '^large-[34]'), :'large');
SELECT campaign_id, status,
       metadata = jsonb_build_object('n', right(campaign_id, 1)::integer, 'text', :'large') AS metadata_kept,
       reason = :'large' AS reason_kept, pg_column_size(metadata) > 60000 AS large
FROM credit_ledger WHERE org_id = 'many-3' AND campaign_id ~ '^large' ORDER BY campaign_id;

-- Row triggers fire once a row, as they do for single calls; only the account is written once and not for each item.
BEGIN;
CREATE TEMP TABLE seen (phase text, what text) ON COMMIT DROP;
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO seen VALUES (current_setting('many.phase'), format('%s %s on %s', TG_WHEN, TG_OP, TG_TABLE_NAME));
  RETURN coalesce(NEW, OLD);
END
$$;
CREATE TRIGGER watch_before BEFORE INSERT OR UPDATE OR DELETE ON credit_account FOR EACH ROW EXECUTE FUNCTION watch();
CREATE TRIGGER watch_after AFTER INSERT OR UPDATE OR DELETE ON credit_account FOR EACH ROW EXECUTE FUNCTION watch();
CREATE TRIGGER watch_before BEFORE INSERT OR UPDATE OR DELETE ON credit_ledger FOR EACH ROW EXECUTE FUNCTION watch();
CREATE TRIGGER watch_after AFTER INSERT OR UPDATE OR DELETE ON credit_ledger FOR EACH ROW EXECUTE FUNCTION watch();
CREATE TRIGGER watch_before BEFORE INSERT OR UPDATE OR DELETE ON credit_entry FOR EACH ROW EXECUTE FUNCTION watch();
CREATE TRIGGER watch_after AFTER INSERT OR UPDATE OR DELETE ON credit_entry FOR EACH ROW EXECUTE FUNCTION watch();
CREATE TRIGGER watch_before BEFORE INSERT OR UPDATE OR DELETE ON credit_idempotency
  FOR EACH ROW EXECUTE FUNCTION watch();
CREATE TRIGGER watch_after AFTER INSERT OR UPDATE OR DELETE ON credit_idempotency FOR EACH ROW EXECUTE FUNCTION watch();
-- Three authorizations, two of them committed and one reverted, first one by one, then in one call each.
CREATE FUNCTION pg_temp.both_ways(org text, name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  keys constant text[] := ARRAY[name || '-1', name || '-2', name || '-3'];
  ids text[];
BEGIN
  PERFORM set_config('many.phase', 'singly', true);
  FOR i IN 1 .. 3 LOOP
    ids[i] := (credit_authorize(org, i, keys[i])).authorization_id;
  END LOOP;
  PERFORM credit_commit(ids[1], 0), credit_commit(ids[2]), credit_revert(ids[3]);
  PERFORM set_config('many.phase', 'jointly', true);
  ids := ARRAY(SELECT authorization_id
               FROM credit_authorize_many(array_fill(org, '{3}'), '{1,2,3}', NULL, ARRAY(SELECT key || ' jointly' FROM unnest(keys) AS key))
               ORDER BY ord);
  PERFORM credit_commit_many(ids[1:2], '{0,NULL}'), credit_revert_many(ids[3:3]);
END
$$;
SELECT pg_temp.both_ways('many-2', 'before and after');
SELECT what, count(*) FILTER (WHERE phase = 'singly') AS singly, count(*) FILTER (WHERE phase = 'jointly') AS jointly
FROM seen GROUP BY what ORDER BY what COLLATE "C";
-- Without the triggers before, rows are collected; those after see them all.
DROP TRIGGER watch_before ON credit_account;
DROP TRIGGER watch_before ON credit_ledger;
DROP TRIGGER watch_before ON credit_entry;
DROP TRIGGER watch_before ON credit_idempotency;
DELETE FROM seen;
SELECT pg_temp.both_ways('many-2', 'after');
SELECT what, count(*) FILTER (WHERE phase = 'singly') AS singly, count(*) FILTER (WHERE phase = 'jointly') AS jointly
FROM seen GROUP BY what ORDER BY what COLLATE "C";
-- One that raises undoes the call, before or after the row is written.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE check_violation USING MESSAGE = format('no %s %s on %s', TG_WHEN, TG_OP, TG_TABLE_NAME);
END
$$;
\pset tuples_only on
\pset format unaligned
CREATE TRIGGER refuse BEFORE INSERT ON credit_ledger
  FOR EACH ROW WHEN (NEW.campaign_id = 'n-2') EXECUTE FUNCTION refuse();
SELECT pg_temp.refusal($$SELECT credit_authorize_many('{many-1,many-1,many-1}', '{1,2,3}', '{n-1,n-2,n-3}')$$);
DROP TRIGGER refuse ON credit_ledger;
CREATE TRIGGER refuse AFTER INSERT ON credit_ledger
  FOR EACH ROW WHEN (NEW.campaign_id = 'n-2') EXECUTE FUNCTION refuse();
SELECT pg_temp.refusal($$SELECT credit_authorize_many('{many-1,many-1,many-1}', '{1,2,3}', '{n-1,n-2,n-3}')$$);
DROP TRIGGER refuse ON credit_ledger;
CREATE FUNCTION pg_temp.refusal_without_detail(statement text) RETURNS text LANGUAGE sql AS $$
  SELECT split_part(pg_temp.refusal(statement), E'\n  DETAIL', 1)
$$;
-- CHECK constraints and unique indexes hold for rows that are collected.
ALTER TABLE credit_ledger_open ADD CONSTRAINT no_big_holds CHECK (amount < 3) NOT VALID;
SELECT pg_temp.refusal_without_detail($$SELECT credit_authorize_many('{many-1,many-1,many-1}', '{1,2,3}', '{n-1,n-2,n-3}')$$);
ALTER TABLE credit_ledger_open DROP CONSTRAINT no_big_holds;
CREATE UNIQUE INDEX one_of_a_kind ON credit_ledger_open (amount) WHERE amount = 20;
SELECT pg_temp.refusal_without_detail($$SELECT credit_authorize_many('{many-1,many-1,many-2}', '{1,20,20}', '{n-1,n-2,n-3}')$$);
\pset tuples_only off
\pset format aligned
SELECT * FROM credit_verify();
ROLLBACK;

-- Settled rows go to the partitions of their created_at, in one call to several, and are found there again.
BEGIN;
SELECT credit_create_partition('credit_ledger_settled', '2001-01-01 00:00+00', '2001-02-01 00:00+00');
SELECT credit_create_partition('credit_ledger_settled', '2001-02-01 00:00+00', '2001-03-01 00:00+00');
SELECT count(*)
FROM credit_authorize_many(array_fill('many-3'::text, '{6}'), array_fill(1::bigint, '{6}'), '{p-1,p-2,p-3,p-4,p-5,p-6}');
UPDATE credit_ledger_open
SET created_at = timestamptz '2000-12-15 00:00+00' + right(campaign_id, 1)::integer * interval '480 hours'
WHERE org_id = 'many-3' AND campaign_id ~ '^p-';
SELECT count(*)
FROM credit_commit_many(ARRAY(SELECT authorization_id FROM credit_ledger_open WHERE campaign_id ~ '^p-[1-4]'));
SELECT count(*)
FROM credit_revert_many(ARRAY(SELECT authorization_id FROM credit_ledger_open WHERE campaign_id ~ '^p-[56]'));
SELECT tableoid::regclass, campaign_id, status, created_at AT TIME ZONE 'UTC' AS created_at
FROM credit_ledger WHERE campaign_id ~ '^p-' ORDER BY campaign_id;
SELECT ord, campaign_id, status, replayed
FROM credit_commit_many((SELECT array_agg(authorization_id ORDER BY campaign_id)
                         FROM credit_ledger WHERE campaign_id ~ '^p-[1-4]'));
SELECT * FROM credit_verify();
ROLLBACK;

-- A hundred thousand, of one organisation and of a thousand.
BEGIN;
SELECT count((credit_grant('many-crowd-' || n, 100, 'opening')).balance_after) FROM generate_series(1, 1000) AS n;
SELECT (credit_grant('many-1', 100000, 'for a hundred thousand')).amount;
CREATE TEMP TABLE held ON COMMIT DROP AS
SELECT list, a.*
FROM (SELECT 'one organisation' AS list, array_fill('many-1'::text, '{100000}') AS orgs
      UNION ALL
      SELECT 'many organisations', array_agg('many-crowd-' || 1 + i * 7919 % 1000 ORDER BY i)
      FROM generate_series(1, 100000) AS i) AS l,
     (SELECT array_agg('crowd-' || i ORDER BY i) AS campaigns FROM generate_series(1, 100000) AS i) AS c,
     credit_authorize_many(orgs, array_fill(1::bigint, '{100000}'), campaigns) AS a;
SELECT list, count(*), count(DISTINCT authorization_id) AS ids, count(DISTINCT org_id) AS organisations,
       bool_or(replayed) AS replayed
FROM held GROUP BY list ORDER BY list;
SELECT count(*), sum(amount), bool_or(replayed) AS replayed
FROM credit_commit_many((SELECT array_agg(authorization_id ORDER BY md5(campaign_id), org_id)
                         FROM held WHERE ord % 2 = 0));
SELECT count(*), sum(balance), sum(held) FROM credit_account WHERE org_id ~ '^many-crowd-';
SELECT * FROM credit_verify();
ROLLBACK;

SELECT * FROM credit_verify();
