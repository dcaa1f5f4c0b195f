/*-------------------------------------------------------------------------
 *
 * entry.c
 *	  Entries: every movement of a balance, append-only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

#include "ledger/entry.h"
#include "table/find.h"
#include "table/partition.h"
#include "table/write.h"

/* Columns of credit_entry */
enum
{
	ENTRY_ORG_ID = 1,
	ENTRY_ENTRY_NO,
	ENTRY_KIND,
	ENTRY_AMOUNT,
	ENTRY_AUTHORIZATION_ID,
	ENTRY_IDEMPOTENCY_KEY,
	ENTRY_REASON,
	ENTRY_BALANCE_AFTER,
	ENTRY_CREATED_AT,
	ENTRY_METADATA,
	ENTRY_LOTS,
	ENTRY_EFFECTIVE_AT
};

static const clTable entry_table = {
	.ncolumns = ENTRY_EFFECTIVE_AT,
	.columns = {
		[ENTRY_ORG_ID] = {"org_id", CL_IDENTIFIER},
		[ENTRY_ENTRY_NO] = {"entry_no", CL_BIGINT},
		[ENTRY_KIND] = {"kind", CL_ENUM},
		[ENTRY_AMOUNT] = {"amount", CL_BIGINT},
		[ENTRY_AUTHORIZATION_ID] = {"authorization_id", CL_IDENTIFIER, CL_NULLABLE},
		[ENTRY_IDEMPOTENCY_KEY] = {"idempotency_key", CL_IDENTIFIER, CL_NULLABLE},
		[ENTRY_REASON] = {"reason", CL_TEXT, CL_NULLABLE | CL_KEPT},
		[ENTRY_BALANCE_AFTER] = {"balance_after", CL_BIGINT},
		[ENTRY_CREATED_AT] = {"created_at", CL_INSTANT},
		[ENTRY_METADATA] = {"metadata", CL_JSONB, CL_NULLABLE | CL_KEPT},
		[ENTRY_LOTS] = {"lots", CL_BIGINT_ARRAY, CL_NULLABLE},
		[ENTRY_EFFECTIVE_AT] = {"effective_at", CL_INSTANT, CL_NULLABLE},
	},
	.upheld = {
		"entry_no > 0",
		"amount <> 0",
	},
};

static void set_optional(clRow *row, int column, const void *value);

void
cl_entry_post(clUnit *unit, clAccount *account, TimestampTz now, clEntry *entry)
{
	clRow row;

	if (entry->amount == 0)
		return;

	cl_account_move(account, entry->amount);
	entry->org_id = account->org_id;
	entry->entry_no = ++account->last_entry_no;
	entry->balance_after = account->balance;
	entry->created_at = now;

	cl_row_init(&row);
	cl_row_set(&row, ENTRY_ORG_ID, PointerGetDatum(entry->org_id));
	cl_row_set(&row, ENTRY_ENTRY_NO, Int64GetDatum(entry->entry_no));
	cl_row_set(&row, ENTRY_KIND, cl_enum_datum(CL_ENUM_ENTRY_KIND, entry->kind));
	cl_row_set(&row, ENTRY_AMOUNT, Int64GetDatum(entry->amount));
	set_optional(&row, ENTRY_AUTHORIZATION_ID, entry->authorization_id);
	set_optional(&row, ENTRY_IDEMPOTENCY_KEY, entry->idempotency_key);
	set_optional(&row, ENTRY_REASON, entry->reason);
	cl_row_set(&row, ENTRY_BALANCE_AFTER, Int64GetDatum(entry->balance_after));
	cl_row_set(&row, ENTRY_CREATED_AT, TimestampTzGetDatum(entry->created_at));
	set_optional(&row, ENTRY_METADATA, entry->metadata);
	if (entry->lots.count > 0)
		cl_row_set(&row, ENTRY_LOTS, cl_shares_pairs(&entry->lots, entry->amount < 0 ? -1 : 1));
	if (entry->effective_at != 0)
		cl_row_set(&row, ENTRY_EFFECTIVE_AT, TimestampTzGetDatum(entry->effective_at));
	cl_relation_insert(unit,
					   cl_partition_for_writing(unit, cl_table_oid(CL_TABLE_ENTRY), &entry_table, &row),
					   &row);
}

bool
cl_entry_find(clUnit *unit, text *org_id, int64 entry_no, TimestampTz created_at, clEntry *entry)
{
	clKey keys[] = {
		{ENTRY_ORG_ID, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(org_id)},
		{ENTRY_ENTRY_NO, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(entry_no)},
	};
	clRelation *leaf;
	clRow row;

	cl_row_init(&row);
	cl_row_set(&row, ENTRY_CREATED_AT, TimestampTzGetDatum(created_at));
	leaf = cl_partition_for_reading(unit, cl_table_oid(CL_TABLE_ENTRY), &entry_table, &row);
	if (leaf == NULL || !cl_relation_find(unit, leaf, lengthof(keys), keys, NULL, &row))
		return false;

	memset(entry, 0, sizeof(clEntry));
	entry->org_id = org_id;
	entry->entry_no = entry_no;
	entry->kind = cl_enum_label(CL_ENUM_ENTRY_KIND, cl_row_get(&row, ENTRY_KIND));
	entry->amount = DatumGetInt64(cl_row_get(&row, ENTRY_AMOUNT));
	if (!cl_row_is_null(&row, ENTRY_AUTHORIZATION_ID))
		entry->authorization_id = DatumGetTextPP(cl_row_get(&row, ENTRY_AUTHORIZATION_ID));
	entry->balance_after = DatumGetInt64(cl_row_get(&row, ENTRY_BALANCE_AFTER));
	entry->created_at = created_at;
	return true;
}

static void
set_optional(clRow *row, int column, const void *value)
{
	if (value != NULL)
		cl_row_set(row, column, PointerGetDatum(value));
}
