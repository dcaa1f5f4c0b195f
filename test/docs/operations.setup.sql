-- docs/operations.md: an account that was damaged.

CREATE EXTENSION credit_ledger;
SELECT credit_grant('org-1', 1000, 'invoice-1');
SET session_replication_role = replica;
UPDATE credit_account SET held = 7;
