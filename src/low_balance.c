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

#include "alert.h"
#include "low_balance.h"

static void low_balance_open(clUnit *unit, const clAccount *account);

clBalanceLevel
cl_balance_level(const clAccount *account)
{
	int64 available = cl_account_available(account);
	int64 threshold = account->low_balance_threshold;
	int64 enough;

	if (!account->has_low_balance_threshold)
		return CL_BALANCE_UNWATCHED;
	if (available < threshold)
		return CL_BALANCE_LOW;
	if (pg_add_s64_overflow(threshold, Max(threshold, 0) / 10, &enough))
		enough = PG_INT64_MAX;
	return available < enough ? CL_BALANCE_RECOVERING : CL_BALANCE_NORMAL;
}

void
cl_low_balance_follow(clUnit *unit, const clAccount *account, clBalanceLevel before)
{
	clBalanceLevel level = cl_balance_level(account);

	if (level == before || level == CL_BALANCE_RECOVERING)
		return;
	if (level == CL_BALANCE_LOW)
		low_balance_open(unit, account);
	else
		(void) cl_alert_close(unit, CL_ALERT_LOW_BALANCE, account->org_id);
}

static void
low_balance_open(clUnit *unit, const clAccount *account)
{
	char *org_id = text_to_cstring(account->org_id);
	long long available = cl_account_available(account);
	long long threshold = account->low_balance_threshold;
	char *details = psprintf("{\"available\": %lld, \"threshold\": %lld, \"balance\": %lld, \"held\": %lld}",
							 available, threshold, (long long) account->balance, (long long) account->held);
	clAlert alert = {.kind = CL_ALERT_LOW_BALANCE, .org_id = account->org_id};

	alert.message = cstring_to_text(psprintf("organisation \"%s\" has %lld credits available, less than %lld",
											 org_id, available, threshold));
	alert.details = (struct varlena *) DatumGetPointer(DirectFunctionCall1(jsonb_in, CStringGetDatum(details)));
	(void) cl_alert_open(unit, &alert);
}
