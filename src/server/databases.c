/*-------------------------------------------------------------------------
 *
 * databases.c
 *	  Which databases have the ledger, and how their sweeping goes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "commands/extension.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#include "ledger/clock.h"
#include "ledger/settings.h"
#include "server/databases.h"
#include "server/shared.h"

#define MAX_MESSAGE 256

PG_FUNCTION_INFO_V1(credit_worker_wake);
PG_FUNCTION_INFO_V1(credit_worker_status);

typedef struct Launcher
{
	pid_t pid; /* 0: there is none */
	Latch *latch;
	TimestampTz started_at;
} Launcher;

typedef struct Database
{
	Oid database;
	bool present;

	/* How many looks were asked for; up to which one the sweeper at work knows; up to which one is done. */
	uint64 looks_asked;
	uint64 looks_begun;
	uint64 looks_done;

	pid_t sweeper;
	TimestampTz swept_at; /* 0: never */
	clSweepReport report; /* of the last sweep */
	int64 settled;		  /* by all sweeps since the server started */
	int64 minute_at;	  /* by cl_clock() */
	TimestampTz error_at; /* 0: never */
	int error_sqlstate;
	char error_message[MAX_MESSAGE];
	char left_alone[MAX_MESSAGE]; /* empty: it is not */
} Database;

static Size databases_size(void);
static void databases_attach(void);

static clSharedPart part = {.size = databases_size, .attach = databases_attach};
static Launcher *launcher;
static HTAB *databases;
static bool wake_at_commit;

static Database *database_find(Oid oid);
static Database *database_enter(Oid oid);
static void database_release(int code, Datum arg);
static void copy_message(char *to, const char *message);
static void launcher_leave(int code, Datum arg);
static void databases_at_transaction_end(XactEvent event, void *arg);
static void wake_launcher(void);
static void lock_databases(void);
static void unlock_databases(void);

void
cl_databases_init(void)
{
	if (process_shared_preload_libraries_in_progress)
		cl_shared_register(&part);
	RegisterXactCallback(databases_at_transaction_end, NULL);
}

static void
lock_databases(void)
{
	LWLockAcquire(cl_shared_lock(&part), LW_EXCLUSIVE);
}

static void
unlock_databases(void)
{
	LWLockRelease(cl_shared_lock(&part));
}

/* Under the lock, as the next; NULL if it is not there. */
static Database *
database_find(Oid oid)
{
	return hash_search(databases, &oid, HASH_FIND, NULL);
}

/* NULL if there is no room. */
static Database *
database_enter(Oid oid)
{
	bool found;
	Database *database = hash_search(databases, &oid, HASH_ENTER_NULL, &found);

	if (database != NULL && !found)
	{
		memset(database, 0, sizeof(Database));
		database->database = oid;
	}
	return database;
}

/* ------------------------------------------------------------------------
 * The launcher
 * ------------------------------------------------------------------------
 */

void
cl_launcher_enter(void)
{
	before_shmem_exit(launcher_leave, (Datum) 0);
	lock_databases();
	launcher->pid = MyProcPid;
	launcher->latch = MyLatch;
	launcher->started_at = GetCurrentTimestamp();
	unlock_databases();
}

static void
launcher_leave(int code, Datum arg)
{
	lock_databases();
	launcher->pid = 0;
	launcher->latch = NULL;
	unlock_databases();
}

clDatabaseState
cl_database_state(Oid oid)
{
	Database *database;
	clDatabaseState state = CL_DATABASE_ABSENT;

	lock_databases();
	database = database_find(oid);
	if (database != NULL)
	{
		if (database->looks_done < database->looks_asked)
			state = CL_DATABASE_LOOK_DUE;
		else if (database->present && database->report.unfinished)
			state = CL_DATABASE_UNFINISHED;
		else if (database->present)
			state = CL_DATABASE_WAITING;
	}
	unlock_databases();
	return state;
}

void
cl_databases_keep(const List *oids)
{
	HASH_SEQ_STATUS scan;
	Database *database;

	lock_databases();
	hash_seq_init(&scan, databases);
	while ((database = hash_seq_search(&scan)) != NULL)
	{
		if (database->sweeper == 0 && !list_member_oid(oids, database->database))
			hash_search(databases, &database->database, HASH_REMOVE, NULL);
	}
	unlock_databases();
}

/* ------------------------------------------------------------------------
 * Sweepers
 * ------------------------------------------------------------------------
 */

clClaim
cl_database_claim(void)
{
	Database *database;
	clClaim claim = CL_CLAIM_NO_ROOM;

	lock_databases();
	database = database_enter(MyDatabaseId);
	if (database != NULL && database->sweeper != 0)
		claim = CL_CLAIM_TAKEN;
	else if (database != NULL)
	{
		database->sweeper = MyProcPid;
		database->looks_begun = database->looks_asked;
		claim = CL_CLAIMED;
	}
	unlock_databases();
	if (claim == CL_CLAIMED)
		before_shmem_exit(database_release, (Datum) 0);
	return claim;
}

/* A database without the extension gives its place to others. */
static void
database_release(int code, Datum arg)
{
	Database *database;

	lock_databases();
	database = database_find(MyDatabaseId);
	database->sweeper = 0;
	database->looks_done = database->looks_begun;
	if (!database->present && database->looks_done == database->looks_asked)
		hash_search(databases, &MyDatabaseId, HASH_REMOVE, NULL);
	unlock_databases();
}

/* Whoever asked for a look since this sweeper began knows better that the extension is there. */
void
cl_database_report_presence(bool present)
{
	Database *database;

	lock_databases();
	database = database_find(MyDatabaseId);
	if (present || database->looks_begun == database->looks_asked)
		database->present = present;
	unlock_databases();
}

void
cl_database_report_left_alone(const char *reason)
{
	Database *database;

	lock_databases();
	database = database_find(MyDatabaseId);
	copy_message(database->left_alone, reason != NULL ? reason : "");
	unlock_databases();
}

void
cl_database_report(const clSweepReport *report, const char *ended_by)
{
	Database *database;

	lock_databases();
	database = database_find(MyDatabaseId);
	database->swept_at = GetCurrentTimestamp();
	database->report = *report;
	database->settled += report->settled;
	if (ended_by != NULL)
	{
		database->error_at = database->swept_at;
		database->error_sqlstate = ERRCODE_LOCK_NOT_AVAILABLE;
		copy_message(database->error_message, ended_by);
	}
	else if (database->error_at != 0) /* it came before, whatever the clock said */
		database->error_at = Min(database->error_at, database->swept_at - 1);
	unlock_databases();
}

void
cl_database_report_error(int sqlstate, const char *message)
{
	Database *database;
	TimestampTz now;

	lock_databases();
	database = database_find(MyDatabaseId);
	database->report.unfinished = false;
	now = GetCurrentTimestamp();
	database->error_at = Max(now, database->swept_at); /* it comes after, whatever the clock says */
	database->error_sqlstate = sqlstate;
	copy_message(database->error_message, message);
	unlock_databases();
}

/* To MAX_MESSAGE bytes. */
static void
copy_message(char *to, const char *message)
{
	int length = pg_mbcliplen(message, strlen(message), MAX_MESSAGE - 1);

	memcpy(to, message, length);
	to[length] = '\0';
}

bool
cl_database_minute_has_passed(void)
{
	int64 now = cl_clock();
	Database *database;
	bool passed;

	lock_databases();
	database = database_find(MyDatabaseId);
	passed = database->minute_at == 0 || now - database->minute_at >= 60 * 1000;
	if (passed)
		database->minute_at = now;
	unlock_databases();
	return passed;
}

/* ------------------------------------------------------------------------
 * SQL functions
 * ------------------------------------------------------------------------
 */

/*
 * credit_worker_wake(): at commit.  CREATE EXTENSION calls it; a NOTICE is
 * given at commit, too, since an extension's script shows none.  Anybody else
 * who calls it says that the ledger's rows are all there.
 */
Datum
credit_worker_wake(PG_FUNCTION_ARGS)
{
	List *declare_whole = list_make2(makeString("credit_ledger_internal"), makeString("declare_whole"));

	if (!creating_extension && !XactReadOnly)
		OidFunctionCall0(LookupFuncName(declare_whole, 0, NULL, false));
	wake_at_commit = true;
	PG_RETURN_BOOL(cl_shared_is_there());
}

static void
databases_at_transaction_end(XactEvent event, void *arg)
{
	if (!wake_at_commit)
		return;
	if (event == XACT_EVENT_PRE_COMMIT && !cl_shared_is_there())
		ereport(NOTICE,
				(errmsg("credit_ledger is not preloaded: no worker settles expired holds, nothing is counted"),
				 errdetail("Alerts of failing commits and of late settlement are not raised either."),
				 errhint("Add credit_ledger to shared_preload_libraries and restart the server; "
						 "or schedule credit_sweep() and credit_maintain() every minute, with pg_cron for example.")));
	if (event == XACT_EVENT_COMMIT && cl_shared_is_there())
		wake_launcher();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		wake_at_commit = false;
}

static void
wake_launcher(void)
{
	Database *database;

	lock_databases();
	database = database_enter(MyDatabaseId);
	if (database != NULL)
	{
		database->present = true;
		database->looks_asked++;
	}
	if (launcher->latch != NULL)
		SetLatch(launcher->latch);
	unlock_databases();
}

/* credit_worker_status(): one row, of this database. */
Datum
credit_worker_status(PG_FUNCTION_ARGS)
{
	TupleDesc desc;
	Datum values[13] = {0};
	bool nulls[13];
	Database *database = NULL;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	memset(nulls, true, sizeof(nulls));
#define SET(column, value) (values[column] = (value), nulls[column] = false)
	SET(0, BoolGetDatum(cl_shared_is_there()));
	SET(1, BoolGetDatum(cl_worker));
	if (cl_shared_is_there())
	{
		lock_databases();
		if (launcher->pid != 0)
		{
			SET(2, Int32GetDatum(launcher->pid));
			SET(3, TimestampTzGetDatum(launcher->started_at));
		}
		database = database_find(MyDatabaseId);
		if (database != NULL && database->sweeper != 0)
			SET(4, Int32GetDatum(database->sweeper));
		if (database != NULL && database->swept_at != 0)
		{
			SET(5, TimestampTzGetDatum(database->swept_at));
			SET(6, Int64GetDatum(database->report.settled));
			SET(7, Int64GetDatum(database->settled));
			if (database->report.oldest_expired != 0)
				SET(8, TimestampTzGetDatum(database->report.oldest_expired));
		}
		if (database != NULL && database->error_at != 0)
		{
			SET(9, TimestampTzGetDatum(database->error_at));
			SET(10, CStringGetTextDatum(unpack_sql_state(database->error_sqlstate)));
			SET(11, CStringGetTextDatum(database->error_message));
		}
		if (database != NULL && database->left_alone[0] != '\0')
			SET(12, CStringGetTextDatum(database->left_alone));
		unlock_databases();
	}
#undef SET
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* ------------------------------------------------------------------------
 * Shared memory
 * ------------------------------------------------------------------------
 */

static Size
databases_size(void)
{
	return add_size(MAXALIGN(sizeof(Launcher)), hash_estimate_size(CL_MAX_DATABASES, sizeof(Database)));
}

static void
databases_attach(void)
{
	HASHCTL info = {.keysize = sizeof(Oid), .entrysize = sizeof(Database)};
	bool found;

	launcher = ShmemInitStruct("credit_ledger launcher", sizeof(Launcher), &found);
	if (!found)
		memset(launcher, 0, sizeof(Launcher));
	databases = ShmemInitHash("credit_ledger databases", CL_MAX_DATABASES, CL_MAX_DATABASES, &info,
							  HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
}
