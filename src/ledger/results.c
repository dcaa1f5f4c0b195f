/*-------------------------------------------------------------------------
 *
 * results.c
 *	  What the SQL functions answer with: values of the composite types.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "ledger/results.h"

#define MAX_ATTRIBUTES 17

typedef struct Answer
{
	int natts;
	Oid types[MAX_ATTRIBUTES];
	Datum values[MAX_ATTRIBUTES];
	bool nulls[MAX_ATTRIBUTES];
} Answer;

static void add_authorization(Answer *answer, const clAuthorization *authorization, int64 available, bool replayed);
static void add(Answer *answer, Oid type, Datum value, bool isnull);
static void add_enum(Answer *answer, clEnumId type, int label);
static void add_nothing(Answer *answer, int columns);
static void add_text(Answer *answer, const text *value);
static Datum form(Answer *answer, clTypeId type);
static void put(ReturnSetInfo *rsinfo, Answer *answer);
static void require_type(TupleDesc desc, const Answer *answer);

Datum
cl_authorization_result(const clAuthorization *authorization, const clAccount *account, bool replayed)
{
	Answer answer = {0};

	add_authorization(&answer, authorization, cl_account_available(account), replayed);
	return form(&answer, CL_TYPE_AUTHORIZATION);
}

void
cl_authorization_item_put(ReturnSetInfo *rsinfo, int ord, const clAuthorization *authorization,
						  int64 available, bool replayed)
{
	Answer answer = {0};

	add(&answer, INT4OID, Int32GetDatum(ord), false);
	add_authorization(&answer, authorization, available, replayed);
	add_nothing(&answer, 2);
	put(rsinfo, &answer);
}

void
cl_refused_item_put(ReturnSetInfo *rsinfo, int ord, const clRefusal *refusal)
{
	Answer answer = {0};

	add(&answer, INT4OID, Int32GetDatum(ord), false);
	add_text(&answer, refusal->authorization_id);
	add_text(&answer, refusal->org_id);
	add_nothing(&answer, 12);
	add(&answer, TEXTOID, CStringGetTextDatum(unpack_sql_state(refusal->sqlstate)), false);
	add(&answer, TEXTOID, CStringGetTextDatum(refusal->message), false);
	put(rsinfo, &answer);
}

Datum
cl_movement_result(const clEntry *entry, const clAccount *account, bool replayed)
{
	Answer answer = {0};
	bool nothing_moved = entry->entry_no == 0;

	add_text(&answer, account->org_id);
	add(&answer, INT8OID, Int64GetDatum(entry->entry_no), nothing_moved);
	add_enum(&answer, CL_ENUM_ENTRY_KIND, entry->kind);
	add(&answer, INT8OID, Int64GetDatum(entry->amount), entry->amount == 0 && !nothing_moved);
	add_text(&answer, entry->authorization_id);
	add(&answer, INT8OID, Int64GetDatum(nothing_moved ? account->balance : entry->balance_after),
		entry->is_detached && !nothing_moved);
	add(&answer, INT8OID, Int64GetDatum(cl_account_available(account)), false);
	add(&answer, TIMESTAMPTZOID, TimestampTzGetDatum(entry->created_at), false);
	add(&answer, BOOLOID, BoolGetDatum(replayed), false);
	return form(&answer, CL_TYPE_MOVEMENT);
}

Datum
cl_account_balance_result(const clAccount *account)
{
	Answer answer = {0};

	add_text(&answer, account->org_id);
	add(&answer, INT8OID, Int64GetDatum(account->balance), false);
	add(&answer, INT8OID, Int64GetDatum(account->held), false);
	add(&answer, INT8OID, Int64GetDatum(account->credit_limit), false);
	add(&answer, INT8OID, Int64GetDatum(cl_account_available(account)), false);
	add(&answer, BOOLOID, BoolGetDatum(account->frozen), false);
	return form(&answer, CL_TYPE_ACCOUNT_BALANCE);
}

static void
add_authorization(Answer *answer, const clAuthorization *authorization, int64 available, bool replayed)
{
	bool is_open = authorization->status == CL_AUTHORIZED;

	add_text(answer, authorization->authorization_id);
	add_text(answer, authorization->org_id);
	add_text(answer, authorization->campaign_id);
	add_enum(answer, CL_ENUM_STATUS, authorization->status);
	add(answer, INT8OID, Int64GetDatum(authorization->amount), false);
	add(answer, INT8OID, Int64GetDatum(authorization->authorized_amount), false);
	add(answer, INT8OID, Int64GetDatum(authorization->refunded_amount), false);
	add(answer, TIMESTAMPTZOID, TimestampTzGetDatum(authorization->created_at), false);
	add(answer, TIMESTAMPTZOID, TimestampTzGetDatum(authorization->expires_at), false);
	add(answer, TIMESTAMPTZOID, is_open ? (Datum) 0 : TimestampTzGetDatum(authorization->settled_at), is_open);
	if (is_open)
		add_nothing(answer, 1);
	else
		add_enum(answer, CL_ENUM_ACTOR, authorization->settled_by);
	add_text(answer, authorization->reason);
	add(answer, INT8OID, Int64GetDatum(available), false);
	add(answer, BOOLOID, BoolGetDatum(replayed), false);
}

static void
add(Answer *answer, Oid type, Datum value, bool isnull)
{
	Assert(answer->natts < MAX_ATTRIBUTES);
	answer->types[answer->natts] = type;
	answer->values[answer->natts] = value;
	answer->nulls[answer->natts] = isnull;
	answer->natts++;
}

static void
add_enum(Answer *answer, clEnumId type, int label)
{
	add(answer, cl_enum_type_oid(type), cl_enum_datum(type, label), false);
}

static void
add_nothing(Answer *answer, int columns)
{
	while (columns-- > 0)
		add(answer, InvalidOid, (Datum) 0, true);
}

static void
add_text(Answer *answer, const text *value)
{
	add(answer, TEXTOID, PointerGetDatum(value), value == NULL);
}

static Datum
form(Answer *answer, clTypeId type)
{
	TupleDesc desc = lookup_rowtype_tupdesc(cl_type_oid(type), -1);
	Datum datum;

	require_type(desc, answer);
	datum = HeapTupleGetDatum(heap_form_tuple(desc, answer->values,
											  answer->nulls));
	ReleaseTupleDesc(desc);
	return datum;
}

static void
put(ReturnSetInfo *rsinfo, Answer *answer)
{
	require_type(rsinfo->setDesc, answer);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, answer->values, answer->nulls);
}

/* ALTER TYPE may have made another type of it, in which the values would be misread. */
static void
require_type(TupleDesc desc, const Answer *answer)
{
	bool same = desc->natts == answer->natts;

	for (int i = 0; i < answer->natts && same; i++)
		same = answer->nulls[i] || answer->types[i] == TupleDescAttr(desc, i)->atttypid;
	if (same)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("type %s is not as the extension made it", format_type_be(desc->tdtypeid)),
			 errhint("The attributes of the extension's types must stay as they are.")));
}
