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
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "executor/executor.h"
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
#include "table/write.h"

/* Milliseconds */
#define RUN_TIME   1000
#define BATCH_TIME 100

/* Much less than anybody's deadlock_timeout: whoever waits for the sweeper while it waits for him is not cancelled. */
#define LOCK_TIMEOUT "50ms"

#define FIRST_BATCH 100
#define MAX_BATCH	1000

static void sweeper_start(Oid database);
static void sweeper_claim(void);
static void sweeper_run(void);
static void set_option(const char *name, const char *value);
static void vet_relation(Oid relid);
static bool transaction_begin(const char *activity);
static void transaction_end(void);
static Oid ledger_owner(void);
static bool look_whether_there(void);
static bool look_whether_to_settle(bool *allowed);
static Datum call_helper(const char *function);
static Datum call_helper_for(const char *function, int64 milliseconds);
static void sweep_batches(clSweep *sweep, clSweepReport *report);
static void sweep_batch(clSweep *sweep, clSweepReport *report);
static int next_batch(int rows, int64 milliseconds);
static void maintain(const clSweepReport *report);
static void remove_keys(int64 end);

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
	set_option("lock_timeout", LOCK_TIMEOUT);
	set_option("row_security", "off");
	set_option("search_path", "");
	set_option("statement_timeout", "0");
	set_option("synchronous_commit", "local");
	if (GetConfigOption("transaction_timeout", true, false) != NULL) /* since PostgreSQL 17 */
		set_option("transaction_timeout", "0");
	cl_write_vet = vet_relation;
}

static void
set_option(const char *name, const char *value)
{
	SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
}

/* What was put on a table since look_whether_to_settle() ends the sweep, and the next one tells. */
static void
vet_relation(Oid relid)
{
	List *name = list_make2(makeString("credit_ledger_internal"), makeString("foreign_code"));
	Oid types[] = {REGCLASSOID};
	Datum foreign = OidFunctionCall1(LookupFuncName(name, lengthof(types), types, false),
									 ObjectIdGetDatum(relid));

	if (VARSIZE_ANY_EXHDR(DatumGetPointer(foreign)) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("canceling the sweep: %s", TextDatumGetCString(foreign))));
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
	clSweep sweep = {.as_of = GetCurrentTimestamp(),
					 .max_rows = FIRST_BATCH,
					 .end = cl_clock() + RUN_TIME,
					 .passed_over = cl_sweep_passed_over()};
	clSweepReport report = {0};
	const char *ended_by = NULL;
	bool allowed;

	if (!look_whether_there())
		return;
	if (!cl_worker)
	{
		cl_database_report_left_alone("credit_ledger.worker is off");
		cl_database_report(&report, NULL);
		return;
	}
	if (!look_whether_to_settle(&allowed))
	{
		cl_database_report_presence(false);
		return;
	}
	if (!allowed)
	{
		cl_database_report(&report, NULL);
		return;
	}
	sweep_batches(&sweep, &report);
	if (cl_sweep_met_lock(&sweep))
		ended_by = psprintf("somebody has table \"%s\" locked", NameStr(sweep.locked_table));
	cl_database_report(&report, ended_by);
	maintain(&report);
	remove_keys(sweep.end);
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

/* Whether the extension is there, in the library's version. */
static bool
look_whether_there(void)
{
	static const clSweepReport nothing = {0};
	Oid extension;
	const char *other_version = NULL;
	const char *hint;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	extension = get_extension_oid("credit_ledger", true);
	if (OidIsValid(extension))
		other_version = cl_catalog_other_version(extension, &hint);
	cl_database_report_presence(OidIsValid(extension));
	if (other_version != NULL)
	{
		cl_database_report_left_alone(other_version);
		cl_database_report(&nothing, NULL);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	return OidIsValid(extension) && other_version == NULL;
}

/*
 * False if the extension is not there; else whether the worker may touch the
 * ledger of this database, which the status tells.
 */
static bool
look_whether_to_settle(bool *allowed)
{
	HeapTupleHeader answer;
	Datum reason;
	bool isnull;

	if (!transaction_begin("seeing whether the ledger is all there"))
		return false;
	cl_database_report_presence(true);
	(void) call_helper("follow_schema");
	CommandCounterIncrement();
	answer = DatumGetHeapTupleHeader(call_helper("may_settle"));
	*allowed = DatumGetBool(GetAttributeByNum(answer, 1, &isnull));
	reason = GetAttributeByNum(answer, 2, &isnull);
	cl_database_report_left_alone(isnull ? NULL : TextDatumGetCString(reason));
	transaction_end();
	return true;
}

static Datum
call_helper(const char *function)
{
	List *name = list_make2(makeString("credit_ledger_internal"), makeString(pstrdup(function)));

	return OidFunctionCall0(LookupFuncName(name, 0, NULL, false));
}

/* One that takes the time as an interval for which it may work. */
static Datum
call_helper_for(const char *function, int64 milliseconds)
{
	List *name = list_make2(makeString("credit_ledger_internal"), makeString(pstrdup(function)));
	Oid types[] = {INTERVALOID};
	Interval interval = {.time = milliseconds * 1000};

	return OidFunctionCall1(LookupFuncName(name, lengthof(types), types, false), IntervalPGetDatum(&interval));
}

static void
sweep_batches(clSweep *sweep, clSweepReport *report)
{
	do
	{
		int64 began = cl_clock();

		if (!transaction_begin("settling expired holds"))
			return;
		sweep_batch(sweep, report);
		transaction_end();
		sweep->max_rows = next_batch(sweep->max_rows, cl_clock() - began);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	} while (cl_worker && sweep->unfinished && cl_clock() < sweep->end);
}

static void
sweep_batch(clSweep *sweep, clSweepReport *report)
{
	clTally *tally = palloc0(sizeof(clTally));

	tally->context = CurrentMemoryContext;
	cl_durability_note_write();
	sweep->tally = tally;
	cl_sweep(sweep);
	cl_calls_count(CL_CALL_SWEEP, tally);
	report->settled += sweep->settled;
	report->unfinished = sweep->unfinished;
	if (sweep->settled > 0)
		ereport(LOG,
				(errmsg("credit_ledger settled %d expired holds of database \"%s\"",
						sweep->settled, get_database_name(MyDatabaseId))));
	if (cl_sweep_met_lock(sweep))
		return;
	PopActiveSnapshot();
	PushActiveSnapshot(GetTransactionSnapshot());
	report->oldest_expired = cl_sweep_oldest(sweep->as_of);
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

/* Remove old idempotency keys, for a tenth of all time at most, so that callers notice nothing. */
static void
remove_keys(int64 end)
{
	bool more = cl_idempotency_retention > 0;
	int64 tenth_over = cl_clock() + Min(RUN_TIME, cl_sweep_interval / 10);

	end = Min(end, tenth_over);
	while (cl_worker && more && cl_clock() < end)
	{
		if (!transaction_begin("removing old idempotency keys"))
			return;
		more = DatumGetBool(call_helper_for("remove_keys", BATCH_TIME));
		transaction_end();
		CHECK_FOR_INTERRUPTS();
	}
}
