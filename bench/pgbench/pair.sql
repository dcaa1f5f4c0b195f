-- One authorize and one commit, each a transaction of its own, on one of :orgs organisations.
\set org random(1, :orgs)
\set n :n + 1
SELECT authorization_id FROM credit_authorize('org-' || :org, 100, 'c-' || :run || '-' || :client_id || '-' || :n) \gset
SELECT available FROM credit_commit(:authorization_id, 90);
