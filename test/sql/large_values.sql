-- Values too large for a page: reasons and metadata that are stored out of line stay whole wherever the row goes.
--
-- Texts of 64 kB that do not compress are given to every verb that takes one; the rows then move and change, and what
-- they carry is compared with what was given.
\set value 'SELECT string_agg(md5(n::text), \'\' ORDER BY n) FROM generate_series(1, 2000) AS n'
SELECT (:value) AS value \gset
SELECT length(:'value');

SELECT length(metadata ->> 'account') FROM credit_account_configure('large', metadata => jsonb_build_object('account', :'value'));
SELECT balance_after FROM credit_grant('large', 1000, 'opening', :'value', jsonb_build_object('entry', :'value'));
SELECT balance_after FROM credit_adjust('large', -1, 'correction', :'value');
SELECT count((credit_authorize('large', 10, campaign, metadata => jsonb_build_object('ledger', :'value'))).available)
FROM string_to_table('committed reverted timed-out open', ' ') AS campaign;
CREATE FUNCTION pg_temp.hold(name text) RETURNS text LANGUAGE sql AS $$
  SELECT authorization_id FROM credit_ledger WHERE org_id = 'large' AND campaign_id = name
$$;
SELECT (credit_commit(pg_temp.hold('committed'), 9)).status,
       length((credit_revert(pg_temp.hold('reverted'), :'value')).reason) AS reason;
SELECT balance_after FROM credit_refund(pg_temp.hold('committed'), 'refund', 5, :'value');
UPDATE credit_ledger SET expires_at = '2000-01-01' WHERE authorization_id = pg_temp.hold('timed-out');
SELECT credit_sweep('2000-01-02');
SELECT length(reason) FROM credit_revert(pg_temp.hold('timed-out'), :'value');
SELECT (credit_extend(pg_temp.hold('open'), '1 hour')).status;
SELECT credit_limit FROM credit_account_configure('large', credit_limit => 5);

-- They are out of line, not compressed into the row.
SELECT bool_and(pg_column_size(metadata) > 60000) AS large FROM credit_ledger WHERE org_id = 'large';
VACUUM credit_account, credit_ledger, credit_entry;

SELECT metadata = jsonb_build_object('account', :'value') AS whole FROM credit_account WHERE org_id = 'large';
SELECT campaign_id, status, metadata = jsonb_build_object('ledger', :'value') AS whole, reason = :'value' AS reason
FROM credit_ledger WHERE org_id = 'large' ORDER BY campaign_id;
SELECT entry_no, kind, metadata = jsonb_build_object('entry', :'value') AS whole, reason = :'value' AS reason
FROM credit_statement('large');
SELECT replayed, length(reason) FROM credit_authorize('large', 10, 'reverted');

SELECT * FROM credit_verify();
