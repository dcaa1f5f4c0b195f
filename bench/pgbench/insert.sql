-- The floor of pair.sql: as many one-row INSERT transactions.
\set org random(1, :orgs)
INSERT INTO row (org_id, amount) VALUES ('org-' || :org, 100);
INSERT INTO row (org_id, amount) VALUES ('org-' || :org, -90);
