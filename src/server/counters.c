/*-------------------------------------------------------------------------
 *
 * counters.c
 *	  How often each verb was called, and what came of it.
 *
 * Counts live in a hash table in shared memory, by database, call and
 * outcome.  The lock is taken shared to add to a count that is there, which
 * is atomic, and exclusively to make or remove one.
 *
 * The table has a fixed size.  Once half of it is used, draining removes what
 * has come to nothing; what finds no room is not counted.
 *
 * Draining is transactional: credit_take_counters() returns the counts, and
 * they are subtracted when its transaction commits; a savepoint that is
 * rolled back has taken nothing.  What is counted meanwhile stays.  Only
 * credit_maintain() calls it, one at a time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "ledger/arguments.h"
#include "server/counters.h"
#include "server/shared.h"

#define MAX_COUNTERS 4096

PG_FUNCTION_INFO_V1(credit_take_counters);

typedef struct CounterKey
{
	Oid database;
	int32 call;
	int32 outcome;
} CounterKey;

typedef struct Counter
{
	CounterKey key;
	pg_atomic_uint64 count;
} Counter;

typedef struct SavedCounter
{
	CounterKey key;
	uint64 count;
} SavedCounter;

static const char *const call_names[CL_NCALLS] = {
	[CL_CALL_GRANT] = "grant",
	[CL_CALL_ADJUST] = "adjust",
	[CL_CALL_AUTHORIZE] = "authorize",
	[CL_CALL_COMMIT] = "commit",
	[CL_CALL_REVERT] = "revert",
	[CL_CALL_EXTEND] = "extend",
	[CL_CALL_REFUND] = "refund",
	[CL_CALL_CHARGE] = "charge",
	[CL_CALL_CORRECT] = "correct",
	[CL_CALL_VOID] = "void",
	[CL_CALL_CONFIGURE] = "configure",
	[CL_CALL_SWEEP] = "sweep",
};

static Size counters_size(void);
static void counters_attach(void);
static bool counters_save(FILE *file);
static bool counters_load(FILE *file);

static clSharedPart part = {
	.size = counters_size,
	.attach = counters_attach,
	.save = counters_save,
	.load = counters_load,
};
static HTAB *counters;

/* Taken in this transaction, to be subtracted when it commits; 0 nesting levels: nothing is. */
static int taken_nest_level;
static SavedCounter *taken;
static int taken_count;

static void take_counters(void);
static const char *outcome_name(int outcome);
static void counters_at_transaction_end(XactEvent event, void *arg);
static void counters_at_subtransaction_end(SubXactEvent event, SubTransactionId id, SubTransactionId parent,
										   void *arg);
static void subtract_taken(void);

void
cl_counters_init(void)
{
	if (process_shared_preload_libraries_in_progress)
		cl_shared_register(&part);
	RegisterXactCallback(counters_at_transaction_end, NULL);
	RegisterSubXactCallback(counters_at_subtransaction_end, NULL);
}

const char *
cl_call_name(clCall call)
{
	return call_names[call];
}

/* ------------------------------------------------------------------------
 * Counting
 * ------------------------------------------------------------------------
 */

void
cl_count(clCall call, int outcome, uint64 times)
{
	CounterKey key = {MyDatabaseId, call, outcome};
	LWLock *lock = cl_shared_lock(&part);
	Counter *counter;

	if (times == 0)
		return;

	LWLockAcquire(lock, LW_SHARED);
	counter = hash_search(counters, &key, HASH_FIND, NULL);
	if (counter == NULL)
	{
		bool found;

		LWLockRelease(lock);
		LWLockAcquire(lock, LW_EXCLUSIVE);
		counter = hash_search(counters, &key, HASH_ENTER_NULL, &found);
		if (counter != NULL && !found)
			pg_atomic_init_u64(&counter->count, 0);
	}
	if (counter != NULL)
		pg_atomic_fetch_add_u64(&counter->count, times);
	LWLockRelease(lock);
}

/* ------------------------------------------------------------------------
 * Draining
 * ------------------------------------------------------------------------
 */

bool
cl_counters_to_drain(void)
{
	HASH_SEQ_STATUS scan;
	Counter *counter;
	bool found = false;

	LWLockAcquire(cl_shared_lock(&part), LW_SHARED);
	hash_seq_init(&scan, counters);
	while ((counter = hash_seq_search(&scan)) != NULL)
		found |= counter->key.database == MyDatabaseId && pg_atomic_read_u64(&counter->count) > 0;
	LWLockRelease(cl_shared_lock(&part));
	return found;
}

/* credit_take_counters(): operation, outcome, count; this transaction, if it commits, takes them away. */
Datum
credit_take_counters(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	if (!cl_shared_is_there() || taken_nest_level > 0)
		return (Datum) 0;

	take_counters();
	for (int i = 0; i < taken_count; i++)
	{
		Datum values[3] = {CStringGetTextDatum(call_names[taken[i].key.call]),
						   CStringGetTextDatum(outcome_name(taken[i].key.outcome)),
						   Int64GetDatum((int64) taken[i].count)};
		bool nulls[3] = {false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

static void
take_counters(void)
{
	HASH_SEQ_STATUS scan;
	Counter *counter;

	taken_count = 0;
	taken = MemoryContextAlloc(TopTransactionContext, MAX_COUNTERS * sizeof(SavedCounter));
	taken_nest_level = GetCurrentTransactionNestLevel();

	LWLockAcquire(cl_shared_lock(&part), LW_SHARED);
	hash_seq_init(&scan, counters);
	while ((counter = hash_seq_search(&scan)) != NULL)
	{
		uint64 value = pg_atomic_read_u64(&counter->count);

		if (counter->key.database == MyDatabaseId && value > 0)
			taken[taken_count++] = (SavedCounter) {counter->key, value};
	}
	LWLockRelease(cl_shared_lock(&part));
}

static void
counters_at_transaction_end(XactEvent event, void *arg)
{
	if (taken_nest_level == 0)
		return;
	if (event == XACT_EVENT_PRE_PREPARE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has drained the counters of credit_ledger"),
				 errdetail("What is counted stands in shared memory and is taken away at commit.")));
	if (event == XACT_EVENT_COMMIT)
		subtract_taken();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		taken_nest_level = 0;
}

/* What a savepoint took goes to its parent with it, or back. */
static void
counters_at_subtransaction_end(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	if (taken_nest_level == 0 || taken_nest_level != GetCurrentTransactionNestLevel())
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		taken_nest_level--;
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		taken_nest_level = 0;
}

static void
subtract_taken(void)
{
	LWLock *lock = cl_shared_lock(&part);

	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < taken_count; i++)
	{
		Counter *counter = hash_search(counters, &taken[i].key, HASH_FIND, NULL);

		if (counter == NULL)
			continue;
		pg_atomic_fetch_sub_u64(&counter->count, taken[i].count);
		if (hash_get_num_entries(counters) > MAX_COUNTERS / 2 && pg_atomic_read_u64(&counter->count) == 0)
			hash_search(counters, &taken[i].key, HASH_REMOVE, NULL);
	}
	LWLockRelease(lock);
}

static const char *
outcome_name(int outcome)
{
	switch (outcome)
	{
		case CL_OUTCOME_REPLAYED:
			return "replayed";
		case CL_OUTCOME_ROLLED_BACK:
			return "rolled_back";
		case CL_OUTCOME_PREPARED:
			return "prepared";
		default:
			return unpack_sql_state(outcome);
	}
}

void
cl_counters_keep(const List *databases)
{
	HASH_SEQ_STATUS scan;
	Counter *counter;

	LWLockAcquire(cl_shared_lock(&part), LW_EXCLUSIVE);
	hash_seq_init(&scan, counters);
	while ((counter = hash_seq_search(&scan)) != NULL)
	{
		if (!list_member_oid(databases, counter->key.database))
			hash_search(counters, &counter->key, HASH_REMOVE, NULL);
	}
	LWLockRelease(cl_shared_lock(&part));
}

/* ------------------------------------------------------------------------
 * Shared memory
 * ------------------------------------------------------------------------
 */

static Size
counters_size(void)
{
	return hash_estimate_size(MAX_COUNTERS, sizeof(Counter));
}

static void
counters_attach(void)
{
	HASHCTL info = {.keysize = sizeof(CounterKey), .entrysize = sizeof(Counter)};

	counters = ShmemInitHash("credit_ledger counters", MAX_COUNTERS, MAX_COUNTERS, &info,
							 HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
}

static bool
counters_save(FILE *file)
{
	int32 number = hash_get_num_entries(counters);
	bool saved = fwrite(&number, sizeof(number), 1, file) == 1;
	HASH_SEQ_STATUS scan;
	Counter *counter;

	hash_seq_init(&scan, counters);
	while ((counter = hash_seq_search(&scan)) != NULL)
	{
		SavedCounter record;

		memset(&record, 0, sizeof(record)); /* the padding goes into the file, too */
		record.key = counter->key;
		record.count = pg_atomic_read_u64(&counter->count);
		saved = saved && fwrite(&record, sizeof(record), 1, file) == 1;
	}
	return saved;
}

static bool
counters_load(FILE *file)
{
	int32 number;

	if (fread(&number, sizeof(number), 1, file) != 1)
		return false;
	for (int i = 0; i < number; i++)
	{
		SavedCounter record;
		Counter *counter;

		if (fread(&record, sizeof(record), 1, file) != 1 || record.key.call < 0 || record.key.call >= CL_NCALLS)
			return false;
		if (record.count == 0)
			continue;
		counter = hash_search(counters, &record.key, HASH_ENTER_NULL, NULL);
		if (counter != NULL)
			pg_atomic_init_u64(&counter->count, record.count);
	}
	return true;
}
