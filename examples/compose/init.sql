-- What the official image runs in the new database.
CREATE EXTENSION credit_ledger;
CREATE ROLE exporter LOGIN PASSWORD 'trial';
SELECT credit_grant_privileges('exporter', 'reader');
