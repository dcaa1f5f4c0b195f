-- Privileges: EXECUTE is the gate. What each level may call works though the caller has no right to write a table.
--
-- A role of each level, and one of none, calls every function and touches every table; what is refused is printed.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include
\pset tuples_only on
\pset format unaligned

CREATE ROLE regress_credit_nobody;
CREATE ROLE regress_credit_reader;
CREATE ROLE regress_credit_app;
CREATE ROLE "regress Credit ""Operator""";
SELECT credit_grant_privileges('regress_credit_reader', 'reader');
SELECT credit_grant_privileges('regress_credit_app', 'app');
SELECT credit_grant_privileges('"regress Credit ""Operator"""', 'operator');

SELECT balance_after FROM credit_grant('privileges', 1000, 'opening');
SELECT authorization_id AS live FROM credit_authorize('privileges', 100, 'campaign') \gset
SELECT set_config('privileges.live', :'live', false) IS NOT NULL;

-- pg_temp.may(): for each function and table, whether the current role is let through; whatever it did is undone.
CREATE FUNCTION pg_temp.may(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  BEGIN
    EXECUTE statement;
    RAISE EXCEPTION SQLSTATE 'TEST1';
  EXCEPTION
    WHEN SQLSTATE 'TEST1' THEN RETURN 'may';
    WHEN insufficient_privilege THEN RETURN SQLERRM;
  END;
END
$$;
CREATE TEMP TABLE attempt (n integer GENERATED ALWAYS AS IDENTITY, statement text);
INSERT INTO attempt (statement) VALUES
  ($$SELECT credit_grant('privileges', 1, 'k')$$),
  ($$SELECT credit_grant('privileges-new', 1, 'k')$$),
  ($$SELECT credit_adjust('privileges', 1, 'k', 'r')$$),
  ($$SELECT credit_authorize('privileges', 1, 'k')$$),
  ($$SELECT credit_commit(current_setting('privileges.live'))$$),
  ($$SELECT credit_revert(current_setting('privileges.live'))$$),
  ($$SELECT credit_extend(current_setting('privileges.live'), '1 hour')$$),
  ($$SELECT credit_refund((credit_commit(current_setting('privileges.live'))).authorization_id, 'k')$$),
  ($$SELECT credit_authorize_many('{privileges}', '{1}', '{k}')$$),
  ($$SELECT credit_commit_many(ARRAY[current_setting('privileges.live')])$$),
  ($$SELECT credit_revert_many(ARRAY[current_setting('privileges.live')])$$),
  ($$SELECT credit_account_configure('privileges', frozen => true)$$),
  ($$SELECT credit_sweep('2000-01-01')$$),
  ($$SELECT credit_balance('privileges')$$),
  ($$SELECT credit_balance_at('privileges', 'infinity')$$),
  ($$SELECT * FROM credit_statement('privileges')$$),
  ($$SELECT * FROM credit_verify('privileges')$$),
  ($$SELECT credit_create_partition('credit_entry', '2001-01-01', '2001-02-01')$$),
  ($$SELECT FROM credit_account$$),
  ($$SELECT FROM credit_ledger$$),
  ($$SELECT FROM credit_ledger_open$$),
  ($$SELECT FROM credit_ledger_settled$$),
  ($$SELECT FROM credit_ledger_settled_default$$),
  ($$SELECT FROM credit_entry$$),
  ($$SELECT FROM credit_entry_default$$),
  ($$SELECT FROM credit_idempotency$$),
  ($$UPDATE credit_account SET balance = 0$$),
  ($$DELETE FROM credit_ledger$$),
  ($$UPDATE credit_ledger_open SET amount = 0$$),
  ($$INSERT INTO credit_entry VALUES ('privileges', 2, 'grant', 1, NULL, 'k', NULL, 1001, now())$$),
  ($$INSERT INTO credit_entry_default VALUES ('privileges', 2, 'grant', 1, NULL, 'k', NULL, 1001, now())$$),
  ($$TRUNCATE credit_entry$$),
  ($$DELETE FROM credit_idempotency$$),
  ($$CREATE TRIGGER mine BEFORE DELETE ON credit_account FOR EACH ROW EXECUTE FUNCTION credit_ledger_internal.entry_append_only()$$),
  ($$SET credit_ledger.true_up_window = 0$$),
  ($$SET credit_ledger.commit_timeout = 60$$),
  ($$SET credit_ledger.timeout_action = 'revert'$$);
GRANT SELECT ON attempt TO PUBLIC;

SET ROLE regress_credit_nobody;
SELECT statement || ': ' || pg_temp.may(statement) FROM attempt ORDER BY n;
SET ROLE regress_credit_reader;
SELECT statement || ': ' || pg_temp.may(statement) FROM attempt ORDER BY n;
SET ROLE regress_credit_app;
SELECT statement || ': ' || pg_temp.may(statement) FROM attempt ORDER BY n;
SET ROLE "regress Credit ""Operator""";
SELECT statement || ': ' || pg_temp.may(statement) FROM attempt ORDER BY n;
RESET ROLE;

-- The levels add up; granted twice, nothing changes.
SELECT credit_grant_privileges('regress_credit_app', 'reader');
SELECT credit_grant_privileges('regress_credit_app', 'reader');
SET ROLE regress_credit_app;
SELECT pg_temp.may($$SELECT credit_authorize('privileges', 1, 'k')$$), pg_temp.may('SELECT FROM credit_ledger'),
       pg_temp.may($$SELECT credit_verify()$$);
RESET ROLE;

-- A SECURITY DEFINER function of the owner's is a gate of its own.
CREATE FUNCTION small_hold(campaign text) RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = public
AS $$ SELECT available FROM credit_authorize('privileges', 1, campaign) $$;
SET ROLE regress_credit_nobody;
SELECT small_hold('small');
RESET ROLE;
DROP FUNCTION small_hold;

-- What credit_grant_privileges() refuses.
SELECT pg_temp.refusal('SELECT credit_grant_privileges(' || arguments || ')')
FROM (VALUES
  (1, $$NULL, 'reader'$$),
  (2, $$'regress_credit_nobody', NULL$$),
  (3, $$'regress_credit_nobody', 'owner'$$),
  (4, $$'regress_credit_nobody', ''$$),
  (5, $$'regress_credit_unknown', 'reader'$$)
) AS v (n, arguments) ORDER BY n;

DROP OWNED BY regress_credit_reader, regress_credit_app, "regress Credit ""Operator""", regress_credit_nobody;
DROP ROLE regress_credit_nobody, regress_credit_reader, regress_credit_app, "regress Credit ""Operator""";

SELECT * FROM credit_verify();
