-- What takes long says how far it is, where the ledger is large; else it is quiet. The server is made to believe that it is.
\pset tuples_only on
\pset format unaligned
SELECT balance_after FROM credit_grant('progress', 100, 'opening');
SELECT status FROM credit_charge('progress', 30, 'job-1');

BEGIN;
CREATE TEMP TABLE progress_sends AS SELECT org_id, campaign_id, created_at AS used_at, 30::bigint AS quantity FROM credit_ledger WHERE org_id = 'progress';
SELECT credit_usage_source_register('progress', 'progress_sends');
SELECT count(*) FROM credit_verify();
SELECT count(*) FROM credit_reconcile_campaigns() WHERE org_id = 'progress';

UPDATE pg_class SET reltuples = 1e6 WHERE oid = 'credit_entry_default'::regclass;
SELECT count(*) FROM credit_verify();
SELECT count(*) FROM credit_verify('progress');
SELECT count(*) FROM credit_ledger l, credit_reconcile_campaigns(l.settled_at, l.settled_at + interval '1 us') r WHERE l.org_id = 'progress';
SELECT verdict FROM credit_campaign_status('job-1', 'progress');
SELECT credit_create_partition('credit_entry', '2001-01-01Z', '2001-02-01Z');
SELECT credit_detach_partitions('1 year', 'credit_entry');
ROLLBACK;
SELECT * FROM credit_verify();
