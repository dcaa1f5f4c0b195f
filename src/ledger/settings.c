/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  The settings, all under the prefix credit_ledger.
 *
 * What a caller may say call by call (timeout, timeout_action) anybody may
 * set for a session; what decides over other people's money is a superuser's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/parallel.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "ledger/catalog.h"
#include "ledger/settings.h"

int cl_commit_timeout = 600;
int cl_timeout_action = CL_TIMEOUT_COMMIT;
int cl_true_up_window = 7 * 24 * 60 * 60;
bool cl_early_lock_release = false;
bool cl_worker = true;
int cl_sweep_interval = 10000;
double cl_commit_failure_threshold = 0.01;
int cl_commit_failure_min_sample = 100;
int cl_sweep_lag_threshold = 5 * 60;
int cl_expiry_notice = 7 * 24 * 60 * 60;
int cl_stat_retention = 90 * 24 * 60 * 60;
int cl_alert_retention = 90 * 24 * 60 * 60;
int cl_finding_retention = 365 * 24 * 60 * 60;
int cl_run_retention = 365 * 24 * 60 * 60;
int cl_idempotency_retention = 0;
int cl_reconciliation_lookback = 3 * 24 * 60 * 60;
int cl_reconciliation_overdue_after = 26 * 60 * 60;
char *cl_reconciliation_time_zone = NULL;

static const struct config_enum_entry timeout_actions[] = {
	{"commit", CL_TIMEOUT_COMMIT, false},
	{"revert", CL_TIMEOUT_REVERT, false},
	{NULL, 0, false}};

static void define_for_callers(void);
static void define_for_worker(void);
static void define_for_retention(void);
static void define_for_reconciliation(void);
static void define_retention(const char *name, const char *description, const char *detail, int *variable,
							 int default_value, int minimum);
static bool tell_worker(bool *newval, void **extra, GucSource source);
static bool check_time_zone(char **newval, void **extra, GucSource source);

PG_FUNCTION_INFO_V1(credit_setting);

void
cl_settings_init(void)
{
	define_for_callers();
	define_for_worker();
	define_for_retention();
	define_for_reconciliation();
	MarkGUCPrefixReserved("credit_ledger");
}

static void
define_for_callers(void)
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
}

static void
define_for_worker(void)
{
	DefineCustomBoolVariable("credit_ledger.worker",
							 "Has expired holds settled in every database with the extension.",
							 "Takes effect if the library is in shared_preload_libraries. "
							 "ALTER DATABASE ... SET turns it off for one database.",
							 &cl_worker,
							 true,
							 PGC_SUSET, 0, tell_worker, NULL, NULL);

	DefineCustomIntVariable("credit_ledger.sweep_interval",
							"Time from one sweep of a database to the next.",
							NULL,
							&cl_sweep_interval,
							10000, 100, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);

	DefineCustomRealVariable("credit_ledger.commit_failure_threshold",
							 "Share of commits that fail in an hour above which an alert is raised.",
							 NULL,
							 &cl_commit_failure_threshold,
							 0.01, 0.0, 1.0,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("credit_ledger.commit_failure_min_sample",
							"Number of commits in an hour below which no alert of their failure is raised.",
							NULL,
							&cl_commit_failure_min_sample,
							100, 1, INT_MAX,
							PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("credit_ledger.sweep_lag_threshold",
							"Time after which an expired hold that is not settled raises an alert.",
							NULL,
							&cl_sweep_lag_threshold,
							5 * 60, 1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);

	DefineCustomIntVariable("credit_ledger.expiry_notice",
							"Time before the end of a lot at which an alert is raised if something is free in it.",
							"Zero raises none.",
							&cl_expiry_notice,
							7 * 24 * 60 * 60, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
}

static void
define_for_retention(void)
{
	const int days = 24 * 60 * 60;

	define_retention("credit_ledger.idempotency_retention",
					 "Time for which idempotency keys are kept.",
					 "Zero keeps them for ever. A call that is made again later does its thing again.",
					 &cl_idempotency_retention, 0, 0);
	define_retention("credit_ledger.stat_retention", "Time for which the rows of credit_stat are kept.", NULL,
					 &cl_stat_retention, 90 * days, 1);
	define_retention("credit_ledger.alert_retention", "Time for which closed alerts are kept.", NULL,
					 &cl_alert_retention, 90 * days, 1);
	define_retention("credit_ledger.finding_retention",
					 "Time for which findings are kept that were adjusted, or that vanished.",
					 "Those that are open or dismissed are kept for ever.",
					 &cl_finding_retention, 365 * days, 1);
	define_retention("credit_ledger.run_retention", "Time for which runs of reconciliation are kept.",
					 "Those that a finding names are kept as long as that.",
					 &cl_run_retention, 365 * days, 1);
}

static void
define_retention(const char *name, const char *description, const char *detail, int *variable, int default_value,
				 int minimum)
{
	DefineCustomIntVariable(name, description, detail, variable, default_value, minimum, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
}

static void
define_for_reconciliation(void)
{
	DefineCustomIntVariable("credit_ledger.reconciliation_lookback",
							"Time before the end of the last run that a run of reconciliation judges again.",
							"Usage that arrives later is found by a run over all history.",
							&cl_reconciliation_lookback,
							3 * 24 * 60 * 60, 0, INT_MAX,
							PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);

	DefineCustomIntVariable("credit_ledger.reconciliation_overdue_after",
							"Time without a run of reconciliation after which an alert is raised.",
							NULL,
							&cl_reconciliation_overdue_after,
							26 * 60 * 60, 1, INT_MAX,
							PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);

	DefineCustomStringVariable("credit_ledger.reconciliation_time_zone",
							   "Time zone of the days by which usage without a campaign is judged.",
							   NULL,
							   &cl_reconciliation_time_zone,
							   "UTC",
							   PGC_SUSET, 0, check_time_zone, NULL, NULL);
}

/* A session's own value nobody else sees, and it is not the session that settles. */
static bool
tell_worker(bool *newval, void **extra, GucSource source)
{
	if (source == PGC_S_SESSION && !InitializingParallelWorker)
		ereport(NOTICE,
				(errmsg("credit_ledger.worker has no effect in a session"),
				 errhint("ALTER DATABASE ... SET credit_ledger.worker pauses the worker in a database, "
						 "ALTER SYSTEM and a reload in all.")));
	return true;
}

static bool
check_time_zone(char **newval, void **extra, GucSource source)
{
	if (pg_tzset(*newval) != NULL)
		return true;
	GUC_check_errdetail("There is no time zone \"%s\".", *newval);
	return false;
}

/*
 * setting(name text): a setting of this library, for functions written in
 * SQL; current_setting() does not know it before the library is loaded.
 */
Datum
credit_setting(PG_FUNCTION_ARGS)
{
	char *name = psprintf("credit_ledger.%s", text_to_cstring(PG_GETARG_TEXT_PP(0)));

	PG_RETURN_TEXT_P(cstring_to_text(GetConfigOptionByName(name, NULL, false)));
}
