-- Tables. Only the functions of this extension write them; see src/README.md for the lock order.
--
-- Indexes stand on the leaves, not on the partitioned parents: an index of a parent that belongs to an extension
-- would be made again when a dump attaches a partition that a DBA added, and the restore would stop at the second.
-- credit_create_partition() makes leaves with all their indexes.
--
-- What a call changes in an account stands side by side: the log records of an update (two for each authorization)
-- carry everything from the first changed column to the last.
--
-- An idempotency key is looked up by the key first: keys made in the order of time (numbers, ULIDs) then lie side by
-- side in the index, however many organisations there are; and a campaign is found by its id alone.
--
-- CHECK constraints that the C code upholds are repeated there (upheld, in src/ledger), and then not evaluated for each
-- row.

CREATE TABLE @extschema@.credit_account (
  org_id                text COLLATE "C" NOT NULL,
  balance               bigint NOT NULL DEFAULT 0,
  last_entry_no         bigint NOT NULL DEFAULT 0,
  held                  bigint NOT NULL DEFAULT 0,
  updated_at            timestamptz NOT NULL,
  credit_limit          bigint NOT NULL DEFAULT 0,
  overage_limit         bigint NOT NULL DEFAULT 0,
  low_balance_threshold bigint,
  frozen                boolean NOT NULL DEFAULT false,
  created_at            timestamptz NOT NULL,
  metadata              jsonb,
  lot_balance           bigint,
  lot_held              bigint,
  lot_expires_at        timestamptz,
  PRIMARY KEY (org_id),
  CONSTRAINT credit_account_org_id_check CHECK (octet_length(org_id) BETWEEN 1 AND 256),
  CONSTRAINT credit_account_held_check CHECK (held >= 0),
  CONSTRAINT credit_account_credit_limit_check CHECK (credit_limit >= 0),
  CONSTRAINT credit_account_overage_limit_check CHECK (overage_limit >= 0),
  CONSTRAINT credit_account_last_entry_no_check CHECK (last_entry_no >= 0),
  CONSTRAINT credit_account_lots_check
    CHECK ((lot_balance IS NULL) = (lot_held IS NULL) AND (lot_held IS NULL) = (lot_expires_at IS NULL)
           AND coalesce(lot_held >= 0 AND lot_held <= lot_balance AND lot_held <= held, true))
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
COMMENT ON TABLE @extschema@.credit_account IS
  'one row an organisation; its row lock is the only lock that orders calls. available = balance - held + credit_limit';
COMMENT ON COLUMN @extschema@.credit_account.org_id IS 'the organisation, as callers name it: 1 to 256 bytes';
COMMENT ON COLUMN @extschema@.credit_account.updated_at IS
  'instant of the newest call that changed it; never goes back';
COMMENT ON COLUMN @extschema@.credit_account.created_at IS 'when the account was made';
COMMENT ON COLUMN @extschema@.credit_account.metadata IS 'your own; credit_account_configure() sets it';
COMMENT ON COLUMN @extschema@.credit_account.balance IS 'credits owned: the sum of the account''s entries';
COMMENT ON COLUMN @extschema@.credit_account.held IS 'credits reserved by open authorizations';
COMMENT ON COLUMN @extschema@.credit_account.credit_limit IS 'how far below zero balance - held may go';
COMMENT ON COLUMN @extschema@.credit_account.overage_limit IS 'by how many credits a commit may exceed its hold';
COMMENT ON COLUMN @extschema@.credit_account.low_balance_threshold IS
  'alert when available falls below this many credits; NULL: never';
COMMENT ON COLUMN @extschema@.credit_account.frozen IS 'refuses new holds; what is held can still be settled';
COMMENT ON COLUMN @extschema@.credit_account.last_entry_no IS 'number of the account''s newest entry';
COMMENT ON COLUMN @extschema@.credit_account.lot_balance IS
  'credits that remain in open lots, part of balance; NULL, as the next two: no lot is open';
COMMENT ON COLUMN @extschema@.credit_account.lot_held IS 'credits of open lots that are held, part of held';
COMMENT ON COLUMN @extschema@.credit_account.lot_expires_at IS
  'no later than the first end of an open lot; infinity: none of them ends';

CREATE TABLE @extschema@.credit_ledger (
  authorization_id  text COLLATE "C" NOT NULL,
  org_id            text COLLATE "C" NOT NULL,
  campaign_id       text COLLATE "C",
  idempotency_key   text COLLATE "C" NOT NULL,
  status            @extschema@.credit_status NOT NULL,
  amount            bigint NOT NULL,
  authorized_amount bigint NOT NULL,
  committed_amount  bigint,
  refunded_amount   bigint NOT NULL DEFAULT 0,
  timeout_action    @extschema@.credit_timeout_action NOT NULL,
  created_at        timestamptz NOT NULL,
  expires_at        timestamptz NOT NULL,
  settled_at        timestamptz,
  settled_by        @extschema@.credit_actor,
  reason            text,
  metadata          jsonb,
  lots              bigint[],
  committed_lots    bigint[],
  CONSTRAINT credit_ledger_authorization_id_check CHECK (octet_length(authorization_id) BETWEEN 1 AND 256),
  CONSTRAINT credit_ledger_authorized_amount_check CHECK (authorized_amount > 0),
  CONSTRAINT credit_ledger_amount_check
    CHECK (CASE status WHEN 'committed' THEN amount >= 0
                       WHEN 'authorized' THEN amount = authorized_amount - coalesce(committed_amount, 0)
                       ELSE amount = authorized_amount END),
  CONSTRAINT credit_ledger_committed_amount_check
    CHECK (committed_amount IS NULL
      OR (committed_amount > 0 AND committed_amount <= authorized_amount AND status <> 'reverted')),
  CONSTRAINT credit_ledger_refunded_amount_check
    CHECK (refunded_amount BETWEEN 0 AND CASE status WHEN 'committed' THEN amount ELSE 0 END),
  CONSTRAINT credit_ledger_settled_check
    CHECK ((status = 'authorized') = (settled_at IS NULL) AND (settled_at IS NULL) = (settled_by IS NULL))
) PARTITION BY LIST (status);
COMMENT ON TABLE @extschema@.credit_ledger IS
  'one row an authorization: a hold of credits and what became of it. Live holds and settled ones live in partitions '
  'apart';
COMMENT ON COLUMN @extschema@.credit_ledger.authorization_id IS
  'auth- and 26 characters that sort by time, or the id that it was imported under';
COMMENT ON COLUMN @extschema@.credit_ledger.org_id IS 'the organisation whose credits are held or charged';
COMMENT ON COLUMN @extschema@.credit_ledger.campaign_id IS 'what it is for, as the caller names it; NULL: not said';
COMMENT ON COLUMN @extschema@.credit_ledger.idempotency_key IS
  'the key of the call that made it: campaign_id, unless another was passed';
COMMENT ON COLUMN @extschema@.credit_ledger.status IS
  'authorized: a live hold; committed: charged; reverted: given back';
COMMENT ON COLUMN @extschema@.credit_ledger.timeout_action IS 'what the timeout does if the caller does not settle it';
COMMENT ON COLUMN @extschema@.credit_ledger.created_at IS 'when it was made; its partition, once it is settled';
COMMENT ON COLUMN @extschema@.credit_ledger.settled_at IS 'when it was settled, the last time; NULL: it is a live hold';
COMMENT ON COLUMN @extschema@.credit_ledger.reason IS 'why it was reverted or corrected, in the caller''s words';
COMMENT ON COLUMN @extschema@.credit_ledger.metadata IS 'your own; the call that made it sets it';
COMMENT ON COLUMN @extschema@.credit_ledger.amount IS
  'what the line stands for now: what is still held while authorized, what was charged once committed, the hold given '
  'back once reverted';
COMMENT ON COLUMN @extschema@.credit_ledger.authorized_amount IS
  'credits asked for: when the hold was made, or as credit_extend() last raised or lowered it';
COMMENT ON COLUMN @extschema@.credit_ledger.committed_amount IS
  'credits charged in parts while the hold was open, kept afterwards; NULL: none';
COMMENT ON COLUMN @extschema@.credit_ledger.lots IS
  'pairs {{lot_no, credits}, ...} that amount stands on, net of refunds; what they lack to it is the main pool''s. '
  'NULL: all of it';
COMMENT ON COLUMN @extschema@.credit_ledger.committed_lots IS 'the same for committed_amount, while the hold is open';
COMMENT ON COLUMN @extschema@.credit_ledger.refunded_amount IS
  'credits of a committed authorization given back by credit_refund so far';
COMMENT ON COLUMN @extschema@.credit_ledger.expires_at IS 'from then on the hold may be settled by timeout_action';
COMMENT ON COLUMN @extschema@.credit_ledger.settled_by IS
  'who settled it; timeout: provisional, the caller may still correct it inside credit_ledger.true_up_window';

CREATE TABLE @extschema@.credit_ledger_open PARTITION OF @extschema@.credit_ledger (PRIMARY KEY (authorization_id))
  FOR VALUES IN ('authorized')
  WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE @extschema@.credit_ledger_open IS 'live holds; small however long the history is';
CREATE INDEX credit_ledger_open_expires_at_idx ON @extschema@.credit_ledger_open (expires_at);
-- Not by created_at, as the settled ones: a call that lacks credits looks for its organisation's expired holds.
CREATE INDEX credit_ledger_open_org_id_expires_at_idx ON @extschema@.credit_ledger_open (org_id, expires_at);

CREATE TABLE @extschema@.credit_ledger_settled PARTITION OF @extschema@.credit_ledger
  FOR VALUES IN ('committed', 'reverted') PARTITION BY RANGE (created_at);
COMMENT ON TABLE @extschema@.credit_ledger_settled IS
  'settled authorizations by the instant they were created; add ranges with credit_create_partition(), detach old '
  'ones at will';

CREATE TABLE @extschema@.credit_ledger_settled_default
  PARTITION OF @extschema@.credit_ledger_settled (PRIMARY KEY (authorization_id)) DEFAULT;
COMMENT ON TABLE @extschema@.credit_ledger_settled_default IS
  'settled authorizations for which no range partition was made';
CREATE INDEX credit_ledger_settled_default_org_id_created_at_idx
  ON @extschema@.credit_ledger_settled_default (org_id, created_at);
-- For reconciliation, and next to free for the hot path: what settled in a window, in a table that is filled in that
-- order.
CREATE INDEX credit_ledger_settled_default_settled_at_idx ON @extschema@.credit_ledger_settled_default
  USING brin (settled_at) WITH (autosummarize = on);

CREATE TABLE @extschema@.credit_entry (
  org_id           text COLLATE "C" NOT NULL,
  entry_no         bigint NOT NULL,
  kind             @extschema@.credit_entry_kind NOT NULL,
  amount           bigint NOT NULL,
  authorization_id text COLLATE "C",
  idempotency_key  text COLLATE "C",
  reason           text,
  balance_after    bigint NOT NULL,
  created_at       timestamptz NOT NULL,
  metadata         jsonb,
  lots             bigint[],
  effective_at     timestamptz,
  CONSTRAINT credit_entry_entry_no_check CHECK (entry_no > 0),
  CONSTRAINT credit_entry_amount_check CHECK (amount <> 0)
) PARTITION BY RANGE (created_at);
COMMENT ON TABLE @extschema@.credit_entry IS
  'every movement of every balance, append-only, numbered 1, 2, 3 ... per account without a gap';
COMMENT ON COLUMN @extschema@.credit_entry.org_id IS 'the organisation whose balance moved';
COMMENT ON COLUMN @extschema@.credit_entry.entry_no IS 'number of the entry in its account, from 1 without a gap';
COMMENT ON COLUMN @extschema@.credit_entry.kind IS 'why the balance moved';
COMMENT ON COLUMN @extschema@.credit_entry.authorization_id IS
  'the authorization that was charged, corrected or refunded; NULL: none';
COMMENT ON COLUMN @extschema@.credit_entry.idempotency_key IS 'the key of the call that made it; NULL: it takes none';
COMMENT ON COLUMN @extschema@.credit_entry.reason IS 'why, in the caller''s words';
COMMENT ON COLUMN @extschema@.credit_entry.created_at IS 'when it was written; its partition';
COMMENT ON COLUMN @extschema@.credit_entry.metadata IS 'your own; credit_grant() sets it';
COMMENT ON COLUMN @extschema@.credit_entry.amount IS
  'signed: positive gives credits to the organisation, negative takes them';
COMMENT ON COLUMN @extschema@.credit_entry.lots IS
  'pairs {{lot_no, credits}, ...} of amount, signed like it; what they lack to it is the main pool''s. NULL: all of it';
COMMENT ON COLUMN @extschema@.credit_entry.effective_at IS
  'when it took effect, where it was written later: the end of the lot; NULL: at created_at';
COMMENT ON COLUMN @extschema@.credit_entry.balance_after IS 'the account''s balance once this entry was posted';

CREATE TABLE @extschema@.credit_entry_default
  PARTITION OF @extschema@.credit_entry (PRIMARY KEY (org_id, entry_no)) DEFAULT;
COMMENT ON TABLE @extschema@.credit_entry_default IS 'entries for which no range partition was made';
CREATE INDEX credit_entry_default_created_at_idx ON @extschema@.credit_entry_default USING brin (created_at)
  WITH (autosummarize = on);

-- Partitions that credit_detach_partitions() put away, and for each account what stands for the entries in one.

CREATE TABLE @extschema@.credit_detached_partition (
  name        text COLLATE "C" NOT NULL,
  parent      text COLLATE "C" NOT NULL,
  lower_bound timestamptz,
  upper_bound timestamptz NOT NULL,
  detached_at timestamptz NOT NULL,
  PRIMARY KEY (name)
);
COMMENT ON TABLE @extschema@.credit_detached_partition IS
  'partitions that credit_detach_partitions() put away; one that is attached again under its name, with its '
  'rows, counts again';
COMMENT ON COLUMN @extschema@.credit_detached_partition.lower_bound IS 'NULL: without end';

CREATE TABLE @extschema@.credit_entry_carry (
  partition_name text COLLATE "C" NOT NULL,
  org_id         text COLLATE "C" NOT NULL,
  first_entry_no bigint NOT NULL,
  last_entry_no  bigint NOT NULL,
  amount         numeric NOT NULL,
  balance_after  bigint NOT NULL,
  first_at       timestamptz NOT NULL,
  last_at        timestamptz NOT NULL,
  PRIMARY KEY (org_id, last_entry_no, partition_name)
);
COMMENT ON TABLE @extschema@.credit_entry_carry IS
  'one row an account and partition of entries that was put away: what its entries came to, so that the others are '
  'proved without them';
CREATE INDEX credit_entry_carry_partition_name_idx ON @extschema@.credit_entry_carry (partition_name);

-- Its rows are asked for where they would stand: a query of all partitions would have to be planned for all of them.
CREATE FUNCTION credit_ledger_internal.has_rows_of(leaf regclass, put_away text)
  RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER COST 10000
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  answer boolean := false;
BEGIN
  CASE (SELECT i.inhparent FROM pg_inherits i WHERE i.inhrelid = leaf)
    WHEN '@extschema@.credit_entry'::regclass THEN
      EXECUTE format('SELECT EXISTS (SELECT FROM %1$s c '
                     'JOIN %2$s e ON e.org_id = c.org_id AND e.entry_no = c.last_entry_no WHERE c.partition_name = $1) '
                     'OR NOT EXISTS (SELECT FROM %1$s c WHERE c.partition_name = $1)',
        '@extschema@.credit_entry_carry'::regclass, leaf) USING put_away INTO answer;
    WHEN '@extschema@.credit_ledger_settled'::regclass THEN
      EXECUTE format('SELECT EXISTS (SELECT FROM %s)', leaf) INTO answer;
    ELSE NULL;
  END CASE;
  RETURN answer;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.has_rows_of(regclass, text) IS
  'tells whether a partition is the one that was put away under that name, and not an empty or another one: has it any '
  'of the entries that are carried, or any authorization';

CREATE VIEW credit_ledger_internal.partition_away WITH (security_invoker) AS
SELECT d.name, d.parent, d.lower_bound, d.upper_bound
FROM @extschema@.credit_detached_partition d
WHERE NOT EXISTS (
  SELECT FROM pg_inherits i
  JOIN pg_class c ON c.oid = i.inhrelid
  JOIN pg_class p ON p.oid = i.inhparent
  WHERE c.relname = d.name AND p.relname = d.parent
    AND i.inhparent IN ('@extschema@.credit_entry'::regclass, '@extschema@.credit_ledger_settled'::regclass)
    AND credit_ledger_internal.has_rows_of(c.oid, d.name));
COMMENT ON VIEW credit_ledger_internal.partition_away IS 'the partitions that were put away and are not attached again';

CREATE VIEW credit_ledger_internal.entry_carry WITH (security_invoker) AS
SELECT c.org_id, c.first_entry_no, c.last_entry_no, c.amount, c.balance_after, c.first_at, c.last_at
FROM @extschema@.credit_entry_carry c JOIN credit_ledger_internal.partition_away p ON p.name = c.partition_name;
COMMENT ON VIEW credit_ledger_internal.entry_carry IS
  'what stands for the entries of an account that were put away, a row for each partition';

CREATE FUNCTION credit_ledger_internal.put_away_until(parent text)
  RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT max(p.upper_bound) FROM credit_ledger_internal.partition_away p WHERE p.parent = put_away_until.parent;
END;
COMMENT ON FUNCTION credit_ledger_internal.put_away_until(text) IS
  'tells the instant before which rows of credit_entry or credit_ledger_settled may have been put away; NULL: none';

CREATE TABLE @extschema@.credit_lot (
  org_id     text COLLATE "C" NOT NULL,
  lot_no     bigint NOT NULL,
  amount     bigint NOT NULL,
  remaining  bigint NOT NULL,
  held       bigint NOT NULL DEFAULT 0,
  absorbed   bigint NOT NULL DEFAULT 0,
  priority   integer NOT NULL DEFAULT 100,
  voided     boolean NOT NULL DEFAULT false,
  expires_at timestamptz,
  created_at timestamptz NOT NULL,
  closed_at  timestamptz,
  PRIMARY KEY (org_id, lot_no),
  CONSTRAINT credit_lot_amount_check CHECK (amount > 0),
  CONSTRAINT credit_lot_remaining_check CHECK (0 <= held AND held <= remaining AND 0 <= absorbed),
  CONSTRAINT credit_lot_absorbed_check CHECK (remaining + absorbed <= amount),
  CONSTRAINT credit_lot_priority_check CHECK (priority >= 0 AND priority <= 1000),
  CONSTRAINT credit_lot_closed_check CHECK ((closed_at IS NULL) = (remaining > 0))
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
COMMENT ON TABLE @extschema@.credit_lot IS
  'credits that end or that are used before others: one row a grant with expires_at or priority. All other credits '
  'are the main pool';
COMMENT ON COLUMN @extschema@.credit_lot.lot_no IS 'entry_no of its grant';
COMMENT ON COLUMN @extschema@.credit_lot.amount IS 'credits granted';
COMMENT ON COLUMN @extschema@.credit_lot.remaining IS 'credits neither used nor gone; those held among them';
COMMENT ON COLUMN @extschema@.credit_lot.held IS 'credits that open authorizations hold';
COMMENT ON COLUMN @extschema@.credit_lot.absorbed IS 'credits that paid, at its end, for what the main pool owed';
COMMENT ON COLUMN @extschema@.credit_lot.priority IS
  '0 to 1000; the lower, the earlier it is used; then the earlier it ends, then the older';
COMMENT ON COLUMN @extschema@.credit_lot.voided IS 'credit_void() ended it; what is held leaves when it is released';
COMMENT ON COLUMN @extschema@.credit_lot.expires_at IS 'when what is free in it leaves; NULL: never';
COMMENT ON COLUMN @extschema@.credit_lot.closed_at IS 'since when nothing remains; NULL: something does';
-- The order in which an organisation's lots are used; and which lot ends next, of all.
CREATE INDEX credit_lot_use_idx ON @extschema@.credit_lot (org_id, priority, expires_at, lot_no)
  WHERE closed_at IS NULL;
CREATE INDEX credit_lot_expires_at_idx ON @extschema@.credit_lot (expires_at) WHERE closed_at IS NULL;

CREATE TABLE @extschema@.credit_idempotency (
  org_id           text COLLATE "C" NOT NULL,
  operation        @extschema@.credit_operation NOT NULL,
  idempotency_key  text COLLATE "C" NOT NULL,
  amount           bigint,
  campaign_id      text COLLATE "C",
  authorization_id text COLLATE "C",
  entry_no         bigint,
  created_at       timestamptz NOT NULL,
  PRIMARY KEY (idempotency_key, org_id, operation)
) WITH (autovacuum_vacuum_scale_factor = 0.05);
-- The keys of a campaign that are not the campaign itself, of which there are few.
CREATE INDEX credit_idempotency_campaign_id_org_id_idx ON @extschema@.credit_idempotency (campaign_id, org_id)
  WHERE campaign_id <> idempotency_key;
COMMENT ON TABLE @extschema@.credit_idempotency IS
  'every idempotency key that was used: the parameters that must match when the call is made again, and what the call '
  'made';
COMMENT ON COLUMN @extschema@.credit_idempotency.amount IS 'the amount as passed; NULL: a refund of all that was left';
COMMENT ON COLUMN @extschema@.credit_idempotency.authorization_id IS
  'authorize: the authorization it made; refund: the one it refunds';
COMMENT ON COLUMN @extschema@.credit_idempotency.entry_no IS 'grant, adjust, refund: the entry it posted';

-- A dump carries the data of the leaves; one call a statement, since each changes the same row of pg_extension.
SELECT pg_extension_config_dump('@extschema@.credit_account', '');
SELECT pg_extension_config_dump('@extschema@.credit_ledger_open', '');
SELECT pg_extension_config_dump('@extschema@.credit_ledger_settled_default', '');
SELECT pg_extension_config_dump('@extschema@.credit_entry_default', '');
SELECT pg_extension_config_dump('@extschema@.credit_detached_partition', '');
SELECT pg_extension_config_dump('@extschema@.credit_entry_carry', '');
SELECT pg_extension_config_dump('@extschema@.credit_lot', '');
SELECT pg_extension_config_dump('@extschema@.credit_idempotency', '');

CREATE FUNCTION credit_ledger_internal.entry_append_only() RETURNS trigger
  LANGUAGE C AS 'MODULE_PATHNAME', 'credit_entry_append_only';
COMMENT ON FUNCTION credit_ledger_internal.entry_append_only() IS
  'refuses UPDATE, DELETE and TRUNCATE of entries (23001); a trigger';

CREATE TRIGGER credit_entry_append_only BEFORE UPDATE OR DELETE ON @extschema@.credit_entry
  FOR EACH ROW EXECUTE FUNCTION credit_ledger_internal.entry_append_only();
CREATE TRIGGER credit_entry_no_truncate BEFORE TRUNCATE ON @extschema@.credit_entry
  FOR EACH STATEMENT EXECUTE FUNCTION credit_ledger_internal.entry_append_only();
CREATE TRIGGER credit_entry_no_truncate BEFORE TRUNCATE ON @extschema@.credit_entry_default
  FOR EACH STATEMENT EXECUTE FUNCTION credit_ledger_internal.entry_append_only();

-- Columns of instants, of what was agreed, and of your own are nobody's credits. Calls of the ledger fire no statement
-- trigger. Partitions that are made later have none of their own: a statement on credit_ledger is what is refused.
CREATE FUNCTION credit_ledger_internal.account_guard() RETURNS trigger
  LANGUAGE C AS 'MODULE_PATHNAME', 'credit_account_guard';
COMMENT ON FUNCTION credit_ledger_internal.account_guard() IS
  'refuses UPDATE of credits, DELETE and TRUNCATE of accounts (23001); a trigger';
CREATE FUNCTION credit_ledger_internal.authorization_guard() RETURNS trigger
  LANGUAGE C AS 'MODULE_PATHNAME', 'credit_authorization_guard';
COMMENT ON FUNCTION credit_ledger_internal.authorization_guard() IS
  'refuses UPDATE of credits, DELETE and TRUNCATE of authorizations (23001); a trigger';
CREATE FUNCTION credit_ledger_internal.lot_guard() RETURNS trigger
  LANGUAGE C AS 'MODULE_PATHNAME', 'credit_lot_guard';
COMMENT ON FUNCTION credit_ledger_internal.lot_guard() IS
  'refuses UPDATE of credits, DELETE and TRUNCATE of lots (23001); a trigger';

CREATE TRIGGER credit_account_guard
  BEFORE UPDATE OF org_id, balance, last_entry_no, held, lot_balance, lot_held OR TRUNCATE ON @extschema@.credit_account
  FOR EACH STATEMENT EXECUTE FUNCTION credit_ledger_internal.account_guard();
CREATE TRIGGER credit_account_no_delete AFTER DELETE ON @extschema@.credit_account
  REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT EXECUTE FUNCTION credit_ledger_internal.account_guard();

CREATE TRIGGER credit_lot_guard
  BEFORE UPDATE OF org_id, lot_no, amount, remaining, held, absorbed, voided OR TRUNCATE ON @extschema@.credit_lot
  FOR EACH STATEMENT EXECUTE FUNCTION credit_ledger_internal.lot_guard();
CREATE TRIGGER credit_lot_no_delete AFTER DELETE ON @extschema@.credit_lot
  REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT EXECUTE FUNCTION credit_ledger_internal.lot_guard();

CREATE TRIGGER credit_ledger_guard
  BEFORE UPDATE OF org_id, status, amount, authorized_amount, committed_amount, refunded_amount, lots, committed_lots
  OR TRUNCATE ON @extschema@.credit_ledger
  FOR EACH STATEMENT EXECUTE FUNCTION credit_ledger_internal.authorization_guard();
CREATE TRIGGER credit_ledger_no_delete AFTER DELETE ON @extschema@.credit_ledger
  REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT EXECUTE FUNCTION credit_ledger_internal.authorization_guard();
CREATE TRIGGER credit_ledger_guard
  BEFORE UPDATE OF org_id, status, amount, authorized_amount, committed_amount, refunded_amount, lots, committed_lots
  OR TRUNCATE ON @extschema@.credit_ledger_open
  FOR EACH STATEMENT EXECUTE FUNCTION credit_ledger_internal.authorization_guard();
CREATE TRIGGER credit_ledger_no_delete AFTER DELETE ON @extschema@.credit_ledger_open
  REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT EXECUTE FUNCTION credit_ledger_internal.authorization_guard();
CREATE TRIGGER credit_ledger_guard
  BEFORE UPDATE OF org_id, status, amount, authorized_amount, committed_amount, refunded_amount, lots, committed_lots
  OR TRUNCATE ON @extschema@.credit_ledger_settled
  FOR EACH STATEMENT EXECUTE FUNCTION credit_ledger_internal.authorization_guard();
CREATE TRIGGER credit_ledger_no_delete AFTER DELETE ON @extschema@.credit_ledger_settled
  REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT EXECUTE FUNCTION credit_ledger_internal.authorization_guard();
CREATE TRIGGER credit_ledger_guard
  BEFORE UPDATE OF org_id, status, amount, authorized_amount, committed_amount, refunded_amount, lots, committed_lots
  OR TRUNCATE ON @extschema@.credit_ledger_settled_default
  FOR EACH STATEMENT EXECUTE FUNCTION credit_ledger_internal.authorization_guard();
CREATE TRIGGER credit_ledger_no_delete AFTER DELETE ON @extschema@.credit_ledger_settled_default
  REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT EXECUTE FUNCTION credit_ledger_internal.authorization_guard();
