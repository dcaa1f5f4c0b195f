-- The functions that move and hold credits. Each locks the account's row first, writes in the caller's transaction,
-- and can be called again with the same arguments: the thing is done once, the answer is the same, marked replayed.
-- Identifiers are 1 to 256 bytes; an argument that is NULL where a value is needed is refused with 22004,
-- one out of range with 22023, an amount or balance beyond bigint with 22003.

CREATE FUNCTION @extschema@.credit_grant(org_id text, amount bigint, idempotency_key text, reason text = NULL,
    metadata jsonb = NULL, expires_at timestamptz = NULL, priority integer = NULL)
  RETURNS @extschema@.credit_movement LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.credit_grant(text, bigint, text, text, jsonb, timestamptz, integer) IS
  'gives amount (> 0) credits to an organisation, creating its account; with expires_at or priority as a lot';

CREATE FUNCTION @extschema@.credit_adjust(org_id text, amount bigint, idempotency_key text, reason text)
  RETURNS @extschema@.credit_movement LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.credit_adjust(text, bigint, text, text) IS
  'corrects a balance by a signed amount (not 0) whatever is available, with a reason; LC002, LC004';

CREATE FUNCTION @extschema@.credit_authorize(org_id text, amount bigint, campaign_id text = NULL,
    idempotency_key text = NULL,
    timeout interval = NULL, timeout_action @extschema@.credit_timeout_action = NULL, metadata jsonb = NULL)
  RETURNS @extschema@.credit_authorization LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.credit_authorize(text, bigint, text, text, interval, @extschema@.credit_timeout_action,
    jsonb) IS
  'holds amount (> 0) credits until timeout, or credit_ledger.commit_timeout; the key defaults to campaign_id';

CREATE FUNCTION @extschema@.credit_charge(org_id text, amount bigint, campaign_id text = NULL,
    idempotency_key text = NULL,
    metadata jsonb = NULL)
  RETURNS @extschema@.credit_authorization LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.credit_charge(text, bigint, text, text, jsonb) IS
  'charges amount (> 0) credits at once, for work whose price is known; the key defaults to campaign_id';

CREATE FUNCTION @extschema@.credit_commit(authorization_id text, amount_used bigint = NULL, final boolean = true)
  RETURNS @extschema@.credit_authorization LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.credit_commit(text, bigint, boolean) IS
  'charges amount_used credits (NULL: all that is held) and releases the rest, which final => false keeps held';

CREATE FUNCTION @extschema@.credit_revert(authorization_id text, reason text = NULL)
  RETURNS @extschema@.credit_authorization LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.credit_revert(text, text) IS 'gives a hold back';

CREATE FUNCTION @extschema@.credit_extend(authorization_id text, timeout interval = NULL, amount bigint = NULL)
  RETURNS @extschema@.credit_authorization LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.credit_extend(text, interval, bigint) IS
  'lets a live hold expire timeout from now, if that is later, and makes amount (> 0) its new total';

CREATE FUNCTION @extschema@.credit_correct(authorization_id text, amount_used bigint, reason text)
  RETURNS @extschema@.credit_authorization LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.credit_correct(text, bigint, text) IS
  'sets what a settled authorization was really worth (>= 0 credits), whoever settled it and when, whatever is '
  'available, with a reason; LC003, LC006 (not settled), LC008 (less than was refunded)';

CREATE FUNCTION @extschema@.credit_refund(authorization_id text, idempotency_key text, amount bigint = NULL,
    reason text = NULL)
  RETURNS @extschema@.credit_movement LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.credit_refund(text, text, bigint, text) IS
  'gives back amount (> 0; NULL: all that is left) credits of a committed authorization';

CREATE FUNCTION @extschema@.credit_account_configure(org_id text, credit_limit bigint = NULL,
    overage_limit bigint = NULL,
    low_balance_threshold bigint = NULL, frozen boolean = NULL, metadata jsonb = NULL)
  RETURNS @extschema@.credit_account LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.credit_account_configure(text, bigint, bigint, bigint, boolean, jsonb) IS
  'sets what is not NULL on an account, creating it, with a NOTICE, if there is none, unless frozen is given (LC002); '
  'limits are >= 0';

CREATE FUNCTION @extschema@.credit_lot_configure(org_id text, lot_no bigint, expires_at timestamptz = NULL,
    priority integer = NULL)
  RETURNS @extschema@.credit_lot LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.credit_lot_configure(text, bigint, timestamptz, integer) IS
  'sets what is not NULL on an open lot; an expires_at in the past means now; holds keep what they took; LC002, LC009';

CREATE FUNCTION @extschema@.credit_void(org_id text, lot_no bigint, reason text)
  RETURNS @extschema@.credit_movement LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.credit_void(text, bigint, text) IS
  'takes all that is free in a lot, even if that leaves less than zero, with a reason; what is held follows as it is '
  'released; LC002, LC009';

CREATE FUNCTION @extschema@.credit_sweep(as_of timestamptz = NULL, max_rows integer = 1000, org_id text = NULL)
  RETURNS integer LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.credit_sweep(timestamptz, integer, text) IS
  'settles at most max_rows holds that expired before as_of (NULL: now), of one organisation or of all, oldest first, '
  'by their timeout_action, and '
  'returns how many; an account locked by somebody else is passed over, one that fails is passed over with a WARNING';

-- Many in one call, at most a million: rows in the order of the arrays. All or nothing; with skip_refused an item that
-- the ledger refuses (class LC) is left out, and its row has sqlstate and message. Accounts are locked in the order of
-- org_id and written once. An error names the item.

CREATE FUNCTION @extschema@.credit_authorize_many(org_ids text[], amounts bigint[], campaign_ids text[] = NULL,
    idempotency_keys text[] = NULL, timeout interval = NULL, timeout_action @extschema@.credit_timeout_action = NULL,
    metadata jsonb[] = NULL, skip_refused boolean = false)
  RETURNS SETOF @extschema@.credit_authorization_item LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.credit_authorize_many(text[], bigint[], text[], text[], interval,
    @extschema@.credit_timeout_action, jsonb[], boolean) IS
  'calls credit_authorize for each element, all or nothing, or but for what is refused (skip_refused); an error '
  'names the item';

CREATE FUNCTION @extschema@.credit_charge_many(org_ids text[], amounts bigint[], campaign_ids text[] = NULL,
    idempotency_keys text[] = NULL, metadata jsonb[] = NULL, skip_refused boolean = false)
  RETURNS SETOF @extschema@.credit_authorization_item LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.credit_charge_many(text[], bigint[], text[], text[], jsonb[], boolean) IS
  'calls credit_charge for each element, all or nothing, or but for what is refused (skip_refused); an error names '
  'the item';

CREATE FUNCTION @extschema@.credit_commit_many(authorization_ids text[], amounts_used bigint[] = NULL,
    skip_refused boolean = false)
  RETURNS SETOF @extschema@.credit_authorization_item LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.credit_commit_many(text[], bigint[], boolean) IS
  'calls credit_commit for each element (a NULL amount: all that is held), all or nothing, or but for what is '
  'refused (skip_refused); an error names the item';

CREATE FUNCTION @extschema@.credit_revert_many(authorization_ids text[], reason text = NULL,
    skip_refused boolean = false)
  RETURNS SETOF @extschema@.credit_authorization_item LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.credit_revert_many(text[], text, boolean) IS
  'calls credit_revert for each element, all or nothing, or but for what is refused (skip_refused); an error names '
  'the item';

CREATE FUNCTION @extschema@.credit_balance(org_id text)
  RETURNS @extschema@.credit_account_balance LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.credit_balance(text) IS
  'tells what an organisation owns, holds and can spend (available); takes no lock';

-- What functions that read and are SQL call.

CREATE FUNCTION credit_ledger_internal.require_account(org_id text)
  RETURNS void LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'credit_require_account';
COMMENT ON FUNCTION credit_ledger_internal.require_account(text) IS
  'raises 22004, 22023 or LC002 unless org_id is the id of an account; for functions that read';

CREATE FUNCTION credit_ledger_internal.require_argument(argument_name text, is_null boolean)
  RETURNS void LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'credit_require_argument';
COMMENT ON FUNCTION credit_ledger_internal.require_argument(text, boolean) IS
  'raises 22004 naming the argument if is_null; for functions that read';

-- A window begins at an instant, or a period before its end.
CREATE FUNCTION credit_ledger_internal.window_start(since timestamptz, until timestamptz, period interval)
  RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce(since, coalesce(until, now()) - period);
COMMENT ON FUNCTION credit_ledger_internal.window_start(timestamptz, timestamptz, interval) IS
  'tells when a window begins: at since, or a period before until (NULL: now); NULL: it is without end';

CREATE FUNCTION credit_ledger_internal.require_one_start(since timestamptz, period interval)
  RETURNS void LANGUAGE plpgsql STABLE PARALLEL SAFE
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF num_nonnulls(since, period) = 2 THEN
    RAISE invalid_parameter_value USING MESSAGE = 'either since or period can be given, not both';
  ELSIF period < '0' THEN
    RAISE invalid_parameter_value USING MESSAGE = format('period must not be negative: %s', period);
  END IF;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.require_one_start(timestamptz, interval) IS
  'raises 22023 if a window is to begin both at an instant and a period before its end, or after its end';

-- What takes long says how far it is, to whoever waits for it; where there is little to do, nobody wants to know. What
-- the server has for that, pg_stat_progress_..., is for its own commands.
CREATE FUNCTION credit_ledger_internal.tell_step(step text)
  RETURNS void LANGUAGE plpgsql STABLE PARALLEL SAFE
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF (SELECT sum(greatest(c.reltuples, 0)) FROM pg_class c
      WHERE c.oid IN (SELECT t.oid FROM credit_ledger_internal.written_tables() t (oid))) >= 1000000 THEN
    RAISE NOTICE '%', step;
  END IF;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.tell_step(text) IS
  'tells the next step of long work by a NOTICE, where the ledger has a million rows';

CREATE FUNCTION credit_ledger_internal.setting(name text)
  RETURNS text LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'credit_setting';
COMMENT ON FUNCTION credit_ledger_internal.setting(text) IS
  'tells what credit_ledger.name is set to, also where the library was not loaded before';
