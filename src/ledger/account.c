/*-------------------------------------------------------------------------
 *
 * account.c
 *	  The account of an organisation: one row, and the lock of all calls.
 *
 * Lock order: the account's row before any other row of the organisation,
 * several accounts in the order of org_id.  It is locked FOR NO KEY UPDATE,
 * so a foreign key to it never waits.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

#include "ledger/account.h"
#include "ledger/catalog.h"
#include "compat.h"
#include "ledger/errors.h"
#include "ledger/identifier.h"
#include "ledger/low_balance.h"
#include "ledger/shard.h"
#include "table/find.h"
#include "table/write.h"

/* Columns of credit_account */
enum
{
	ACCOUNT_ORG_ID = 1,
	ACCOUNT_BALANCE,
	ACCOUNT_LAST_ENTRY_NO,
	ACCOUNT_HELD,
	ACCOUNT_UPDATED_AT,
	ACCOUNT_CREDIT_LIMIT,
	ACCOUNT_OVERAGE_LIMIT,
	ACCOUNT_LOW_BALANCE_THRESHOLD,
	ACCOUNT_FROZEN,
	ACCOUNT_CREATED_AT,
	ACCOUNT_METADATA,
	ACCOUNT_LOT_BALANCE,
	ACCOUNT_LOT_HELD,
	ACCOUNT_LOT_EXPIRES_AT
};

static const clTable account_table = {
	.ncolumns = ACCOUNT_LOT_EXPIRES_AT,
	.columns = {
		[ACCOUNT_ORG_ID] = {"org_id", CL_IDENTIFIER},
		[ACCOUNT_BALANCE] = {"balance", CL_BIGINT},
		[ACCOUNT_LAST_ENTRY_NO] = {"last_entry_no", CL_BIGINT},
		[ACCOUNT_HELD] = {"held", CL_BIGINT},
		[ACCOUNT_UPDATED_AT] = {"updated_at", CL_INSTANT},
		[ACCOUNT_CREDIT_LIMIT] = {"credit_limit", CL_BIGINT},
		[ACCOUNT_OVERAGE_LIMIT] = {"overage_limit", CL_BIGINT},
		[ACCOUNT_LOW_BALANCE_THRESHOLD] = {"low_balance_threshold", CL_BIGINT, CL_NULLABLE},
		[ACCOUNT_FROZEN] = {"frozen", CL_BOOLEAN},
		[ACCOUNT_CREATED_AT] = {"created_at", CL_INSTANT},
		[ACCOUNT_METADATA] = {"metadata", CL_JSONB, CL_NULLABLE | CL_KEPT},
		[ACCOUNT_LOT_BALANCE] = {"lot_balance", CL_BIGINT, CL_NULLABLE},
		[ACCOUNT_LOT_HELD] = {"lot_held", CL_BIGINT, CL_NULLABLE},
		[ACCOUNT_LOT_EXPIRES_AT] = {"lot_expires_at", CL_INSTANT, CL_NULLABLE},
	},
	.upheld = {
		"octet_length(org_id) BETWEEN 1 AND 256",
		"held >= 0",
		"credit_limit >= 0",
		"overage_limit >= 0",
		"last_entry_no >= 0",
		"(lot_balance IS NULL) = (lot_held IS NULL) AND (lot_held IS NULL) = (lot_expires_at IS NULL) "
		"AND coalesce(lot_held >= 0 AND lot_held <= lot_balance AND lot_held <= held, true)",
	},
};

/*
 * Where this session left the account that it stored last.  Callers come back
 * to an organisation, to settle what they held; and in a transaction with
 * many calls an index scan passes all versions that the account had.
 */
static struct
{
	int length; /* 0: none */
	char org_id[CL_MAX_IDENTIFIER];
	clPlace place;
} last_stored;

static clLockResult account_find_and_lock(clUnit *unit, text *org_id, bool skip_locked, clAccount *account);
static void account_set_lots(clAccount *account);
static void account_follow_level(clUnit *unit, clAccount *account);
static clBalanceLevel account_level(const clAccount *account);
static clRelation *account_relation(clUnit *unit);
static clKey account_key(text *org_id);
static const clPlace *account_hint(const text *org_id);
static void account_remember(const clAccount *account);
static bool account_create(clUnit *unit, text *org_id, clAccount *account);
static void account_read(clAccount *account);
static void account_read_terms(clAccount *account);
static void account_begin(clAccount *account);
static void account_set_int64(clAccount *account, int column, int64 value);
static void account_require_range(const clAccount *account);
pg_noreturn static void raise_account_not_found(clUnit *unit, text *org_id);

/* ------------------------------------------------------------------------
 * Locking and storing
 * ------------------------------------------------------------------------
 */

void
cl_account_lock(clUnit *unit, text *org_id, clAccount *account)
{
	bool locked = account_find_and_lock(unit, org_id, false, account) == CL_LOCKED;

	/* Whoever waited for an account that moved sees where it went. */
	cl_unit_refresh(unit);
	if (!locked)
		raise_account_not_found(unit, org_id);
}

void
cl_account_lock_next(clUnit *unit, text *org_id, clAccount *account)
{
	if (account_find_and_lock(unit, org_id, false, account) != CL_LOCKED)
		raise_account_not_found(unit, org_id);
}

bool
cl_account_lock_or_create(clUnit *unit, text *org_id, clAccount *account)
{
	bool created = false;

	while (account_find_and_lock(unit, org_id, false, account) != CL_LOCKED)
	{
		CHECK_FOR_INTERRUPTS();
		cl_unit_refresh(unit);
		cl_shard_require_not_moved(unit, org_id);
		created = account_create(unit, org_id, account);
		cl_unit_refresh(unit);
	}
	cl_unit_refresh(unit);
	return created;
}

bool
cl_account_try_lock(clUnit *unit, text *org_id, clAccount *account)
{
	if (account_find_and_lock(unit, org_id, true, account) != CL_LOCKED)
		return false;
	cl_unit_refresh(unit);
	return true;
}

void
cl_account_store(clUnit *unit, clAccount *account)
{
	if (!account->changed)
		return;
	account_require_range(account);

	account_set_int64(account, ACCOUNT_BALANCE, account->balance);
	account_set_int64(account, ACCOUNT_HELD, account->held);
	account_set_int64(account, ACCOUNT_LAST_ENTRY_NO, account->last_entry_no);
	account_set_int64(account, ACCOUNT_UPDATED_AT, account->updated_at);
	if (account->has_lots || !cl_row_is_null(&account->row, ACCOUNT_LOT_BALANCE))
		account_set_lots(account);
	cl_relation_update(unit, account->rel, &account->row);
	account_remember(account);
	account->changed = false;
	account_follow_level(unit, account);
}

/* NULL while no lot is open. */
static void
account_set_lots(clAccount *account)
{
	clRow *row = &account->row;

	if (account->has_lots)
	{
		cl_row_set(row, ACCOUNT_LOT_BALANCE, Int64GetDatum(account->lot_balance));
		cl_row_set(row, ACCOUNT_LOT_HELD, Int64GetDatum(account->lot_held));
		cl_row_set(row, ACCOUNT_LOT_EXPIRES_AT, TimestampTzGetDatum(account->lot_expires_at));
	}
	else
	{
		cl_row_set_null(row, ACCOUNT_LOT_BALANCE);
		cl_row_set_null(row, ACCOUNT_LOT_HELD);
		cl_row_set_null(row, ACCOUNT_LOT_EXPIRES_AT);
	}
}

/* A level that was crossed since the account was locked is for others to know. */
static void
account_follow_level(clUnit *unit, clAccount *account)
{
	clBalanceLevel level = account_level(account);

	if (level == account->level_before)
		return;
	cl_low_balance_follow(unit, account->org_id, level, cl_account_available(account),
						  account->low_balance_threshold, account->balance, account->held);
	account->level_before = level;
}

static clBalanceLevel
account_level(const clAccount *account)
{
	return account->has_low_balance_threshold ?
		cl_balance_level(cl_account_available(account), account->low_balance_threshold) :
		CL_BALANCE_UNWATCHED;
}

static clLockResult
account_find_and_lock(clUnit *unit, text *org_id, bool skip_locked, clAccount *account)
{
	clKey key = account_key(org_id);
	clLockResult result;

	account->rel = account_relation(unit);
	if (skip_locked && !cl_shard_has(unit, org_id))
		return CL_LOCK_GONE;
	cl_shard_require(unit, org_id);
	result = cl_relation_find_and_lock(unit, account->rel, 1, &key, account_hint(org_id), &account->row, skip_locked);
	if (result != CL_LOCKED)
		return result;
	account_begin(account);
	return CL_LOCKED;
}

void
cl_account_get(clUnit *unit, text *org_id, clAccount *account)
{
	clKey key = account_key(org_id);

	account->rel = account_relation(unit);
	cl_shard_require(unit, org_id);
	if (!cl_relation_find(unit, account->rel, 1, &key, account_hint(org_id), &account->row))
		raise_account_not_found(unit, org_id);
	account_begin(account);
}

static clRelation *
account_relation(clUnit *unit)
{
	return cl_relation_open(unit, cl_table_oid(CL_TABLE_ACCOUNT), &account_table);
}

static clKey
account_key(text *org_id)
{
	return (clKey) {ACCOUNT_ORG_ID, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(org_id)};
}

static const clPlace *
account_hint(const text *org_id)
{
	bool is_last = last_stored.length == (int) VARSIZE_ANY_EXHDR(org_id) &&
		memcmp(last_stored.org_id, VARDATA_ANY(org_id), last_stored.length) == 0;

	return is_last ? &last_stored.place : NULL;
}

/* A DBA may have let in names that are longer. */
static void
account_remember(const clAccount *account)
{
	int length = VARSIZE_ANY_EXHDR(account->org_id);

	last_stored.length = length <= CL_MAX_IDENTIFIER ? length : 0;
	memcpy(last_stored.org_id, VARDATA_ANY(account->org_id), last_stored.length);
	last_stored.place = account->row.place;
}

/* Make an empty account, unless somebody else did meanwhile. */
static bool
account_create(clUnit *unit, text *org_id, clAccount *account)
{
	clKey key = account_key(org_id);
	TimestampTz now = GetCurrentTimestamp();

	cl_row_init(&account->row);
	cl_row_set(&account->row, ACCOUNT_ORG_ID, PointerGetDatum(org_id));
	cl_row_set(&account->row, ACCOUNT_BALANCE, Int64GetDatum(0));
	cl_row_set(&account->row, ACCOUNT_HELD, Int64GetDatum(0));
	cl_row_set(&account->row, ACCOUNT_CREDIT_LIMIT, Int64GetDatum(0));
	cl_row_set(&account->row, ACCOUNT_OVERAGE_LIMIT, Int64GetDatum(0));
	cl_row_set(&account->row, ACCOUNT_FROZEN, BoolGetDatum(false));
	cl_row_set(&account->row, ACCOUNT_LAST_ENTRY_NO, Int64GetDatum(0));
	cl_row_set(&account->row, ACCOUNT_CREATED_AT, TimestampTzGetDatum(now));
	cl_row_set(&account->row, ACCOUNT_UPDATED_AT, TimestampTzGetDatum(now));
	return cl_relation_insert_absent(unit, account->rel, 1, &key, &account->row);
}

static void
account_read(clAccount *account)
{
	const clRow *row = &account->row;

	account->org_id = DatumGetTextPP(cl_row_get(row, ACCOUNT_ORG_ID));
	account->balance = DatumGetInt64(cl_row_get(row, ACCOUNT_BALANCE));
	account->held = DatumGetInt64(cl_row_get(row, ACCOUNT_HELD));
	account->last_entry_no = DatumGetInt64(cl_row_get(row, ACCOUNT_LAST_ENTRY_NO));
	account->updated_at = DatumGetTimestampTz(cl_row_get(row, ACCOUNT_UPDATED_AT));
	account->has_lots = !cl_row_is_null(row, ACCOUNT_LOT_BALANCE);
	if (account->has_lots)
	{
		account->lot_balance = DatumGetInt64(cl_row_get(row, ACCOUNT_LOT_BALANCE));
		account->lot_held = DatumGetInt64(cl_row_get(row, ACCOUNT_LOT_HELD));
		account->lot_expires_at = DatumGetTimestampTz(cl_row_get(row, ACCOUNT_LOT_EXPIRES_AT));
	}
	else
		account->lot_balance = account->lot_held = account->lot_expires_at = 0;
	account_read_terms(account);
}

static void
account_read_terms(clAccount *account)
{
	const clRow *row = &account->row;

	account->credit_limit = DatumGetInt64(cl_row_get(row, ACCOUNT_CREDIT_LIMIT));
	account->overage_limit = DatumGetInt64(cl_row_get(row, ACCOUNT_OVERAGE_LIMIT));
	account->has_low_balance_threshold = !cl_row_is_null(row, ACCOUNT_LOW_BALANCE_THRESHOLD);
	if (account->has_low_balance_threshold)
		account->low_balance_threshold = DatumGetInt64(cl_row_get(row, ACCOUNT_LOW_BALANCE_THRESHOLD));
	account->frozen = DatumGetBool(cl_row_get(row, ACCOUNT_FROZEN));
}

/* What was read or locked just now. */
static void
account_begin(clAccount *account)
{
	account_read(account);
	account->level_before = account_level(account);
	account->opened_at = GetCurrentTimestamp();
	account->changed = false;
	account->context = CurrentMemoryContext;
	account->lots = NULL;
}

void
cl_account_set_terms(clAccount *account, const clAccountTerms *terms)
{
	clRow *row = &account->row;

	if (terms->credit_limit != NULL)
		cl_row_set(row, ACCOUNT_CREDIT_LIMIT, Int64GetDatum(*terms->credit_limit));
	if (terms->overage_limit != NULL)
		cl_row_set(row, ACCOUNT_OVERAGE_LIMIT, Int64GetDatum(*terms->overage_limit));
	if (terms->low_balance_threshold != NULL && *terms->low_balance_threshold != 0)
		cl_row_set(row, ACCOUNT_LOW_BALANCE_THRESHOLD, Int64GetDatum(*terms->low_balance_threshold));
	else if (terms->low_balance_threshold != NULL)
		cl_row_set_null(row, ACCOUNT_LOW_BALANCE_THRESHOLD);
	if (terms->frozen != NULL)
		cl_row_set(row, ACCOUNT_FROZEN, BoolGetDatum(*terms->frozen));
	if (terms->metadata != NULL)
		cl_row_set(row, ACCOUNT_METADATA, PointerGetDatum(terms->metadata));
	account->changed = true;
	account_read_terms(account);
}

void
cl_account_take_over(clAccount *account, int64 balance, int64 last_entry_no, TimestampTz first_at)
{
	account->balance = balance;
	account->last_entry_no = last_entry_no;
	if (first_at < DatumGetTimestampTz(cl_row_get(&account->row, ACCOUNT_CREATED_AT)))
		cl_row_set(&account->row, ACCOUNT_CREATED_AT, TimestampTzGetDatum(first_at));
	account->changed = true;
}

static void
account_set_int64(clAccount *account, int column, int64 value)
{
	if (DatumGetInt64(cl_row_get(&account->row, column)) != value)
		cl_row_set(&account->row, column, Int64GetDatum(value));
}

/* ------------------------------------------------------------------------
 * Credits
 * ------------------------------------------------------------------------
 */

TimestampTz
cl_account_instant(clAccount *account, TimestampTz wall)
{
	account->changed = true;
	account->updated_at = Max(wall, account->updated_at);
	return account->updated_at;
}

int64
cl_account_available(const clAccount *account)
{
	return account->balance - account->held + account->credit_limit;
}

bool
cl_account_has_available(const clAccount *account, int64 amount)
{
	return amount <= 0 || amount <= cl_account_available(account);
}

void
cl_account_require_available(const clAccount *account, int64 amount)
{
	if (cl_account_has_available(account, amount))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_CL_INSUFFICIENT_CREDITS),
			 errmsg("insufficient credits for organisation \"%s\"", text_to_cstring(account->org_id)),
			 errdetail("Needed are %lld, available are %lld: balance %lld, held %lld, credit limit %lld.",
					   (long long) amount, (long long) cl_account_available(account),
					   (long long) account->balance, (long long) account->held,
					   (long long) account->credit_limit),
			 errhint("Grant credits and call again with the same arguments.")));
}

void
cl_account_hold(clAccount *account, int64 amount)
{
	account->changed = true;
	account->held += amount;
	Assert(account->held >= 0);
}

void
cl_account_move(clAccount *account, int64 amount)
{
	account->changed = true;
	if (pg_add_s64_overflow(account->balance, amount, &account->balance))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("balance of organisation \"%s\" out of range", text_to_cstring(account->org_id)),
				 errdetail("The movement is %lld.", (long long) amount)));
}

/*
 * What may ever be available must fit into a bigint: with every hold settled
 * in full, and with every hold given back.  An account in this range can
 * settle all its holds.
 */
static void
account_require_range(const clAccount *account)
{
	int64 ignored;

	if (pg_sub_s64_overflow(account->balance, account->held, &ignored) ||
		pg_add_s64_overflow(account->balance, account->credit_limit, &ignored))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("credits of organisation \"%s\" out of range", text_to_cstring(account->org_id)),
				 errdetail("Balance would be %lld, held %lld, credit limit %lld.",
						   (long long) account->balance, (long long) account->held,
						   (long long) account->credit_limit)));
}

static void
raise_account_not_found(clUnit *unit, text *org_id)
{
	cl_shard_require_not_moved(unit, org_id);
	ereport(ERROR,
			(errcode(ERRCODE_CL_ACCOUNT_NOT_FOUND),
			 errmsg("organisation \"%s\" has no account", text_to_cstring(org_id)),
			 errhint("See whether the name is right. The first credit_grant() of an organisation makes its account.")));
	pg_unreachable();
}
