-- The tables of the application that the examples are: campaigns, and an outbox with a row for each mail.

CREATE TABLE campaigns (
  id               text PRIMARY KEY,
  org_id           text NOT NULL,
  recipients       text[] NOT NULL,
  status           text NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'unpaid', 'sending', 'sent')),
  authorization_id text
);

CREATE TABLE outbox (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  campaign_id text NOT NULL REFERENCES campaigns,
  recipient   text NOT NULL,
  status      text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'sent', 'bounced')),
  UNIQUE (campaign_id, recipient)
);
