/*-------------------------------------------------------------------------
 *
 * sweep.c
 *	  Settling holds that expired.
 *
 * Expired holds are read in chunks, and those of one organisation in a chunk
 * are settled together: its account is locked and written once.  A chunk runs
 * in one subtransaction; if anything in it fails, it is done again with a
 * subtransaction for each organisation, so that the one that fails is alone.
 *
 * What was read without a lock is only a suggestion.  Once the account is
 * locked, each hold is read again, and settled if it is still live and still
 * expired.  An organisation that is locked, or whose holds cannot be settled,
 * is left for the next sweep.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "ledger/account.h"
#include "ledger/arguments.h"
#include "ledger/authorization.h"
#include "ledger/identifier.h"
#include "ledger/settlement.h"
#include "ledger/sweep.h"
#include "ledger/verbs.h"

#define CHUNK_ROWS 1000

typedef struct Candidate
{
	text *org_id;
	text *authorization_id;
	int position; /* in the order of expires_at */
} Candidate;

/* Candidates of one chunk, those of an organisation side by side. */
typedef struct Chunk
{
	TimestampTz as_of;
	HTAB *passed_over;
	clTally *tally;
	int count;
	Candidate candidates[CHUNK_ROWS];
} Chunk;

static int chunk_read(clUnit *unit, clScan *scan, Chunk *chunk, int max_rows);
static int compare_candidates(const void *a, const void *b);
static int sweep_chunk(const Chunk *chunk);
static bool sweep_guarded(const Chunk *chunk, int first, int count, int *settled);
static int sweep_range(const Chunk *chunk, int first, int count);
static int sweep_organisation(const Chunk *chunk, int first, int count);
static bool is_passed_over(const Chunk *chunk, const text *org_id);
static void pass_over(const Chunk *chunk, const text *org_id);
static int organisation_end(const Chunk *chunk, int first, int end);

int
cl_sweep(TimestampTz as_of, int max_rows, HTAB *passed_over, clTally *tally)
{
	clUnit *unit = cl_unit_begin("credit_sweep()");
	clScan *scan = cl_authorization_scan_expired(unit, as_of);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "credit_ledger sweep",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	int settled = 0;

	while (settled < max_rows)
	{
		Chunk *chunk = palloc(sizeof(Chunk));

		chunk->as_of = as_of;
		chunk->passed_over = passed_over;
		chunk->tally = tally;
		if (chunk_read(unit, scan, chunk, max_rows - settled) == 0)
			break;
		settled += sweep_chunk(chunk);
		MemoryContextReset(context);
	}

	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	cl_scan_end(scan);
	cl_unit_end(unit);
	tally->done += settled;
	return settled;
}

/* In the current memory context. */
HTAB *
cl_sweep_passed_over(void)
{
	HASHCTL info = {.keysize = CL_MAX_IDENTIFIER + 1,
					.entrysize = CL_MAX_IDENTIFIER + 1,
					.hcxt = CurrentMemoryContext};

	return hash_create("organisations passed over", 64, &info, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

TimestampTz
cl_sweep_oldest(TimestampTz as_of)
{
	clUnit *unit = cl_unit_begin_reading();
	clScan *scan = cl_authorization_scan_expired(unit, as_of);
	clAuthorization authorization;
	TimestampTz oldest = 0;

	if (cl_authorization_next(unit, scan, &authorization))
		oldest = authorization.expires_at;
	cl_scan_end(scan);
	cl_unit_end(unit);
	return oldest;
}

static int
chunk_read(clUnit *unit, clScan *scan, Chunk *chunk, int max_rows)
{
	clAuthorization authorization;

	chunk->count = 0;
	while (chunk->count < Min(max_rows, CHUNK_ROWS) && cl_authorization_next(unit, scan, &authorization))
	{
		if (is_passed_over(chunk, authorization.org_id))
			continue;
		chunk->candidates[chunk->count].org_id = authorization.org_id;
		chunk->candidates[chunk->count].authorization_id = authorization.authorization_id;
		chunk->candidates[chunk->count].position = chunk->count;
		chunk->count++;
	}
	qsort(chunk->candidates, chunk->count, sizeof(Candidate), compare_candidates);
	return chunk->count;
}

static int
compare_candidates(const void *a, const void *b)
{
	const Candidate *left = a;
	const Candidate *right = b;
	int order = cl_identifier_compare(left->org_id, right->org_id);

	return order != 0 ? order : left->position - right->position;
}

static int
sweep_chunk(const Chunk *chunk)
{
	int settled = 0;
	int total = 0;

	if (sweep_guarded(chunk, 0, chunk->count, &settled))
		return settled;

	for (int first = 0, end; first < chunk->count; first = end)
	{
		end = organisation_end(chunk, first, chunk->count);
		if (sweep_guarded(chunk, first, end - first, &settled))
			total += settled;
	}
	return total;
}

/*
 * Sweep a range of a chunk in a subtransaction; false if it was rolled back.
 * The error is a WARNING where the range is one organisation, which leaves
 * nobody else to blame.  What ends the whole transaction anyway (a conflict
 * of serializable transactions, a cancelled query, a lack of resources) is
 * raised.  The model is plpgsql's exec_stmt_block.
 */
static bool
sweep_guarded(const Chunk *chunk, int first, int count, int *settled)
{
	MemoryContext old_context = CurrentMemoryContext;
	ResourceOwner old_owner = CurrentResourceOwner;
	bool one_organisation = organisation_end(chunk, first, first + count) == first + count;
	volatile bool done = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(old_context);
	PG_TRY();
	{
		*settled = sweep_range(chunk, first, count);
		ReleaseCurrentSubTransaction();
		done = true;
	}
	PG_CATCH();
	{
		ErrorData *error;
		int category;

		MemoryContextSwitchTo(old_context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(old_context);
		CurrentResourceOwner = old_owner;

		category = ERRCODE_TO_CATEGORY(error->sqlerrcode);
		if (category == ERRCODE_TRANSACTION_ROLLBACK || category == ERRCODE_INSUFFICIENT_RESOURCES ||
			category == ERRCODE_OPERATOR_INTERVENTION || category == ERRCODE_SYSTEM_ERROR)
			ReThrowError(error);
		if (one_organisation)
		{
			char *org_id = text_to_cstring(chunk->candidates[first].org_id);

			pass_over(chunk, chunk->candidates[first].org_id);
			chunk->tally->org_id = chunk->candidates[first].org_id;
			(void) cl_tally_refuse(chunk->tally, error->sqlerrcode, error->message);
			ereport(WARNING,
					(errcode(error->sqlerrcode),
					 errmsg("could not settle expired holds of organisation \"%s\": %s", org_id, error->message)));
		}
		FreeErrorData(error);
	}
	PG_END_TRY();

	MemoryContextSwitchTo(old_context);
	CurrentResourceOwner = old_owner;
	return done;
}

static int
sweep_range(const Chunk *chunk, int first, int count)
{
	int settled = 0;

	for (int start = first, end; start < first + count; start = end)
	{
		end = organisation_end(chunk, start, first + count);
		settled += sweep_organisation(chunk, start, end - start);
	}
	return settled;
}

static int
sweep_organisation(const Chunk *chunk, int first, int count)
{
	static const clSettlement expiry = {.verb = CL_VERB_EXPIRE, .all = true};
	clUnit *unit = cl_unit_begin("credit_sweep()");
	clAccount account;
	int settled = 0;

	if (cl_account_try_lock(unit, chunk->candidates[first].org_id, &account))
	{
		for (int i = first; i < first + count; i++)
		{
			clAuthorization authorization;

			if (cl_authorization_find_open(unit, chunk->candidates[i].authorization_id, &authorization) &&
				authorization.expires_at < chunk->as_of &&
				cl_settle(unit, &account, &authorization, &expiry, chunk->tally))
				settled++;
		}
		if (settled > 0)
			cl_account_store(unit, &account);
	}
	else
		pass_over(chunk, chunk->candidates[first].org_id);
	cl_unit_end(unit);
	return settled;
}

static bool
is_passed_over(const Chunk *chunk, const text *org_id)
{
	char key[CL_MAX_IDENTIFIER + 1];

	if (hash_get_num_entries(chunk->passed_over) == 0)
		return false;
	text_to_cstring_buffer(org_id, key, sizeof(key));
	return hash_search(chunk->passed_over, key, HASH_FIND, NULL) != NULL;
}

static void
pass_over(const Chunk *chunk, const text *org_id)
{
	char key[CL_MAX_IDENTIFIER + 1];

	text_to_cstring_buffer(org_id, key, sizeof(key));
	(void) hash_search(chunk->passed_over, key, HASH_ENTER, NULL);
}

/* Where the organisation that starts at first ends. */
static int
organisation_end(const Chunk *chunk, int first, int end)
{
	int i = first + 1;

	while (i < end && cl_identifier_equal(chunk->candidates[first].org_id, chunk->candidates[i].org_id))
		i++;
	return i;
}

/* credit_sweep(as_of, max_rows) */
Datum
cl_sweep_function(FunctionCallInfo fcinfo, clTally *tally)
{
	TimestampTz as_of = PG_ARGISNULL(0) ? GetCurrentTimestamp() : PG_GETARG_TIMESTAMPTZ(0);

	cl_require_not_null(PG_ARGISNULL(1), "max_rows");
	cl_require_minimum(PG_GETARG_INT32(1), "max_rows", 1);
	PG_RETURN_INT32(cl_sweep(as_of, PG_GETARG_INT32(1), cl_sweep_passed_over(), tally));
}
