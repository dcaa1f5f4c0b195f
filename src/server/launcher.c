/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  The process that has every database with the ledger swept.
 *
 * It belongs to no database and sees the shared catalogs only, as the
 * server's autovacuum launcher does, so it is in nobody's way.  It starts a
 * sweeper in one database after the other: each sweep_interval in those that
 * have the extension, seldom in the others, where a sweeper looks and leaves.
 * CREATE EXTENSION makes itself known (see databases.c), and a database not
 * seen before is looked at right away, so that a copy is found soon, too.
 *
 * Templates and databases that allow no connections are left alone.  Between
 * two sweepers of a database there is a pause, in which commands that need it
 * for themselves (DROP DATABASE, CREATE DATABASE ... TEMPLATE) find it free;
 * they wait for five seconds.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "server/counters.h"
#include "server/databases.h"
#include "ledger/settings.h"
#include "server/launcher.h"

/* So many databases are swept at once: one that is stuck does not stop the others. */
#define MAX_SWEEPERS 2

/* Milliseconds */
#define PROBE_INTERVAL (10 * 60 * 1000)
#define PAUSE		   250

typedef struct Target
{
	Oid database;
	TimestampTz due;
	BackgroundWorkerHandle *sweeper; /* NULL: none is at work */
} Target;

static Target *targets;
static int target_count;
static bool out_of_workers;

static void launcher_start(void);
static void report_activity(void);
static void targets_refresh(MemoryContext context);
static int databases_read(Oid **databases);
static Target target_make(Oid database);
static TimestampTz targets_work(TimestampTz now);
static void target_finish(Target *target, TimestampTz now);
static bool target_start(Target *target);

void
cl_launcher_init(void)
{
	BackgroundWorker worker;

	if (IsBinaryUpgrade)
		return;
	cl_background_worker(&worker, "credit_ledger launcher", "cl_launcher_main");
	strlcpy(worker.bgw_name, worker.bgw_type, BGW_MAXLEN);
	worker.bgw_restart_time = 2;
	RegisterBackgroundWorker(&worker);
}

void
cl_background_worker(BackgroundWorker *worker, const char *type, const char *function)
{
	memset(worker, 0, sizeof(BackgroundWorker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	strlcpy(worker->bgw_type, type, BGW_MAXLEN);
	strlcpy(worker->bgw_library_name, "credit_ledger", BGW_MAXLEN);
	strlcpy(worker->bgw_function_name, function, BGW_MAXLEN);
}

/* It ends with status 1, which has the postmaster start it again unless the server is shutting down. */
void
cl_launcher_main(Datum arg)
{
	MemoryContext context;
	TimestampTz refresh_at = 0;

	launcher_start();
	context = AllocSetContextCreate(TopMemoryContext, "credit_ledger launcher", ALLOCSET_DEFAULT_SIZES);

	while (!ShutdownRequestPending)
	{
		TimestampTz now = GetCurrentTimestamp();
		TimestampTz wake_at;

		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			refresh_at = now;
		}
		if (now >= refresh_at)
		{
			report_activity();
			targets_refresh(context);
			refresh_at = TimestampTzPlusMilliseconds(now, cl_sweep_interval);
		}
		wake_at = Min(targets_work(now), refresh_at);

		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 TimestampDifferenceMilliseconds(GetCurrentTimestamp(), wake_at),
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}

	ereport(LOG, (errmsg("credit_ledger launcher shutting down")));
	proc_exit(1);
}

static void
launcher_start(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	cl_launcher_enter();
	pgstat_report_appname("credit_ledger launcher");
	ereport(LOG, (errmsg("credit_ledger launcher started")));
}

static void
report_activity(void)
{
	pgstat_report_activity(STATE_IDLE,
						   cl_worker ? "having expired holds settled in every database with credit_ledger" :
									   "paused by credit_ledger.worker");
}

/* ------------------------------------------------------------------------
 * Which databases
 * ------------------------------------------------------------------------
 */

static void
targets_refresh(MemoryContext context)
{
	MemoryContext old;
	Oid *databases;
	int count;
	Target *refreshed;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	count = databases_read(&databases);
	cl_counters_keep(databases, count);
	cl_databases_keep(databases, count);

	old = MemoryContextSwitchTo(context);
	refreshed = palloc_array(Target, count);
	for (int i = 0; i < count; i++)
		refreshed[i] = target_make(databases[i]);
	MemoryContextSwitchTo(old);
	CommitTransactionCommand();

	if (targets != NULL)
		pfree(targets);
	targets = refreshed;
	target_count = count;
}

/* The model is get_database_list() in autovacuum.c. */
static int
databases_read(Oid **databases)
{
	Relation rel = table_open(DatabaseRelationId, AccessShareLock);
	TableScanDesc scan = table_beginscan_catalog(rel, 0, NULL);
	HeapTuple tuple;
	int count = 0;
	int size = 32;

	*databases = palloc_array(Oid, size);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);

		if (database->datistemplate || !database->datallowconn || database_is_invalid_form(database))
			continue;
		if (count == size)
			*databases = repalloc(*databases, (size *= 2) * sizeof(Oid));
		(*databases)[count++] = database->oid;
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	return count;
}

/* What is known of it stays; a new one is due at once. */
static Target
target_make(Oid database)
{
	for (int i = 0; i < target_count; i++)
	{
		if (targets[i].database == database)
			return targets[i];
	}
	return (Target) {.database = database};
}

/* ------------------------------------------------------------------------
 * Sweepers
 * ------------------------------------------------------------------------
 */

/* Start what is due, as far as there is room; returns when to look again. */
static TimestampTz
targets_work(TimestampTz now)
{
	TimestampTz next = DT_NOEND;
	int sweepers = 0;

	for (int i = 0; i < target_count; i++)
	{
		Target *target = &targets[i];
		pid_t pid;

		if (target->sweeper != NULL && GetBackgroundWorkerPid(target->sweeper, &pid) == BGWH_STOPPED)
			target_finish(target, now);
		if (cl_database_take_wish(target->database))
			target->due = now;
		sweepers += target->sweeper != NULL;
	}

	for (int i = 0; cl_worker && i < target_count && sweepers < MAX_SWEEPERS; i++)
	{
		Target *target = &targets[i];

		if (target->sweeper == NULL && target->due <= now)
		{
			if (!target_start(target))
				return TimestampTzPlusMilliseconds(now, 1000);
			sweepers++;
		}
		if (target->sweeper == NULL)
			next = Min(next, target->due);
	}
	return next;
}

static void
target_finish(Target *target, TimestampTz now)
{
	bool unfinished;
	clPresence presence = cl_database_presence(target->database, &unfinished);

	pfree(target->sweeper);
	target->sweeper = NULL;
	if (presence == CL_ABSENT)
		target->due = TimestampTzPlusMilliseconds(now, PROBE_INTERVAL);
	else if (unfinished)
		target->due = TimestampTzPlusMilliseconds(now, PAUSE);
}

static bool
target_start(Target *target)
{
	BackgroundWorker worker;
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	bool started;

	cl_background_worker(&worker, "credit_ledger sweeper", "cl_sweeper_main");
	snprintf(worker.bgw_name, BGW_MAXLEN, "credit_ledger sweeper of database %u", target->database);
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = ObjectIdGetDatum(target->database);
	worker.bgw_notify_pid = MyProcPid;
	started = RegisterDynamicBackgroundWorker(&worker, &target->sweeper);
	MemoryContextSwitchTo(old);

	if (started)
		target->due = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), cl_sweep_interval);
	else if (!out_of_workers)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("credit_ledger found no free background worker to sweep with"),
				 errhint("Consider increasing max_worker_processes.")));
	out_of_workers = !started;
	return started;
}
