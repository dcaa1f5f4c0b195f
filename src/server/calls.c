/*-------------------------------------------------------------------------
 *
 * calls.c
 *	  Calls of the SQL functions that write the ledger.
 *
 * Here the SQL functions begin.  Around each verb of the ledger stands what
 * the server has to know of it: the transaction wrote the ledger (early lock
 * release), and what came of the call (counters, recent failures).  An error
 * is counted at once, since its transaction will not tell.
 *
 * Without preload nothing is counted, and nothing of this costs anything.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "ledger/verbs.h"
#include "server/calls.h"
#include "server/durability.h"
#include "server/failures.h"
#include "server/first_use.h"
#include "server/outcomes.h"
#include "server/shared.h"

static Datum call_verb(clCall call, clVerbFunction verb, FunctionCallInfo fcinfo);
static Datum call_and_note(clCall call, clVerbFunction verb, FunctionCallInfo fcinfo, clTally *tally);
static void count_refusals(clCall call, const clTally *tally);
static void count_error(clCall call, clTally *tally);
static void count_failure(clCall call, const clRefusal *failure);

#define SQL_FUNCTION(function, call, verb)        \
	PGDLLEXPORT Datum function(PG_FUNCTION_ARGS); \
	Datum function(PG_FUNCTION_ARGS)              \
	{                                             \
		return call_verb((call), (verb), fcinfo); \
	}                                             \
	PG_FUNCTION_INFO_V1(function)

SQL_FUNCTION(credit_account_configure, CL_CALL_CONFIGURE, cl_account_configure);
SQL_FUNCTION(credit_adjust, CL_CALL_ADJUST, cl_adjust);
SQL_FUNCTION(credit_authorize, CL_CALL_AUTHORIZE, cl_authorize);
SQL_FUNCTION(credit_authorize_many, CL_CALL_AUTHORIZE, cl_authorize_many);
SQL_FUNCTION(credit_charge, CL_CALL_CHARGE, cl_charge);
SQL_FUNCTION(credit_charge_many, CL_CALL_CHARGE, cl_charge_many);
SQL_FUNCTION(credit_charge_used, CL_CALL_CHARGE, cl_charge_used);
SQL_FUNCTION(credit_commit, CL_CALL_COMMIT, cl_commit);
SQL_FUNCTION(credit_commit_many, CL_CALL_COMMIT, cl_commit_many);
SQL_FUNCTION(credit_correct, CL_CALL_CORRECT, cl_correct);
SQL_FUNCTION(credit_extend, CL_CALL_EXTEND, cl_extend);
SQL_FUNCTION(credit_grant, CL_CALL_GRANT, cl_grant);
SQL_FUNCTION(credit_lot_configure, CL_CALL_CONFIGURE, cl_lot_configure);
SQL_FUNCTION(credit_refund, CL_CALL_REFUND, cl_refund);
SQL_FUNCTION(credit_revert, CL_CALL_REVERT, cl_revert);
SQL_FUNCTION(credit_revert_many, CL_CALL_REVERT, cl_revert_many);
SQL_FUNCTION(credit_sweep, CL_CALL_SWEEP, cl_sweep_function);
SQL_FUNCTION(credit_void, CL_CALL_VOID, cl_void);

static Datum
call_verb(clCall call, clVerbFunction verb, FunctionCallInfo fcinfo)
{
	clTally tally = {.context = CurrentMemoryContext};
	Datum result;

	cl_durability_note_write();
	if (!cl_shared_is_there())
		return call_and_note(call, verb, fcinfo, &tally);

	PG_TRY();
	{
		result = call_and_note(call, verb, fcinfo, &tally);
	}
	PG_CATCH();
	{
		count_error(call, &tally);
		PG_RE_THROW();
	}
	PG_END_TRY();

	cl_calls_count(call, &tally);
	return result;
}

/* A sweep is no use of the ledger: a job may be scheduled where nobody calls. */
static Datum
call_and_note(clCall call, clVerbFunction verb, FunctionCallInfo fcinfo, clTally *tally)
{
	Datum result = verb(fcinfo, tally);

	if (call != CL_CALL_SWEEP)
		cl_first_use_note();
	return result;
}

void
cl_calls_count(clCall call, const clTally *tally)
{
	if (!cl_shared_is_there())
		return;
	cl_outcomes_add_success(call, tally->done);
	cl_outcomes_add_success(CL_CALL_SWEEP, tally->expired);
	cl_count(call, CL_OUTCOME_REPLAYED, tally->replayed);
	count_refusals(call, tally);
}

static void
count_refusals(clCall call, const clTally *tally)
{
	ListCell *lc;

	foreach(lc, tally->refusals)
	{
		count_failure(call, lfirst(lc));
	}
}

/* What a sweep could not settle is counted by organisation; an error of its own is no organisation's. */
static void
count_error(clCall call, clTally *tally)
{
	MemoryContext old = MemoryContextSwitchTo(tally->context);
	ErrorData *error = CopyErrorData();

	count_refusals(call, tally);
	if (call != CL_CALL_SWEEP)
		count_failure(call, cl_tally_refuse(tally, error));
	FreeErrorData(error);
	MemoryContextSwitchTo(old);
}

static void
count_failure(clCall call, const clRefusal *failure)
{
	cl_count(call, failure->sqlstate, 1);
	cl_failures_add(call, failure);
}
