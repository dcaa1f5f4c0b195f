-- Gives the extension's tables a partition a month, a year back and to the middle of the newest month: as Growth in
-- docs/concepts.md has it, with a ledger that is as old as the history. Wants search_path = extension and no settled authorizations yet.

-- The opening grants move from the default partition, which must hold no row of the newest month.
SET session_replication_role = replica;
CREATE TEMP TABLE opening AS TABLE credit_entry;
DELETE FROM credit_entry;
RESET session_replication_role;

SELECT count(credit_create_partition(parent, month, month + interval '30 days'))
FROM generate_series(now() - interval '375 days', now(), interval '30 days') AS month,
     unnest('{credit_ledger_settled,credit_entry}'::regclass[]) AS parent;

INSERT INTO credit_entry TABLE opening;
