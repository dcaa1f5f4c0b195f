/*-------------------------------------------------------------------------
 *
 * low_balance.c
 *	  The alert that an organisation runs out of credits.
 *
 * It opens when what is available falls below the account's threshold, and
 * closes when a tenth more than the threshold is available again, so that
 * calls around the threshold do not raise it over and over.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "ledger/alert.h"
#include "ledger/low_balance.h"

static void low_balance_open(clUnit *unit, text *org_id, int64 available, int64 threshold, int64 balance, int64 held);

clBalanceLevel
cl_balance_level(int64 available, int64 threshold)
{
	int64 enough;

	if (available < threshold)
		return CL_BALANCE_LOW;
	if (pg_add_s64_overflow(threshold, Max(threshold, 0) / 10, &enough))
		enough = PG_INT64_MAX;
	return available < enough ? CL_BALANCE_RECOVERING : CL_BALANCE_NORMAL;
}

void
cl_low_balance_follow(clUnit *unit, text *org_id, clBalanceLevel level, int64 available,
					  int64 threshold, int64 balance, int64 held)
{
	if (level == CL_BALANCE_LOW)
		low_balance_open(unit, org_id, available, threshold, balance, held);
	else if (level != CL_BALANCE_RECOVERING)
		(void) cl_alert_close(unit, CL_ALERT_LOW_BALANCE, org_id);
}

static void
low_balance_open(clUnit *unit, text *org_id, int64 available, int64 threshold, int64 balance, int64 held)
{
	char *details = psprintf("{\"available\": %lld, \"threshold\": %lld, \"balance\": %lld, \"held\": %lld}",
							 (long long) available, (long long) threshold, (long long) balance, (long long) held);
	clAlert alert = {.kind = CL_ALERT_LOW_BALANCE, .org_id = org_id};

	alert.message = cstring_to_text(psprintf("organisation \"%s\" has %lld credits available, less than %lld",
											 text_to_cstring(org_id), (long long) available, (long long) threshold));
	alert.details = (struct varlena *) DatumGetPointer(DirectFunctionCall1(jsonb_in, CStringGetDatum(details)));
	(void) cl_alert_open(unit, &alert);
}
