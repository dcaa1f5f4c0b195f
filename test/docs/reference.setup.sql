-- docs/reference.md: an organisation with 360 credits to spend, and a role of each level, for the catalog to tell them apart.

CREATE EXTENSION credit_ledger;
SELECT credit_grant('org-1', 510, 'invoice-17'), credit_authorize('org-1', 150, 'campaign-1');
CREATE ROLE docs_app;
CREATE ROLE docs_reader;
CREATE ROLE docs_operator;
SELECT credit_grant_privileges('docs_app', 'app'), credit_grant_privileges('docs_reader', 'reader'),
       credit_grant_privileges('docs_operator', 'operator');
