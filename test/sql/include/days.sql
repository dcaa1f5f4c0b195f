\set ECHO none
-- Days that pass without waiting: everything that is written about the organisations of a test is moved into the past. An
-- organisation's days are counted from the opening of its account.
CREATE TABLE pg_temp.today (n integer);
INSERT INTO pg_temp.today VALUES (0);
CREATE TABLE pg_temp.other AS SELECT org_id FROM credit_account;

-- pg_temp.day(n): lets it be day n.
CREATE FUNCTION pg_temp.day(n integer) RETURNS integer LANGUAGE plpgsql
  SET session_replication_role = replica  -- entries are append-only otherwise
AS $$
DECLARE
  passed interval;
BEGIN
  SELECT (day.n - t.n) * interval '24 hours' INTO passed FROM pg_temp.today t;
  UPDATE pg_temp.today t SET n = day.n;
  UPDATE credit_account SET created_at = created_at - passed, updated_at = updated_at - passed, lot_expires_at = lot_expires_at - passed
  WHERE org_id NOT IN (SELECT org_id FROM pg_temp.other);
  UPDATE credit_lot SET created_at = created_at - passed, expires_at = expires_at - passed, closed_at = closed_at - passed
  WHERE org_id NOT IN (SELECT org_id FROM pg_temp.other);
  UPDATE credit_ledger SET created_at = created_at - passed, expires_at = expires_at - passed, settled_at = settled_at - passed
  WHERE org_id NOT IN (SELECT org_id FROM pg_temp.other);
  UPDATE credit_entry SET created_at = created_at - passed, effective_at = effective_at - passed
  WHERE org_id NOT IN (SELECT org_id FROM pg_temp.other);
  UPDATE credit_idempotency SET created_at = created_at - passed
  WHERE org_id NOT IN (SELECT org_id FROM pg_temp.other);
  RETURN day.n;
END
$$;

-- pg_temp.at(org, n): the instant at which day n of an organisation begins; pg_temp.days(org, at): which day that is.
CREATE FUNCTION pg_temp.at(org text, n numeric) RETURNS timestamptz LANGUAGE sql STABLE
AS $$ SELECT created_at + n * interval '24 hours' FROM credit_account WHERE org_id = org $$;
CREATE FUNCTION pg_temp.days(org text, at timestamptz) RETURNS integer LANGUAGE sql STABLE
AS $$ SELECT round(extract(epoch FROM at - created_at) / 86400) FROM credit_account WHERE org_id = org $$;

-- pg_temp.lot(org, amount, ends, priority, key): grants a lot that ends on a day; returns its number.
CREATE FUNCTION pg_temp.lot(org text, amount bigint, ends integer = NULL, priority integer = NULL, key text = NULL)
RETURNS bigint LANGUAGE sql AS $$
  SELECT entry_no
  FROM credit_account a, credit_grant(org, amount, coalesce(key, format('lot %s of %s', a.last_entry_no + 1, org)),
                                      expires_at => pg_temp.at(org, ends), priority => priority)
  WHERE a.org_id = org
$$;

-- pg_temp.hold(org, amount, campaign): holds credits for a hundred days; returns what the hold stands on.
CREATE FUNCTION pg_temp.hold(org text, amount bigint, campaign text = 'campaign', timeout interval = '2400 hours')
RETURNS bigint[] LANGUAGE sql AS $$
  SELECT count(credit_authorize(org, amount, campaign, timeout => timeout));
  SELECT l.lots FROM credit_ledger l WHERE l.org_id = org AND l.campaign_id = campaign
$$;
CREATE FUNCTION pg_temp.id(org text, campaign text = 'campaign') RETURNS text LANGUAGE sql STABLE
AS $$ SELECT authorization_id FROM credit_ledger WHERE org_id = org AND campaign_id = campaign $$;

-- pg_temp.entries(org, after): the entries of an organisation after one of them, with the days on which they took effect.
CREATE FUNCTION pg_temp.entries(org text, after bigint = 0)
RETURNS TABLE (entry_no bigint, kind credit_entry_kind, amount bigint, balance_after bigint, lots bigint[], effective integer) LANGUAGE sql STABLE
AS $$
  SELECT e.entry_no, e.kind, e.amount, e.balance_after, e.lots, pg_temp.days(org, e.effective_at)
  FROM credit_entry e WHERE e.org_id = org AND e.entry_no > after ORDER BY e.entry_no
$$;

-- pg_temp.lots(org): what credit_lots() says, with days.
CREATE FUNCTION pg_temp.lots(org text)
RETURNS TABLE (lot_no bigint, priority integer, ends integer, amount bigint, remaining bigint, held bigint, free bigint) LANGUAGE sql STABLE
AS $$ SELECT l.lot_no, l.priority, pg_temp.days(org, l.expires_at), l.amount, l.remaining, l.held, l.free FROM credit_lots(org) l $$;
\set ECHO all
