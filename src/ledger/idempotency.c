/*-------------------------------------------------------------------------
 *
 * idempotency.c
 *	  Idempotency keys: which were used, for what, and what came of it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

#include "ledger/errors.h"
#include "ledger/identifier.h"
#include "ledger/idempotency.h"
#include "table/find.h"
#include "table/write.h"

/* Columns of credit_idempotency */
enum
{
	IDEMPOTENCY_ORG_ID = 1,
	IDEMPOTENCY_OPERATION,
	IDEMPOTENCY_KEY,
	IDEMPOTENCY_AMOUNT,
	IDEMPOTENCY_CAMPAIGN_ID,
	IDEMPOTENCY_AUTHORIZATION_ID,
	IDEMPOTENCY_ENTRY_NO,
	IDEMPOTENCY_CREATED_AT
};

static const clTable idempotency_table = {
	.ncolumns = IDEMPOTENCY_CREATED_AT,
	.columns = {
		[IDEMPOTENCY_ORG_ID] = {"org_id", CL_IDENTIFIER},
		[IDEMPOTENCY_OPERATION] = {"operation", CL_ENUM},
		[IDEMPOTENCY_KEY] = {"idempotency_key", CL_IDENTIFIER},
		[IDEMPOTENCY_AMOUNT] = {"amount", CL_BIGINT, CL_NULLABLE},
		[IDEMPOTENCY_CAMPAIGN_ID] = {"campaign_id", CL_IDENTIFIER, CL_NULLABLE},
		[IDEMPOTENCY_AUTHORIZATION_ID] = {"authorization_id", CL_IDENTIFIER, CL_NULLABLE},
		[IDEMPOTENCY_ENTRY_NO] = {"entry_no", CL_BIGINT, CL_NULLABLE},
		[IDEMPOTENCY_CREATED_AT] = {"created_at", CL_INSTANT},
	},
};

static clRelation *idempotency_relation(clUnit *unit);
static char *show_parameters(const clIdempotency *call);

bool
cl_idempotency_replay(clUnit *unit, clAccount *account, clIdempotency *call)
{
	clKey keys[] = {
		{IDEMPOTENCY_KEY, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(call->key)},
		{IDEMPOTENCY_ORG_ID, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(account->org_id)},
		{IDEMPOTENCY_OPERATION, BTEqualStrategyNumber, F_ENUM_EQ, cl_enum_datum(CL_ENUM_OPERATION, call->operation)},
	};
	clIdempotency stored = {call->operation, call->key};
	clRow row;

	if (call->is_new || !cl_relation_find(unit, idempotency_relation(unit), lengthof(keys), keys, NULL, &row))
		return false;

	stored.has_amount = !cl_row_is_null(&row, IDEMPOTENCY_AMOUNT);
	if (stored.has_amount)
		stored.amount = DatumGetInt64(cl_row_get(&row, IDEMPOTENCY_AMOUNT));
	if (!cl_row_is_null(&row, IDEMPOTENCY_CAMPAIGN_ID))
		stored.campaign_id = DatumGetTextPP(cl_row_get(&row, IDEMPOTENCY_CAMPAIGN_ID));
	if (!cl_row_is_null(&row, IDEMPOTENCY_AUTHORIZATION_ID))
		stored.authorization_id = DatumGetTextPP(cl_row_get(&row, IDEMPOTENCY_AUTHORIZATION_ID));
	if (!cl_row_is_null(&row, IDEMPOTENCY_ENTRY_NO))
		stored.entry_no = DatumGetInt64(cl_row_get(&row, IDEMPOTENCY_ENTRY_NO));
	stored.created_at = DatumGetTimestampTz(cl_row_get(&row, IDEMPOTENCY_CREATED_AT));

	cl_idempotency_require_same(call, &stored);
	*call = stored;
	return true;
}

bool
cl_idempotency_none_between(clUnit *unit, text *least, text *greatest)
{
	clKey keys[] = {
		{IDEMPOTENCY_KEY, BTGreaterEqualStrategyNumber, F_TEXT_GE, PointerGetDatum(least)},
		{IDEMPOTENCY_KEY, BTLessEqualStrategyNumber, F_TEXT_LE, PointerGetDatum(greatest)},
	};

	return !cl_relation_has(unit, idempotency_relation(unit), lengthof(keys), keys);
}

void
cl_idempotency_require_same(const clIdempotency *call, const clIdempotency *stored)
{
	if (call->has_amount == stored->has_amount && call->amount == stored->amount &&
		cl_identifier_equal(call->campaign_id, stored->campaign_id) &&
		(call->operation != CL_OP_REFUND || cl_identifier_equal(call->authorization_id, stored->authorization_id)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_CL_IDEMPOTENCY_CONFLICT),
			 errmsg("idempotency key \"%s\" was used before with other parameters", text_to_cstring(call->key)),
			 errdetail("Stored: %s. Passed: %s.", show_parameters(stored), show_parameters(call)),
			 errhint("Another call takes another idempotency key.")));
}

void
cl_idempotency_insert(clUnit *unit, clAccount *account, const clIdempotency *call)
{
	clRow row;

	cl_row_init(&row);
	cl_row_set(&row, IDEMPOTENCY_ORG_ID, PointerGetDatum(account->org_id));
	cl_row_set(&row, IDEMPOTENCY_OPERATION, cl_enum_datum(CL_ENUM_OPERATION, call->operation));
	cl_row_set(&row, IDEMPOTENCY_KEY, PointerGetDatum(call->key));
	if (call->has_amount)
		cl_row_set(&row, IDEMPOTENCY_AMOUNT, Int64GetDatum(call->amount));
	if (call->campaign_id != NULL)
		cl_row_set(&row, IDEMPOTENCY_CAMPAIGN_ID, PointerGetDatum(call->campaign_id));
	if (call->authorization_id != NULL)
		cl_row_set(&row, IDEMPOTENCY_AUTHORIZATION_ID, PointerGetDatum(call->authorization_id));
	if (call->entry_no != 0)
		cl_row_set(&row, IDEMPOTENCY_ENTRY_NO, Int64GetDatum(call->entry_no));
	cl_row_set(&row, IDEMPOTENCY_CREATED_AT, TimestampTzGetDatum(call->created_at));
	cl_relation_insert(unit, idempotency_relation(unit), &row);
}

static clRelation *
idempotency_relation(clUnit *unit)
{
	return cl_relation_open(unit, cl_table_oid(CL_TABLE_IDEMPOTENCY), &idempotency_table);
}

static char *
show_parameters(const clIdempotency *call)
{
	StringInfoData shown;

	initStringInfo(&shown);
	if (call->has_amount)
		appendStringInfo(&shown, "amount %lld", (long long) call->amount);
	else
		appendStringInfoString(&shown, "amount not given");
	if (call->campaign_id != NULL)
		appendStringInfo(&shown, ", campaign_id \"%s\"", text_to_cstring(call->campaign_id));
	else if (call->operation == CL_OP_AUTHORIZE)
		appendStringInfoString(&shown, ", no campaign_id");
	if (call->operation == CL_OP_REFUND)
		appendStringInfo(&shown, ", authorization_id \"%s\"", text_to_cstring(call->authorization_id));
	return shown.data;
}
