-- One charge, a transaction of its own, on one of :orgs organisations.
\set org random(1, :orgs)
\set n :n + 1
SELECT available FROM credit_charge('org-' || :org, 90, 'c-' || :run || '-' || :client_id || '-' || :n);
