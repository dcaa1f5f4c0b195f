-- Made by sql/router/generate.sql from the catalog of the ledger. Not to be edited.

CREATE TYPE @extschema@.credit_actor AS ENUM ('caller', 'timeout');
COMMENT ON TYPE @extschema@.credit_actor IS 'who settled an authorization: its caller, whose word is final, or the timeout, provisionally';

CREATE TYPE @extschema@.credit_alert_kind AS ENUM ('commit_failure_rate', 'low_balance', 'reconciliation_mismatch', 'reconciliation_overdue', 'sweep_lag', 'credits_expiring');
COMMENT ON TYPE @extschema@.credit_alert_kind IS 'what an alert is about';

CREATE TYPE @extschema@.credit_entry_kind AS ENUM ('grant', 'commit', 'refund', 'true_up', 'adjustment', 'expiry', 'void');
COMMENT ON TYPE @extschema@.credit_entry_kind IS 'why a balance moved';

CREATE TYPE @extschema@.credit_health_status AS ENUM ('ok', 'warning', 'critical');
COMMENT ON TYPE @extschema@.credit_health_status IS 'how a check of credit_health turned out';

CREATE TYPE @extschema@.credit_operation AS ENUM ('grant', 'adjust', 'authorize', 'refund', 'void');
COMMENT ON TYPE @extschema@.credit_operation IS 'the functions that take an idempotency key, each with a key space of its own (void: lot:N, made by credit_void)';

CREATE TYPE @extschema@.credit_status AS ENUM ('authorized', 'committed', 'reverted');
COMMENT ON TYPE @extschema@.credit_status IS 'what an authorization is: a live hold (authorized), charged (committed) or given back (reverted)';

CREATE TYPE @extschema@.credit_timeout_action AS ENUM ('commit', 'revert');
COMMENT ON TYPE @extschema@.credit_timeout_action IS 'what becomes of a hold that expires before its caller settled it';

CREATE TYPE @extschema@.credit_verdict AS ENUM ('balanced', 'in_flight', 'detached', 'undercharged', 'overcharged', 'unauthorized_usage', 'charged_without_usage', 'invalid_usage', 'unsound_ledger');
COMMENT ON TYPE @extschema@.credit_verdict IS 'what comparing charges with usage came to; the first three are no mismatch: in_flight, what open holds can still explain; detached, an authorization whose partition was put away';

CREATE TYPE @extschema@.credit_account_balance AS (
  org_id text COLLATE "C",
  balance bigint,
  held bigint,
  credit_limit bigint,
  available bigint,
  frozen boolean
);
COMMENT ON TYPE @extschema@.credit_account_balance IS 'available = balance - held + credit_limit; frozen: no new holds and charges';

CREATE TYPE @extschema@.credit_authorization AS (
  authorization_id text COLLATE "C",
  org_id text COLLATE "C",
  campaign_id text COLLATE "C",
  status @extschema@.credit_status,
  amount bigint,
  authorized_amount bigint,
  refunded_amount bigint,
  created_at timestamp with time zone,
  expires_at timestamp with time zone,
  settled_at timestamp with time zone,
  settled_by @extschema@.credit_actor,
  reason text,
  available bigint,
  replayed boolean
);
COMMENT ON TYPE @extschema@.credit_authorization IS 'an authorization as a call left it: its row, what the account has available after the call, and whether the call had been made before';

CREATE TYPE @extschema@.credit_authorization_item AS (
  ord integer,
  authorization_id text COLLATE "C",
  org_id text COLLATE "C",
  campaign_id text COLLATE "C",
  status @extschema@.credit_status,
  amount bigint,
  authorized_amount bigint,
  refunded_amount bigint,
  created_at timestamp with time zone,
  expires_at timestamp with time zone,
  settled_at timestamp with time zone,
  settled_by @extschema@.credit_actor,
  reason text,
  available bigint,
  replayed boolean,
  sqlstate text,
  message text
);
COMMENT ON TYPE @extschema@.credit_authorization_item IS 'a credit_authorization and its place in the arrays that were passed, from 1; available is what the account had after this item; sqlstate and message: why an item was refused that was skipped, else NULL';

CREATE TYPE @extschema@.credit_discrepancy AS (
  org_id text COLLATE "C",
  check_name text,
  expected text,
  actual text,
  detail text
);
COMMENT ON TYPE @extschema@.credit_discrepancy IS 'an invariant of the ledger that does not hold, as credit_verify reports it';

CREATE TYPE @extschema@.credit_judgement AS (
  org_id text COLLATE "C",
  campaign_id text COLLATE "C",
  used_on date,
  campaigns bigint,
  authorizations bigint,
  charged bigint,
  held bigint,
  refunded bigint,
  used bigint,
  difference bigint,
  verdict @extschema@.credit_verdict,
  detail text
);
COMMENT ON TYPE @extschema@.credit_judgement IS 'a campaign (or, without campaign_id, the usage of the day used_on that names none; or the sum of so many campaigns that each differ by no more than the tolerance) with its totals and verdict; difference: credits charged beyond what was used, less than zero: used beyond what was charged, as far as no open hold, refund or dismissed finding explains it';

CREATE TYPE @extschema@.credit_movement AS (
  org_id text COLLATE "C",
  entry_no bigint,
  kind @extschema@.credit_entry_kind,
  amount bigint,
  authorization_id text COLLATE "C",
  balance_after bigint,
  available bigint,
  created_at timestamp with time zone,
  replayed boolean
);
COMMENT ON TYPE @extschema@.credit_movement IS 'a movement of a balance: its entry, what the account has available after the call, and whether the call had been made before';

CREATE TYPE @extschema@.credit_statement_line AS (
  org_id text COLLATE "C",
  entry_no bigint,
  kind @extschema@.credit_entry_kind,
  amount bigint,
  authorization_id text COLLATE "C",
  idempotency_key text COLLATE "C",
  reason text,
  balance_after bigint,
  created_at timestamp with time zone,
  metadata jsonb,
  lots bigint[],
  effective_at timestamp with time zone,
  campaign_id text COLLATE "C",
  settled_by @extschema@.credit_actor
);
COMMENT ON TYPE @extschema@.credit_statement_line IS 'an entry as credit_statement shows it; created_at is NULL of what left a lot at its end and the next call will write. campaign_id and settled_by are those of its authorization as it stands now; timeout: nobody committed it. NULL where its partition was put away';

-- Tables and views: foreign tables of the shards inherit from these, which have no rows of their own.

CREATE TABLE @extschema@.credit_account (
  org_id text COLLATE "C",
  balance bigint,
  last_entry_no bigint,
  held bigint,
  updated_at timestamp with time zone,
  credit_limit bigint,
  overage_limit bigint,
  low_balance_threshold bigint,
  frozen boolean,
  created_at timestamp with time zone,
  metadata jsonb,
  lot_balance bigint,
  lot_held bigint,
  lot_expires_at timestamp with time zone
);
COMMENT ON TABLE @extschema@.credit_account IS 'one row an organisation; its row lock is the only lock that orders calls. available = balance - held + credit_limit';

CREATE TABLE @extschema@.credit_account_overview (
  org_id text COLLATE "C",
  balance bigint,
  held bigint,
  available bigint,
  credit_limit bigint,
  low_balance_threshold bigint,
  is_low boolean,
  frozen boolean,
  spent_today numeric,
  burn_rate numeric,
  days_left numeric,
  expiring bigint
);
COMMENT ON TABLE @extschema@.credit_account_overview IS 'every organisation as a dashboard shows it';

CREATE TABLE @extschema@.credit_alert (
  alert_id uuid,
  kind @extschema@.credit_alert_kind,
  org_id text COLLATE "C",
  opened_at timestamp with time zone,
  closed_at timestamp with time zone,
  message text,
  details jsonb
);
COMMENT ON TABLE @extschema@.credit_alert IS 'what somebody should look at; open while closed_at is NULL, one of a kind and organisation';

CREATE TABLE @extschema@.credit_detached_partition (
  name text COLLATE "C",
  parent text COLLATE "C",
  lower_bound timestamp with time zone,
  upper_bound timestamp with time zone,
  detached_at timestamp with time zone
);
COMMENT ON TABLE @extschema@.credit_detached_partition IS 'partitions that credit_detach_partitions() put away; one that is attached again under its name, with its rows, counts again';

CREATE TABLE @extschema@.credit_entry (
  org_id text COLLATE "C",
  entry_no bigint,
  kind @extschema@.credit_entry_kind,
  amount bigint,
  authorization_id text COLLATE "C",
  idempotency_key text COLLATE "C",
  reason text,
  balance_after bigint,
  created_at timestamp with time zone,
  metadata jsonb,
  lots bigint[],
  effective_at timestamp with time zone
);
COMMENT ON TABLE @extschema@.credit_entry IS 'every movement of every balance, append-only, numbered 1, 2, 3 ... per account without a gap';

CREATE TABLE @extschema@.credit_entry_carry (
  partition_name text COLLATE "C",
  org_id text COLLATE "C",
  first_entry_no bigint,
  last_entry_no bigint,
  amount numeric,
  balance_after bigint,
  first_at timestamp with time zone,
  last_at timestamp with time zone
);
COMMENT ON TABLE @extschema@.credit_entry_carry IS 'one row an account and partition of entries that was put away: what its entries came to, so that the others are proved without them';

CREATE TABLE @extschema@.credit_finding (
  finding_id bigint,
  run_id bigint,
  verdict @extschema@.credit_verdict,
  org_id text COLLATE "C",
  campaign_id text COLLATE "C",
  used_on date,
  campaigns bigint,
  charged bigint,
  refunded bigint,
  used bigint,
  difference bigint,
  detail text,
  found_at timestamp with time zone,
  seen_at timestamp with time zone,
  resolution text,
  resolved_at timestamp with time zone,
  resolved_by text,
  note text,
  adjusted bigint,
  entry_no bigint
);
COMMENT ON TABLE @extschema@.credit_finding IS 'the mismatches that runs found; open until resolved_at';

CREATE TABLE @extschema@.credit_finding_part (
  finding_id bigint,
  org_id text COLLATE "C",
  campaign_id text COLLATE "C",
  used_on date,
  charged bigint,
  refunded bigint,
  used bigint,
  difference bigint
);
COMMENT ON TABLE @extschema@.credit_finding_part IS 'the campaigns whose small differences a finding adds up, as a run last saw them';

CREATE TABLE @extschema@.credit_idempotency (
  org_id text COLLATE "C",
  operation @extschema@.credit_operation,
  idempotency_key text COLLATE "C",
  amount bigint,
  campaign_id text COLLATE "C",
  authorization_id text COLLATE "C",
  entry_no bigint,
  created_at timestamp with time zone
);
COMMENT ON TABLE @extschema@.credit_idempotency IS 'every idempotency key that was used: the parameters that must match when the call is made again, and what the call made';

CREATE TABLE @extschema@.credit_key_removal (
  only_row boolean,
  removed_until timestamp with time zone,
  oldest_key timestamp with time zone,
  next_page bigint
);
COMMENT ON TABLE @extschema@.credit_key_removal IS 'how far old idempotency keys were removed; no row: none ever were';

CREATE TABLE @extschema@.credit_ledger (
  authorization_id text COLLATE "C",
  org_id text COLLATE "C",
  campaign_id text COLLATE "C",
  idempotency_key text COLLATE "C",
  status @extschema@.credit_status,
  amount bigint,
  authorized_amount bigint,
  committed_amount bigint,
  refunded_amount bigint,
  timeout_action @extschema@.credit_timeout_action,
  created_at timestamp with time zone,
  expires_at timestamp with time zone,
  settled_at timestamp with time zone,
  settled_by @extschema@.credit_actor,
  reason text,
  metadata jsonb,
  lots bigint[],
  committed_lots bigint[]
);
COMMENT ON TABLE @extschema@.credit_ledger IS 'one row an authorization: a hold of credits and what became of it. Live holds and settled ones live in partitions apart';

CREATE TABLE @extschema@.credit_lot (
  org_id text COLLATE "C",
  lot_no bigint,
  amount bigint,
  remaining bigint,
  held bigint,
  absorbed bigint,
  priority integer,
  voided boolean,
  expires_at timestamp with time zone,
  created_at timestamp with time zone,
  closed_at timestamp with time zone
);
COMMENT ON TABLE @extschema@.credit_lot IS 'credits that end or that are used before others: one row a grant with expires_at or priority. All other credits are the main pool';

CREATE TABLE @extschema@.credit_lot_movement (
  org_id text COLLATE "C",
  entry_no bigint,
  lot_no bigint,
  kind @extschema@.credit_entry_kind,
  amount bigint,
  authorization_id text COLLATE "C",
  created_at timestamp with time zone,
  effective_at timestamp with time zone
);
COMMENT ON TABLE @extschema@.credit_lot_movement IS 'what moved in which lot: a row an entry and lot, signed like the entry. The sum of an organisation''s rows is its balance, unless entries were put away';

CREATE TABLE @extschema@.credit_provisional (
  org_id text COLLATE "C",
  campaign_id text COLLATE "C",
  authorization_id text COLLATE "C",
  status @extschema@.credit_status,
  authorized_amount bigint,
  charged bigint,
  settled_at timestamp with time zone,
  correctable_until timestamp with time zone
);
COMMENT ON TABLE @extschema@.credit_provisional IS 'what the timeout decided and credit_commit() or credit_revert() can still correct';

CREATE TABLE @extschema@.credit_reconciliation_run (
  run_id bigint,
  since timestamp with time zone,
  until timestamp with time zone,
  tolerance bigint,
  judged bigint,
  in_flight bigint,
  findings_new bigint,
  findings_open bigint,
  covered_until timestamp with time zone,
  started_at timestamp with time zone,
  finished_at timestamp with time zone
);
COMMENT ON TABLE @extschema@.credit_reconciliation_run IS 'one row a run of reconciliation that came to its end';

CREATE TABLE @extschema@.credit_stat (
  minute timestamp with time zone,
  operation text COLLATE "C",
  outcome text COLLATE "C",
  count bigint
);
COMMENT ON TABLE @extschema@.credit_stat IS 'how often each function was called, and what came of it';

CREATE TABLE @extschema@.credit_totals (
  accounts bigint,
  balance numeric,
  held numeric,
  available numeric,
  low_accounts bigint,
  frozen_accounts bigint,
  open_authorizations bigint,
  overdue_authorizations bigint,
  orphaned_authorizations bigint,
  sweep_lag_seconds numeric,
  open_findings bigint,
  last_run_at timestamp with time zone,
  overdue_at timestamp with time zone,
  expiring numeric,
  expiring_accounts bigint
);
COMMENT ON TABLE @extschema@.credit_totals IS 'the ledger in one row, as a dashboard shows it';

CREATE TABLE @extschema@.credit_usage_source (
  name text COLLATE "C",
  relation_schema text COLLATE "C",
  relation_name text COLLATE "C",
  registered_at timestamp with time zone
);
COMMENT ON TABLE @extschema@.credit_usage_source IS 'the tables and views of applications that say what was really used';

CREATE TABLE @extschema@.credit_waiting_calls (
  waiting_pid integer,
  waiting_for interval,
  org_id text COLLATE "C",
  locked_table regclass,
  blocking_pid integer,
  blocking_user name COLLATE "C",
  blocking_application text,
  blocking_state text,
  blocking_query text
);
COMMENT ON TABLE @extschema@.credit_waiting_calls IS 'sessions that wait for an account or a table of the ledger, and who is at the head of the queue; state and query of others'' sessions need pg_read_all_stats';

-- What goes to one shard.

CREATE FUNCTION @extschema@.credit_account_configure(org_id text,
    credit_limit bigint = NULL::bigint,
    overage_limit bigint = NULL::bigint,
    low_balance_threshold bigint = NULL::bigint,
    frozen boolean = NULL::boolean,
    metadata jsonb = NULL::jsonb)
  RETURNS @extschema@.credit_account LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partition_of(org_id);
$$;
COMMENT ON FUNCTION @extschema@.credit_account_configure(text, bigint, bigint, bigint, boolean, jsonb) IS
  'sets what is not NULL on an account, creating it, with a NOTICE, if there is none, unless frozen is given (LC002); limits are >= 0';

CREATE FUNCTION @extschema@.credit_adjust(org_id text,
    amount bigint,
    idempotency_key text,
    reason text)
  RETURNS @extschema@.credit_movement LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partition_of(org_id);
$$;
COMMENT ON FUNCTION @extschema@.credit_adjust(text, bigint, text, text) IS
  'corrects a balance by a signed amount (not 0) whatever is available, with a reason; LC002, LC004';

CREATE FUNCTION @extschema@.credit_authorize(org_id text,
    amount bigint,
    campaign_id text = NULL::text,
    idempotency_key text = NULL::text,
    timeout interval = NULL::interval,
    timeout_action @extschema@.credit_timeout_action = NULL::@extschema@.credit_timeout_action,
    metadata jsonb = NULL::jsonb)
  RETURNS @extschema@.credit_authorization LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partition_of(org_id);
$$;
COMMENT ON FUNCTION @extschema@.credit_authorize(text, bigint, text, text, interval, @extschema@.credit_timeout_action, jsonb) IS
  'holds amount (> 0) credits until timeout, or credit_ledger.commit_timeout; the key defaults to campaign_id';

CREATE FUNCTION @extschema@.credit_balance(org_id text)
  RETURNS @extschema@.credit_account_balance LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partition_of(org_id);
$$;
COMMENT ON FUNCTION @extschema@.credit_balance(text) IS
  'tells what an organisation owns, holds and can spend (available); takes no lock';

CREATE FUNCTION @extschema@.credit_balance_at(org_id text,
    at timestamp with time zone)
  RETURNS bigint LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partition_of(org_id);
$$;
COMMENT ON FUNCTION @extschema@.credit_balance_at(text, timestamp with time zone) IS
  'tells the balance that an organisation had just before an instant (0 before its first entry), from its entries; of an instant to come, what it will be if only lots end; of one among entries that credit_detach_partitions() put away, the balance before the first of them; LC002';

CREATE FUNCTION @extschema@.credit_charge(org_id text,
    amount bigint,
    campaign_id text = NULL::text,
    idempotency_key text = NULL::text,
    metadata jsonb = NULL::jsonb)
  RETURNS @extschema@.credit_authorization LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partition_of(org_id);
$$;
COMMENT ON FUNCTION @extschema@.credit_charge(text, bigint, text, text, jsonb) IS
  'charges amount (> 0) credits at once, for work whose price is known; the key defaults to campaign_id';

CREATE FUNCTION @extschema@.credit_grant(org_id text,
    amount bigint,
    idempotency_key text,
    reason text = NULL::text,
    metadata jsonb = NULL::jsonb,
    expires_at timestamp with time zone = NULL::timestamp with time zone,
    priority integer = NULL::integer)
  RETURNS @extschema@.credit_movement LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partition_of(org_id);
$$;
COMMENT ON FUNCTION @extschema@.credit_grant(text, bigint, text, text, jsonb, timestamp with time zone, integer) IS
  'gives amount (> 0) credits to an organisation, creating its account; with expires_at or priority as a lot';

CREATE FUNCTION @extschema@.credit_lot_configure(org_id text,
    lot_no bigint,
    expires_at timestamp with time zone = NULL::timestamp with time zone,
    priority integer = NULL::integer)
  RETURNS @extschema@.credit_lot LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partition_of(org_id);
$$;
COMMENT ON FUNCTION @extschema@.credit_lot_configure(text, bigint, timestamp with time zone, integer) IS
  'sets what is not NULL on an open lot; an expires_at in the past means now; holds keep what they took; LC002, LC009';

CREATE FUNCTION @extschema@.credit_lots(org_id text)
  RETURNS TABLE(lot_no bigint, priority integer, expires_at timestamp with time zone, amount bigint, remaining bigint, held bigint, free bigint) LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partition_of(org_id);
$$;
COMMENT ON FUNCTION @extschema@.credit_lots(text) IS
  'lists the open lots of an organisation as of now in the order in which they are used, and last, with lot_no NULL, the main pool; LC002';

CREATE FUNCTION @extschema@.credit_statement(org_id text,
    since timestamp with time zone = NULL::timestamp with time zone,
    until timestamp with time zone = NULL::timestamp with time zone,
    after_entry_no bigint = NULL::bigint,
    max_rows integer = NULL::integer,
    period interval = NULL::interval)
  RETURNS SETOF @extschema@.credit_statement_line LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partition_of(org_id);
$$;
COMMENT ON FUNCTION @extschema@.credit_statement(text, timestamp with time zone, timestamp with time zone, bigint, integer, interval) IS
  'lists the entries of an organisation, oldest first, from since (or for a period) until until; by page, if max_rows';

CREATE FUNCTION @extschema@.credit_void(org_id text,
    lot_no bigint,
    reason text)
  RETURNS @extschema@.credit_movement LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partition_of(org_id);
$$;
COMMENT ON FUNCTION @extschema@.credit_void(text, bigint, text) IS
  'takes all that is free in a lot, even if that leaves less than zero, with a reason; what is held follows as it is released; LC002, LC009';

CREATE FUNCTION @extschema@.credit_resolve_finding(finding_id bigint,
    action text,
    note text = NULL::text)
  RETURNS @extschema@.credit_finding LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partition_of_finding(finding_id);
$$;
COMMENT ON FUNCTION @extschema@.credit_resolve_finding(bigint, text, text) IS
  'resolves a finding, once; the same call again returns it as it is. adjust: has the campaign charged what it used, by correcting its authorizations, or by a charge with the idempotency key credit_finding:N if it has none that is settled, whatever is available; dismiss: accepts what is still there of the difference, with a note';

CREATE FUNCTION @extschema@.credit_commit(authorization_id text,
    amount_used bigint = NULL::bigint,
    final boolean = true)
  RETURNS @extschema@.credit_authorization LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partition_of_authorization(authorization_id);
$$;
COMMENT ON FUNCTION @extschema@.credit_commit(text, bigint, boolean) IS
  'charges amount_used credits (NULL: all that is held) and releases the rest, which final => false keeps held';

CREATE FUNCTION @extschema@.credit_correct(authorization_id text,
    amount_used bigint,
    reason text)
  RETURNS @extschema@.credit_authorization LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partition_of_authorization(authorization_id);
$$;
COMMENT ON FUNCTION @extschema@.credit_correct(text, bigint, text) IS
  'sets what a settled authorization was really worth (>= 0 credits), whoever settled it and when, whatever is available, with a reason; LC003, LC006 (not settled), LC008 (less than was refunded)';

CREATE FUNCTION @extschema@.credit_extend(authorization_id text,
    timeout interval = NULL::interval,
    amount bigint = NULL::bigint)
  RETURNS @extschema@.credit_authorization LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partition_of_authorization(authorization_id);
$$;
COMMENT ON FUNCTION @extschema@.credit_extend(text, interval, bigint) IS
  'lets a live hold expire timeout from now, if that is later, and makes amount (> 0) its new total';

CREATE FUNCTION @extschema@.credit_refund(authorization_id text,
    idempotency_key text,
    amount bigint = NULL::bigint,
    reason text = NULL::text)
  RETURNS @extschema@.credit_movement LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partition_of_authorization(authorization_id);
$$;
COMMENT ON FUNCTION @extschema@.credit_refund(text, text, bigint, text) IS
  'gives back amount (> 0; NULL: all that is left) credits of a committed authorization';

CREATE FUNCTION @extschema@.credit_revert(authorization_id text,
    reason text = NULL::text)
  RETURNS @extschema@.credit_authorization LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partition_of_authorization(authorization_id);
$$;
COMMENT ON FUNCTION @extschema@.credit_revert(text, text) IS
  'gives a hold back';

-- What all shards are asked, or an organisation's if it is given: rows name the shard, numbers are added up.

CREATE TYPE credit_router_internal.credit_campaign_status AS (
  org_id text COLLATE "C",
  campaign_id text COLLATE "C",
  used_on date,
  campaigns bigint,
  authorizations bigint,
  charged bigint,
  held bigint,
  refunded bigint,
  used bigint,
  difference bigint,
  verdict @extschema@.credit_verdict,
  detail text,
  shard integer
);

CREATE FUNCTION @extschema@.credit_campaign_status(campaign_id text,
    org_id text = NULL::text)
  RETURNS SETOF credit_router_internal.credit_campaign_status LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partitions_of(org_id);
  SELECT r.*, @extschema@.credit_shard_number() AS shard FROM @extschema@.credit_campaign_status(campaign_id, org_id) r;
$$;
COMMENT ON FUNCTION @extschema@.credit_campaign_status(text, text) IS
  'tells what a campaign was charged and what it used over its whole life, with the verdict (tolerance 0), a row for each organisation that has a campaign of that name';

CREATE FUNCTION credit_router_internal.credit_check_reconciliation(as_of timestamp with time zone = NULL::timestamp with time zone)
  RETURNS SETOF boolean LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partitions();
  SELECT * FROM @extschema@.credit_check_reconciliation(as_of);
$$;

CREATE FUNCTION @extschema@.credit_check_reconciliation(as_of timestamp with time zone = NULL::timestamp with time zone)
  RETURNS boolean LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
  SELECT bool_or(r.n) FROM credit_router_internal.credit_check_reconciliation(credit_check_reconciliation.as_of) AS r (n);
END;
COMMENT ON FUNCTION @extschema@.credit_check_reconciliation(timestamp with time zone) IS
  'opens or closes the alert reconciliation_overdue, as credit_reconciliation_health() says, and returns whether it is overdue';

CREATE TYPE credit_router_internal.credit_commit_failure_rate AS (
  attempts bigint,
  failures bigint,
  causes jsonb,
  settled_by_timeout bigint,
  rate numeric,
  shard integer
);

CREATE FUNCTION @extschema@.credit_commit_failure_rate(period interval = '01:00:00'::interval,
    since timestamp with time zone = NULL::timestamp with time zone)
  RETURNS SETOF credit_router_internal.credit_commit_failure_rate LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partitions();
  SELECT r.*, @extschema@.credit_shard_number() AS shard FROM @extschema@.credit_commit_failure_rate(period, since) r;
$$;
COMMENT ON FUNCTION @extschema@.credit_commit_failure_rate(interval, timestamp with time zone) IS
  'tells how many commits were attempted in the last period, or since an instant, how many failed and why, how many holds nobody settled in time, and the share of both together; repeated calls do not count. From credit_stat; NULL, with a NOTICE, where nothing is counted';

CREATE TYPE credit_router_internal.credit_health AS (
  check_name text,
  status @extschema@.credit_health_status,
  detail text,
  what_to_do text,
  shard integer
);

CREATE FUNCTION @extschema@.credit_health()
  RETURNS SETOF credit_router_internal.credit_health LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partitions();
  SELECT r.*, @extschema@.credit_shard_number() AS shard FROM @extschema@.credit_health() r;
$$;
COMMENT ON FUNCTION @extschema@.credit_health() IS
  'tells what is wrong now, in one row a check: ok, warning or critical, what was seen, and what to do about it';

CREATE FUNCTION credit_router_internal.credit_maintain()
  RETURNS SETOF void LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partitions();
  SELECT * FROM @extschema@.credit_maintain();
$$;

CREATE FUNCTION @extschema@.credit_maintain()
  RETURNS void LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
  SELECT NULL::void FROM credit_router_internal.credit_maintain() AS r (n);
END;
COMMENT ON FUNCTION @extschema@.credit_maintain() IS
  'does what the worker does besides sweeping: drains the counters into credit_stat, opens and closes the alerts of commit failures, of late settlement and of credits that expire, and removes what is older than the settings credit_ledger...._retention say; of idempotency keys, where there is no worker, as many as a second allows';

CREATE TYPE credit_router_internal.credit_orphaned_authorizations AS (
  authorization_id text,
  org_id text,
  campaign_id text,
  amount bigint,
  created_at timestamp with time zone,
  expires_at timestamp with time zone,
  shard integer
);

CREATE FUNCTION @extschema@.credit_orphaned_authorizations(older_than interval = '01:00:00'::interval,
    made_before timestamp with time zone = NULL::timestamp with time zone)
  RETURNS SETOF credit_router_internal.credit_orphaned_authorizations LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partitions();
  SELECT r.*, @extschema@.credit_shard_number() AS shard FROM @extschema@.credit_orphaned_authorizations(older_than, made_before) r;
$$;
COMMENT ON FUNCTION @extschema@.credit_orphaned_authorizations(interval, timestamp with time zone) IS
  'lists authorizations neither committed nor reverted that are older than that, or were made before an instant, oldest first: the runbook''s query';

CREATE TYPE credit_router_internal.credit_recent_failures AS (
  failed_at timestamp with time zone,
  operation text,
  org_id text,
  campaign_id text,
  authorization_id text,
  sqlstate text,
  message text,
  detail text,
  shard integer
);

CREATE FUNCTION @extschema@.credit_recent_failures()
  RETURNS SETOF credit_router_internal.credit_recent_failures LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partitions();
  SELECT r.*, @extschema@.credit_shard_number() AS shard FROM @extschema@.credit_recent_failures() r;
$$;
COMMENT ON FUNCTION @extschema@.credit_recent_failures() IS
  'lists the failed calls of this database among the last 256 of the server, the newest first; of what is not known yet when a call fails, NULL';

CREATE TYPE credit_router_internal.credit_reconcile AS (
  org_id text,
  credits_committed bigint,
  actual_usage bigint,
  difference bigint,
  shard integer
);

CREATE FUNCTION @extschema@.credit_reconcile(since timestamp with time zone = NULL::timestamp with time zone,
    until timestamp with time zone = NULL::timestamp with time zone,
    tolerance bigint = 10,
    period interval = NULL::interval)
  RETURNS SETOF credit_router_internal.credit_reconcile LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partitions();
  SELECT r.*, @extschema@.credit_shard_number() AS shard FROM @extschema@.credit_reconcile(since, until, tolerance, period) r;
$$;
COMMENT ON FUNCTION @extschema@.credit_reconcile(timestamp with time zone, timestamp with time zone, bigint, interval) IS
  'lists organisations whose credits committed, net of refunds, and actual usage differ by more than tolerance, over the campaigns of the window that are not in flight: the runbook''s reconciliation query';

CREATE TYPE credit_router_internal.credit_reconcile_campaigns AS (
  org_id text COLLATE "C",
  campaign_id text COLLATE "C",
  used_on date,
  campaigns bigint,
  authorizations bigint,
  charged bigint,
  held bigint,
  refunded bigint,
  used bigint,
  difference bigint,
  verdict @extschema@.credit_verdict,
  detail text,
  shard integer
);

CREATE FUNCTION @extschema@.credit_reconcile_campaigns(since timestamp with time zone = NULL::timestamp with time zone,
    until timestamp with time zone = NULL::timestamp with time zone,
    tolerance bigint = 10,
    period interval = NULL::interval)
  RETURNS SETOF credit_router_internal.credit_reconcile_campaigns LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partitions();
  SELECT r.*, @extschema@.credit_shard_number() AS shard FROM @extschema@.credit_reconcile_campaigns(since, until, tolerance, period) r;
$$;
COMMENT ON FUNCTION @extschema@.credit_reconcile_campaigns(timestamp with time zone, timestamp with time zone, bigint, interval) IS
  'lists campaigns of the window (since included, until excluded; NULL: without end) whose charges and usage differ by more than tolerance, those still in flight, and those of partitions that were detached; small differences that add up to more than tolerance in an organisation are one row';

CREATE TYPE credit_router_internal.credit_reconciliation_health AS (
  last_run_at timestamp with time zone,
  overdue_at timestamp with time zone,
  overdue boolean,
  findings_open bigint,
  detail text,
  shard integer
);

CREATE FUNCTION @extschema@.credit_reconciliation_health(as_of timestamp with time zone = NULL::timestamp with time zone)
  RETURNS SETOF credit_router_internal.credit_reconciliation_health LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partitions();
  SELECT r.*, @extschema@.credit_shard_number() AS shard FROM @extschema@.credit_reconciliation_health(as_of) r;
$$;
COMMENT ON FUNCTION @extschema@.credit_reconciliation_health(timestamp with time zone) IS
  'tells whether reconciliation is overdue at an instant (NULL: now): the last run came to its end longer ago than credit_ledger.reconciliation_overdue_after';

CREATE TYPE credit_router_internal.credit_run_reconciliation AS (
  run_id bigint,
  since timestamp with time zone,
  until timestamp with time zone,
  tolerance bigint,
  judged bigint,
  in_flight bigint,
  findings_new bigint,
  findings_open bigint,
  covered_until timestamp with time zone,
  started_at timestamp with time zone,
  finished_at timestamp with time zone,
  shard integer
);

CREATE FUNCTION @extschema@.credit_run_reconciliation(since timestamp with time zone = NULL::timestamp with time zone,
    until timestamp with time zone = NULL::timestamp with time zone,
    tolerance bigint = 10,
    period interval = NULL::interval)
  RETURNS SETOF credit_router_internal.credit_run_reconciliation LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partitions();
  SELECT r.*, @extschema@.credit_shard_number() AS shard FROM @extschema@.credit_run_reconciliation(since, until, tolerance, period) r;
$$;
COMMENT ON FUNCTION @extschema@.credit_run_reconciliation(timestamp with time zone, timestamp with time zone, bigint, interval) IS
  'judges the campaigns of the window (NULL: from credit_ledger.reconciliation_lookback before where the runs before have come to, until now) and of open findings, verifies the books, and keeps what it finds: new findings are made, those that are gone are cleared, alerts opened and closed';

CREATE FUNCTION credit_router_internal.credit_schedule_jobs(reconcile_schedule text = '0 3 * * *'::text,
    tolerance bigint = 10,
    reconcile_all_schedule text = '0 5 * * 0'::text)
  RETURNS SETOF bigint LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partitions();
  SELECT * FROM @extschema@.credit_schedule_jobs(reconcile_schedule, tolerance, reconcile_all_schedule);
$$;

CREATE FUNCTION @extschema@.credit_schedule_jobs(reconcile_schedule text = '0 3 * * *'::text,
    tolerance bigint = 10,
    reconcile_all_schedule text = '0 5 * * 0'::text)
  RETURNS bigint LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
  SELECT sum(r.n)::bigint FROM credit_router_internal.credit_schedule_jobs(credit_schedule_jobs.reconcile_schedule, credit_schedule_jobs.tolerance, credit_schedule_jobs.reconcile_all_schedule) AS r (n);
END;
COMMENT ON FUNCTION @extschema@.credit_schedule_jobs(text, bigint, text) IS
  'has pg_cron call credit_run_reconciliation() as the caller on a schedule, and over all history on another, in the place of what was scheduled before. Returns the number of the first job';

CREATE FUNCTION credit_router_internal.credit_sweep(as_of timestamp with time zone = NULL::timestamp with time zone,
    max_rows integer = 1000,
    org_id text = NULL::text)
  RETURNS SETOF integer LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partitions_of(org_id);
  SELECT * FROM @extschema@.credit_sweep(as_of, max_rows, org_id);
$$;

CREATE FUNCTION @extschema@.credit_sweep(as_of timestamp with time zone = NULL::timestamp with time zone,
    max_rows integer = 1000,
    org_id text = NULL::text)
  RETURNS integer LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
  SELECT sum(r.n)::integer FROM credit_router_internal.credit_sweep(credit_sweep.as_of, credit_sweep.max_rows, credit_sweep.org_id) AS r (n);
END;
COMMENT ON FUNCTION @extschema@.credit_sweep(timestamp with time zone, integer, text) IS
  'settles at most max_rows holds that expired before as_of (NULL: now), of one organisation or of all, oldest first, by their timeout_action, and returns how many; an account locked by somebody else is passed over, one that fails is passed over with a WARNING';

CREATE FUNCTION credit_router_internal.credit_unschedule_jobs()
  RETURNS SETOF integer LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partitions();
  SELECT * FROM @extschema@.credit_unschedule_jobs();
$$;

CREATE FUNCTION @extschema@.credit_unschedule_jobs()
  RETURNS integer LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
  SELECT sum(r.n)::integer FROM credit_router_internal.credit_unschedule_jobs() AS r (n);
END;
COMMENT ON FUNCTION @extschema@.credit_unschedule_jobs() IS
  'takes the jobs of credit_schedule_jobs() from pg_cron, those of other users too where the caller may see them, and those of databases that are gone or have another name by now; returns how many';

CREATE FUNCTION credit_router_internal.credit_usage_source_unregister(name text)
  RETURNS SETOF boolean LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partitions();
  SELECT * FROM @extschema@.credit_usage_source_unregister(name);
$$;

CREATE FUNCTION @extschema@.credit_usage_source_unregister(name text)
  RETURNS boolean LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
  SELECT bool_or(r.n) FROM credit_router_internal.credit_usage_source_unregister(credit_usage_source_unregister.name) AS r (n);
END;
COMMENT ON FUNCTION @extschema@.credit_usage_source_unregister(text) IS
  'has reconciliation count a usage source no longer; false: there was none of that name';

CREATE TYPE credit_router_internal.credit_verify AS (
  org_id text COLLATE "C",
  check_name text,
  expected text,
  actual text,
  detail text,
  shard integer
);

CREATE FUNCTION @extschema@.credit_verify(org_id text = NULL::text,
    since timestamp with time zone = NULL::timestamp with time zone,
    period interval = NULL::interval)
  RETURNS SETOF credit_router_internal.credit_verify LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partitions_of(org_id);
  SELECT r.*, @extschema@.credit_shard_number() AS shard FROM @extschema@.credit_verify(org_id, since, period) r;
$$;
COMMENT ON FUNCTION @extschema@.credit_verify(text, timestamp with time zone, interval) IS
  'finds every invariant that does not hold, of one organisation or (NULL) all; with since or period, of what is new';

CREATE TYPE credit_router_internal.credit_worker_status AS (
  preloaded boolean,
  enabled boolean,
  launcher_pid integer,
  launcher_started_at timestamp with time zone,
  sweeper_pid integer,
  last_sweep_at timestamp with time zone,
  last_settled bigint,
  total_settled bigint,
  oldest_expired_at timestamp with time zone,
  last_error_at timestamp with time zone,
  last_error_sqlstate text,
  last_error text,
  left_alone_because text,
  shard integer
);

CREATE FUNCTION @extschema@.credit_worker_status()
  RETURNS SETOF credit_router_internal.credit_worker_status LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partitions();
  SELECT r.*, @extschema@.credit_shard_number() AS shard FROM @extschema@.credit_worker_status() r;
$$;
COMMENT ON FUNCTION @extschema@.credit_worker_status() IS
  'tells of the worker, as far as this database goes: is the library preloaded, credit_ledger.worker on, who is at work, what did the last sweep do and leave, when did one fail and why, and why nothing is settled here, if so. Counted since the server started';

CREATE FUNCTION credit_router_internal.credit_worker_wake()
  RETURNS SETOF boolean LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
  CLUSTER 'credit_router';
  RUN ON credit_router_internal.partitions();
  SELECT * FROM @extschema@.credit_worker_wake();
$$;

CREATE FUNCTION @extschema@.credit_worker_wake()
  RETURNS boolean LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
  SELECT bool_or(r.n) FROM credit_router_internal.credit_worker_wake() AS r (n);
END;
COMMENT ON FUNCTION @extschema@.credit_worker_wake() IS
  'has the worker look at this database when the transaction commits, and take its rows to be all there, whatever a restore has left undone; false, with a NOTICE, if the library is not preloaded';

-- What is about tables of one database.

CREATE FUNCTION @extschema@.credit_create_partition(parent regclass,
    lower_bound timestamp with time zone,
    upper_bound timestamp with time zone)
  RETURNS regclass LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM credit_router_internal.refuse('credit_create_partition()');
END
$$;
COMMENT ON FUNCTION @extschema@.credit_create_partition(regclass, timestamp with time zone, timestamp with time zone) IS
  'makes a partition of credit_ledger_settled or credit_entry for created_at from lower_bound (included) to upper_bound (excluded), with all indexes; the default partition must hold no row of that range. Locks the parent''s default partition';

CREATE FUNCTION @extschema@.credit_create_partitions(months integer = 3)
  RETURNS SETOF regclass LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM credit_router_internal.refuse('credit_create_partitions()');
END
$$;
COMMENT ON FUNCTION @extschema@.credit_create_partitions(integer) IS
  'makes the partitions of credit_ledger_settled and credit_entry for this month (UTC) and for so many to come (1 to 120), where there is none yet and the default partition has no row of it; returns those it made. To be called regularly. Locks the default partitions while it reads them, and gives up if it has to wait for a second (55P03)';

CREATE FUNCTION @extschema@.credit_detach_partitions(older_than interval,
    parent regclass = NULL::regclass)
  RETURNS SETOF regclass LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM credit_router_internal.refuse('credit_detach_partitions()');
END
$$;
COMMENT ON FUNCTION @extschema@.credit_detach_partitions(interval, regclass) IS
  'takes partitions whose rows are all older than that out of credit_ledger_settled and credit_entry (or one of them), but none that a live hold belongs to or with what was settled since or can still be settled otherwise, and leaves them behind as tables of their own; returns those. Balances do not change. Repeated calls: an authorization that was put away is LC003 while its key is kept, and made again when it is not; a movement is answered without its balance_after. Commits, reverts, refunds and corrections of what was put away are LC003. credit_verify() goes on from what the entries put away came to for each account, and holds authorizations and lots that are older than them against no entries; reconciliation says detached. ALTER TABLE ... ATTACH PARTITION under the same name undoes it. Reads entries before it locks what calls need; locks the parents for a moment, and gives up if it has to wait for half a second (55P03), for a transaction that is older than the partition''s end, for example. READ COMMITTED transactions alone (25000)';

CREATE FUNCTION @extschema@.credit_entries_import(source regclass)
  RETURNS bigint LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM credit_router_internal.refuse('credit_entries_import()');
END
$$;
COMMENT ON FUNCTION @extschema@.credit_entries_import(regclass) IS
  'takes the lines of another ledger from a table or view (org_id text, amount bigint, created_at timestamptz, reason text) as adjustments with their own instants, into accounts that have no entries yet; numbers and balances are made here and verified; returns how many; for the owner';

CREATE FUNCTION @extschema@.credit_usage_source_register(name text,
    relation regclass)
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM credit_router_internal.refuse('credit_usage_source_register()');
END
$$;
COMMENT ON FUNCTION @extschema@.credit_usage_source_register(text, regclass) IS
  'has reconciliation count what a table or view says was used: org_id text, campaign_id text, used_at timestamptz, quantity bigint; a name that is registered is given the new relation';

-- Which function which level may call.

CREATE FUNCTION credit_router_internal.functions_of(level text)
  RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE level
  WHEN 'app' THEN '{credit_authorize,
credit_authorize_many,
credit_balance,
credit_charge,
credit_charge_many,
credit_commit,
credit_commit_many,
credit_extend,
credit_revert,
credit_revert_many}'::text[]
  WHEN 'operator' THEN '{credit_account_configure,
credit_adjust,
credit_authorize,
credit_authorize_many,
credit_balance,
credit_balance_at,
credit_campaign_status,
credit_charge,
credit_charge_many,
credit_check_reconciliation,
credit_commit,
credit_commit_failure_rate,
credit_commit_many,
credit_correct,
credit_create_partition,
credit_create_partitions,
credit_detach_partitions,
credit_extend,
credit_grant,
credit_health,
credit_lot_configure,
credit_lots,
credit_maintain,
credit_orphaned_authorizations,
credit_recent_failures,
credit_reconcile,
credit_reconcile_campaigns,
credit_reconciliation_health,
credit_refund,
credit_resolve_finding,
credit_revert,
credit_revert_many,
credit_run_reconciliation,
credit_schedule_jobs,
credit_statement,
credit_sweep,
credit_unschedule_jobs,
credit_usage_source_register,
credit_usage_source_unregister,
credit_verify,
credit_void,
credit_worker_status,
credit_worker_wake}'::text[]
  WHEN 'reader' THEN '{credit_balance,
credit_balance_at,
credit_campaign_status,
credit_commit_failure_rate,
credit_health,
credit_lots,
credit_orphaned_authorizations,
credit_recent_failures,
credit_reconcile,
credit_reconcile_campaigns,
credit_reconciliation_health,
credit_statement,
credit_verify,
credit_worker_status}'::text[]
END;
COMMENT ON FUNCTION credit_router_internal.functions_of(text) IS
  'the public functions that a level of credit_grant_privileges may call';

