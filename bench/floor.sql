-- The floor: what a one-row INSERT into a simple table with a primary key costs, a transaction each.

CREATE SCHEMA floor;

CREATE TABLE floor.row (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  org_id     text NOT NULL,
  amount     bigint NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

-- And what INSERT ... SELECT into the ledger's own tables costs, with all their indexes and constraints.
CREATE SCHEMA bulk;
SET search_path = bulk;

CREATE TABLE credit_account (LIKE extension.credit_account INCLUDING ALL) WITH (fillfactor = 50);
INSERT INTO credit_account (org_id, balance, last_entry_no, created_at, updated_at)
SELECT 'org-' || i, 1000000000000, 1, now(), now() FROM generate_series(1, 10000) i;

CREATE TABLE credit_idempotency (LIKE extension.credit_idempotency INCLUDING ALL);
CREATE TABLE credit_ledger_open (LIKE extension.credit_ledger_open INCLUDING ALL);
CREATE TABLE credit_ledger_settled (LIKE extension.credit_ledger_settled_default INCLUDING ALL);
CREATE TABLE credit_entry (LIKE extension.credit_entry_default INCLUDING ALL);
