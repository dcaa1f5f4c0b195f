-- Where things stand. What callers use is made in the extension's schema, what they never type in a schema of its own.
--
-- Others may create objects in the extension's schema, and in every other schema but pg_catalog and ours. So nothing
-- here is found through them: while this script runs, names without a schema are those of pg_catalog, and everything of
-- our own is written with its schema.

SET LOCAL search_path = pg_catalog, pg_temp;

CREATE SCHEMA credit_ledger_internal;
COMMENT ON SCHEMA credit_ledger_internal IS
  'helpers of the functions of credit_ledger; they change without notice, and nobody but those functions calls them';
