-- The types: labels of the enums in their order, attributes of the composite types.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS credit_ledger;
SELECT plan(11);

SELECT enum_has_labels('credit_status', '{authorized,committed,reverted}');
SELECT enum_has_labels('credit_timeout_action', '{commit,revert}');
SELECT enum_has_labels('credit_actor', '{caller,timeout}');
SELECT enum_has_labels('credit_entry_kind', '{grant,commit,refund,true_up,adjustment,expiry,void}');
SELECT enum_has_labels('credit_operation', '{grant,adjust,authorize,refund,void}');
SELECT enum_has_labels('credit_health_status', '{ok,warning,critical}');

CREATE FUNCTION pg_temp.attributes(type regtype) RETURNS TABLE (name text, type_name text, collation_name text) LANGUAGE sql AS $$
  SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), c.collname::text
  FROM pg_type AS t
  JOIN pg_attribute AS a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_collation AS c ON c.oid = a.attcollation
  WHERE t.oid = type
  ORDER BY a.attnum
$$;
SELECT results_eq(
  $$SELECT * FROM pg_temp.attributes('credit_authorization')$$,
  $$VALUES ('authorization_id', 'text', 'C'),
           ('org_id', 'text', 'C'),
           ('campaign_id', 'text', 'C'),
           ('status', 'credit_status', NULL),
           ('amount', 'bigint', NULL),
           ('authorized_amount', 'bigint', NULL),
           ('refunded_amount', 'bigint', NULL),
           ('created_at', 'timestamp with time zone', NULL),
           ('expires_at', 'timestamp with time zone', NULL),
           ('settled_at', 'timestamp with time zone', NULL),
           ('settled_by', 'credit_actor', NULL),
           ('reason', 'text', 'default'),
           ('available', 'bigint', NULL),
           ('replayed', 'boolean', NULL)$$,
  'attributes of credit_authorization');
SELECT results_eq(
  $$SELECT * FROM pg_temp.attributes('credit_authorization_item')$$,
  $$SELECT 'ord', 'integer', NULL UNION ALL (SELECT * FROM pg_temp.attributes('credit_authorization'))
    UNION ALL VALUES ('sqlstate', 'text', 'default'), ('message', 'text', 'default')$$,
  'attributes of credit_authorization_item: its place, those of credit_authorization, and what refused it');
SELECT results_eq(
  $$SELECT * FROM pg_temp.attributes('credit_movement')$$,
  $$VALUES ('org_id', 'text', 'C'),
           ('entry_no', 'bigint', NULL),
           ('kind', 'credit_entry_kind', NULL),
           ('amount', 'bigint', NULL),
           ('authorization_id', 'text', 'C'),
           ('balance_after', 'bigint', NULL),
           ('available', 'bigint', NULL),
           ('created_at', 'timestamp with time zone', NULL),
           ('replayed', 'boolean', NULL)$$,
  'attributes of credit_movement');
SELECT results_eq(
  $$SELECT * FROM pg_temp.attributes('credit_account_balance')$$,
  $$VALUES ('org_id', 'text', 'C'),
           ('balance', 'bigint', NULL),
           ('held', 'bigint', NULL),
           ('credit_limit', 'bigint', NULL),
           ('available', 'bigint', NULL),
           ('frozen', 'boolean', NULL)$$,
  'attributes of credit_account_balance');
SELECT results_eq(
  $$SELECT * FROM pg_temp.attributes('credit_discrepancy')$$,
  $$VALUES ('org_id', 'text', 'C'),
           ('check_name', 'text', 'default'),
           ('expected', 'text', 'default'),
           ('actual', 'text', 'default'),
           ('detail', 'text', 'default')$$,
  'attributes of credit_discrepancy');

SELECT * FROM finish();
ROLLBACK;
