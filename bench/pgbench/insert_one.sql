-- The floor of charge.sql: a one-row INSERT transaction.
\set org random(1, :orgs)
INSERT INTO row (org_id, amount) VALUES ('org-' || :org, -90);
