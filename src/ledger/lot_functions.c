/*-------------------------------------------------------------------------
 *
 * lot_functions.c
 *	  The SQL function that configures a lot.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "ledger/arguments.h"
#include "ledger/credits.h"
#include "ledger/verbs.h"

/* credit_lot_configure(org_id, lot_no, expires_at, priority) */
Datum
cl_lot_configure(FunctionCallInfo fcinfo, clTally *tally)
{
	text *org_id = cl_arg_identifier(fcinfo, 0, "org_id");
	int64 lot_no = cl_arg_amount(fcinfo, 1, "lot_no", 1);
	TimestampTz expires_at = cl_arg_optional_instant(fcinfo, 2, "expires_at", 0);
	int32 priority = cl_arg_optional_priority(fcinfo, 3, "priority", 0);
	clUnit *unit;
	clAccount account;
	clLot *lot;
	Datum result;

	tally->org_id = org_id;
	unit = cl_unit_begin("credit_lot_configure()");
	cl_account_lock(unit, org_id, &account);
	cl_credits_begin(unit, &account);
	lot = cl_lot_get_open(unit, &account, lot_no);

	(void) cl_account_instant(&account, GetCurrentTimestamp());
	if (!PG_ARGISNULL(3))
		lot->priority = priority;
	if (!PG_ARGISNULL(2))
	{
		lot->expires_at = Max(expires_at, account.opened_at);
		cl_credits_note_end(&account, lot);
	}
	lot->changed = true;

	/* An end that is now has come. */
	cl_credits_begin(unit, &account);
	cl_credits_end(unit, &account);
	cl_tally_answer(tally, false);
	result = cl_lot_composite(unit, lot, fcinfo);
	cl_unit_end(unit);
	return result;
}
