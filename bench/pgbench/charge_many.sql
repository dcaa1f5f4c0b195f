-- 1,000 charges in one call, over :orgs organisations.
\set n :n + 1
SELECT count(*)
FROM (SELECT array_agg('org-' || 1 + (:n * 1000 + i) * 7919 % :orgs) AS orgs, array_agg(90::bigint) AS amounts,
             array_agg('c-' || :run || '-' || :n || '-' || i) AS campaigns
      FROM generate_series(1, 1000) i) batch,
     credit_charge_many(batch.orgs, batch.amounts, batch.campaigns) a;
