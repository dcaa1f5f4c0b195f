-- docs/applications.md is read by somebody who has the extension, and an organisation with credits.

CREATE EXTENSION credit_ledger;
SELECT credit_grant('acme', 100, 'invoice-1');
