-- Types. All amounts are bigint credits; all instants are timestamptz.

CREATE TYPE @extschema@.credit_status AS ENUM ('authorized', 'committed', 'reverted');
COMMENT ON TYPE @extschema@.credit_status IS
  'what an authorization is: a live hold (authorized), charged (committed) or given back (reverted)';

CREATE TYPE @extschema@.credit_timeout_action AS ENUM ('commit', 'revert');
COMMENT ON TYPE @extschema@.credit_timeout_action IS
  'what becomes of a hold that expires before its caller settled it';

CREATE TYPE @extschema@.credit_actor AS ENUM ('caller', 'timeout');
COMMENT ON TYPE @extschema@.credit_actor IS
  'who settled an authorization: its caller, whose word is final, or the timeout, provisionally';

CREATE TYPE @extschema@.credit_entry_kind AS ENUM
  ('grant', 'commit', 'refund', 'true_up', 'adjustment', 'expiry', 'void');
COMMENT ON TYPE @extschema@.credit_entry_kind IS 'why a balance moved';

CREATE TYPE @extschema@.credit_operation AS ENUM ('grant', 'adjust', 'authorize', 'refund', 'void');
COMMENT ON TYPE @extschema@.credit_operation IS
  'the functions that take an idempotency key, each with a key space of its own (void: lot:N, made by credit_void)';

CREATE TYPE @extschema@.credit_authorization AS (
  authorization_id  text COLLATE "C",
  org_id            text COLLATE "C",
  campaign_id       text COLLATE "C",
  status            @extschema@.credit_status,
  amount            bigint,
  authorized_amount bigint,
  refunded_amount   bigint,
  created_at        timestamptz,
  expires_at        timestamptz,
  settled_at        timestamptz,
  settled_by        @extschema@.credit_actor,
  reason            text,
  available         bigint,
  replayed          boolean
);
COMMENT ON TYPE @extschema@.credit_authorization IS
  'an authorization as a call left it: its row, what the account has available after the call, and whether the call '
  'had been made before';

CREATE TYPE @extschema@.credit_authorization_item AS (
  ord               integer,
  authorization_id  text COLLATE "C",
  org_id            text COLLATE "C",
  campaign_id       text COLLATE "C",
  status            @extschema@.credit_status,
  amount            bigint,
  authorized_amount bigint,
  refunded_amount   bigint,
  created_at        timestamptz,
  expires_at        timestamptz,
  settled_at        timestamptz,
  settled_by        @extschema@.credit_actor,
  reason            text,
  available         bigint,
  replayed          boolean,
  sqlstate          text,
  message           text
);
COMMENT ON TYPE @extschema@.credit_authorization_item IS
  'a credit_authorization and its place in the arrays that were passed, from 1; available is what the account had '
  'after this item; sqlstate and message: why an item was refused that was skipped, else NULL';

CREATE TYPE @extschema@.credit_movement AS (
  org_id           text COLLATE "C",
  entry_no         bigint,
  kind             @extschema@.credit_entry_kind,
  amount           bigint,
  authorization_id text COLLATE "C",
  balance_after    bigint,
  available        bigint,
  created_at       timestamptz,
  replayed         boolean
);
COMMENT ON TYPE @extschema@.credit_movement IS
  'a movement of a balance: its entry, what the account has available after the call, and whether the call had been '
  'made before';

CREATE TYPE @extschema@.credit_account_balance AS (
  org_id       text COLLATE "C",
  balance      bigint,
  held         bigint,
  credit_limit bigint,
  available    bigint,
  frozen       boolean
);
COMMENT ON TYPE @extschema@.credit_account_balance IS
  'available = balance - held + credit_limit; frozen: no new holds and charges';

CREATE TYPE @extschema@.credit_discrepancy AS (
  org_id     text COLLATE "C",
  check_name text,
  expected   text,
  actual     text,
  detail     text
);
COMMENT ON TYPE @extschema@.credit_discrepancy IS
  'an invariant of the ledger that does not hold, as credit_verify reports it';
