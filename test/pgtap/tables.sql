-- The tables: columns with their types, nullability, collation and defaults; partitioning; keys and indexes.
--
-- Read from the catalog and compared with the contract, table by table.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS credit_ledger;
SELECT plan(21);

CREATE FUNCTION pg_temp.columns(relation regclass)
RETURNS TABLE (name text, type text, not_null boolean, collation_name text, default_value text) LANGUAGE sql AS $$
  SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull, c.collname::text, pg_get_expr(d.adbin, d.adrelid)
  FROM pg_attribute AS a
  LEFT JOIN pg_collation AS c ON c.oid = a.attcollation
  LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
  ORDER BY a.attnum
$$;

SELECT results_eq(
  $$SELECT * FROM pg_temp.columns('credit_account')$$,
  $$VALUES ('org_id', 'text', true, 'C', NULL),
           ('balance', 'bigint', true, NULL, '0'),
           ('last_entry_no', 'bigint', true, NULL, '0'),
           ('held', 'bigint', true, NULL, '0'),
           ('updated_at', 'timestamp with time zone', true, NULL, NULL),
           ('credit_limit', 'bigint', true, NULL, '0'),
           ('overage_limit', 'bigint', true, NULL, '0'),
           ('low_balance_threshold', 'bigint', false, NULL, NULL),
           ('frozen', 'boolean', true, NULL, 'false'),
           ('created_at', 'timestamp with time zone', true, NULL, NULL),
           ('metadata', 'jsonb', false, NULL, NULL),
           ('lot_balance', 'bigint', false, NULL, NULL),
           ('lot_held', 'bigint', false, NULL, NULL),
           ('lot_expires_at', 'timestamp with time zone', false, NULL, NULL)$$,
  'columns of credit_account');

PREPARE columns_of_credit_ledger AS
  VALUES ('authorization_id', 'text', true, 'C', NULL),
         ('org_id', 'text', true, 'C', NULL),
         ('campaign_id', 'text', false, 'C', NULL),
         ('idempotency_key', 'text', true, 'C', NULL),
         ('status', 'credit_status', true, NULL, NULL),
         ('amount', 'bigint', true, NULL, NULL),
         ('authorized_amount', 'bigint', true, NULL, NULL),
         ('committed_amount', 'bigint', false, NULL, NULL),
         ('refunded_amount', 'bigint', true, NULL, '0'),
         ('timeout_action', 'credit_timeout_action', true, NULL, NULL),
         ('created_at', 'timestamp with time zone', true, NULL, NULL),
         ('expires_at', 'timestamp with time zone', true, NULL, NULL),
         ('settled_at', 'timestamp with time zone', false, NULL, NULL),
         ('settled_by', 'credit_actor', false, NULL, NULL),
         ('reason', 'text', false, 'default', NULL),
         ('metadata', 'jsonb', false, NULL, NULL),
         ('lots', 'bigint[]', false, NULL, NULL),
         ('committed_lots', 'bigint[]', false, NULL, NULL);
SELECT results_eq(format('SELECT * FROM pg_temp.columns(%L)', relation), 'columns_of_credit_ledger', 'columns of ' || relation)
FROM string_to_table('credit_ledger credit_ledger_open credit_ledger_settled credit_ledger_settled_default', ' ') AS relation;

PREPARE columns_of_credit_entry AS
  VALUES ('org_id', 'text', true, 'C', NULL),
         ('entry_no', 'bigint', true, NULL, NULL),
         ('kind', 'credit_entry_kind', true, NULL, NULL),
         ('amount', 'bigint', true, NULL, NULL),
         ('authorization_id', 'text', false, 'C', NULL),
         ('idempotency_key', 'text', false, 'C', NULL),
         ('reason', 'text', false, 'default', NULL),
         ('balance_after', 'bigint', true, NULL, NULL),
         ('created_at', 'timestamp with time zone', true, NULL, NULL),
         ('metadata', 'jsonb', false, NULL, NULL),
         ('lots', 'bigint[]', false, NULL, NULL),
         ('effective_at', 'timestamp with time zone', false, NULL, NULL);
SELECT results_eq(format('SELECT * FROM pg_temp.columns(%L)', relation), 'columns_of_credit_entry', 'columns of ' || relation)
FROM string_to_table('credit_entry credit_entry_default', ' ') AS relation;

SELECT results_eq(
  $$SELECT * FROM pg_temp.columns('credit_lot')$$,
  $$VALUES ('org_id', 'text', true, 'C', NULL),
           ('lot_no', 'bigint', true, NULL, NULL),
           ('amount', 'bigint', true, NULL, NULL),
           ('remaining', 'bigint', true, NULL, NULL),
           ('held', 'bigint', true, NULL, '0'),
           ('absorbed', 'bigint', true, NULL, '0'),
           ('priority', 'integer', true, NULL, '100'),
           ('voided', 'boolean', true, NULL, 'false'),
           ('expires_at', 'timestamp with time zone', false, NULL, NULL),
           ('created_at', 'timestamp with time zone', true, NULL, NULL),
           ('closed_at', 'timestamp with time zone', false, NULL, NULL)$$,
  'columns of credit_lot');
SELECT results_eq(
  $$SELECT name, type FROM pg_temp.columns('credit_lot_movement')$$,
  $$VALUES ('org_id', 'text'), ('entry_no', 'bigint'), ('lot_no', 'bigint'), ('kind', 'credit_entry_kind'), ('amount', 'bigint'),
           ('authorization_id', 'text'), ('created_at', 'timestamp with time zone'), ('effective_at', 'timestamp with time zone')$$,
  'columns of the view credit_lot_movement');

SELECT results_eq(
  $$SELECT * FROM pg_temp.columns('credit_idempotency')$$,
  $$VALUES ('org_id', 'text', true, 'C', NULL),
           ('operation', 'credit_operation', true, NULL, NULL),
           ('idempotency_key', 'text', true, 'C', NULL),
           ('amount', 'bigint', false, NULL, NULL),
           ('campaign_id', 'text', false, 'C', NULL),
           ('authorization_id', 'text', false, 'C', NULL),
           ('entry_no', 'bigint', false, NULL, NULL),
           ('created_at', 'timestamp with time zone', true, NULL, NULL)$$,
  'columns of credit_idempotency');

-- The tree of partitions.
SELECT results_eq(
  $$SELECT partrelid::regclass::text, pg_get_partkeydef(partrelid) FROM pg_partitioned_table
    WHERE partrelid IN ('credit_ledger'::regclass, 'credit_ledger_settled'::regclass, 'credit_entry'::regclass) ORDER BY 1$$,
  $$VALUES ('credit_entry', 'RANGE (created_at)'),
           ('credit_ledger', 'LIST (status)'),
           ('credit_ledger_settled', 'RANGE (created_at)')$$,
  'partition keys');
SELECT results_eq(
  $$SELECT i.inhparent::regclass::text, c.oid::regclass::text, pg_get_expr(c.relpartbound, c.oid) COLLATE "default"
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE c.oid IN ('credit_ledger_open'::regclass, 'credit_ledger_settled'::regclass,
                    'credit_ledger_settled_default'::regclass, 'credit_entry_default'::regclass) ORDER BY 2$$,
  $$VALUES ('credit_entry', 'credit_entry_default', 'DEFAULT'),
           ('credit_ledger', 'credit_ledger_open', 'FOR VALUES IN (''authorized'')'),
           ('credit_ledger', 'credit_ledger_settled', 'FOR VALUES IN (''committed'', ''reverted'')'),
           ('credit_ledger_settled', 'credit_ledger_settled_default', 'DEFAULT')$$,
  'partitions and their bounds');

-- Keys and indexes stand on the tables that hold rows.
CREATE FUNCTION pg_temp.indexes(relation regclass) RETURNS TABLE (definition text) LANGUAGE sql AS $$
  SELECT concat(CASE WHEN i.indisprimary THEN 'PRIMARY KEY' WHEN i.indisunique THEN 'UNIQUE' ELSE 'INDEX' END,
                substring(pg_get_indexdef(i.indexrelid) FROM ' \(.*'))
  FROM pg_index AS i WHERE i.indrelid = relation ORDER BY 1
$$;
SELECT results_eq($$SELECT * FROM pg_temp.indexes('credit_account')$$,
  $$VALUES ('PRIMARY KEY (org_id)')$$, 'credit_account has its primary key and no other index');
SELECT results_eq($$SELECT * FROM pg_temp.indexes('credit_ledger_open')$$,
  $$VALUES ('INDEX (expires_at)'), ('INDEX (org_id, expires_at)'), ('PRIMARY KEY (authorization_id)')$$,
  'indexes of credit_ledger_open');
SELECT results_eq($$SELECT * FROM pg_temp.indexes('credit_ledger_settled_default')$$,
  $$VALUES ('INDEX (org_id, created_at)'), ('INDEX (settled_at) WITH (autosummarize=''on'')'), ('PRIMARY KEY (authorization_id)')$$,
  'indexes of credit_ledger_settled_default');
SELECT results_eq($$SELECT * FROM pg_temp.indexes('credit_entry_default')$$,
  $$VALUES ('INDEX (created_at) WITH (autosummarize=''on'')'), ('PRIMARY KEY (org_id, entry_no)')$$, 'indexes of credit_entry_default');
SELECT results_eq($$SELECT * FROM pg_temp.indexes('credit_lot')$$,
  $$VALUES ('INDEX (expires_at) WHERE (closed_at IS NULL)'),
           ('INDEX (org_id, priority, expires_at, lot_no) WHERE (closed_at IS NULL)'), ('PRIMARY KEY (org_id, lot_no)')$$,
  'indexes of credit_lot');
SELECT results_eq($$SELECT * FROM pg_temp.indexes('credit_idempotency')$$,
  $$VALUES ('INDEX (campaign_id, org_id) WHERE (campaign_id <> idempotency_key)'),
           ('PRIMARY KEY (idempotency_key, org_id, operation)')$$,
  'indexes of credit_idempotency');
SELECT is_empty(
  $$SELECT indexrelid::regclass FROM pg_index
    WHERE indrelid IN ('credit_ledger'::regclass, 'credit_ledger_settled'::regclass, 'credit_entry'::regclass)$$,
  'partitioned tables have no index of their own, so that partitions restore as ordinary tables');

-- Balances are updated in place.
SELECT cmp_ok((SELECT option_value::integer FROM pg_class, pg_options_to_table(reloptions)
               WHERE oid = 'credit_account'::regclass AND option_name = 'fillfactor'),
              '<=', 50, 'credit_account leaves room for HOT updates');

-- A partition that is made later is like the default one.
SELECT credit_create_partition('credit_ledger_settled', '2001-01-01Z', '2001-02-01Z') AS made \gset
SELECT results_eq($$SELECT * FROM pg_temp.indexes('credit_ledger_settled_20010101')$$,
  $$SELECT * FROM pg_temp.indexes('credit_ledger_settled_default')$$, 'a made partition has the indexes of the default one');

SELECT * FROM finish();
ROLLBACK;
