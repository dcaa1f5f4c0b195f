-- docs/scale.md: a ledger that grew at home, in a database that has the extension.

CREATE EXTENSION credit_ledger;
CREATE TABLE customer (customer text PRIMARY KEY, balance bigint NOT NULL);
CREATE TABLE credit_log (customer text REFERENCES customer, delta bigint NOT NULL, booked_at timestamptz NOT NULL, memo text);
INSERT INTO customer VALUES ('acme', 70), ('globex', -20), ('initech', 0);
INSERT INTO credit_log VALUES
  ('acme', 100, '2024-03-01 10:00:00+00', 'invoice 17'),
  ('acme', -30, '2024-03-05 09:30:00+00', 'newsletter'),
  ('globex', 30, '2024-03-05 09:30:00+00', 'invoice 18'),
  ('globex', -50, '2024-04-01 08:00:00+00', 'spring sale');
