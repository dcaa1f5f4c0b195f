/*-------------------------------------------------------------------------
 *
 * guc.c
 *	  The settings, all under the prefix credit_ledger.
 *
 * What a caller may say call by call (timeout, timeout_action) anybody may
 * set for a session; what decides over other people's money is a superuser's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "catalog.h"
#include "guc.h"

int cl_commit_timeout = 600;
int cl_timeout_action = CL_TIMEOUT_COMMIT;
int cl_true_up_window = 7 * 24 * 60 * 60;
bool cl_early_lock_release = false;

static const struct config_enum_entry timeout_actions[] = {
	{"commit", CL_TIMEOUT_COMMIT, false},
	{"revert", CL_TIMEOUT_REVERT, false},
	{NULL, 0, false}};

void
cl_guc_init(void)
{
	DefineCustomIntVariable("credit_ledger.commit_timeout",
							"Time after which a hold expires whose authorization names no timeout.",
							NULL,
							&cl_commit_timeout,
							600, 1, INT_MAX,
							PGC_USERSET, GUC_UNIT_S, NULL, NULL, NULL);

	DefineCustomEnumVariable("credit_ledger.timeout_action",
							 "What becomes of an expired hold whose authorization names no action.",
							 NULL,
							 &cl_timeout_action,
							 CL_TIMEOUT_COMMIT, timeout_actions,
							 PGC_USERSET, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("credit_ledger.true_up_window",
							"Time during which a caller may correct what the timeout settled.",
							"Zero makes the timeout's decision final.",
							&cl_true_up_window,
							7 * 24 * 60 * 60, 0, INT_MAX,
							PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);

	DefineCustomBoolVariable("credit_ledger.early_lock_release",
							 "Releases the locks of a transaction that wrote the ledger before its commit is flushed.",
							 "The client is answered once it is flushed; others may read the commit before that.",
							 &cl_early_lock_release,
							 false,
							 PGC_USERSET, 0, NULL, NULL, NULL);

	MarkGUCPrefixReserved("credit_ledger");
}
