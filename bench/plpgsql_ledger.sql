-- The rival: the ledger as a careful team would write it by hand in PL/pgSQL, in a schema of its own.
--
-- It makes the extension's promises for the verbs that are measured (grant, authorize, charge, commit, revert, sweep,
-- many in one call; no parts, raises, corrections or lots): the account row is the only lock and everything is read again under it, calls replay, entries are
-- numbered without a gap, what the timeout settled can be trued up, errors have the same codes. Its tables are copies
-- of the extension's, with the same constraints, indexes, partitions and storage parameters. check_rival.sql proves that
-- it gives the same answers and leaves the same rows.
--
-- What it keeps simple is what costs nothing in the measured calls: settings are constants, an id is time and
-- randomness in hexadecimal instead of base32, a settled authorization is looked up in every leaf.
--
-- How it was made fast: a call is as few statements as its guarantees allow, all of them with kept plans. Putting a
-- whole call into one statement of data-modifying CTEs, or settling by DELETE and INSERT instead of by UPDATE of the
-- partition key, was measured and used as much or more processor time.
--
-- Wants search_path = rival, extension; the functions take their arguments in the extension's order.

CREATE SCHEMA rival;
SET search_path = rival, extension;

-- Tables

CREATE TABLE credit_account (LIKE extension.credit_account INCLUDING ALL);

CREATE TABLE credit_ledger (LIKE extension.credit_ledger INCLUDING ALL) PARTITION BY LIST (status);
CREATE TABLE credit_ledger_open (LIKE extension.credit_ledger_open INCLUDING ALL);
ALTER TABLE credit_ledger ATTACH PARTITION credit_ledger_open FOR VALUES IN ('authorized');
CREATE TABLE credit_ledger_settled (LIKE extension.credit_ledger INCLUDING ALL) PARTITION BY RANGE (created_at);
ALTER TABLE credit_ledger ATTACH PARTITION credit_ledger_settled FOR VALUES IN ('committed', 'reverted');
CREATE TABLE credit_ledger_settled_default (LIKE extension.credit_ledger_settled_default INCLUDING ALL);
ALTER TABLE credit_ledger_settled ATTACH PARTITION credit_ledger_settled_default DEFAULT;

CREATE TABLE credit_entry (LIKE extension.credit_entry INCLUDING ALL) PARTITION BY RANGE (created_at);
CREATE TABLE credit_entry_default (LIKE extension.credit_entry_default INCLUDING ALL);
ALTER TABLE credit_entry ATTACH PARTITION credit_entry_default DEFAULT;

CREATE TABLE credit_idempotency (LIKE extension.credit_idempotency INCLUDING ALL);

-- LIKE leaves out the storage parameters (fillfactor, autovacuum).
DO $$
DECLARE
  original record;
BEGIN
  FOR original IN
    SELECT c.relname, array_to_string(c.reloptions, ', ') AS parameters
    FROM pg_class c
    JOIN pg_class copy ON copy.relname = c.relname AND copy.relnamespace = 'rival'::regnamespace
    WHERE c.relnamespace = 'extension'::regnamespace AND c.relkind = 'r' AND c.reloptions IS NOT NULL
  LOOP
    EXECUTE format('ALTER TABLE rival.%I SET (%s)', original.relname, original.parameters);
  END LOOP;
END
$$;

CREATE FUNCTION credit_entry_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE restrict_violation USING MESSAGE = 'entries are append-only';
END
$$;
CREATE TRIGGER credit_entry_append_only BEFORE UPDATE OR DELETE ON credit_entry
  FOR EACH ROW EXECUTE FUNCTION credit_entry_append_only();
CREATE TRIGGER credit_entry_no_truncate BEFORE TRUNCATE ON credit_entry
  FOR EACH STATEMENT EXECUTE FUNCTION credit_entry_append_only();
CREATE TRIGGER credit_entry_no_truncate BEFORE TRUNCATE ON credit_entry_default
  FOR EACH STATEMENT EXECUTE FUNCTION credit_entry_append_only();

-- Arguments. A PERFORM is a statement, so the measured calls test in an IF first and ask these only for the error.

CREATE FUNCTION require_id(p_name text, p_value text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF p_value IS NULL THEN
    RAISE null_value_not_allowed USING MESSAGE = format('%s must not be null', p_name);
  END IF;
  IF octet_length(p_value) NOT BETWEEN 1 AND 256 THEN
    RAISE invalid_parameter_value USING MESSAGE = format('%s must be 1 to 256 bytes long', p_name);
  END IF;
END
$$;

CREATE FUNCTION require_positive(p_name text, p_value bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF p_value IS NULL THEN
    RAISE null_value_not_allowed USING MESSAGE = format('%s must not be null', p_name);
  END IF;
  IF p_value <= 0 THEN
    RAISE invalid_parameter_value USING MESSAGE = format('%s must be greater than 0', p_name);
  END IF;
END
$$;

-- The account

CREATE FUNCTION account_lock(p_org_id text) RETURNS credit_account LANGUAGE plpgsql AS $$
DECLARE
  account credit_account;
BEGIN
  SELECT * INTO account FROM credit_account WHERE org_id = p_org_id FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RAISE SQLSTATE 'LC002' USING MESSAGE = format('account of organisation "%s" not found', p_org_id);
  END IF;
  RETURN account;
END
$$;

-- Moves the balance by p_amount, with its entry, and releases p_released of what is held. The caller holds the account's
-- lock. Returns what is available afterwards.
CREATE FUNCTION account_move(p_org_id text, p_kind credit_entry_kind, p_amount bigint, p_released bigint,
    p_authorization_id text, p_at timestamptz, p_idempotency_key text = NULL, p_reason text = NULL, p_metadata jsonb = NULL)
  RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  account credit_account;
BEGIN
  UPDATE credit_account
  SET balance = balance + p_amount, held = held - p_released,
      last_entry_no = last_entry_no + CASE p_amount WHEN 0 THEN 0 ELSE 1 END, updated_at = p_at
  WHERE org_id = p_org_id
  RETURNING * INTO account;
  IF p_amount <> 0 THEN
    INSERT INTO credit_entry
    VALUES (p_org_id, account.last_entry_no, p_kind, p_amount, p_authorization_id, p_idempotency_key, p_reason,
            account.balance, p_at, p_metadata);
  END IF;
  RETURN account.balance - account.held + account.credit_limit;
END
$$;

-- used may exceed the hold by overage_limit; what has to come out of the available credits must be there.
CREATE FUNCTION require_chargeable(p_account credit_account, p_held bigint, p_used bigint, p_from_available bigint)
  RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF p_used - p_held > p_account.overage_limit THEN
    RAISE SQLSTATE 'LC005' USING MESSAGE = format('amount %s exceeds the authorization of %s', p_used, p_held);
  END IF;
  IF p_from_available > greatest(p_account.balance - p_account.held + p_account.credit_limit, 0) THEN
    RAISE SQLSTATE 'LC001' USING MESSAGE = format('organisation "%s" has too few credits', p_account.org_id);
  END IF;
END
$$;

-- Grant

CREATE FUNCTION credit_grant(p_org_id text, p_amount bigint, p_idempotency_key text, p_reason text = NULL, p_metadata jsonb = NULL)
  RETURNS credit_movement LANGUAGE plpgsql AS $$
DECLARE
  account credit_account;
  key credit_idempotency;
  entry credit_entry;
  instant timestamptz;
  available bigint;
  replayed boolean;
BEGIN
  PERFORM require_id('org_id', p_org_id), require_positive('amount', p_amount), require_id('idempotency_key', p_idempotency_key);
  INSERT INTO credit_account (org_id, created_at, updated_at) VALUES (p_org_id, clock_timestamp(), clock_timestamp())
  ON CONFLICT DO NOTHING;
  account := account_lock(p_org_id);
  instant := clock_timestamp();
  INSERT INTO credit_idempotency VALUES (p_org_id, 'grant', p_idempotency_key, p_amount, NULL, NULL, account.last_entry_no + 1, instant)
  ON CONFLICT DO NOTHING;
  replayed := NOT FOUND;
  IF replayed THEN
    SELECT * INTO key FROM credit_idempotency
    WHERE org_id = p_org_id AND operation = 'grant' AND idempotency_key = p_idempotency_key;
    IF key.amount <> p_amount THEN
      RAISE SQLSTATE 'LC004' USING MESSAGE = format('key "%s" was used to grant %s', p_idempotency_key, key.amount);
    END IF;
    available := account.balance - account.held + account.credit_limit;
  ELSE
    available := account_move(p_org_id, 'grant', p_amount, 0, NULL, instant, p_idempotency_key, p_reason, p_metadata);
    key.entry_no := account.last_entry_no + 1;
  END IF;
  SELECT * INTO entry FROM credit_entry WHERE org_id = p_org_id AND entry_no = key.entry_no;
  RETURN (p_org_id, entry.entry_no, entry.kind, entry.amount, entry.authorization_id, entry.balance_after, available,
          entry.created_at, replayed);
END
$$;

-- Authorize

CREATE FUNCTION credit_authorize(p_org_id text, p_amount bigint, p_campaign_id text = NULL, p_idempotency_key text = NULL,
    p_timeout interval = NULL, p_timeout_action credit_timeout_action = NULL, p_metadata jsonb = NULL)
  RETURNS credit_authorization LANGUAGE plpgsql AS $$
DECLARE
  account credit_account;
  id text;
  instant timestamptz;
  expiry timestamptz;
  available bigint;
BEGIN
  p_idempotency_key := coalesce(p_idempotency_key, p_campaign_id);
  IF (octet_length(p_org_id) BETWEEN 1 AND 256 AND p_amount > 0 AND octet_length(p_idempotency_key) BETWEEN 1 AND 256)
     IS NOT TRUE THEN
    PERFORM require_id('org_id', p_org_id), require_positive('amount', p_amount),
            require_id('idempotency_key', p_idempotency_key);
  END IF;

  account := account_lock(p_org_id);
  instant := clock_timestamp();
  expiry := instant + coalesce(p_timeout, interval '10 min');
  id := 'auth-' || lpad(to_hex((extract(epoch FROM instant) * 1000)::bigint), 12, '0')
        || replace(right(gen_random_uuid()::text, 17), '-', '');
  INSERT INTO credit_idempotency VALUES (p_org_id, 'authorize', p_idempotency_key, p_amount, p_campaign_id, id, NULL, instant)
  ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RETURN authorize_replay(account, p_amount, p_campaign_id, p_idempotency_key);
  END IF;
  IF account.frozen THEN
    RAISE SQLSTATE 'LC007' USING MESSAGE = format('account of organisation "%s" is frozen', p_org_id);
  END IF;
  available := account.balance - account.held + account.credit_limit - p_amount;
  IF available < 0 THEN
    RAISE SQLSTATE 'LC001' USING MESSAGE = format('organisation "%s" has too few credits', p_org_id);
  END IF;
  UPDATE credit_account SET held = held + p_amount, updated_at = instant WHERE org_id = p_org_id;
  INSERT INTO credit_ledger_open
  VALUES (id, p_org_id, p_campaign_id, p_idempotency_key, 'authorized', p_amount, p_amount, NULL, 0, coalesce(p_timeout_action, 'commit'),
          instant, expiry, NULL, NULL, NULL, p_metadata);
  RETURN (id, p_org_id, p_campaign_id, 'authorized'::credit_status, p_amount, p_amount, 0::bigint, instant, expiry,
          NULL::timestamptz, NULL::credit_actor, NULL::text, available, false);
END
$$;

CREATE FUNCTION authorize_replay(p_account credit_account, p_amount bigint, p_campaign_id text, p_idempotency_key text)
  RETURNS credit_authorization LANGUAGE plpgsql AS $$
DECLARE
  key credit_idempotency;
BEGIN
  SELECT * INTO key FROM credit_idempotency
  WHERE org_id = p_account.org_id AND operation = 'authorize' AND idempotency_key = p_idempotency_key;
  IF (key.amount, key.campaign_id) IS DISTINCT FROM (p_amount, p_campaign_id) THEN
    RAISE SQLSTATE 'LC004' USING
      MESSAGE = format('key "%s" was used to authorize %s for campaign "%s"', p_idempotency_key, key.amount, key.campaign_id);
  END IF;
  RETURN answer((SELECT l FROM credit_ledger l WHERE l.authorization_id = key.authorization_id),
                p_account.balance - p_account.held + p_account.credit_limit, true);
END
$$;

-- Charge

CREATE FUNCTION credit_charge(p_org_id text, p_amount bigint, p_campaign_id text = NULL, p_idempotency_key text = NULL,
    p_metadata jsonb = NULL)
  RETURNS credit_authorization LANGUAGE plpgsql AS $$
DECLARE
  account credit_account;
  id text;
  instant timestamptz;
  available bigint;
BEGIN
  p_idempotency_key := coalesce(p_idempotency_key, p_campaign_id);
  IF (octet_length(p_org_id) BETWEEN 1 AND 256 AND p_amount > 0 AND octet_length(p_idempotency_key) BETWEEN 1 AND 256)
     IS NOT TRUE THEN
    PERFORM require_id('org_id', p_org_id), require_positive('amount', p_amount),
            require_id('idempotency_key', p_idempotency_key);
  END IF;

  account := account_lock(p_org_id);
  instant := clock_timestamp();
  id := 'auth-' || lpad(to_hex((extract(epoch FROM instant) * 1000)::bigint), 12, '0')
        || replace(right(gen_random_uuid()::text, 17), '-', '');
  INSERT INTO credit_idempotency VALUES (p_org_id, 'authorize', p_idempotency_key, p_amount, p_campaign_id, id, NULL, instant)
  ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RETURN authorize_replay(account, p_amount, p_campaign_id, p_idempotency_key);
  END IF;
  IF account.frozen THEN
    RAISE SQLSTATE 'LC007' USING MESSAGE = format('account of organisation "%s" is frozen', p_org_id);
  END IF;
  IF p_amount > account.balance - account.held + account.credit_limit THEN
    RAISE SQLSTATE 'LC001' USING MESSAGE = format('organisation "%s" has too few credits', p_org_id);
  END IF;
  INSERT INTO credit_ledger_settled
  VALUES (id, p_org_id, p_campaign_id, p_idempotency_key, 'committed', p_amount, p_amount, NULL, 0, 'commit',
          instant, instant, instant, 'caller', NULL, p_metadata);
  available := account_move(p_org_id, 'commit', -p_amount, 0, id, instant);
  RETURN (id, p_org_id, p_campaign_id, 'committed'::credit_status, p_amount, p_amount, 0::bigint, instant, instant,
          instant, 'caller'::credit_actor, NULL::text, available, false);
END
$$;

-- Settling

CREATE FUNCTION answer(p_row credit_ledger, p_available bigint, p_replayed boolean)
  RETURNS credit_authorization LANGUAGE plpgsql AS $$
BEGIN
  RETURN (p_row.authorization_id, p_row.org_id, p_row.campaign_id, p_row.status, p_row.amount, p_row.authorized_amount,
          p_row.refunded_amount, p_row.created_at, p_row.expires_at, p_row.settled_at, p_row.settled_by, p_row.reason,
          p_available, p_replayed);
END
$$;

-- Whose authorization it is. A row never changes hands, so no lock is needed yet.
CREATE FUNCTION owner_of(p_authorization_id text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  owner text;
BEGIN
  IF (octet_length(p_authorization_id) BETWEEN 1 AND 256) IS NOT TRUE THEN
    PERFORM require_id('authorization_id', p_authorization_id);
  END IF;
  SELECT org_id INTO owner FROM credit_ledger_open WHERE authorization_id = p_authorization_id;
  IF NOT FOUND THEN
    SELECT org_id INTO owner FROM credit_ledger WHERE authorization_id = p_authorization_id;
    IF NOT FOUND THEN
      RAISE SQLSTATE 'LC003' USING MESSAGE = format('authorization "%s" not found', p_authorization_id);
    END IF;
  END IF;
  RETURN owner;
END
$$;

-- A settled row that the timeout settled and its caller may still correct; raises LC006 if it is not.
CREATE FUNCTION require_correctable(p_row credit_ledger, p_at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF p_row.settled_by = 'caller' OR p_row.settled_at < p_at - interval '7 days' THEN
    RAISE SQLSTATE 'LC006' USING MESSAGE = format('authorization "%s" is already %s', p_row.authorization_id, p_row.status);
  END IF;
END
$$;

CREATE FUNCTION credit_commit(p_authorization_id text, p_amount_used bigint = NULL)
  RETURNS credit_authorization LANGUAGE plpgsql AS $$
DECLARE
  account credit_account;
  settled credit_ledger;
  instant timestamptz;
  available bigint;
BEGIN
  IF p_amount_used < 0 THEN
    RAISE invalid_parameter_value USING MESSAGE = 'amount_used must not be negative';
  END IF;
  account := account_lock(owner_of(p_authorization_id));
  instant := clock_timestamp();
  UPDATE credit_ledger
  SET status = 'committed', amount = coalesce(p_amount_used, amount), settled_at = instant, settled_by = 'caller'
  WHERE authorization_id = p_authorization_id AND status = 'authorized'
  RETURNING * INTO settled;
  IF NOT FOUND THEN
    RETURN commit_settled(account, p_authorization_id, p_amount_used, instant);
  END IF;
  IF settled.amount > settled.authorized_amount THEN
    PERFORM require_chargeable(account, settled.authorized_amount, settled.amount, settled.amount - settled.authorized_amount);
  END IF;
  available := account_move(account.org_id, 'commit', - settled.amount, settled.authorized_amount, p_authorization_id, instant);
  RETURN (settled.authorization_id, settled.org_id, settled.campaign_id, settled.status, settled.amount,
          settled.authorized_amount, settled.refunded_amount, settled.created_at, settled.expires_at, settled.settled_at,
          settled.settled_by, settled.reason, available, false);
END
$$;

-- A commit of what is settled already: a replay, a true-up of what the timeout did, or an error.
CREATE FUNCTION commit_settled(p_account credit_account, p_authorization_id text, p_amount_used bigint, p_at timestamptz)
  RETURNS credit_authorization LANGUAGE plpgsql AS $$
DECLARE
  stored credit_ledger;
  charged bigint;
  used bigint;
  available bigint;
BEGIN
  SELECT * INTO stored FROM credit_ledger_settled WHERE authorization_id = p_authorization_id;
  IF stored.status = 'committed' AND stored.settled_by = 'caller' THEN
    IF p_amount_used <> stored.amount THEN
      RAISE SQLSTATE 'LC004' USING
        MESSAGE = format('authorization "%s" was committed with %s', p_authorization_id, stored.amount);
    END IF;
    RETURN answer(stored, p_account.balance - p_account.held + p_account.credit_limit, true);
  END IF;
  PERFORM require_correctable(stored, p_at);
  charged := CASE stored.status WHEN 'committed' THEN stored.amount ELSE 0 END;
  used := coalesce(p_amount_used, stored.authorized_amount);
  PERFORM require_chargeable(p_account, stored.authorized_amount, used, used - charged);
  UPDATE credit_ledger_settled SET status = 'committed', amount = used, settled_at = p_at, settled_by = 'caller', reason = NULL
  WHERE authorization_id = p_authorization_id
  RETURNING * INTO stored;
  available := account_move(p_account.org_id, 'true_up', charged - used, 0, p_authorization_id, p_at);
  RETURN answer(stored, available, false);
END
$$;

CREATE FUNCTION credit_revert(p_authorization_id text, p_reason text = NULL)
  RETURNS credit_authorization LANGUAGE plpgsql AS $$
DECLARE
  account credit_account;
  settled credit_ledger;
  instant timestamptz;
BEGIN
  account := account_lock(owner_of(p_authorization_id));
  instant := clock_timestamp();
  UPDATE credit_ledger SET status = 'reverted', settled_at = instant, settled_by = 'caller', reason = p_reason
  WHERE authorization_id = p_authorization_id AND status = 'authorized'
  RETURNING * INTO settled;
  IF NOT FOUND THEN
    RETURN revert_settled(account, p_authorization_id, p_reason, instant);
  END IF;
  RETURN answer(settled, account_move(account.org_id, NULL, 0, settled.amount, NULL, instant), false);
END
$$;

CREATE FUNCTION revert_settled(p_account credit_account, p_authorization_id text, p_reason text, p_at timestamptz)
  RETURNS credit_authorization LANGUAGE plpgsql AS $$
DECLARE
  stored credit_ledger;
  charged bigint;
BEGIN
  SELECT * INTO stored FROM credit_ledger_settled WHERE authorization_id = p_authorization_id;
  IF stored.status = 'reverted' AND stored.settled_by = 'caller' THEN
    RETURN answer(stored, p_account.balance - p_account.held + p_account.credit_limit, true);
  END IF;
  PERFORM require_correctable(stored, p_at);
  charged := CASE stored.status WHEN 'committed' THEN stored.amount ELSE 0 END;
  UPDATE credit_ledger_settled
  SET status = 'reverted', amount = authorized_amount, settled_at = p_at, settled_by = 'caller', reason = p_reason
  WHERE authorization_id = p_authorization_id
  RETURNING * INTO stored;
  RETURN answer(stored, account_move(p_account.org_id, 'true_up', charged, 0, p_authorization_id, p_at, NULL, p_reason), false);
END
$$;

-- The timeout

CREATE FUNCTION credit_sweep(p_as_of timestamptz = NULL, p_max_rows integer = 1000) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  expired record;
  settled credit_ledger;
  instant timestamptz;
  settled_rows integer := 0;
BEGIN
  FOR expired IN
    SELECT authorization_id, org_id FROM credit_ledger_open
    WHERE expires_at < coalesce(p_as_of, clock_timestamp())
    ORDER BY expires_at
    LIMIT p_max_rows
  LOOP
    PERFORM FROM credit_account WHERE org_id = expired.org_id FOR NO KEY UPDATE SKIP LOCKED;
    CONTINUE WHEN NOT FOUND;
    BEGIN
      instant := clock_timestamp();
      UPDATE credit_ledger
      SET status = CASE timeout_action WHEN 'commit' THEN 'committed' ELSE 'reverted' END::credit_status,
          settled_at = instant, settled_by = 'timeout'
      WHERE authorization_id = expired.authorization_id AND status = 'authorized'
      RETURNING * INTO settled;
      CONTINUE WHEN NOT FOUND;
      PERFORM account_move(settled.org_id, 'commit', CASE settled.status WHEN 'committed' THEN - settled.amount ELSE 0 END,
                           settled.authorized_amount, settled.authorization_id, instant);
      settled_rows := settled_rows + 1;
    EXCEPTION WHEN OTHERS THEN
      RAISE WARNING 'authorization "%" could not be settled: %', expired.authorization_id, SQLERRM;
    END;
  END LOOP;
  RETURN settled_rows;
END
$$;

-- Many in one call: the accounts are locked in order of org_id, then it is a loop.

CREATE FUNCTION credit_authorize_many(p_org_ids text[], p_amounts bigint[], p_campaign_ids text[] = NULL,
    p_idempotency_keys text[] = NULL, p_timeout interval = NULL)
  RETURNS SETOF credit_authorization LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM credit_account WHERE org_id = ANY (p_org_ids) ORDER BY org_id FOR NO KEY UPDATE;
  FOR i IN 1 .. cardinality(p_org_ids) LOOP
    RETURN NEXT credit_authorize(p_org_ids[i], p_amounts[i], p_campaign_ids[i], p_idempotency_keys[i], p_timeout);
  END LOOP;
END
$$;

CREATE FUNCTION credit_charge_many(p_org_ids text[], p_amounts bigint[], p_campaign_ids text[] = NULL,
    p_idempotency_keys text[] = NULL)
  RETURNS SETOF credit_authorization LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM credit_account WHERE org_id = ANY (p_org_ids) ORDER BY org_id FOR NO KEY UPDATE;
  FOR i IN 1 .. cardinality(p_org_ids) LOOP
    RETURN NEXT credit_charge(p_org_ids[i], p_amounts[i], p_campaign_ids[i], p_idempotency_keys[i]);
  END LOOP;
END
$$;

CREATE FUNCTION credit_commit_many(p_authorization_ids text[], p_amounts_used bigint[] = NULL)
  RETURNS SETOF credit_authorization LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM credit_account
  WHERE org_id IN (SELECT org_id FROM credit_ledger WHERE authorization_id = ANY (p_authorization_ids))
  ORDER BY org_id FOR NO KEY UPDATE;
  FOR i IN 1 .. cardinality(p_authorization_ids) LOOP
    RETURN NEXT credit_commit(p_authorization_ids[i], p_amounts_used[i]);
  END LOOP;
END
$$;
