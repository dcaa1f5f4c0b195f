-- The settings: what they are by default, who may set them, and to what.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include

-- They are there once the library is loaded, which the first call does.
SELECT balance_after FROM credit_grant('settings', 100, 'opening');
SELECT name, boot_val, unit, min_val, enumvals, context FROM pg_settings
WHERE name IN ('credit_ledger.commit_timeout', 'credit_ledger.timeout_action', 'credit_ledger.true_up_window') ORDER BY name;

\pset tuples_only on
\pset format unaligned
SHOW credit_ledger.commit_timeout;
SHOW credit_ledger.timeout_action;
SHOW credit_ledger.true_up_window;

-- The server words these refusals by its version, so only their codes are shown.
SELECT setting, substring(pg_temp.refusal('SET credit_ledger.' || setting) FROM '\n  (\w+)')
FROM (VALUES
  (1, $$commit_timeout = 0$$),
  (2, $$commit_timeout = -1$$),
  (3, $$commit_timeout = 'soon'$$),
  (4, $$timeout_action = 'forget'$$),
  (5, $$true_up_window = -1$$),
  (6, $$no_such_setting = 1$$)
) AS v (n, setting) ORDER BY n;

-- Told nothing, a hold takes them from the session; told something, it does not.
SET credit_ledger.commit_timeout = '1h';
SET credit_ledger.timeout_action = 'revert';
SELECT expires_at - created_at FROM credit_authorize('settings', 1, 'of the session');
SELECT expires_at - created_at FROM credit_authorize('settings', 1, 'told', timeout => '5 min', timeout_action => 'commit');
RESET credit_ledger.commit_timeout;
RESET credit_ledger.timeout_action;
SELECT expires_at - created_at FROM credit_authorize('settings', 1, 'by default');
SELECT campaign_id, timeout_action FROM credit_ledger WHERE org_id = 'settings' ORDER BY campaign_id;

-- A function may bring its own.
CREATE FUNCTION pg_temp.quick_hold() RETURNS interval LANGUAGE sql SET credit_ledger.commit_timeout = '10s'
AS $$ SELECT expires_at - created_at FROM credit_authorize('settings', 1, 'quick') $$;
SELECT pg_temp.quick_hold();

-- What only the server heeds is no session's.
SET credit_ledger.worker = off;
RESET credit_ledger.worker;

SELECT * FROM credit_verify();
