-- The extension's own life: created, dropped and created again in one session, in another schema, whatever the caller's
-- search_path is.
--
-- In a database of its own, since what is dropped takes its data along.
\set home :DBNAME
CREATE DATABASE credit_ledger_lifecycle TEMPLATE template0;
\c credit_ledger_lifecycle

-- One round through the ledger, with names as the search_path finds them or qualified by %s.
CREATE FUNCTION public.round_trip(prefix text) RETURNS TABLE (campaign_id text, status text, amount bigint, available bigint)
LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE pg_catalog.format('SELECT %1$scredit_grant(''org'', 1000, ''opening'')', prefix);
  RETURN QUERY EXECUTE pg_catalog.format($query$
    SELECT a.campaign_id, c.status::pg_catalog.text, c.amount, c.available
    FROM pg_catalog.generate_series(1, 3) AS n,
         %1$scredit_authorize('org', 100, pg_catalog.concat('campaign-', n)) AS a,
         %1$scredit_commit(a.authorization_id, 10 OPERATOR(pg_catalog.*) n) AS c$query$, prefix);
  EXECUTE pg_catalog.format($query$
    SELECT %1$scredit_refund(authorization_id, 'refund-1', 5)
    FROM %1$scredit_ledger WHERE idempotency_key OPERATOR(pg_catalog.=) 'campaign-1'$query$, prefix);
  RETURN QUERY EXECUTE pg_catalog.format($query$
    SELECT 'balance', NULL, balance, available FROM %1$scredit_balance('org')
    UNION ALL SELECT 'balance_at', NULL, %1$scredit_balance_at('org', 'infinity'), NULL
    UNION ALL SELECT 'statement', NULL, pg_catalog.count(*), NULL FROM %1$scredit_statement('org')
    UNION ALL SELECT 'verify', NULL, pg_catalog.count(*), NULL FROM %1$scredit_verify()$query$, prefix);
END
$$;

-- Created, used, dropped, created again: the session finds the new tables, which are empty.
SET client_min_messages = warning;
CREATE EXTENSION credit_ledger;
RESET client_min_messages;
SELECT * FROM round_trip('');
-- Which takes the ledger along, so it is not done without a question.
DROP EXTENSION credit_ledger;
DROP EXTENSION IF EXISTS credit_ledger RESTRICT;
SELECT * FROM credit_balance('org');
BEGIN;
CREATE ROLE regress_credit_installer SUPERUSER;
DROP EXTENSION credit_ledger CASCADE;
SET LOCAL ROLE regress_credit_installer;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION credit_ledger;
RESET ROLE;
SELECT available FROM credit_grant('org', 1, 'first');
SAVEPOINT owned;
DROP OWNED BY CURRENT_USER, regress_credit_installer;
ROLLBACK TO owned;
DROP OWNED BY regress_credit_installer CASCADE;
SELECT count(*) FROM pg_extension WHERE extname = 'credit_ledger';
ROLLBACK;
SELECT * FROM credit_balance('org');
DROP EXTENSION credit_ledger CASCADE;
SELECT count(*) FROM pg_class WHERE relname LIKE 'credit%';
SELECT count(*) FROM pg_proc WHERE proname LIKE 'credit%';
SELECT count(*) FROM pg_type WHERE typname LIKE '%credit%';
SET client_min_messages = warning;
CREATE EXTENSION credit_ledger;
RESET client_min_messages;
SELECT count(*) FROM credit_account;
SELECT * FROM round_trip('');

-- Within a transaction that is rolled back: the old one is found again, with its data.
BEGIN;
DROP EXTENSION credit_ledger CASCADE;
CREATE SCHEMA elsewhere;
SET client_min_messages = warning;
CREATE EXTENSION credit_ledger SCHEMA elsewhere;
RESET client_min_messages;
SELECT * FROM round_trip('elsewhere.');
ROLLBACK;
SELECT * FROM credit_balance('org');
SELECT status, replayed FROM credit_authorize('org', 100, 'campaign-1');
BEGIN;
SAVEPOINT one;
DROP EXTENSION credit_ledger CASCADE;
ROLLBACK TO one;
SELECT balance_after FROM credit_grant('org', 1, 'after a savepoint');
COMMIT;

-- What is registered with it cannot be dropped alone; what depends on it stands in its way.
DROP TABLE credit_ledger_open;
CREATE TABLE invoice (org_id text COLLATE "C" REFERENCES credit_account);
BEGIN;
DROP EXTENSION credit_ledger CASCADE;
CREATE EXTENSION credit_ledger;
CREATE TABLE invoice_too (org_id text COLLATE "C" REFERENCES credit_account);
-- Nobody has an account in this one, so the server's own question is left.
DROP EXTENSION credit_ledger;
ROLLBACK;
DROP TABLE invoice;

-- Ranges that were added go along with it.
SELECT credit_create_partition('credit_entry', '2001-01-01', '2001-02-01') IS NOT NULL AS made;
DROP EXTENSION credit_ledger CASCADE;

-- In a schema that is not in the search_path, and with a name that has to be quoted.
SET client_min_messages = warning;
CREATE EXTENSION credit_ledger SCHEMA "Credit Ledger";
RESET client_min_messages;
CREATE SCHEMA "Credit Ledger";
SET client_min_messages = warning;
CREATE EXTENSION credit_ledger SCHEMA "Credit Ledger";
RESET client_min_messages;
SHOW search_path;
SELECT * FROM round_trip('"Credit Ledger".');
SELECT "Credit Ledger".credit_create_partition('"Credit Ledger".credit_entry', '2001-01-01', '2001-02-01') IS NOT NULL AS made;
CREATE ROLE regress_credit_elsewhere;
SELECT "Credit Ledger".credit_grant_privileges('regress_credit_elsewhere', 'reader');
SET ROLE regress_credit_elsewhere;
SELECT "Credit Ledger".credit_balance_at('org', 'infinity');
RESET ROLE;
SET search_path = "Credit Ledger";
SELECT * FROM public.round_trip('') ORDER BY campaign_id LIMIT 1;
RESET search_path;

-- It stays where it was put.
ALTER EXTENSION credit_ledger SET SCHEMA public;

-- A hostile search_path: tables, functions, types and operators of the same names, found before the real ones, are
-- not used. Each of these raises when it is.
CREATE SCHEMA hostile;
CREATE FUNCTION hostile.refuse() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'the hostile function was called'; END $$;
CREATE FUNCTION hostile.refuse_text(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.refuse()';
CREATE FUNCTION hostile.refuse_bigint(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.refuse()';
CREATE FUNCTION hostile.refuse_time(timestamptz, timestamptz) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.refuse()';
CREATE OPERATOR hostile.= (FUNCTION = hostile.refuse_text, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR hostile.<> (FUNCTION = hostile.refuse_bigint, LEFTARG = bigint, RIGHTARG = bigint);
CREATE OPERATOR hostile.<= (FUNCTION = hostile.refuse_time, LEFTARG = timestamptz, RIGHTARG = timestamptz);
CREATE OPERATOR hostile.>= (FUNCTION = hostile.refuse_time, LEFTARG = timestamptz, RIGHTARG = timestamptz);
CREATE FUNCTION hostile.octet_length(text) RETURNS integer LANGUAGE sql AS 'SELECT hostile.refuse()::integer';
CREATE FUNCTION hostile.format(text, VARIADIC text[]) RETURNS text LANGUAGE sql AS 'SELECT hostile.refuse()::text';
CREATE TYPE hostile.credit_status AS ENUM ('hostile');
CREATE TABLE hostile.credit_account (org_id text);
CREATE TABLE hostile.credit_ledger (org_id text);
CREATE TABLE hostile.credit_ledger_open (org_id text);
CREATE TABLE hostile.credit_entry (org_id text);
CREATE TABLE hostile.credit_idempotency (org_id text);
CREATE TEMP TABLE credit_account (org_id text);
CREATE TEMP TABLE credit_entry (org_id text);
DROP EXTENSION credit_ledger CASCADE;
CREATE SCHEMA ledger;
SET search_path = hostile, pg_temp, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION credit_ledger SCHEMA ledger;
RESET client_min_messages;
SELECT * FROM public.round_trip('ledger.');
SELECT ledger.credit_create_partition('ledger.credit_entry', '2001-01-01', '2001-02-01') IS NOT NULL AS made;
SELECT ledger.credit_grant_privileges('regress_credit_elsewhere', 'operator');
SELECT ledger.credit_sweep('2001-01-01');
SELECT * FROM ledger.credit_verify();
RESET search_path;
SELECT count(*) FROM hostile.credit_account;

-- Called through SQL functions that were inlined or planned under another search_path.
CREATE FUNCTION public.available(org text) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT available FROM ledger.credit_balance(org)';
SELECT public.available('org');
SET search_path = hostile, pg_temp, pg_catalog;
SELECT public.available('org');
RESET search_path;

-- Without the extension, its functions are gone; with its library loaded nothing is left that misbehaves.
DROP EXTENSION credit_ledger CASCADE;
SELECT ledger.credit_balance('org');
SHOW credit_ledger.commit_timeout;
DROP OWNED BY regress_credit_elsewhere;
DROP ROLE regress_credit_elsewhere;
\c :home
DROP DATABASE credit_ledger_lifecycle;
