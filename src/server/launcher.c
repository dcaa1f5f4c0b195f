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
 * When something is due is told by a clock that nobody sets.
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
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "ledger/clock.h"
#include "ledger/settings.h"
#include "server/counters.h"
#include "server/databases.h"
#include "server/launcher.h"

/* So many databases are swept at once: one that is stuck does not stop the others. */
#define MAX_SWEEPERS 2

/* Milliseconds */
#define PROBE_INTERVAL (10 * 60 * 1000)
#define PAUSE		   250

/* Instants are those of cl_clock(); 0: never. */
typedef struct Target
{
	Oid database;
	int64 sweep_began;
	int64 sweep_ended;
	BackgroundWorkerHandle *sweeper; /* NULL: none is at work */
} Target;

static List *targets; /* of Target */
static bool out_of_workers;

static void launcher_start(void);
static void report_activity(void);
static void targets_refresh(void);
static List *databases_read(void);
static Target *target_find(Oid database);
static int64 targets_work(int64 now);
static Target *target_due_first(int64 *due);
static int64 target_due(const Target *target);
static bool target_start(Target *target);
static void background_worker(BackgroundWorker *worker, const char *type, const char *function);

void
cl_launcher_init(void)
{
	BackgroundWorker worker;

	if (IsBinaryUpgrade)
		return;
	background_worker(&worker, "credit_ledger launcher", "cl_launcher_main");
	strlcpy(worker.bgw_name, worker.bgw_type, BGW_MAXLEN);
	worker.bgw_restart_time = 2;
	RegisterBackgroundWorker(&worker);
}

/* It ends with status 1, which has the postmaster start it again unless the server is shutting down. */
void
cl_launcher_main(Datum arg)
{
	int64 refresh_at = 0;

	launcher_start();
	while (!ShutdownRequestPending)
	{
		int64 now = cl_clock();
		int64 wake_at;

		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			refresh_at = now;
		}
		if (now >= refresh_at)
		{
			report_activity();
			targets_refresh();
			refresh_at = now + cl_sweep_interval;
		}
		wake_at = targets_work(now);
		wake_at = Min(wake_at, refresh_at);

		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Max(wake_at - now, 0), PG_WAIT_EXTENSION);
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

/* What is known of a database stays; a new one is due at once. */
static void
targets_refresh(void)
{
	List *databases;
	List *refreshed = NIL;
	ListCell *lc;
	MemoryContext old;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	databases = databases_read();
	cl_counters_keep(databases);
	cl_databases_keep(databases);

	old = MemoryContextSwitchTo(TopMemoryContext);
	foreach(lc, databases)
	{
		Target *target = target_find(lfirst_oid(lc));

		if (target == NULL)
		{
			target = palloc0(sizeof(Target));
			target->database = lfirst_oid(lc);
		}
		refreshed = lappend(refreshed, target);
	}
	foreach(lc, targets)
	{
		if (!list_member_ptr(refreshed, lfirst(lc)))
			pfree(lfirst(lc));
	}
	list_free(targets);
	targets = refreshed;
	MemoryContextSwitchTo(old);
	CommitTransactionCommand();
}

/* The model is get_database_list() in autovacuum.c. */
static List *
databases_read(void)
{
	Relation rel = table_open(DatabaseRelationId, AccessShareLock);
	TableScanDesc scan = table_beginscan_catalog(rel, 0, NULL);
	HeapTuple tuple;
	List *databases = NIL;

	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);

		if (!database->datistemplate && database->datallowconn && !database_is_invalid_form(database))
			databases = lappend_oid(databases, database->oid);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	return databases;
}

static Target *
target_find(Oid database)
{
	ListCell *lc;

	foreach(lc, targets)
	{
		Target *target = lfirst(lc);

		if (target->database == database)
			return target;
	}
	return NULL;
}

/* ------------------------------------------------------------------------
 * Sweepers
 * ------------------------------------------------------------------------
 */

/* Start what is due, as far as there is room; returns when to look again. */
static int64
targets_work(int64 now)
{
	int sweepers = 0;
	ListCell *lc;

	foreach(lc, targets)
	{
		Target *target = lfirst(lc);
		pid_t pid;

		if (target->sweeper == NULL)
			continue;
		if (GetBackgroundWorkerPid(target->sweeper, &pid) == BGWH_STOPPED)
		{
			pfree(target->sweeper);
			target->sweeper = NULL;
			target->sweep_ended = now;
		}
		else
			sweepers++;
	}

	for (; cl_worker && sweepers < MAX_SWEEPERS; sweepers++)
	{
		int64 due;
		Target *target = target_due_first(&due);

		if (target == NULL || due > now)
			return due;
		if (!target_start(target))
			return now + 1000;
	}
	return PG_INT64_MAX;
}

/* The one that has been due for longest comes first, so that all get their turn, however many there are. */
static Target *
target_due_first(int64 *due)
{
	Target *first = NULL;
	ListCell *lc;

	*due = PG_INT64_MAX;
	foreach(lc, targets)
	{
		Target *target = lfirst(lc);
		int64 target_is_due;

		if (target->sweeper != NULL)
			continue;
		target_is_due = target_due(target);
		if (first == NULL || target_is_due < *due)
		{
			first = target;
			*due = target_is_due;
		}
	}
	return first;
}

/* By the settings as they are now, not as they were when its last sweep began. */
static int64
target_due(const Target *target)
{
	int64 interval_over = target->sweep_began + cl_sweep_interval;
	int64 pause_over = target->sweep_ended + Min(PAUSE, cl_sweep_interval);

	if (target->sweep_began == 0)
		return 0;
	switch (cl_database_state(target->database))
	{
		case CL_DATABASE_ABSENT:
			return target->sweep_ended + PROBE_INTERVAL;
		case CL_DATABASE_LOOK_DUE:
		case CL_DATABASE_UNFINISHED:
			return pause_over;
		case CL_DATABASE_WAITING:
			break;
	}
	return Max(interval_over, pause_over);
}

static bool
target_start(Target *target)
{
	BackgroundWorker worker;
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	bool started;

	background_worker(&worker, "credit_ledger sweeper", "cl_sweeper_main");
	snprintf(worker.bgw_name, BGW_MAXLEN, "credit_ledger sweeper of database %u", target->database);
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = ObjectIdGetDatum(target->database);
	worker.bgw_notify_pid = MyProcPid;
	started = RegisterDynamicBackgroundWorker(&worker, &target->sweeper);
	MemoryContextSwitchTo(old);

	if (started)
		target->sweep_began = cl_clock();
	else if (!out_of_workers)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("credit_ledger found no free background worker to sweep with"),
				 errhint("Consider increasing max_worker_processes.")));
	out_of_workers = !started;
	return started;
}

/* What the launcher and the sweepers have in common. */
static void
background_worker(BackgroundWorker *worker, const char *type, const char *function)
{
	memset(worker, 0, sizeof(BackgroundWorker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	strlcpy(worker->bgw_type, type, BGW_MAXLEN);
	strlcpy(worker->bgw_library_name, "credit_ledger", BGW_MAXLEN);
	strlcpy(worker->bgw_function_name, function, BGW_MAXLEN);
}
