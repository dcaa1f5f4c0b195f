/*-------------------------------------------------------------------------
 *
 * failures.c
 *	  The failures that happened last, with their circumstances.
 *
 * A ring in shared memory, of the whole server: a failed call rolls back
 * whatever it could write about itself.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "ledger/identifier.h"
#include "server/failures.h"
#include "server/shared.h"

#define MAX_FAILURES 256
#define MAX_MESSAGE	 512

PG_FUNCTION_INFO_V1(credit_recent_failures);

/* Texts are empty where there is none. */
typedef struct Failure
{
	TimestampTz failed_at;
	Oid database;
	clCall call;
	int sqlstate;
	char org_id[CL_MAX_IDENTIFIER + 1];
	char campaign_id[CL_MAX_IDENTIFIER + 1];
	char authorization_id[CL_MAX_IDENTIFIER + 1];
	char message[MAX_MESSAGE];
	char detail[MAX_MESSAGE];
} Failure;

typedef struct FailureRing
{
	uint64 count; /* ever; the newest is count - 1, modulo MAX_FAILURES */
	Failure failures[MAX_FAILURES];
} FailureRing;

static Size failures_size(void);
static void failures_attach(void);
static bool failures_save(FILE *file);
static bool failures_load(FILE *file);

static clSharedPart part = {
	.size = failures_size,
	.attach = failures_attach,
	.save = failures_save,
	.load = failures_load,
};
static FailureRing *ring;

static void put_identifier(char *to, const text *identifier);
static void put_message(char *to, const char *message);
static void put_failure(ReturnSetInfo *result, const Failure *failure);

void
cl_failures_init(void)
{
	if (process_shared_preload_libraries_in_progress)
		cl_shared_register(&part);
}

void
cl_failures_add(clCall call, const clRefusal *refusal)
{
	Failure failure;

	/* All of it goes into a file in the end, the padding and what texts leave over, too. */
	memset(&failure, 0, sizeof(failure));
	failure.failed_at = GetCurrentTimestamp();
	failure.database = MyDatabaseId;
	failure.call = call;
	failure.sqlstate = refusal->sqlstate;
	put_identifier(failure.org_id, refusal->org_id);
	put_identifier(failure.campaign_id, refusal->campaign_id);
	put_identifier(failure.authorization_id, refusal->authorization_id);
	put_message(failure.message, refusal->message);
	put_message(failure.detail, refusal->detail);

	LWLockAcquire(cl_shared_lock(&part), LW_EXCLUSIVE);
	ring->failures[ring->count++ % MAX_FAILURES] = failure;
	LWLockRelease(cl_shared_lock(&part));
}

static void
put_identifier(char *to, const text *identifier)
{
	if (identifier != NULL)
		text_to_cstring_buffer(identifier, to, CL_MAX_IDENTIFIER + 1);
}

static void
put_message(char *to, const char *message)
{
	if (message != NULL)
		memcpy(to, message, pg_mbcliplen(message, strlen(message), MAX_MESSAGE - 1));
}

/* credit_recent_failures(): of this database, the newest first. */
Datum
credit_recent_failures(PG_FUNCTION_ARGS)
{
	FailureRing *copy;

	InitMaterializedSRF(fcinfo, 0);
	if (!cl_shared_is_there())
		return (Datum) 0;

	copy = palloc(sizeof(FailureRing));
	LWLockAcquire(cl_shared_lock(&part), LW_SHARED);
	memcpy(copy, ring, sizeof(FailureRing));
	LWLockRelease(cl_shared_lock(&part));

	for (uint64 age = 1; age <= Min(copy->count, MAX_FAILURES); age++)
	{
		const Failure *failure = &copy->failures[(copy->count - age) % MAX_FAILURES];

		if (failure->database == MyDatabaseId)
			put_failure((ReturnSetInfo *) fcinfo->resultinfo, failure);
	}
	return (Datum) 0;
}

static void
put_failure(ReturnSetInfo *result, const Failure *failure)
{
	const char *texts[] = {cl_call_name(failure->call), failure->org_id, failure->campaign_id,
						   failure->authorization_id, unpack_sql_state(failure->sqlstate), failure->message,
						   failure->detail};
	Datum values[1 + lengthof(texts)] = {TimestampTzGetDatum(failure->failed_at)};
	bool nulls[1 + lengthof(texts)] = {false};

	for (int i = 0; i < (int) lengthof(texts); i++)
	{
		nulls[1 + i] = texts[i][0] == '\0';
		values[1 + i] = CStringGetTextDatum(texts[i]);
	}
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* ------------------------------------------------------------------------
 * Shared memory
 * ------------------------------------------------------------------------
 */

static Size
failures_size(void)
{
	return MAXALIGN(sizeof(FailureRing));
}

static void
failures_attach(void)
{
	bool found;

	ring = ShmemInitStruct("credit_ledger failures", failures_size(), &found);
	if (!found)
		memset(ring, 0, sizeof(FailureRing));
}

static bool
failures_save(FILE *file)
{
	return fwrite(ring, sizeof(FailureRing), 1, file) == 1;
}

static bool
failures_load(FILE *file)
{
	if (fread(ring, sizeof(FailureRing), 1, file) == 1)
		return true;
	memset(ring, 0, sizeof(FailureRing));
	return false;
}
