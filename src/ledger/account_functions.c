/*-------------------------------------------------------------------------
 *
 * account_functions.c
 *	  SQL functions of one account: configure it, read its balance, take
 *	  over what it had elsewhere.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "ledger/arguments.h"
#include "ledger/credits.h"
#include "ledger/results.h"
#include "ledger/verbs.h"
#include "table/find.h"

PG_FUNCTION_INFO_V1(credit_balance);
PG_FUNCTION_INFO_V1(credit_require_account);
PG_FUNCTION_INFO_V1(credit_account_take_over);

static void account_read(text *org_id, clAccount *account);

/*
 * credit_account_configure(org_id, credit_limit, overage_limit,
 *		low_balance_threshold, frozen, metadata)
 */
Datum
cl_account_configure(FunctionCallInfo fcinfo, clTally *tally)
{
	text *org_id = cl_arg_identifier(fcinfo, 0, "org_id");
	int64 limits[3]; /* credit, overage, low balance */
	bool frozen = !PG_ARGISNULL(4) && PG_GETARG_BOOL(4);
	clAccountTerms terms = {0};
	clUnit *unit;
	clAccount account;
	Datum result;

	for (int i = 0; i < 3; i++)
		limits[i] = PG_ARGISNULL(1 + i) ? 0 : PG_GETARG_INT64(1 + i);
	cl_require_minimum(limits[0], "credit_limit", 0);
	cl_require_minimum(limits[1], "overage_limit", 0);
	terms.credit_limit = PG_ARGISNULL(1) ? NULL : &limits[0];
	terms.overage_limit = PG_ARGISNULL(2) ? NULL : &limits[1];
	terms.low_balance_threshold = PG_ARGISNULL(3) ? NULL : &limits[2];
	terms.frozen = PG_ARGISNULL(4) ? NULL : &frozen;
	terms.metadata = PG_ARGISNULL(5) ? NULL : PG_GETARG_VARLENA_P(5);

	tally->org_id = org_id;
	unit = cl_unit_begin("credit_account_configure()");
	/* Whoever means to freeze an account must not make another by a typing error. */
	if (terms.frozen != NULL)
		cl_account_lock(unit, org_id, &account);
	else if (cl_account_lock_or_create(unit, org_id, &account))
		ereport(NOTICE, (errmsg("organisation \"%s\" had no account: a new one was made", text_to_cstring(org_id))));
	cl_credits_begin(unit, &account);
	cl_account_set_terms(&account, &terms);
	(void) cl_account_instant(&account, GetCurrentTimestamp());
	cl_credits_end(unit, &account);
	cl_tally_answer(tally, false);
	result = cl_relation_composite(unit, account.rel, &account.row, fcinfo);
	cl_unit_end(unit);
	return result;
}

Datum
credit_balance(PG_FUNCTION_ARGS)
{
	clAccount account;

	account_read(cl_arg_identifier(fcinfo, 0, "org_id"), &account);
	PG_RETURN_DATUM(cl_account_balance_result(&account));
}

/* credit_account_take_over(org_id, balance, last_entry_no, first_at): for credit_entries_import(). */
Datum
credit_account_take_over(PG_FUNCTION_ARGS)
{
	text *org_id = cl_arg_identifier(fcinfo, 0, "org_id");
	clUnit *unit = cl_unit_begin("credit_entries_import()");
	clAccount account;

	cl_account_lock(unit, org_id, &account);
	cl_account_take_over(&account, PG_GETARG_INT64(1), PG_GETARG_INT64(2), PG_GETARG_TIMESTAMPTZ(3));
	cl_account_store(unit, &account);
	cl_unit_end(unit);
	PG_RETURN_VOID();
}

/* credit_require_account(org_id): for functions written in SQL. */
Datum
credit_require_account(PG_FUNCTION_ARGS)
{
	clAccount account;

	account_read(cl_arg_identifier(fcinfo, 0, "org_id"), &account);
	PG_RETURN_VOID();
}

static void
account_read(text *org_id, clAccount *account)
{
	clUnit *unit = cl_unit_begin_reading();

	cl_account_get(unit, org_id, account);
	cl_credits_forecast(unit, account);
	cl_unit_end(unit);
}
