-- 1,000 authorizations in one call, over :orgs organisations; then 1,000 commits in one call.
\set n :n + 1
SELECT array_agg(a.authorization_id)::text AS ids
FROM (SELECT array_agg('org-' || 1 + (:n * 1000 + i) * 7919 % :orgs) AS orgs, array_agg(100::bigint) AS amounts,
             array_agg('c-' || :run || '-' || :n || '-' || i) AS campaigns
      FROM generate_series(1, 1000) i) batch,
     credit_authorize_many(batch.orgs, batch.amounts, batch.campaigns) a \gset
SELECT count(*) FROM credit_commit_many(:ids::text[], array_fill(90::bigint, '{1000}'));
