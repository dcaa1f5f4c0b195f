-- Is the rival fair? Goal: extension and rival give the same answers to the same calls and are left with the same rows,
-- ids and instants aside. Method: every call below is made on both sides, a call that fails leaves its SQLSTATE; then
-- answers and tables are compared. Raises on any difference. What it did is rolled back.

BEGIN;

CREATE TEMP TABLE call (
  call_no serial,
  statement text NOT NULL     -- <key> stands for the id of the authorization made with that key
);
INSERT INTO call (statement) VALUES
  -- grant, with its replay and its errors
  ($$credit_grant('check-a', 1000, 'g1')$$),
  ($$credit_grant('check-a', 1000, 'g1')$$),
  ($$credit_grant('check-a', 1001, 'g1')$$),
  ($$credit_grant('check-a', 0, 'g2')$$),
  ($$credit_grant(NULL, 1, 'g2')$$),
  ($$credit_grant('check-b', 500, 'g1', 'welcome', '{"by": "sales"}')$$),
  -- authorize
  ($$credit_authorize('check-a', 100, 'c1')$$),
  ($$credit_authorize('check-a', 100, 'c1')$$),
  ($$credit_authorize('check-a', 101, 'c1')$$),
  ($$credit_authorize('check-a', 100, 'c2', 'c1')$$),
  ($$credit_authorize('check-a', 200, 'c2', 'k2', '1 hour', 'revert', '{"a": 1}')$$),
  ($$credit_authorize('check-a', 701, 'c3')$$),
  ($$credit_authorize('check-a', 700, 'c3')$$),
  ($$credit_authorize('check-none', 1, 'c1')$$),
  ($$credit_authorize('check-a', 0, 'c4')$$),
  ($$credit_authorize('check-a', 1)$$),
  ($$credit_authorize('check-a', 1, '')$$),
  -- charge
  ($$credit_charge('check-a', 5, 'charge')$$),
  ($$credit_charge('check-a', 5, 'charge')$$),
  ($$credit_authorize('check-a', 5, 'charge')$$),
  ($$credit_charge('check-a', 6, 'charge')$$),
  ($$credit_charge('check-a', 100, 'c1')$$),
  ($$credit_charge('check-a', 1000000, 'charge-2')$$),
  ($$credit_charge('check-none', 1, 'charge')$$),
  ($$credit_charge('check-a', 0, 'charge-2')$$),
  ($$credit_charge_many('{check-b,check-a,check-b}', '{1,2,1}', '{n1,n1,n1}')$$),
  -- commit
  ($$credit_commit(<c1>, 90)$$),
  ($$credit_commit(<c1>, 90)$$),
  ($$credit_commit(<c1>)$$),
  ($$credit_commit(<c1>, 91)$$),
  ($$credit_commit(<k2>, 201)$$),
  ($$credit_commit(<k2>, -1)$$),
  ($$credit_commit(<k2>)$$),
  ($$credit_commit(<c3>, 0)$$),
  ($$credit_commit('auth-none')$$),
  ($$credit_commit(NULL)$$),
  ($$credit_revert(<c1>)$$),
  ($$credit_authorize('check-a', 100, 'c1')$$),
  -- revert
  ($$credit_authorize('check-a', 50, 'c5')$$),
  ($$credit_revert(<c5>, 'cancelled')$$),
  ($$credit_revert(<c5>, 'cancelled')$$),
  ($$credit_commit(<c5>, 10)$$),
  ($$credit_revert('auth-none')$$),
  -- the timeout, and what its caller says afterwards
  ($$credit_authorize('check-b', 10, 't-commit-same')$$),
  ($$credit_authorize('check-b', 10, 't-commit-less')$$),
  ($$credit_authorize('check-b', 10, 't-commit-revert')$$),
  ($$credit_authorize('check-b', 10, 't-commit-over')$$),
  ($$credit_authorize('check-b', 10, 't-late')$$),
  ($$credit_authorize('check-b', 10, 't-revert-same', NULL, NULL, 'revert')$$),
  ($$credit_authorize('check-b', 10, 't-revert-commit', NULL, NULL, 'revert')$$),
  ($$credit_authorize('check-b', 400, 't-revert-poor', NULL, NULL, 'revert')$$),
  ($$credit_sweep(clock_timestamp(), 100)$$),
  ($$credit_sweep(clock_timestamp() + interval '30 min', 3)$$),
  ($$credit_sweep(clock_timestamp() + interval '30 min', 100)$$),
  ($$pg_temp.age('t-late')$$),
  ($$credit_commit(<t-commit-same>)$$),
  ($$credit_commit(<t-commit-same>)$$),
  ($$credit_commit(<t-commit-less>, 4)$$),
  ($$credit_commit(<t-commit-less>, 5)$$),
  ($$credit_revert(<t-commit-revert>, 'late')$$),
  ($$credit_commit(<t-commit-over>, 11)$$),
  ($$credit_commit(<t-late>, 4)$$),
  ($$credit_revert(<t-late>)$$),
  ($$credit_revert(<t-revert-same>)$$),
  ($$credit_commit(<t-revert-commit>, 7)$$),
  ($$credit_authorize('check-b', 200, 'c6')$$),
  ($$credit_commit(<t-revert-poor>, 400)$$),
  -- many in one call
  ($$credit_authorize_many('{check-b,check-a,check-b,check-b}', '{1,2,3,1}', '{m1,m1,m2,m1}')$$),
  ($$credit_authorize_many('{check-a,check-b}', '{1,2}', NULL, '{k3,k4}', '1 hour')$$),
  ($$credit_authorize_many('{check-a,check-b}', '{1,1000000}', '{m3,m3}')$$),
  ($$credit_authorize_many('{check-a,check-none}', '{1,1}', '{m3,m3}')$$),
  ($$credit_commit_many(ARRAY[<k4>, <k3>, <m2>], '{1,NULL,2}')$$),
  ($$credit_commit_many(ARRAY[<k3>, <k4>])$$),
  ($$credit_commit_many(ARRAY[<m2>, 'auth-none'])$$);

-- Lets what the timeout settled fall out of the true-up window.
CREATE FUNCTION pg_temp.age(p_key text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  UPDATE credit_ledger_settled SET settled_at = settled_at - interval '8 days' WHERE idempotency_key = p_key;
  RETURN p_key;
END
$$;

-- An answer without ids and instants.
CREATE FUNCTION pg_temp.lasting(p_answer jsonb) RETURNS jsonb LANGUAGE sql AS $$
  SELECT CASE jsonb_typeof(p_answer)
    WHEN 'object' THEN p_answer - '{ord,authorization_id,created_at,expires_at,settled_at,sqlstate,message}'::text[]
                       || jsonb_build_object('settled', p_answer ->> 'settled_at' IS NOT NULL)
    ELSE p_answer
  END
$$;

CREATE FUNCTION pg_temp.answers(p_search_path text)
  RETURNS TABLE (call_no integer, statement text, answer text) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('search_path', p_search_path || ', pg_temp', true);
  FOR call_no, statement IN SELECT c.call_no, c.statement FROM pg_temp.call c ORDER BY c.call_no LOOP
    BEGIN
      EXECUTE 'SELECT jsonb_agg(pg_temp.lasting(to_jsonb(r)))::text FROM '
              || regexp_replace(statement, '<([^>]*)>', '(SELECT authorization_id FROM credit_ledger WHERE idempotency_key = ''\1'')', 'g')
              || ' r' INTO answer;
    EXCEPTION WHEN OTHERS THEN
      answer := SQLSTATE;
    END;
    RETURN NEXT;
  END LOOP;
END
$$;

-- The rows that the calls left, ids and instants aside.
CREATE FUNCTION pg_temp.rows(p_search_path text)
  RETURNS TABLE (source text, content text) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('search_path', p_search_path || ', pg_temp', true);
  FOREACH source IN ARRAY '{credit_account,credit_ledger_open,credit_ledger_settled,credit_entry,credit_idempotency}'::text[] LOOP
    RETURN QUERY EXECUTE format(
      $q$SELECT %1$L, (to_jsonb(t) - '{created_at,updated_at,expires_at,settled_at,authorization_id}'::text[]
                       || jsonb_build_object('authorization', (SELECT l.idempotency_key FROM credit_ledger l
                                                               WHERE l.authorization_id = to_jsonb(t) ->> 'authorization_id')))::text
         FROM %1$I t WHERE org_id LIKE 'check-%%'$q$, source);
  END LOOP;
END
$$;

CREATE TEMP TABLE of_extension AS SELECT * FROM pg_temp.answers('extension');
CREATE TEMP TABLE of_rival AS SELECT * FROM pg_temp.answers('rival, extension');

DO $$
DECLARE
  differences text;
BEGIN
  SELECT string_agg(format(E'%s\n  extension: %s\n  rival:     %s', e.statement, e.answer, r.answer), E'\n' ORDER BY call_no)
  INTO differences
  FROM of_extension e JOIN of_rival r USING (call_no)
  WHERE e.answer IS DISTINCT FROM r.answer;
  IF differences IS NOT NULL THEN
    RAISE 'the rival answers otherwise than the extension' USING DETAIL = differences;
  END IF;

  SELECT string_agg(format('%s %s: %s', side, source, content), E'\n' ORDER BY source, content, side)
  INTO differences
  FROM ((SELECT 'extension' AS side, * FROM pg_temp.rows('extension') EXCEPT ALL SELECT 'extension', * FROM pg_temp.rows('rival, extension'))
        UNION ALL
        (SELECT 'rival', * FROM pg_temp.rows('rival, extension') EXCEPT ALL SELECT 'rival', * FROM pg_temp.rows('extension'))) d;
  IF differences IS NOT NULL THEN
    RAISE 'the rival leaves other rows than the extension' USING DETAIL = differences;
  END IF;
END
$$;

ROLLBACK;
