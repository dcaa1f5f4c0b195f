/*-------------------------------------------------------------------------
 *
 * authorization.c
 *	  Authorizations: rows of credit_ledger, live or settled.
 *
 * A live hold stands in credit_ledger_open, a settled one in the leaf of
 * credit_ledger_settled that its created_at falls in.  An identifier tells
 * the millisecond of its created_at, so at most one settled leaf is asked for
 * it; identifiers of other forms are looked for in all.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "ledger/authorization.h"
#include "ledger/authorization_id.h"
#include "ledger/errors.h"
#include "ledger/put_away.h"
#include "ledger/shard.h"
#include "table/partition.h"
#include "table/write.h"

/* Columns of credit_ledger */
enum
{
	LEDGER_AUTHORIZATION_ID = 1,
	LEDGER_ORG_ID,
	LEDGER_CAMPAIGN_ID,
	LEDGER_IDEMPOTENCY_KEY,
	LEDGER_STATUS,
	LEDGER_AMOUNT,
	LEDGER_AUTHORIZED_AMOUNT,
	LEDGER_COMMITTED_AMOUNT,
	LEDGER_REFUNDED_AMOUNT,
	LEDGER_TIMEOUT_ACTION,
	LEDGER_CREATED_AT,
	LEDGER_EXPIRES_AT,
	LEDGER_SETTLED_AT,
	LEDGER_SETTLED_BY,
	LEDGER_REASON,
	LEDGER_METADATA,
	LEDGER_LOTS,
	LEDGER_COMMITTED_LOTS
};

static const clTable ledger_table = {
	.ncolumns = LEDGER_COMMITTED_LOTS,
	.columns = {
		[LEDGER_AUTHORIZATION_ID] = {"authorization_id", CL_IDENTIFIER},
		[LEDGER_ORG_ID] = {"org_id", CL_IDENTIFIER},
		[LEDGER_CAMPAIGN_ID] = {"campaign_id", CL_IDENTIFIER, CL_NULLABLE},
		[LEDGER_IDEMPOTENCY_KEY] = {"idempotency_key", CL_IDENTIFIER},
		[LEDGER_STATUS] = {"status", CL_ENUM},
		[LEDGER_AMOUNT] = {"amount", CL_BIGINT},
		[LEDGER_AUTHORIZED_AMOUNT] = {"authorized_amount", CL_BIGINT},
		[LEDGER_COMMITTED_AMOUNT] = {"committed_amount", CL_BIGINT, CL_NULLABLE},
		[LEDGER_REFUNDED_AMOUNT] = {"refunded_amount", CL_BIGINT},
		[LEDGER_TIMEOUT_ACTION] = {"timeout_action", CL_ENUM},
		[LEDGER_CREATED_AT] = {"created_at", CL_INSTANT},
		[LEDGER_EXPIRES_AT] = {"expires_at", CL_INSTANT},
		[LEDGER_SETTLED_AT] = {"settled_at", CL_INSTANT, CL_NULLABLE},
		[LEDGER_SETTLED_BY] = {"settled_by", CL_ENUM, CL_NULLABLE},
		[LEDGER_REASON] = {"reason", CL_TEXT, CL_NULLABLE | CL_KEPT},
		[LEDGER_METADATA] = {"metadata", CL_JSONB, CL_NULLABLE | CL_KEPT},
		[LEDGER_LOTS] = {"lots", CL_BIGINT_ARRAY, CL_NULLABLE},
		[LEDGER_COMMITTED_LOTS] = {"committed_lots", CL_BIGINT_ARRAY, CL_NULLABLE},
	},
	.upheld = {
		"octet_length(authorization_id) BETWEEN 1 AND 256",
		"authorized_amount > 0",
		"CASE status WHEN 'committed' THEN amount >= 0 "
		"WHEN 'authorized' THEN amount = authorized_amount - coalesce(committed_amount, 0) "
		"ELSE amount = authorized_amount END",
		"committed_amount IS NULL "
		"OR (committed_amount > 0 AND committed_amount <= authorized_amount AND status <> 'reverted')",
		"refunded_amount BETWEEN 0 AND CASE status WHEN 'committed' THEN amount ELSE 0 END",
		"(status = 'authorized') = (settled_at IS NULL) AND (settled_at IS NULL) = (settled_by IS NULL)",
	},
};

pg_noreturn static void raise_not_found(clUnit *unit, text *authorization_id);
static const char *told_put_away(const text *authorization_id);
static bool looks_like_campaign(const text *authorization_id);
static bool authorization_find_settled(clUnit *unit, text *authorization_id, clAuthorization *authorization);
static bool authorization_find_in(clUnit *unit, clRelation *leaf, text *authorization_id,
								  const clPlace *hint, clAuthorization *authorization);
static clRelation *ledger_open(clUnit *unit);
static clRelation *ledger_settled(clUnit *unit, const clRow *row);
static void authorization_read(clAuthorization *authorization);
static clShares row_shares(const clRow *row, int column);
static void set_shares(clRow *row, int column, const clShares *shares);
static text *row_text(const clRow *row, int column);

int64
cl_authorization_charged(const clAuthorization *authorization)
{
	switch (authorization->status)
	{
		case CL_AUTHORIZED:
			return authorization->committed_amount;
		case CL_COMMITTED:
			return authorization->amount;
		default:
			return 0;
	}
}

/* ------------------------------------------------------------------------
 * Finding
 * ------------------------------------------------------------------------
 */

void
cl_authorization_get(clUnit *unit, text *authorization_id, clAuthorization *authorization)
{
	if (!cl_authorization_find(unit, authorization_id, authorization))
		raise_not_found(unit, authorization_id);
}

/* What is not searched, or may not be there any more, is said. */
static void
raise_not_found(clUnit *unit, text *authorization_id)
{
	char *foreign = cl_authorization_foreign_leaves(unit);
	const char *put_away = told_put_away(authorization_id);

	cl_shard_require_authorization(authorization_id);
	ereport(ERROR,
			(errcode(ERRCODE_CL_AUTHORIZATION_NOT_FOUND),
			 errmsg("authorization \"%s\" does not exist", text_to_cstring(authorization_id)),
			 foreign != NULL	  ? errdetail("Partitions that are foreign tables were not searched: %s.", foreign) :
				 put_away != NULL ? errdetail_internal("%s", put_away) :
									0,
			 looks_like_campaign(authorization_id) ?
				 errhint("Pass the authorization_id that credit_authorize() answered with. "
						 "A campaign's are found by: "
						 "SELECT authorization_id, status FROM credit_ledger WHERE campaign_id = %s;",
						 quote_literal_cstr(text_to_cstring(authorization_id))) :
				 put_away != NULL ? errhint("Those that were are named in credit_detached_partition; "
											"ALTER TABLE ... ATTACH PARTITION brings one back.") :
									0));
	pg_unreachable();
}

/* NULL if no authorization of its time was put away. */
static const char *
told_put_away(const text *authorization_id)
{
	TimestampTz until = cl_put_away_until();
	TimestampTz created_at;

	if (TIMESTAMP_IS_NOBEGIN(until) ||
		(cl_authorization_id_time(authorization_id, &created_at) && created_at >= until))
		return NULL;
	return psprintf("Authorizations made before %s may have been put away with a partition.",
					timestamptz_to_str(until));
}

/* Identifiers of authorizations begin with auth-, imported ones as a rule too. */
static bool
looks_like_campaign(const text *authorization_id)
{
	return VARSIZE_ANY_EXHDR(authorization_id) < 5 || memcmp(VARDATA_ANY(authorization_id), "auth-", 5) != 0;
}

char *
cl_authorization_foreign_leaves(clUnit *unit)
{
	return cl_partition_foreign_leaves(unit, cl_table_oid(CL_TABLE_SETTLED), &ledger_table);
}

bool
cl_authorization_find(clUnit *unit, text *authorization_id, clAuthorization *authorization)
{
	return cl_authorization_find_open(unit, authorization_id, authorization) ||
		authorization_find_settled(unit, authorization_id, authorization);
}

void
cl_authorization_get_again(clUnit *unit, text *authorization_id, const clPlace *hint, clAuthorization *authorization)
{
	clRelation *leaf = cl_relation_open(unit, hint->relid, &ledger_table);

	if (!authorization_find_in(unit, leaf, authorization_id, hint, authorization))
		cl_authorization_get(unit, authorization_id, authorization);
}

/* The organisation of an authorization never changes, so it may be read before the lock is held. */
void
cl_authorization_lock(clUnit *unit, text *authorization_id, clAccount *account, clAuthorization *authorization,
					  clTally *tally)
{
	clPlace place;

	tally->authorization_id = authorization_id;
	cl_authorization_get(unit, authorization_id, authorization);
	place = authorization->row.place;
	tally->org_id = authorization->org_id;
	tally->campaign_id = authorization->campaign_id;
	cl_account_lock(unit, authorization->org_id, account);
	cl_authorization_get_again(unit, authorization_id, &place, authorization);
}

bool
cl_authorization_find_open(clUnit *unit, text *authorization_id, clAuthorization *authorization)
{
	return authorization_find_in(unit, ledger_open(unit), authorization_id, NULL, authorization);
}

/*
 * The leaf that the identifier points to, then all the others: a row may have
 * been imported under any identifier, and a partition's bound may lie inside
 * a millisecond.
 */
static bool
authorization_find_settled(clUnit *unit, text *authorization_id, clAuthorization *authorization)
{
	Oid parent = cl_table_oid(CL_TABLE_SETTLED);
	clRelation *likely = NULL;
	TimestampTz created_at;
	ListCell *lc;

	if (cl_authorization_id_time(authorization_id, &created_at))
	{
		clRow row;

		cl_row_init(&row);
		cl_row_set(&row, LEDGER_CREATED_AT, TimestampTzGetDatum(created_at));
		likely = cl_partition_for_reading(unit, parent, &ledger_table, &row);
		if (likely != NULL && authorization_find_in(unit, likely, authorization_id, NULL, authorization))
			return true;
	}

	foreach(lc, cl_partition_leaves(unit, parent, &ledger_table))
	{
		clRelation *leaf = cl_partition_open_leaf(unit, lfirst_oid(lc), &ledger_table);

		if (leaf != NULL && leaf != likely && authorization_find_in(unit, leaf, authorization_id, NULL, authorization))
			return true;
	}
	return false;
}

static bool
authorization_find_in(clUnit *unit, clRelation *leaf, text *authorization_id, const clPlace *hint,
					  clAuthorization *authorization)
{
	clKey key = {LEDGER_AUTHORIZATION_ID, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(authorization_id)};

	if (!cl_relation_find(unit, leaf, 1, &key, hint, &authorization->row))
		return false;
	authorization->leaf = leaf;
	authorization_read(authorization);
	return true;
}

clScan *
cl_authorization_scan_expired(clUnit *unit, TimestampTz as_of)
{
	clKey key = {LEDGER_EXPIRES_AT, BTLessStrategyNumber, F_TIMESTAMPTZ_LT, TimestampTzGetDatum(as_of)};

	return cl_scan_begin(unit, ledger_open(unit), 1, &key, NULL);
}

clScan *
cl_authorization_scan_expired_of(clUnit *unit, text *org_id, TimestampTz as_of)
{
	clKey keys[] = {{LEDGER_ORG_ID, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(org_id)},
					{LEDGER_EXPIRES_AT, BTLessStrategyNumber, F_TIMESTAMPTZ_LT, TimestampTzGetDatum(as_of)}};

	return cl_scan_begin(unit, ledger_open(unit), lengthof(keys), keys, NULL);
}

bool
cl_authorization_next(clUnit *unit, clScan *scan, clAuthorization *authorization)
{
	if (!cl_scan_next(scan, &authorization->row))
		return false;
	authorization->leaf = ledger_open(unit);
	authorization_read(authorization);
	return true;
}

static clRelation *
ledger_open(clUnit *unit)
{
	return cl_relation_open(unit, cl_table_oid(CL_TABLE_OPEN), &ledger_table);
}

/* The leaf that a settled row belongs to. */
static clRelation *
ledger_settled(clUnit *unit, const clRow *row)
{
	return cl_partition_for_writing(unit, cl_table_oid(CL_TABLE_SETTLED), &ledger_table, row);
}

static void
authorization_read(clAuthorization *authorization)
{
	const clRow *row = &authorization->row;

	authorization->authorization_id = row_text(row, LEDGER_AUTHORIZATION_ID);
	authorization->org_id = row_text(row, LEDGER_ORG_ID);
	authorization->campaign_id = row_text(row, LEDGER_CAMPAIGN_ID);
	authorization->idempotency_key = row_text(row, LEDGER_IDEMPOTENCY_KEY);
	authorization->status = cl_enum_label(CL_ENUM_STATUS, cl_row_get(row, LEDGER_STATUS));
	authorization->amount = DatumGetInt64(cl_row_get(row, LEDGER_AMOUNT));
	authorization->authorized_amount = DatumGetInt64(cl_row_get(row, LEDGER_AUTHORIZED_AMOUNT));
	authorization->committed_amount =
		cl_row_is_null(row, LEDGER_COMMITTED_AMOUNT) ? 0 : DatumGetInt64(cl_row_get(row, LEDGER_COMMITTED_AMOUNT));
	authorization->refunded_amount = DatumGetInt64(cl_row_get(row, LEDGER_REFUNDED_AMOUNT));
	authorization->timeout_action = cl_enum_label(CL_ENUM_TIMEOUT_ACTION, cl_row_get(row, LEDGER_TIMEOUT_ACTION));
	authorization->created_at = DatumGetTimestampTz(cl_row_get(row, LEDGER_CREATED_AT));
	authorization->expires_at = DatumGetTimestampTz(cl_row_get(row, LEDGER_EXPIRES_AT));
	if (authorization->status != CL_AUTHORIZED)
	{
		authorization->settled_at = DatumGetTimestampTz(cl_row_get(row, LEDGER_SETTLED_AT));
		authorization->settled_by = cl_enum_label(CL_ENUM_ACTOR, cl_row_get(row, LEDGER_SETTLED_BY));
	}
	authorization->reason = row_text(row, LEDGER_REASON);
	authorization->metadata = NULL;
	authorization->lots = row_shares(row, LEDGER_LOTS);
	authorization->committed_lots = row_shares(row, LEDGER_COMMITTED_LOTS);
}

static text *
row_text(const clRow *row, int column)
{
	return cl_row_is_null(row, column) ? NULL : DatumGetTextPP(cl_row_get(row, column));
}

static clShares
row_shares(const clRow *row, int column)
{
	clShares none = {0};

	return cl_row_is_null(row, column) ? none : cl_shares_read(cl_row_get(row, column));
}

static void
set_shares(clRow *row, int column, const clShares *shares)
{
	if (shares->count > 0)
		cl_row_set(row, column, cl_shares_pairs(shares, 1));
	else if (!cl_row_is_null(row, column))
		cl_row_set_null(row, column);
}

/* ------------------------------------------------------------------------
 * Writing
 * ------------------------------------------------------------------------
 */

void
cl_authorization_insert(clUnit *unit, const clAuthorization *authorization)
{
	clRelation *leaf;
	clRow row;

	cl_row_init(&row);
	cl_row_set(&row, LEDGER_AUTHORIZATION_ID, PointerGetDatum(authorization->authorization_id));
	cl_row_set(&row, LEDGER_ORG_ID, PointerGetDatum(authorization->org_id));
	if (authorization->campaign_id != NULL)
		cl_row_set(&row, LEDGER_CAMPAIGN_ID, PointerGetDatum(authorization->campaign_id));
	cl_row_set(&row, LEDGER_IDEMPOTENCY_KEY, PointerGetDatum(authorization->idempotency_key));
	cl_row_set(&row, LEDGER_STATUS, cl_enum_datum(CL_ENUM_STATUS, authorization->status));
	cl_row_set(&row, LEDGER_AMOUNT, Int64GetDatum(authorization->amount));
	cl_row_set(&row, LEDGER_AUTHORIZED_AMOUNT, Int64GetDatum(authorization->authorized_amount));
	cl_row_set(&row, LEDGER_REFUNDED_AMOUNT, Int64GetDatum(authorization->refunded_amount));
	cl_row_set(&row, LEDGER_TIMEOUT_ACTION,
			   cl_enum_datum(CL_ENUM_TIMEOUT_ACTION, authorization->timeout_action));
	cl_row_set(&row, LEDGER_CREATED_AT, TimestampTzGetDatum(authorization->created_at));
	cl_row_set(&row, LEDGER_EXPIRES_AT, TimestampTzGetDatum(authorization->expires_at));
	if (authorization->metadata != NULL)
		cl_row_set(&row, LEDGER_METADATA, PointerGetDatum(authorization->metadata));
	set_shares(&row, LEDGER_LOTS, &authorization->lots);
	if (authorization->status == CL_AUTHORIZED)
		leaf = ledger_open(unit);
	else
	{
		cl_row_set(&row, LEDGER_SETTLED_AT, TimestampTzGetDatum(authorization->settled_at));
		cl_row_set(&row, LEDGER_SETTLED_BY, cl_enum_datum(CL_ENUM_ACTOR, authorization->settled_by));
		leaf = ledger_settled(unit, &row);
	}
	cl_relation_insert(unit, leaf, &row);
}

void
cl_authorization_store(clUnit *unit, clAuthorization *authorization)
{
	clRow *row = &authorization->row;
	bool was_open = DatumGetObjectId(cl_row_get(row, LEDGER_STATUS)) ==
		DatumGetObjectId(cl_enum_datum(CL_ENUM_STATUS, CL_AUTHORIZED));

	cl_row_set(row, LEDGER_AMOUNT, Int64GetDatum(authorization->amount));
	set_shares(row, LEDGER_LOTS, &authorization->lots);
	set_shares(row, LEDGER_COMMITTED_LOTS, &authorization->committed_lots);
	if (authorization->status == CL_AUTHORIZED)
	{
		cl_row_set(row, LEDGER_AUTHORIZED_AMOUNT, Int64GetDatum(authorization->authorized_amount));
		if (authorization->committed_amount > 0)
			cl_row_set(row, LEDGER_COMMITTED_AMOUNT, Int64GetDatum(authorization->committed_amount));
		cl_row_set(row, LEDGER_EXPIRES_AT, TimestampTzGetDatum(authorization->expires_at));
	}
	else
	{
		cl_row_set(row, LEDGER_STATUS, cl_enum_datum(CL_ENUM_STATUS, authorization->status));
		cl_row_set(row, LEDGER_REFUNDED_AMOUNT, Int64GetDatum(authorization->refunded_amount));
		cl_row_set(row, LEDGER_SETTLED_AT, TimestampTzGetDatum(authorization->settled_at));
		cl_row_set(row, LEDGER_SETTLED_BY, cl_enum_datum(CL_ENUM_ACTOR, authorization->settled_by));
		if (authorization->reason != NULL)
			cl_row_set(row, LEDGER_REASON, PointerGetDatum(authorization->reason));
		else
			cl_row_set_null(row, LEDGER_REASON);
	}

	if (was_open && authorization->status != CL_AUTHORIZED)
		cl_relation_move(unit, authorization->leaf, ledger_settled(unit, row), row);
	else
		cl_relation_update(unit, authorization->leaf, row);
}
