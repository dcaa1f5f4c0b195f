/*-------------------------------------------------------------------------
 *
 * sweeper.c
 *	  The process that settles the expired holds of one database.
 *
 * Started by the launcher, it looks whether the extension is there, settles
 * what has expired in short transactions, does the maintenance that is due,
 * and exits: after a second at the latest, whatever is left, so that the
 * database is free now and then.  The launcher sends another one then.
 *
 * A batch is as large as takes about a tenth of a second: so long a caller
 * may have to wait for its organisation, and so long DDL for the tables.
 *
 * It acts as the owner of the ledger's tables, whose triggers may be called.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "ledger/catalog.h"
#include "ledger/clock.h"
#include "ledger/settings.h"
#include "ledger/sweep.h"
#include "server/calls.h"
#include "server/counters.h"
#include "server/databases.h"
#include "server/durability.h"
#include "server/sweeper.h"

/* Milliseconds */
#define RUN_TIME   1000
#define BATCH_TIME 100

#define FIRST_BATCH 100
#define MAX_BATCH	1000

static void sweeper_start(Oid database);
static void sweeper_claim(void);
static void sweeper_run(void);
static void set_option(const char *name, const char *value);
static bool transaction_begin(const char *activity);
static void transaction_end(void);
static Oid ledger_owner(void);
static bool sweep_batches(clSweepReport *report);
static int next_batch(int rows, int64 milliseconds);
static void maintain(const clSweepReport *report);

void
cl_sweeper_main(Datum database)
{
	MemoryContext context = CurrentMemoryContext;

	sweeper_start(DatumGetObjectId(database));
	sweeper_claim();

	PG_TRY();
	{
		sweeper_run();
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		cl_database_report_error(error->sqlerrcode, error->message);
		PG_RE_THROW();
	}
	PG_END_TRY();
	proc_exit(0);
}

/* Settings of the database or the system that are meant for people are not for a process that nobody waits for. */
static void
sweeper_start(Oid database)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	pgstat_report_appname("credit_ledger sweeper");

	set_option("default_transaction_isolation", "read committed");
	set_option("default_transaction_read_only", "off");
	set_option("default_transaction_deferrable", "off");
	set_option("idle_in_transaction_session_timeout", "0");
	set_option("lock_timeout", "1s");
	set_option("row_security", "off");
	set_option("search_path", "");
	set_option("statement_timeout", "0");
	set_option("synchronous_commit", "local");
}

static void
set_option(const char *name, const char *value)
{
	SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
}

static void
sweeper_claim(void)
{
	clClaim claim = cl_database_claim();

	if (claim == CL_CLAIM_NO_ROOM)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("credit_ledger has no room for database %u: more than %d have the extension",
						MyDatabaseId, CL_MAX_DATABASES),
				 errdetail("Nothing is settled there.")));
	if (claim != CL_CLAIMED)
		proc_exit(0);
}

static void
sweeper_run(void)
{
	clSweepReport report = {0};

	if (!sweep_batches(&report))
	{
		cl_database_report_presence(false);
		return;
	}
	cl_database_report(&report);
	maintain(&report);
}

/* ------------------------------------------------------------------------
 * Transactions
 * ------------------------------------------------------------------------
 */

/* False, and no transaction, if the extension is not there. */
static bool
transaction_begin(const char *activity)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, activity);
	PushActiveSnapshot(GetTransactionSnapshot());
	if (!OidIsValid(get_extension_oid("credit_ledger", true)))
	{
		transaction_end();
		return false;
	}
	SetUserIdAndSecContext(ledger_owner(), SECURITY_LOCAL_USERID_CHANGE);
	return true;
}

/* The user stays until the end, for deferred triggers. */
static void
transaction_end(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, 0);
	(void) pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
}

static Oid
ledger_owner(void)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(cl_table_oid(CL_TABLE_ACCOUNT)));
	Oid owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for table credit_account");
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* ------------------------------------------------------------------------
 * Work
 * ------------------------------------------------------------------------
 */

/* False if the extension is not there. */
static bool
sweep_batches(clSweepReport *report)
{
	HTAB *passed_over = cl_sweep_passed_over();
	TimestampTz start = GetCurrentTimestamp();
	int64 end = cl_clock() + RUN_TIME;
	int batch = FIRST_BATCH;

	do
	{
		int64 batch_start = cl_clock();
		clTally tally = {.context = CurrentMemoryContext};
		int settled;

		if (!transaction_begin("settling expired holds"))
			return false;
		cl_database_report_presence(true);
		cl_durability_note_write();
		settled = cl_sweep(start, batch, passed_over, &tally);
		cl_calls_count(CL_CALL_SWEEP, &tally);
		PopActiveSnapshot();
		PushActiveSnapshot(GetTransactionSnapshot());
		report->oldest_expired = cl_sweep_oldest(start);
		report->unfinished = settled == batch;
		if (settled > 0)
			ereport(LOG,
					(errmsg("credit_ledger settled %d expired holds of database \"%s\"",
							settled, get_database_name(MyDatabaseId))));
		transaction_end();

		report->settled += settled;
		batch = next_batch(batch, cl_clock() - batch_start);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	} while (cl_worker && report->unfinished && cl_clock() < end);
	return true;
}

/* As many rows as take about BATCH_TIME. */
static int
next_batch(int rows, int64 milliseconds)
{
	if (milliseconds > BATCH_TIME)
		return Max((int) (rows * BATCH_TIME / milliseconds), 1);
	return Min(2 * rows, MAX_BATCH);
}

/* Drain the counters, judge the alerts, remove what is old: credit_maintain(), where there is something to do. */
static void
maintain(const clSweepReport *report)
{
	bool due = cl_database_minute_has_passed();
	char *schema;
	List *name;

	if (!due && !cl_counters_to_drain() && report->oldest_expired == 0)
		return;
	if (!transaction_begin("draining counters, judging alerts"))
		return;
	schema = get_namespace_name(get_extension_schema(get_extension_oid("credit_ledger", false)));
	name = list_make2(makeString(schema), makeString("credit_maintain"));
	OidFunctionCall0(LookupFuncName(name, 0, NULL, false));
	transaction_end();
}
