-- The alert credits_expiring: raised when free credits end within credit_ledger.expiry_notice (7 days), over when they do not.
--
-- credit_maintain() judges, as the worker does. Its warnings carry instants and are kept out of the output.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/days.sql'
\i :include
SET client_min_messages = error;
CREATE FUNCTION pg_temp.alerts(org text) RETURNS TABLE (n bigint, open boolean, told text, credits text, lots text) LANGUAGE sql AS $$
  SELECT credit_maintain();
  SELECT row_number() OVER (ORDER BY opened_at, closed_at), closed_at IS NULL, split_part(message, ',', 1), details ->> 'credits',
         (SELECT string_agg(format('%s:%s', l -> 'lot_no', l -> 'credits'), ' ') FROM jsonb_array_elements(details -> 'lots') l)
  FROM credit_alert WHERE kind = 'credits_expiring' AND org_id = org
  ORDER BY 1
$$;
CREATE FUNCTION pg_temp.expiring(org text) RETURNS bigint LANGUAGE sql STABLE
AS $$ SELECT expiring FROM credit_account_overview WHERE org_id = org $$;

SELECT org_id FROM credit_account_configure('lot-alert');
SELECT pg_temp.lot('lot-alert', 100, ends => 10), pg_temp.lot('lot-alert', 50, ends => 9), pg_temp.lot('lot-alert', 50, ends => 20),
       pg_temp.lot('lot-alert', 50, priority => 0), balance_after FROM credit_grant('lot-alert', 50, 'main pool');
SELECT * FROM pg_temp.alerts('lot-alert');
SELECT pg_temp.expiring('lot-alert');

-- Seven days before the first end; once, whoever comes by again.
SELECT pg_temp.day(4);
SELECT * FROM pg_temp.alerts('lot-alert');
SELECT * FROM pg_temp.alerts('lot-alert');
SELECT pg_temp.expiring('lot-alert');
SELECT pg_temp.days(org_id, (details ->> 'first_end')::timestamptz) AS first_end, pg_temp.days(org_id, (l ->> 'expires_at')::timestamptz) AS ends
FROM credit_alert, jsonb_array_elements(details -> 'lots') l WHERE kind = 'credits_expiring' AND org_id = 'lot-alert';

-- What is held ends with its hold; what is used, not at all. Held in full, there is nothing to tell.
SELECT pg_temp.hold('lot-alert', 120);
SELECT pg_temp.expiring('lot-alert');
SELECT * FROM pg_temp.alerts('lot-alert');
SELECT pg_temp.hold('lot-alert', 80, 'the rest');
SELECT * FROM pg_temp.alerts('lot-alert');
SELECT status FROM credit_revert(pg_temp.id('lot-alert', 'the rest'));
SELECT * FROM pg_temp.alerts('lot-alert');

-- Another lot that comes as near is another alert. After its end, a lot is no longer told of.
SELECT pg_temp.day(14);
SELECT * FROM pg_temp.alerts('lot-alert');
SELECT pg_temp.lot('lot-alert', 5, ends => 21);
SELECT * FROM pg_temp.alerts('lot-alert');
SELECT expiring, expiring_accounts > 0 AS somebody FROM credit_totals t, pg_temp.expiring('lot-alert') e WHERE t.expiring >= e;

-- Moved away, voided: over.
SELECT lot_no FROM credit_lot_configure('lot-alert', 4, expires_at => pg_temp.at('lot-alert', 40));
SELECT * FROM pg_temp.alerts('lot-alert');
SELECT amount FROM credit_void('lot-alert', 7, 'no longer');
SELECT * FROM pg_temp.alerts('lot-alert');
SELECT pg_temp.expiring('lot-alert');

-- An ended lot waits for somebody to post what it lost, and health says for how long.
SELECT pg_temp.day(41);
SELECT status, regexp_replace(detail, '@?\s?\d.* ago', '(an interval) ago') AS detail, what_to_do FROM credit_health() WHERE check_name = 'oldest_ended_lot';
SELECT count(credit_account_configure(org_id)) > 0 AS posted FROM credit_account WHERE lot_balance > 0;
SELECT status, detail, what_to_do FROM credit_health() WHERE check_name = 'oldest_ended_lot';

DELETE FROM credit_alert WHERE kind = 'credits_expiring';
SELECT * FROM credit_verify();
