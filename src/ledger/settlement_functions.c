/*-------------------------------------------------------------------------
 *
 * settlement_functions.c
 *	  SQL functions that settle authorizations: commit, revert, correct;
 *	  the first two also many at once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/memutils.h"

#include "compat.h"
#include "ledger/arguments.h"
#include "ledger/batch.h"
#include "ledger/credits.h"
#include "ledger/results.h"
#include "ledger/settlement.h"
#include "ledger/verbs.h"

/* The arguments of credit_commit_many() and credit_revert_many(). */
typedef struct SettleArguments
{
	clArray authorization_ids;
	clArray amounts;
	clSettlement settlement;
	clPlace *places;	   /* by position: where the authorization was found */
	MemoryContext context; /* for what is read to learn whose an authorization is */
} SettleArguments;

static Datum settle_one(const char *what, text *authorization_id, const clSettlement *settlement, clTally *tally);
static Datum settle_many(const char *what, FunctionCallInfo fcinfo, clTally *tally, SettleArguments *arguments,
						 int skip_argno);
static text *settle_owner(clBatch *batch, int position);
static void settle_prepare(clBatch *batch, clBatchItem *item);
static bool settle_perform(clBatch *batch, clBatchItem *item);

/* credit_commit(authorization_id, amount_used, final) */
Datum
cl_commit(FunctionCallInfo fcinfo, clTally *tally)
{
	text *authorization_id = cl_arg_identifier(fcinfo, 0, "authorization_id");
	bool final = cl_arg_boolean(fcinfo, 2, "final");
	clSettlement settlement = {.verb = final ? CL_VERB_COMMIT : CL_VERB_COMMIT_PART,
							   .all = final && PG_ARGISNULL(1)};

	if (!settlement.all)
		settlement.used = cl_arg_amount(fcinfo, 1, "amount_used", 0);
	return settle_one("credit_commit()", authorization_id, &settlement, tally);
}

/* credit_revert(authorization_id, reason) */
Datum
cl_revert(FunctionCallInfo fcinfo, clTally *tally)
{
	text *authorization_id = cl_arg_identifier(fcinfo, 0, "authorization_id");
	clSettlement settlement = {.verb = CL_VERB_REVERT, .all = true};

	settlement.reason = cl_arg_optional_text(fcinfo, 1);
	return settle_one("credit_revert()", authorization_id, &settlement, tally);
}

/* credit_correct(authorization_id, amount_used, reason) */
Datum
cl_correct(FunctionCallInfo fcinfo, clTally *tally)
{
	text *authorization_id = cl_arg_identifier(fcinfo, 0, "authorization_id");
	clSettlement settlement = {.verb = CL_VERB_CORRECT};

	settlement.used = cl_arg_amount(fcinfo, 1, "amount_used", 0);
	settlement.reason = cl_arg_reason(fcinfo, 2, "reason");
	return settle_one("credit_correct()", authorization_id, &settlement, tally);
}

static Datum
settle_one(const char *what, text *authorization_id, const clSettlement *settlement, clTally *tally)
{
	clUnit *unit = cl_unit_begin(what);
	clAccount account;
	clAuthorization authorization;
	bool done;
	Datum result;

	cl_authorization_lock(unit, authorization_id, &account, &authorization, tally);
	cl_credits_begin(unit, &account);
	done = cl_settle(unit, &account, &authorization, settlement, tally);
	cl_credits_end(unit, &account);
	cl_tally_answer(tally, !done);
	result = cl_authorization_result(&authorization, &account, !done);
	cl_unit_end(unit);
	return result;
}

/* ------------------------------------------------------------------------
 * Many
 * ------------------------------------------------------------------------
 */

static const clBatchVerb settle_verb = {
	.item_size = sizeof(clBatchItem),
	.names_authorizations = true,
	.owner = settle_owner,
	.prepare = settle_prepare,
	.perform = settle_perform,
};

/* credit_commit_many(authorization_ids, amounts_used, skip_refused) */
Datum
cl_commit_many(FunctionCallInfo fcinfo, clTally *tally)
{
	SettleArguments arguments = {.settlement = {.verb = CL_VERB_COMMIT}};

	arguments.authorization_ids = cl_arg_array(fcinfo, 0, "authorization_ids", TEXTOID);
	arguments.amounts = cl_arg_optional_array(fcinfo, 1, "amounts_used", INT8OID);
	cl_require_same_length(&arguments.authorization_ids, &arguments.amounts);
	return settle_many("credit_commit_many()", fcinfo, tally, &arguments, 2);
}

/* credit_revert_many(authorization_ids, reason, skip_refused) */
Datum
cl_revert_many(FunctionCallInfo fcinfo, clTally *tally)
{
	SettleArguments arguments = {.settlement = {.verb = CL_VERB_REVERT}};

	arguments.authorization_ids = cl_arg_array(fcinfo, 0, "authorization_ids", TEXTOID);
	arguments.settlement.reason = cl_arg_optional_text(fcinfo, 1);
	return settle_many("credit_revert_many()", fcinfo, tally, &arguments, 2);
}

static Datum
settle_many(const char *what, FunctionCallInfo fcinfo, clTally *tally, SettleArguments *arguments, int skip_argno)
{
	clBatch batch = {.what = what,
					 .verb = &settle_verb,
					 .arguments = arguments,
					 .count = arguments->authorization_ids.count,
					 .skip_refused = cl_arg_boolean(fcinfo, skip_argno, "skip_refused"),
					 .tally = tally};

	cl_batch_require_count(batch.count);
	arguments->places = palloc_array(clPlace, batch.count);
	arguments->context = AllocSetContextCreate(CurrentMemoryContext, "credit_ledger batch owners",
											   ALLOCSET_DEFAULT_SIZES);
	return cl_batch_run(&batch, fcinfo);
}

static text *
settle_owner(clBatch *batch, int position)
{
	SettleArguments *arguments = batch->arguments;
	text *authorization_id = cl_array_identifier(&arguments->authorization_ids, position);
	MemoryContext old;
	clAuthorization authorization;
	text *org_id;

	if (!cl_array_is_null(&arguments->amounts, position))
		(void) cl_array_amount(&arguments->amounts, position, 0);

	batch->tally->authorization_id = authorization_id;
	MemoryContextReset(arguments->context);
	old = MemoryContextSwitchTo(arguments->context);
	cl_authorization_get(batch->unit, authorization_id, &authorization);
	arguments->places[position] = authorization.row.place;
	MemoryContextSwitchTo(old);
	org_id = (text *) PG_DETOAST_DATUM_COPY(PointerGetDatum(authorization.org_id));
	return org_id;
}

static void
settle_prepare(clBatch *batch, clBatchItem *item)
{
	SettleArguments *arguments = batch->arguments;

	item->name = cl_array_identifier(&arguments->authorization_ids, item->position);
}

static bool
settle_perform(clBatch *batch, clBatchItem *item)
{
	SettleArguments *arguments = batch->arguments;
	clSettlement settlement = arguments->settlement;
	clAuthorization *authorization = item->twin != NULL ? &item->twin->authorization : &item->authorization;

	settlement.all = cl_array_is_null(&arguments->amounts, item->position);
	if (!settlement.all)
		settlement.used = cl_array_amount(&arguments->amounts, item->position, 0);

	if (item->twin == NULL)
		cl_authorization_get_again(batch->unit, item->name, &arguments->places[item->position], authorization);
	batch->tally->campaign_id = authorization->campaign_id;
	return cl_settle(batch->unit, item->account, authorization, &settlement, batch->tally);
}
