-- The organisations org-1 ... org-10000, each with credits for longer than any run.

SELECT count(*) FROM generate_series(1, 10000) AS i, credit_grant('org-' || i, 1000000000000, 'opening');
