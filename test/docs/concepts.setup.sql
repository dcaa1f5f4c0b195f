-- docs/concepts.md goes on where README.md ends: an organisation with 520 credits.

CREATE EXTENSION credit_ledger;
SELECT credit_grant('org-1', 520, 'invoice-17');
