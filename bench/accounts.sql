-- The organisations org-:first ... org-:orgs, each with credits for longer than any run.

\if :{?orgs}
\else
  \set first 1
  \set orgs 10000
\endif
SELECT count(*) FROM generate_series(:first, :orgs) AS i, credit_grant('org-' || i, 1000000000000, 'opening');
