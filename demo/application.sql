-- The sample application: organisations that send e-mail campaigns, one row of sends for every recipient. The columns
-- are those that the runbook's queries name.

CREATE TABLE organizations (
  id   text PRIMARY KEY,
  name text NOT NULL
);

CREATE TABLE campaigns (
  id     text PRIMARY KEY,
  org_id text NOT NULL REFERENCES organizations,
  title  text NOT NULL,
  status text NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'sent', 'failed'))
);

CREATE TABLE sends (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  org_id      text NOT NULL REFERENCES organizations,
  campaign_id text NOT NULL REFERENCES campaigns,
  recipient   text NOT NULL,
  status      text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'sent', 'bounced')),
  queued_at   timestamptz NOT NULL DEFAULT now()
);

INSERT INTO organizations VALUES ('acme', 'Acme Ltd'), ('globex', 'Globex Inc');

INSERT INTO campaigns VALUES
  ('spring-sale', 'acme', 'Spring sale'),
  ('newsletter-7', 'acme', 'Newsletter 7'),
  ('black-friday', 'acme', 'Black Friday'),
  ('launch', 'globex', 'Launch');

INSERT INTO sends (org_id, campaign_id, recipient)
SELECT c.org_id, c.id, format('reader%s@example.com', n)
FROM (VALUES ('spring-sale', 500), ('newsletter-7', 100), ('black-friday', 200), ('launch', 80)) AS plan (id, recipients)
JOIN campaigns c USING (id),
  generate_series(1, plan.recipients) AS n
ORDER BY c.id, n;
