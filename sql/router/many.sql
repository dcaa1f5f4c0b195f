-- Many in one call: the arrays are split by shard, and the rows put together in the order of the arrays. Each shard's
-- part is all or nothing by itself.

CREATE FUNCTION credit_router_internal.numbers(n integer, first integer = 1)
  RETURNS integer[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ARRAY(SELECT i FROM generate_series(numbers.first, numbers.first + numbers.n - 1) i ORDER BY i);
COMMENT ON FUNCTION credit_router_internal.numbers(integer, integer) IS 'n numbers from the first: 1, 2, 3 ...';

CREATE FUNCTION credit_router_internal.can_split(n integer, lengths integer[], dimensions integer[])
  RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN n IS NOT NULL AND n = ALL (array_remove(lengths, NULL)) AND 1 = ALL (array_remove(dimensions, NULL));
COMMENT ON FUNCTION credit_router_internal.can_split(integer, integer[], integer[]) IS
  'whether arrays (of these lengths and dimensions, NULL where there is none) can be split as the first, of n elements';

CREATE FUNCTION credit_router_internal.credit_authorize_many(
    i_org_ids text[], i_amounts bigint[], i_campaign_ids text[], i_idempotency_keys text[], i_timeout interval,
    i_timeout_action @extschema@.credit_timeout_action, i_metadata jsonb[], i_skip_refused boolean,
    i_ords integer[], i_partitions integer[])
  RETURNS SETOF @extschema@.credit_authorization_item LANGUAGE plproxy VOLATILE PARALLEL UNSAFE AS $$
  CLUSTER 'credit_router';
  SPLIT i_org_ids, i_amounts, i_campaign_ids, i_idempotency_keys, i_metadata, i_ords, i_partitions;
  RUN ON i_partitions;
  SELECT (i_ords)[r.ord] AS ord,
         r.authorization_id, r.org_id, r.campaign_id, r.status, r.amount, r.authorized_amount, r.refunded_amount,
         r.created_at, r.expires_at, r.settled_at, r.settled_by, r.reason, r.available, r.replayed, r.sqlstate,
         r.message
  FROM @extschema@.credit_authorize_many(
    i_org_ids, i_amounts, i_campaign_ids, i_idempotency_keys, i_timeout, i_timeout_action, i_metadata,
    i_skip_refused) r;
$$;
COMMENT ON FUNCTION credit_router_internal.credit_authorize_many(
    text[], bigint[], text[], text[], interval, @extschema@.credit_timeout_action, jsonb[], boolean, integer[],
    integer[]) IS 'the parts of credit_authorize_many, by shard';

CREATE FUNCTION credit_router_internal.credit_authorize_many_whole(
    i_org_ids text[], i_amounts bigint[], i_campaign_ids text[], i_idempotency_keys text[], i_timeout interval,
    i_timeout_action @extschema@.credit_timeout_action, i_metadata jsonb[], i_skip_refused boolean)
  RETURNS SETOF @extschema@.credit_authorization_item LANGUAGE plproxy VOLATILE PARALLEL UNSAFE AS $$
  CLUSTER 'credit_router';
  RUN ON 0;
  SELECT * FROM @extschema@.credit_authorize_many(
    i_org_ids, i_amounts, i_campaign_ids, i_idempotency_keys, i_timeout, i_timeout_action, i_metadata,
    i_skip_refused);
$$;
COMMENT ON FUNCTION credit_router_internal.credit_authorize_many_whole(
    text[], bigint[], text[], text[], interval, @extschema@.credit_timeout_action, jsonb[], boolean) IS
  'what cannot be split is refused by a shard, in its words';

CREATE FUNCTION @extschema@.credit_authorize_many(
    org_ids text[], amounts bigint[], campaign_ids text[] = NULL, idempotency_keys text[] = NULL,
    timeout interval = NULL, timeout_action @extschema@.credit_timeout_action = NULL, metadata jsonb[] = NULL,
    skip_refused boolean = false)
  RETURNS SETOF @extschema@.credit_authorization_item LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
#variable_conflict use_variable
DECLARE
  n constant integer := cardinality(org_ids);
BEGIN
  IF credit_router_internal.can_split(n,
       ARRAY[cardinality(org_ids), cardinality(amounts), cardinality(campaign_ids), cardinality(idempotency_keys),
             cardinality(metadata)],
       ARRAY[array_ndims(org_ids), array_ndims(amounts), array_ndims(campaign_ids), array_ndims(idempotency_keys),
             array_ndims(metadata)]) THEN
    RETURN QUERY
      SELECT s.* FROM credit_router_internal.credit_authorize_many(
        org_ids, coalesce(amounts, array_fill(NULL::bigint, ARRAY[n])),
        coalesce(campaign_ids, array_fill(NULL::text, ARRAY[n])),
        coalesce(idempotency_keys, array_fill(NULL::text, ARRAY[n])), timeout, timeout_action,
        coalesce(metadata, array_fill(NULL::jsonb, ARRAY[n])), skip_refused,
        credit_router_internal.numbers(n),
        credit_router_internal.partitions_of_organisations(org_ids)) s
      ORDER BY s.ord;
  ELSE
    RETURN QUERY
      SELECT s.* FROM credit_router_internal.credit_authorize_many_whole(
        org_ids, amounts, campaign_ids, idempotency_keys, timeout, timeout_action, metadata, skip_refused) s;
  END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_authorize_many(
    text[], bigint[], text[], text[], interval, @extschema@.credit_timeout_action, jsonb[], boolean) IS
  'credit_authorize for each element in one call: each shard''s part all or nothing, or but for what is refused '
  '(skip_refused)';

CREATE FUNCTION credit_router_internal.credit_charge_many(
    i_org_ids text[], i_amounts bigint[], i_campaign_ids text[], i_idempotency_keys text[], i_metadata jsonb[],
    i_skip_refused boolean, i_ords integer[], i_partitions integer[])
  RETURNS SETOF @extschema@.credit_authorization_item LANGUAGE plproxy VOLATILE PARALLEL UNSAFE AS $$
  CLUSTER 'credit_router';
  SPLIT i_org_ids, i_amounts, i_campaign_ids, i_idempotency_keys, i_metadata, i_ords, i_partitions;
  RUN ON i_partitions;
  SELECT (i_ords)[r.ord] AS ord,
         r.authorization_id, r.org_id, r.campaign_id, r.status, r.amount, r.authorized_amount, r.refunded_amount,
         r.created_at, r.expires_at, r.settled_at, r.settled_by, r.reason, r.available, r.replayed, r.sqlstate,
         r.message
  FROM @extschema@.credit_charge_many(
    i_org_ids, i_amounts, i_campaign_ids, i_idempotency_keys, i_metadata, i_skip_refused) r;
$$;
COMMENT ON FUNCTION credit_router_internal.credit_charge_many(
    text[], bigint[], text[], text[], jsonb[], boolean, integer[], integer[]) IS
  'the parts of credit_charge_many, by shard';

CREATE FUNCTION credit_router_internal.credit_charge_many_whole(
    i_org_ids text[], i_amounts bigint[], i_campaign_ids text[], i_idempotency_keys text[], i_metadata jsonb[],
    i_skip_refused boolean)
  RETURNS SETOF @extschema@.credit_authorization_item LANGUAGE plproxy VOLATILE PARALLEL UNSAFE AS $$
  CLUSTER 'credit_router';
  RUN ON 0;
  SELECT * FROM @extschema@.credit_charge_many(
    i_org_ids, i_amounts, i_campaign_ids, i_idempotency_keys, i_metadata, i_skip_refused);
$$;
COMMENT ON FUNCTION credit_router_internal.credit_charge_many_whole(
    text[], bigint[], text[], text[], jsonb[], boolean) IS 'what cannot be split is refused by a shard, in its words';

CREATE FUNCTION @extschema@.credit_charge_many(
    org_ids text[], amounts bigint[], campaign_ids text[] = NULL, idempotency_keys text[] = NULL,
    metadata jsonb[] = NULL, skip_refused boolean = false)
  RETURNS SETOF @extschema@.credit_authorization_item LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
#variable_conflict use_variable
DECLARE
  n constant integer := cardinality(org_ids);
BEGIN
  IF credit_router_internal.can_split(n,
       ARRAY[cardinality(org_ids), cardinality(amounts), cardinality(campaign_ids), cardinality(idempotency_keys),
             cardinality(metadata)],
       ARRAY[array_ndims(org_ids), array_ndims(amounts), array_ndims(campaign_ids), array_ndims(idempotency_keys),
             array_ndims(metadata)]) THEN
    RETURN QUERY
      SELECT s.* FROM credit_router_internal.credit_charge_many(
        org_ids, coalesce(amounts, array_fill(NULL::bigint, ARRAY[n])),
        coalesce(campaign_ids, array_fill(NULL::text, ARRAY[n])),
        coalesce(idempotency_keys, array_fill(NULL::text, ARRAY[n])),
        coalesce(metadata, array_fill(NULL::jsonb, ARRAY[n])), skip_refused,
        credit_router_internal.numbers(n),
        credit_router_internal.partitions_of_organisations(org_ids)) s
      ORDER BY s.ord;
  ELSE
    RETURN QUERY
      SELECT s.* FROM credit_router_internal.credit_charge_many_whole(
        org_ids, amounts, campaign_ids, idempotency_keys, metadata, skip_refused) s;
  END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_charge_many(
    text[], bigint[], text[], text[], jsonb[], boolean) IS
  'credit_charge for each element in one call: each shard''s part all or nothing, or but for what is refused '
  '(skip_refused)';

CREATE FUNCTION credit_router_internal.credit_commit_many(
    i_authorization_ids text[], i_amounts_used bigint[], i_skip_refused boolean, i_ords integer[],
    i_partitions integer[])
  RETURNS SETOF @extschema@.credit_authorization_item LANGUAGE plproxy VOLATILE PARALLEL UNSAFE AS $$
  CLUSTER 'credit_router';
  SPLIT i_authorization_ids, i_amounts_used, i_ords, i_partitions;
  RUN ON i_partitions;
  SELECT (i_ords)[r.ord] AS ord,
         r.authorization_id, r.org_id, r.campaign_id, r.status, r.amount, r.authorized_amount, r.refunded_amount,
         r.created_at, r.expires_at, r.settled_at, r.settled_by, r.reason, r.available, r.replayed, r.sqlstate,
         r.message
  FROM @extschema@.credit_commit_many(
    i_authorization_ids, i_amounts_used, i_skip_refused) r;
$$;
COMMENT ON FUNCTION credit_router_internal.credit_commit_many(
    text[], bigint[], boolean, integer[], integer[]) IS 'the parts of credit_commit_many, by shard';

CREATE FUNCTION credit_router_internal.credit_commit_many_whole(
    i_authorization_ids text[], i_amounts_used bigint[], i_skip_refused boolean)
  RETURNS SETOF @extschema@.credit_authorization_item LANGUAGE plproxy VOLATILE PARALLEL UNSAFE AS $$
  CLUSTER 'credit_router';
  RUN ON 0;
  SELECT * FROM @extschema@.credit_commit_many(
    i_authorization_ids, i_amounts_used, i_skip_refused);
$$;
COMMENT ON FUNCTION credit_router_internal.credit_commit_many_whole(
    text[], bigint[], boolean) IS 'what cannot be split is refused by a shard, in its words';

CREATE FUNCTION @extschema@.credit_commit_many(
    authorization_ids text[], amounts_used bigint[] = NULL, skip_refused boolean = false)
  RETURNS SETOF @extschema@.credit_authorization_item LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
#variable_conflict use_variable
DECLARE
  n constant integer := cardinality(authorization_ids);
BEGIN
  IF credit_router_internal.can_split(n,
       ARRAY[cardinality(authorization_ids), cardinality(amounts_used)],
       ARRAY[array_ndims(authorization_ids), array_ndims(amounts_used)]) THEN
    RETURN QUERY
      SELECT s.* FROM credit_router_internal.credit_commit_many(
        authorization_ids, coalesce(amounts_used, array_fill(NULL::bigint, ARRAY[n])), skip_refused,
        credit_router_internal.numbers(n),
        credit_router_internal.partitions_of_authorizations(authorization_ids)) s
      ORDER BY s.ord;
  ELSE
    RETURN QUERY
      SELECT s.* FROM credit_router_internal.credit_commit_many_whole(
        authorization_ids, amounts_used, skip_refused) s;
  END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_commit_many(
    text[], bigint[], boolean) IS
  'credit_commit for each element in one call: each shard''s part all or nothing, or but for what is refused '
  '(skip_refused)';

CREATE FUNCTION credit_router_internal.credit_revert_many(
    i_authorization_ids text[], i_reason text, i_skip_refused boolean, i_ords integer[], i_partitions integer[])
  RETURNS SETOF @extschema@.credit_authorization_item LANGUAGE plproxy VOLATILE PARALLEL UNSAFE AS $$
  CLUSTER 'credit_router';
  SPLIT i_authorization_ids, i_ords, i_partitions;
  RUN ON i_partitions;
  SELECT (i_ords)[r.ord] AS ord,
         r.authorization_id, r.org_id, r.campaign_id, r.status, r.amount, r.authorized_amount, r.refunded_amount,
         r.created_at, r.expires_at, r.settled_at, r.settled_by, r.reason, r.available, r.replayed, r.sqlstate,
         r.message
  FROM @extschema@.credit_revert_many(
    i_authorization_ids, i_reason, i_skip_refused) r;
$$;
COMMENT ON FUNCTION credit_router_internal.credit_revert_many(
    text[], text, boolean, integer[], integer[]) IS 'the parts of credit_revert_many, by shard';

CREATE FUNCTION credit_router_internal.credit_revert_many_whole(
    i_authorization_ids text[], i_reason text, i_skip_refused boolean)
  RETURNS SETOF @extschema@.credit_authorization_item LANGUAGE plproxy VOLATILE PARALLEL UNSAFE AS $$
  CLUSTER 'credit_router';
  RUN ON 0;
  SELECT * FROM @extschema@.credit_revert_many(
    i_authorization_ids, i_reason, i_skip_refused);
$$;
COMMENT ON FUNCTION credit_router_internal.credit_revert_many_whole(
    text[], text, boolean) IS 'what cannot be split is refused by a shard, in its words';

CREATE FUNCTION @extschema@.credit_revert_many(
    authorization_ids text[], reason text = NULL, skip_refused boolean = false)
  RETURNS SETOF @extschema@.credit_authorization_item LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
  SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
AS $$
#variable_conflict use_variable
DECLARE
  n constant integer := cardinality(authorization_ids);
BEGIN
  IF credit_router_internal.can_split(n,
       ARRAY[cardinality(authorization_ids)],
       ARRAY[array_ndims(authorization_ids)]) THEN
    RETURN QUERY
      SELECT s.* FROM credit_router_internal.credit_revert_many(
        authorization_ids, reason, skip_refused,
        credit_router_internal.numbers(n),
        credit_router_internal.partitions_of_authorizations(authorization_ids)) s
      ORDER BY s.ord;
  ELSE
    RETURN QUERY
      SELECT s.* FROM credit_router_internal.credit_revert_many_whole(
        authorization_ids, reason, skip_refused) s;
  END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_revert_many(
    text[], text, boolean) IS
  'credit_revert for each element in one call: each shard''s part all or nothing, or but for what is refused '
  '(skip_refused)';
