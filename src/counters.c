/*-------------------------------------------------------------------------
 *
 * counters.c
 *	  How often each verb was called, and what came of it.
 *
 * Counts live in a hash table in shared memory, by database, call and
 * outcome.  The lock is taken shared to add to a count that is there, which
 * is atomic, and exclusively to make or remove one.  Successes wait in local
 * memory, by nesting level of transactions, until it is known what becomes of
 * them.
 *
 * Draining is transactional: credit_take_counters() returns the counts, and
 * they are subtracted when its transaction commits.  What is counted
 * meanwhile stays.  Only credit_drain_counters() calls it, one at a time.
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

#include "arguments.h"
#include "counters.h"
#include "failures.h"
#include "shared.h"

#define MAX_COUNTERS 4096

PG_FUNCTION_INFO_V1(credit_take_counters);

/* An outcome is an SQLSTATE as MAKE_SQLSTATE packs it, or one of these. */
enum
{
	OUTCOME_SUCCESS = ERRCODE_SUCCESSFUL_COMPLETION,
	OUTCOME_REPLAYED = -1,
	OUTCOME_ROLLED_BACK = -2, /* it succeeded, but its transaction or savepoint did not stay */
	OUTCOME_PREPARED = -3	  /* by PREPARE TRANSACTION; what becomes of it is not seen here */
};

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

/* Successes whose transaction is still open, of one nesting level. */
typedef struct Pending
{
	int nest_level;
	int successes[CL_NCALLS];
} Pending;

/* A call that is being counted; calls may nest, through triggers. */
typedef struct Attempt
{
	struct Attempt *outer;
	int successes;
	int replays;
	char org_id[CL_MAX_IDENTIFIER + 1];
	char authorization_id[CL_MAX_IDENTIFIER + 1];
} Attempt;

static const char *const call_names[CL_NCALLS] = {
	[CL_CALL_GRANT] = "grant",
	[CL_CALL_ADJUST] = "adjust",
	[CL_CALL_AUTHORIZE] = "authorize",
	[CL_CALL_COMMIT] = "commit",
	[CL_CALL_REVERT] = "revert",
	[CL_CALL_EXTEND] = "extend",
	[CL_CALL_REFUND] = "refund",
	[CL_CALL_CONFIGURE] = "configure",
	[CL_CALL_SWEEP] = "sweep",
};

static HTAB *counters;

static Attempt *attempt;
static Pending *pending; /* the outermost level first */
static int pending_count;
static int pending_size;

/* Taken in this transaction, to be subtracted when it commits. */
static SavedCounter *taken;
static int taken_count;

static void count(clCall call, int outcome, uint64 times);
static void count_pending(Pending *level, int outcome);
static const char *outcome_name(int outcome);
static void counters_at_transaction_end(XactEvent event, void *arg);
static void counters_at_subtransaction_end(SubXactEvent event, SubTransactionId id, SubTransactionId parent,
										   void *arg);
static void subtract_taken(void);
static bool is_in(const Oid *databases, int database_count, Oid database);

void
cl_counters_init(void)
{
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

Datum
cl_count_call(clCall call, PGFunction body, FunctionCallInfo fcinfo)
{
	Attempt this;
	MemoryContext context = CurrentMemoryContext;
	Datum result;

	if (!cl_shared_is_there())
		return body(fcinfo);

	this.outer = attempt;
	this.successes = this.replays = 0;
	this.org_id[0] = this.authorization_id[0] = '\0';

	PG_TRY();
	{
		attempt = &this;
		result = body(fcinfo);
		attempt = this.outer;
	}
	PG_CATCH();
	{
		ErrorData *error;
		MemoryContext old = MemoryContextSwitchTo(context);

		attempt = this.outer;
		error = CopyErrorData();
		cl_count_failure(call, this.org_id, this.authorization_id, error->sqlerrcode, error->message);
		FreeErrorData(error);
		MemoryContextSwitchTo(old);
		PG_RE_THROW();
	}
	PG_END_TRY();

	cl_count_success(call, this.successes);
	count(call, OUTCOME_REPLAYED, this.replays);
	return result;
}

void
cl_count_answer(bool replayed)
{
	if (attempt == NULL)
		return;
	if (replayed)
		attempt->replays++;
	else
		attempt->successes++;
}

void
cl_count_organisation(const text *org_id)
{
	if (attempt != NULL)
		text_to_cstring_buffer(org_id, attempt->org_id, sizeof(attempt->org_id));
}

void
cl_count_authorization(const text *authorization_id)
{
	if (attempt != NULL)
		text_to_cstring_buffer(authorization_id, attempt->authorization_id, sizeof(attempt->authorization_id));
}

void
cl_count_success(clCall call, int times)
{
	int nest_level = GetCurrentTransactionNestLevel();

	if (!cl_shared_is_there() || times == 0)
		return;

	if (pending_count == 0 || pending[pending_count - 1].nest_level < nest_level)
	{
		if (pending_count == pending_size)
		{
			int size = Max(8, 2 * pending_size);

			pending = pending == NULL ?
				MemoryContextAlloc(TopMemoryContext, size * sizeof(Pending)) :
				repalloc(pending, size * sizeof(Pending));
			pending_size = size;
		}
		memset(&pending[pending_count], 0, sizeof(Pending));
		pending[pending_count++].nest_level = nest_level;
	}
	pending[pending_count - 1].successes[call] += times;
}

void
cl_count_failure(clCall call, const char *org_id, const char *authorization_id, int sqlstate, const char *message)
{
	if (!cl_shared_is_there())
		return;
	count(call, sqlstate, 1);
	cl_failures_add(call, org_id, authorization_id, sqlstate, message);
}

static void
count(clCall call, int outcome, uint64 times)
{
	CounterKey key = {MyDatabaseId, call, outcome};
	LWLock *lock = cl_shared_lock(CL_LOCK_COUNTERS);
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

static void
count_pending(Pending *level, int outcome)
{
	for (clCall call = 0; call < CL_NCALLS; call++)
		count(call, outcome, level->successes[call]);
}

/* ------------------------------------------------------------------------
 * What becomes of successes
 * ------------------------------------------------------------------------
 */

static void
counters_at_transaction_end(XactEvent event, void *arg)
{
	int outcome;

	switch (event)
	{
		case XACT_EVENT_COMMIT:
			outcome = OUTCOME_SUCCESS;
			subtract_taken();
			break;
		case XACT_EVENT_PREPARE:
			outcome = OUTCOME_PREPARED;
			break;
		case XACT_EVENT_ABORT:
			outcome = OUTCOME_ROLLED_BACK;
			attempt = NULL;
			break;
		default:
			return;
	}

	while (pending_count > 0)
		count_pending(&pending[--pending_count], outcome);
	taken = NULL;
	taken_count = 0;
}

static void
counters_at_subtransaction_end(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	int nest_level = GetCurrentTransactionNestLevel();
	Pending *level;

	if (pending_count == 0 || pending[pending_count - 1].nest_level < nest_level)
		return;

	level = &pending[pending_count - 1];
	Assert(level->nest_level == nest_level);
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		count_pending(level, OUTCOME_ROLLED_BACK);
		pending_count--;
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		Pending *outer = level - 1;

		level->nest_level--;
		if (pending_count > 1 && outer->nest_level == level->nest_level)
		{
			for (clCall call = 0; call < CL_NCALLS; call++)
				outer->successes[call] += level->successes[call];
			pending_count--;
		}
	}
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

	LWLockAcquire(cl_shared_lock(CL_LOCK_COUNTERS), LW_SHARED);
	hash_seq_init(&scan, counters);
	while ((counter = hash_seq_search(&scan)) != NULL)
		found |= counter->key.database == MyDatabaseId && pg_atomic_read_u64(&counter->count) > 0;
	LWLockRelease(cl_shared_lock(CL_LOCK_COUNTERS));
	return found;
}

/* credit_take_counters(): operation, outcome, count; this transaction, if it commits, takes them away. */
Datum
credit_take_counters(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	HASH_SEQ_STATUS scan;
	Counter *counter;

	InitMaterializedSRF(fcinfo, 0);
	if (!cl_shared_is_there() || taken_count > 0)
		return (Datum) 0;

	taken = MemoryContextAlloc(TopTransactionContext, MAX_COUNTERS * sizeof(SavedCounter));
	LWLockAcquire(cl_shared_lock(CL_LOCK_COUNTERS), LW_SHARED);
	hash_seq_init(&scan, counters);
	while ((counter = hash_seq_search(&scan)) != NULL)
	{
		uint64 value = pg_atomic_read_u64(&counter->count);

		if (counter->key.database == MyDatabaseId && value > 0)
			taken[taken_count++] = (SavedCounter) {counter->key, value};
	}
	LWLockRelease(cl_shared_lock(CL_LOCK_COUNTERS));

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
subtract_taken(void)
{
	if (taken_count == 0)
		return;
	LWLockAcquire(cl_shared_lock(CL_LOCK_COUNTERS), LW_SHARED);
	for (int i = 0; i < taken_count; i++)
	{
		Counter *counter = hash_search(counters, &taken[i].key, HASH_FIND, NULL);

		if (counter != NULL)
			pg_atomic_fetch_sub_u64(&counter->count, taken[i].count);
	}
	LWLockRelease(cl_shared_lock(CL_LOCK_COUNTERS));
}

static const char *
outcome_name(int outcome)
{
	switch (outcome)
	{
		case OUTCOME_REPLAYED:
			return "replayed";
		case OUTCOME_ROLLED_BACK:
			return "rolled_back";
		case OUTCOME_PREPARED:
			return "prepared";
		default:
			return unpack_sql_state(outcome);
	}
}

void
cl_counters_keep(const Oid *databases, int database_count)
{
	HASH_SEQ_STATUS scan;
	Counter *counter;

	LWLockAcquire(cl_shared_lock(CL_LOCK_COUNTERS), LW_EXCLUSIVE);
	hash_seq_init(&scan, counters);
	while ((counter = hash_seq_search(&scan)) != NULL)
	{
		if (!is_in(databases, database_count, counter->key.database))
			hash_search(counters, &counter->key, HASH_REMOVE, NULL);
	}
	LWLockRelease(cl_shared_lock(CL_LOCK_COUNTERS));
}

static bool
is_in(const Oid *databases, int database_count, Oid database)
{
	for (int i = 0; i < database_count; i++)
	{
		if (databases[i] == database)
			return true;
	}
	return false;
}

/* ------------------------------------------------------------------------
 * Shared memory
 * ------------------------------------------------------------------------
 */

Size
cl_counters_size(void)
{
	return hash_estimate_size(MAX_COUNTERS, sizeof(Counter));
}

/* True if it is new, and empty. */
bool
cl_counters_attach(void)
{
	HASHCTL info = {.keysize = sizeof(CounterKey), .entrysize = sizeof(Counter)};

	counters = ShmemInitHash("credit_ledger counters", MAX_COUNTERS, MAX_COUNTERS, &info,
							 HASH_ELEM | HASH_BLOBS);
	return !IsUnderPostmaster;
}

bool
cl_counters_save(FILE *file)
{
	int32 number = hash_get_num_entries(counters);
	bool saved = fwrite(&number, sizeof(number), 1, file) == 1;
	HASH_SEQ_STATUS scan;
	Counter *counter;

	hash_seq_init(&scan, counters);
	while ((counter = hash_seq_search(&scan)) != NULL)
	{
		SavedCounter record = {counter->key, pg_atomic_read_u64(&counter->count)};

		saved = saved && fwrite(&record, sizeof(record), 1, file) == 1;
	}
	return saved;
}

bool
cl_counters_load(FILE *file)
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
