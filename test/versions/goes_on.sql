-- One stage of a ledger's life, named :stage: the worker is there and settles, application, operator and reader go on,
-- what was done before is known again, and the books are right.

SET client_min_messages = warning;
SELECT set_config('ledger.stage', :'stage', false) \g /dev/null

CREATE FUNCTION pg_temp.expect(what text, actual anyelement, wanted anyelement) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF actual IS DISTINCT FROM wanted THEN
    RAISE '%: % instead of %', what, actual, wanted;
  END IF;
END $$;

-- In another transaction than those that wait for its work.
CREATE PROCEDURE pg_temp.await(what text, condition text) LANGUAGE plpgsql AS $$
DECLARE
  is_so boolean;
BEGIN
  FOR i IN 1 .. 600 LOOP
    EXECUTE 'SELECT ' || condition INTO is_so;
    COMMIT;
    IF is_so THEN
      RETURN;
    END IF;
    PERFORM pg_sleep(0.1);
  END LOOP;
  RAISE 'not within a minute: %', what;
END $$;

SET ROLE application;
INSERT INTO public.campaign
  SELECT name, (credit_authorize('acme', 3, name, timeout => '1 second')).authorization_id
  FROM (VALUES ('expires ' || :'stage')) AS v (name);
SELECT pg_temp.expect('an open hold is charged', c.amount, 6::bigint)
FROM public.campaign, credit_commit(authorization_id, 6) c WHERE name = 'open ' || :'stage' \g /dev/null
SELECT pg_temp.expect('a hold open in parts goes on', c.status, 'authorized'::credit_status)
FROM public.campaign,
     credit_commit(authorization_id, 4 + (SELECT count(*) FROM public.campaign WHERE name LIKE 'expires %'), false) c
WHERE name = 'in parts' \g /dev/null
SELECT pg_temp.expect('a charge is known again', c.replayed, true)
FROM public.campaign, credit_commit(authorization_id, 9) c WHERE name = 'charged' \g /dev/null
SELECT pg_temp.expect('a new charge', c.replayed, false)
FROM credit_charge('acme', 2, :'stage', :'stage') c \g /dev/null
RESET ROLE;
SET ROLE banker;
SELECT pg_temp.expect('a grant is known again', g.replayed, true)
FROM credit_grant('acme', 1000, 'plan', 'bought', '{"invoice": 7}') g \g /dev/null
SELECT pg_temp.expect('a new lot', g.replayed, false)
FROM credit_grant('acme', 5, :'stage', expires_at => now() + interval '1 day') g \g /dev/null
SELECT pg_temp.expect('a refund', r.replayed, false)
FROM public.campaign, credit_refund(authorization_id, :'stage', 1) r WHERE name = 'charged' \g /dev/null
RESET ROLE;
SELECT pg_temp.expect('a new finding', r.findings_open > 0, true) FROM credit_run_reconciliation() r \g /dev/null

CALL pg_temp.await('the worker settles a hold', $$ (
  SELECT count(*) = 1 FROM credits.credit_ledger l JOIN public.campaign c USING (authorization_id)
  WHERE c.name = 'expires ' || current_setting('ledger.stage') AND l.settled_by = 'timeout') $$);
CALL pg_temp.await('the alert of a low balance', $$ EXISTS (
  SELECT FROM credits.credit_alert WHERE kind = 'low_balance' AND org_id = 'acme' AND closed_at IS NULL) $$);

SET ROLE watcher;
SELECT pg_temp.expect('a reader reads', count(*) > 10, true) FROM credit_statement('globex') \g /dev/null
RESET ROLE;
SELECT pg_temp.expect('the worker runs', preloaded AND enabled AND launcher_pid IS NOT NULL, true)
FROM credit_worker_status() \g /dev/null
SELECT * FROM credit_verify();
SELECT pg_temp.expect('the books are right', count(*), 0::bigint) FROM credit_verify() \g /dev/null
SELECT pg_temp.expect('nothing is critical', string_agg(concat_ws(': ', check_name, detail), '; '), NULL)
FROM credit_health() WHERE status = 'critical' \g /dev/null
