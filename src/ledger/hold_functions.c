/*-------------------------------------------------------------------------
 *
 * hold_functions.c
 *	  SQL functions that hold or charge credits, one call or many.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "ledger/arguments.h"
#include "ledger/batch.h"
#include "ledger/credits.h"
#include "ledger/hold.h"
#include "ledger/identifier.h"
#include "ledger/results.h"
#include "ledger/settings.h"
#include "ledger/transition.h"
#include "ledger/verbs.h"

/* The arguments of credit_authorize_many() and credit_charge_many(). */
typedef struct HoldArguments
{
	clArray org_ids;
	clArray amounts;
	clArray campaign_ids;
	clArray idempotency_keys;
	clArray metadata;
	clHoldRequest request; /* what all items have in common */
	int over;			   /* so many repetitions found their holds settled */
} HoldArguments;

typedef struct HoldItem
{
	clBatchItem item;
	clHoldRequest request;
} HoldItem;

static void request_ask(clHoldRequest *request, int64 amount, text *campaign_id, text *idempotency_key);
static Datum charge_one(const char *what, FunctionCallInfo fcinfo, clTally *tally, bool is_used);
static Datum hold_one(const char *what, text *org_id, clHoldRequest *request, clTally *tally);
static bool is_over(const clHoldRequest *request, const clAuthorization *authorization);
static void tell_over(const clHoldRequest *request, const clAuthorization *authorization);
static Datum hold_many(const char *what, FunctionCallInfo fcinfo, clTally *tally, const clHoldRequest *request,
					   int metadata_argno, int skip_argno);
static void read_item(const HoldArguments *arguments, int position, clHoldRequest *request);
static text *hold_owner(clBatch *batch, int position);
static void hold_prepare(clBatch *batch, clBatchItem *item);
static bool hold_look_ahead(clBatch *batch, clBatchItem *const *items, int count);
static bool all_keys_are_new(clBatch *batch, clBatchItem *const *items, int count);
static void judge(clBatch *batch, void *item);
static bool hold_perform(clBatch *batch, clBatchItem *item);

/*
 * credit_authorize(org_id, amount, campaign_id, idempotency_key, timeout,
 *		timeout_action, metadata)
 */
Datum
cl_authorize(FunctionCallInfo fcinfo, clTally *tally)
{
	text *org_id = cl_arg_identifier(fcinfo, 0, "org_id");
	int64 amount = cl_arg_amount(fcinfo, 1, "amount", 1);
	text *campaign_id = cl_arg_optional_identifier(fcinfo, 2, "campaign_id");
	text *key = cl_arg_optional_identifier(fcinfo, 3, "idempotency_key");
	clHoldRequest request = {.timeout_action = cl_timeout_action};

	request.timeout = cl_arg_optional_timeout(fcinfo, 4, "timeout");
	if (!PG_ARGISNULL(5))
		request.timeout_action = cl_enum_label(CL_ENUM_TIMEOUT_ACTION, PG_GETARG_DATUM(5));
	if (!PG_ARGISNULL(6))
		request.metadata = PG_GETARG_VARLENA_P(6);
	request_ask(&request, amount, campaign_id, key);
	return hold_one("credit_authorize()", org_id, &request, tally);
}

/* credit_charge(org_id, amount, campaign_id, idempotency_key, metadata) */
Datum
cl_charge(FunctionCallInfo fcinfo, clTally *tally)
{
	return charge_one("credit_charge()", fcinfo, tally, false);
}

/* charge_used(org_id, amount, campaign_id, idempotency_key, metadata), for credit_resolve_finding() */
Datum
cl_charge_used(FunctionCallInfo fcinfo, clTally *tally)
{
	return charge_one("charge_used()", fcinfo, tally, true);
}

static Datum
charge_one(const char *what, FunctionCallInfo fcinfo, clTally *tally, bool is_used)
{
	text *org_id = cl_arg_identifier(fcinfo, 0, "org_id");
	int64 amount = cl_arg_amount(fcinfo, 1, "amount", 1);
	text *campaign_id = cl_arg_optional_identifier(fcinfo, 2, "campaign_id");
	text *key = cl_arg_optional_identifier(fcinfo, 3, "idempotency_key");
	clHoldRequest request = {.is_charge = true, .is_used = is_used, .timeout_action = cl_timeout_action};

	if (!PG_ARGISNULL(4))
		request.metadata = PG_GETARG_VARLENA_P(4);
	request_ask(&request, amount, campaign_id, key);
	return hold_one(what, org_id, &request, tally);
}

static void
request_ask(clHoldRequest *request, int64 amount, text *campaign_id, text *idempotency_key)
{
	cl_require_either(campaign_id == NULL && idempotency_key == NULL, "campaign_id", "idempotency_key");
	request->call.operation = CL_OP_AUTHORIZE;
	request->call.has_amount = true;
	request->call.amount = amount;
	request->call.campaign_id = campaign_id;
	request->call.key = idempotency_key != NULL ? idempotency_key : campaign_id;
}

static Datum
hold_one(const char *what, text *org_id, clHoldRequest *request, clTally *tally)
{
	clUnit *unit;
	clAccount account;
	clAuthorization authorization;
	bool replayed;
	Datum result;

	tally->org_id = org_id;
	tally->campaign_id = request->call.campaign_id;
	unit = cl_unit_begin(what);
	cl_account_lock(unit, org_id, &account);
	cl_credits_begin(unit, &account);
	replayed = !cl_hold(unit, &account, request, &authorization, tally);
	if (replayed && is_over(request, &authorization))
		tell_over(request, &authorization);
	cl_credits_end(unit, &account);
	cl_tally_answer(tally, replayed);
	result = cl_authorization_result(&authorization, &account, replayed);
	cl_unit_end(unit);
	return result;
}

/* Whether a repetition finds its hold, or its charge, as it would be if it had done it. */
static bool
is_over(const clHoldRequest *request, const clAuthorization *authorization)
{
	return authorization->status != (request->is_charge ? CL_COMMITTED : CL_AUTHORIZED);
}

/* Whoever repeats a call may take the answer for a hold that lives. */
static void
tell_over(const clHoldRequest *request, const clAuthorization *authorization)
{
	clState state = cl_state(authorization, GetCurrentTimestamp());
	char *key = text_to_cstring(request->call.key);

	ereport(NOTICE,
			(errmsg("nothing is %s: idempotency key \"%s\" was used before, and its authorization is %s",
					request->is_charge ? "charged" : "held", key,
					cl_enum_name(CL_ENUM_STATUS, authorization->status)),
			 errdetail_internal("%s", cl_state_told(authorization, state)),
			 state == CL_STATE_OPEN ?
				 errhint("credit_commit() charges what it holds.") :
				 errhint("A new attempt takes a key of its own: idempotency_key => %s.",
						 quote_literal_cstr(psprintf("%s:2", key)))));
}

/* ------------------------------------------------------------------------
 * Many
 * ------------------------------------------------------------------------
 */

static const clBatchVerb hold_verb = {
	.item_size = sizeof(HoldItem),
	.owner = hold_owner,
	.prepare = hold_prepare,
	.look_ahead = hold_look_ahead,
	.perform = hold_perform,
};

/*
 * credit_authorize_many(org_ids, amounts, campaign_ids, idempotency_keys,
 *		timeout, timeout_action, metadata, skip_refused)
 */
Datum
cl_authorize_many(FunctionCallInfo fcinfo, clTally *tally)
{
	clHoldRequest request = {.timeout_action = cl_timeout_action};

	request.timeout = cl_arg_optional_timeout(fcinfo, 4, "timeout");
	if (!PG_ARGISNULL(5))
		request.timeout_action = cl_enum_label(CL_ENUM_TIMEOUT_ACTION, PG_GETARG_DATUM(5));
	return hold_many("credit_authorize_many()", fcinfo, tally, &request, 6, 7);
}

/* credit_charge_many(org_ids, amounts, campaign_ids, idempotency_keys, metadata, skip_refused) */
Datum
cl_charge_many(FunctionCallInfo fcinfo, clTally *tally)
{
	clHoldRequest request = {.is_charge = true, .timeout_action = cl_timeout_action};

	return hold_many("credit_charge_many()", fcinfo, tally, &request, 4, 5);
}

static Datum
hold_many(const char *what, FunctionCallInfo fcinfo, clTally *tally, const clHoldRequest *request,
		  int metadata_argno, int skip_argno)
{
	HoldArguments arguments = {.request = *request};
	clBatch batch = {.what = what, .verb = &hold_verb, .arguments = &arguments, .tally = tally};
	Datum result;

	arguments.org_ids = cl_arg_array(fcinfo, 0, "org_ids", TEXTOID);
	arguments.amounts = cl_arg_array(fcinfo, 1, "amounts", INT8OID);
	arguments.campaign_ids = cl_arg_optional_array(fcinfo, 2, "campaign_ids", TEXTOID);
	arguments.idempotency_keys = cl_arg_optional_array(fcinfo, 3, "idempotency_keys", TEXTOID);
	arguments.metadata = cl_arg_optional_array(fcinfo, metadata_argno, "metadata", JSONBOID);
	cl_require_same_length(&arguments.org_ids, &arguments.amounts);
	cl_require_same_length(&arguments.org_ids, &arguments.campaign_ids);
	cl_require_same_length(&arguments.org_ids, &arguments.idempotency_keys);
	cl_require_same_length(&arguments.org_ids, &arguments.metadata);
	batch.skip_refused = cl_arg_boolean(fcinfo, skip_argno, "skip_refused");
	batch.count = arguments.org_ids.count;
	cl_batch_require_count(batch.count);
	result = cl_batch_run(&batch, fcinfo);
	if (arguments.over > 0)
		ereport(NOTICE,
				(errmsg("nothing is %s for %d of %d items: their idempotency keys were used before",
						request->is_charge ? "charged" : "held", arguments.over, batch.count),
				 errhint("Each row has the status of its authorization; a new attempt takes a key of its own.")));
	return result;
}

static void
read_item(const HoldArguments *arguments, int position, clHoldRequest *request)
{
	*request = arguments->request;
	request_ask(request,
				cl_array_amount(&arguments->amounts, position, 1),
				cl_array_optional_identifier(&arguments->campaign_ids, position),
				cl_array_optional_identifier(&arguments->idempotency_keys, position));
	if (!cl_array_is_null(&arguments->metadata, position))
		request->metadata = PG_DETOAST_DATUM(arguments->metadata.values[position]);
}

static text *
hold_owner(clBatch *batch, int position)
{
	const HoldArguments *arguments = batch->arguments;
	text *org_id = cl_array_identifier(&arguments->org_ids, position);
	clHoldRequest request;

	read_item(arguments, position, &request);
	return org_id;
}

static void
hold_prepare(clBatch *batch, clBatchItem *item)
{
	clHoldRequest *request = &((HoldItem *) item)->request;

	read_item(batch->arguments, item->position, request);
	item->name = request->call.key;
}

/*
 * Where all keys are new, whether an item is refused depends on its account
 * alone: hold all amounts in memory, in the order of the arrays, and let them
 * go again.
 */
static bool
hold_look_ahead(clBatch *batch, clBatchItem *const *items, int count)
{
	if (!all_keys_are_new(batch, items, count))
		return false;

	for (int i = 0; i < count; i++)
	{
		((HoldItem *) items[i])->request.call.is_new = true;
		if (items[i]->refusal == NULL)
			(void) cl_batch_guard(batch, items[i], judge);
	}
	for (int i = 0; i < count; i++)
	{
		if (items[i]->refusal == NULL && items[i]->twin == NULL)
			cl_account_hold(items[i]->account, -((HoldItem *) items[i])->request.call.amount);
	}
	return true;
}

static bool
all_keys_are_new(clBatch *batch, clBatchItem *const *items, int count)
{
	text *least = items[0]->name;
	text *greatest = items[0]->name;

	for (int i = 1; i < count; i++)
	{
		if (cl_identifier_compare(items[i]->name, least) < 0)
			least = items[i]->name;
		if (cl_identifier_compare(items[i]->name, greatest) > 0)
			greatest = items[i]->name;
	}
	return cl_idempotency_none_between(batch->unit, least, greatest);
}

static void
judge(clBatch *batch, void *item)
{
	HoldItem *this = item;
	int64 amount = this->request.call.amount;

	batch->tally->campaign_id = this->request.call.campaign_id;
	cl_batch_item_settle_twin(&this->item);
	if (this->item.twin != NULL)
		cl_idempotency_require_same(&this->request.call, &((HoldItem *) this->item.twin)->request.call);
	else
	{
		cl_hold_require(batch->unit, this->item.account, amount, batch->tally);
		cl_account_hold(this->item.account, amount);
	}
}

static bool
hold_perform(clBatch *batch, clBatchItem *item)
{
	HoldItem *this = (HoldItem *) item;

	batch->tally->campaign_id = this->request.call.campaign_id;
	if (item->twin != NULL)
	{
		cl_idempotency_require_same(&this->request.call, &((HoldItem *) item->twin)->request.call);
		return false;
	}
	if (cl_hold(batch->unit, item->account, &this->request, &item->authorization, batch->tally))
		return true;
	if (is_over(&this->request, &item->authorization))
		((HoldArguments *) batch->arguments)->over++;
	return false;
}
