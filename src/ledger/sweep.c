/*-------------------------------------------------------------------------
 *
 * sweep.c
 *	  Settling holds that expired, and posting what lots lost at their ends.
 *
 * Nothing depends on the latter, since every call does it for its own
 * organisation; it is done for those that nobody calls.
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
 * Somebody who locks a table, to change it or to build an index, does not
 * wait for a sweep for longer than an organisation takes, and never ends up
 * in a deadlock with it: all tables are locked first, if that can be had at
 * once.  Leaves are locked as they are met, since there may be hundreds; a
 * session that must not wait for them sets lock_timeout.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "ledger/account.h"
#include "ledger/arguments.h"
#include "ledger/authorization.h"
#include "ledger/clock.h"
#include "ledger/credits.h"
#include "ledger/identifier.h"
#include "ledger/settlement.h"
#include "ledger/sweep.h"
#include "ledger/timeout_notice.h"
#include "ledger/verbs.h"

#define CHUNK_ROWS 1000

typedef struct Candidate
{
	text *org_id;
	text *authorization_id; /* NULL: it has a lot that is over */
	int position;			/* in the order of expires_at */
} Candidate;

/* Candidates of one chunk, those of an organisation side by side. */
typedef struct Chunk
{
	clSweep *sweep;
	int count;
	Candidate candidates[CHUNK_ROWS];
} Chunk;

/* What a sweep writes, in the order of a call. */
static const clTableId tables[] = {CL_TABLE_ACCOUNT, CL_TABLE_OPEN, CL_TABLE_SETTLED, CL_TABLE_ENTRY,
								   CL_TABLE_IDEMPOTENCY, CL_TABLE_LOT};

static void lock_tables(clSweep *sweep);
static void look_for_lock(clSweep *sweep);
static bool lock_table(clSweep *sweep, Oid table);
static clScan *scan_expired(clUnit *unit, const clSweep *sweep);
static bool is_asked_for(const clSweep *sweep, const text *org_id);
static bool is_stopped(const clSweep *sweep);
static int sweep_all(clSweep *sweep, clUnit *unit, clScan *scan, bool (*next)(clUnit *, clScan *, Candidate *));
static bool next_hold(clUnit *unit, clScan *scan, Candidate *candidate);
static bool next_lot(clUnit *unit, clScan *scan, Candidate *candidate);
static void chunk_read(clUnit *unit, clScan *scan, bool (*next)(clUnit *, clScan *, Candidate *), Chunk *chunk,
					   int max_rows, MemoryContext row_context);
static int compare_candidates(const void *a, const void *b);
static int sweep_chunk(const Chunk *chunk);
static bool sweep_guarded(const Chunk *chunk, int first, int count, int *settled);
static void pass_over_failed(const Chunk *chunk, const text *org_id, const ErrorData *error);
static int sweep_range(const Chunk *chunk, int first, int count);
static int sweep_organisation(const Chunk *chunk, int first, int count);
static bool is_passed_over(const Chunk *chunk, const text *org_id);
static void pass_over(const Chunk *chunk, const text *org_id);
static void require_account(text *org_id);
static int organisation_end(const Chunk *chunk, int first, int end);

void
cl_sweep(clSweep *sweep)
{
	clUnit *unit = cl_unit_begin("credit_sweep()");
	TimestampTz now = GetCurrentTimestamp();

	sweep->settled = sweep->lots = 0;
	lock_tables(sweep);
	if (!cl_sweep_met_lock(sweep))
	{
		sweep->settled = sweep_all(sweep, unit, scan_expired(unit, sweep), next_hold);
		sweep->lots = sweep_all(sweep, unit, cl_lot_scan_ended(unit, Min(sweep->as_of, now)), next_lot);
	}
	sweep->unfinished = !cl_sweep_met_lock(sweep) &&
		(sweep->settled + sweep->lots == sweep->max_rows || is_stopped(sweep));
	cl_unit_end(unit);
	sweep->tally->done += sweep->settled;
}

/* Deal with what a scan finds; returns with how much. */
static int
sweep_all(clSweep *sweep, clUnit *unit, clScan *scan, bool (*next)(clUnit *, clScan *, Candidate *))
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "credit_ledger sweep",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext row_context = AllocSetContextCreate(context, "credit_ledger sweep row",
													  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	int most = sweep->max_rows - sweep->settled;
	int done = 0;

	while (done < most && !is_stopped(sweep))
	{
		Chunk *chunk = palloc(sizeof(Chunk));

		chunk->sweep = sweep;
		chunk_read(unit, scan, next, chunk, most - done, row_context);
		if (chunk->count == 0)
			break;
		done += sweep_chunk(chunk);
		MemoryContextResetOnly(context);
	}
	MemoryContextSwitchTo(old);
	cl_scan_end(scan);
	MemoryContextDelete(context);
	return done;
}

static void
lock_tables(clSweep *sweep)
{
	memset(&sweep->locked_table, 0, sizeof(NameData));
	for (int i = 0; i < (int) lengthof(tables) && !cl_sweep_met_lock(sweep); i++)
		(void) lock_table(sweep, cl_table_oid(tables[i]));
}

/* Find out whether somebody has a table locked, or one of its leaves. */
static void
look_for_lock(clSweep *sweep)
{
	for (int i = 0; i < (int) lengthof(tables); i++)
	{
		ListCell *lc;

		foreach(lc, find_all_inheritors(cl_table_oid(tables[i]), NoLock, NULL))
		{
			if (!lock_table(sweep, lfirst_oid(lc)))
				return;
			UnlockRelationOid(lfirst_oid(lc), RowExclusiveLock);
		}
	}
}

/* Whoever has it locked may drop it meanwhile, and its name with it. */
static bool
lock_table(clSweep *sweep, Oid table)
{
	const char *name;

	if (ConditionalLockRelationOid(table, RowExclusiveLock))
		return true;
	name = get_rel_name(table);
	namestrcpy(&sweep->locked_table, name != NULL ? name : psprintf("%u", table));
	return false;
}

static bool
is_stopped(const clSweep *sweep)
{
	return cl_sweep_met_lock(sweep) || (sweep->end != 0 && cl_clock() >= sweep->end);
}

static clScan *
scan_expired(clUnit *unit, const clSweep *sweep)
{
	return sweep->org_id == NULL ? cl_authorization_scan_expired(unit, sweep->as_of) :
								   cl_authorization_scan_expired_of(unit, sweep->org_id, sweep->as_of);
}

static bool
is_asked_for(const clSweep *sweep, const text *org_id)
{
	return sweep->org_id == NULL || cl_identifier_equal(sweep->org_id, org_id);
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

static bool
next_hold(clUnit *unit, clScan *scan, Candidate *candidate)
{
	clAuthorization authorization;

	if (!cl_authorization_next(unit, scan, &authorization))
		return false;
	candidate->org_id = authorization.org_id;
	candidate->authorization_id = authorization.authorization_id;
	return true;
}

/* What is held in a lot that is over leaves when it is released. */
static bool
next_lot(clUnit *unit, clScan *scan, Candidate *candidate)
{
	clLot lot;

	do
	{
		CHECK_FOR_INTERRUPTS();
		if (!cl_lot_next_ended(scan, &candidate->org_id, &lot))
			return false;
	} while (lot.voided || lot.held == lot.remaining);
	candidate->authorization_id = NULL;
	return true;
}

static void
chunk_read(clUnit *unit, clScan *scan, bool (*next)(clUnit *, clScan *, Candidate *), Chunk *chunk,
		   int max_rows, MemoryContext row_context)
{
	MemoryContext context = CurrentMemoryContext;
	Candidate read;

	chunk->count = 0;
	MemoryContextSwitchTo(row_context);
	while (chunk->count < Min(max_rows, CHUNK_ROWS) && !is_stopped(chunk->sweep) && next(unit, scan, &read))
	{
		if (is_asked_for(chunk->sweep, read.org_id) && !is_passed_over(chunk, read.org_id))
		{
			Candidate *candidate = &chunk->candidates[chunk->count];

			MemoryContextSwitchTo(context);
			candidate->org_id = DatumGetTextPCopy(PointerGetDatum(read.org_id));
			candidate->authorization_id = read.authorization_id == NULL ?
				NULL :
				DatumGetTextPCopy(PointerGetDatum(read.authorization_id));
			candidate->position = chunk->count++;
			MemoryContextSwitchTo(row_context);
		}
		MemoryContextReset(row_context);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(context);
	qsort(chunk->candidates, chunk->count, sizeof(Candidate), compare_candidates);
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

	for (int first = 0, end; first < chunk->count && !is_stopped(chunk->sweep);
		 first = end)
	{
		end = organisation_end(chunk, first, chunk->count);
		if (sweep_guarded(chunk, first, end - first, &settled))
			total += settled;
	}
	return total;
}

/*
 * Sweep a range of a chunk in a subtransaction; false if it was rolled back.
 * Where the range is one organisation, that one is passed over.  A table that
 * somebody has locked is nobody's fault, and ends the sweep.  What ends the
 * whole transaction anyway (a conflict of serializable transactions, a
 * cancelled query, a lack of resources) is raised.  The model is plpgsql's
 * exec_stmt_block.
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
		if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
			look_for_lock(chunk->sweep);
		if (one_organisation && !cl_sweep_met_lock(chunk->sweep))
			pass_over_failed(chunk, chunk->candidates[first].org_id, error);
		FreeErrorData(error);
	}
	PG_END_TRY();

	MemoryContextSwitchTo(old_context);
	CurrentResourceOwner = old_owner;
	return done;
}

/* A lock that could not be had, in somebody's trigger, comes round as a locked account does. */
static void
pass_over_failed(const Chunk *chunk, const text *org_id, const ErrorData *error)
{
	const char *name = text_to_cstring(org_id);

	pass_over(chunk, org_id);
	if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
	{
		chunk->sweep->tally->org_id = org_id;
		(void) cl_tally_refuse(chunk->sweep->tally, error);
		chunk->sweep->tally->org_id = NULL;
	}
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("could not settle expired holds of organisation \"%s\": %s", name, error->message)));
}

static int
sweep_range(const Chunk *chunk, int first, int count)
{
	int settled = 0;

	for (int start = first, end; start < first + count && !is_stopped(chunk->sweep); start = end)
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
	List *settled = NIL;
	int done = 0;

	if (cl_account_try_lock(unit, chunk->candidates[first].org_id, &account))
	{
		cl_credits_begin(unit, &account);
		for (int i = first; i < first + count; i++)
		{
			clAuthorization authorization;

			if (chunk->candidates[i].authorization_id == NULL)
				done++;
			else if (cl_authorization_find_open(unit, chunk->candidates[i].authorization_id, &authorization) &&
					 authorization.expires_at < chunk->sweep->as_of &&
					 cl_settle(unit, &account, &authorization, &expiry, chunk->sweep->tally))
				settled = lappend(settled, chunk->candidates[i].authorization_id);
		}
		cl_credits_end(unit, &account);
		if (settled != NIL)
			cl_timeout_notice(account.org_id, settled);
	}
	else
		pass_over(chunk, chunk->candidates[first].org_id);
	cl_unit_end(unit);
	done += list_length(settled);
	list_free(settled);
	return done;
}

static bool
is_passed_over(const Chunk *chunk, const text *org_id)
{
	char key[CL_MAX_IDENTIFIER + 1];

	if (hash_get_num_entries(chunk->sweep->passed_over) == 0)
		return false;
	text_to_cstring_buffer(org_id, key, sizeof(key));
	return hash_search(chunk->sweep->passed_over, key, HASH_FIND, NULL) != NULL;
}

static void
pass_over(const Chunk *chunk, const text *org_id)
{
	char key[CL_MAX_IDENTIFIER + 1];

	text_to_cstring_buffer(org_id, key, sizeof(key));
	(void) hash_search(chunk->sweep->passed_over, key, HASH_ENTER, NULL);
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

/* LC002 */
static void
require_account(text *org_id)
{
	clUnit *unit = cl_unit_begin_reading();
	clAccount account;

	cl_account_get(unit, org_id, &account);
	cl_unit_end(unit);
}

/* credit_sweep(as_of, max_rows, org_id) */
Datum
cl_sweep_function(FunctionCallInfo fcinfo, clTally *tally)
{
	clSweep sweep = {.as_of = PG_ARGISNULL(0) ? GetCurrentTimestamp() : PG_GETARG_TIMESTAMPTZ(0), .tally = tally};

	cl_require_not_null(PG_ARGISNULL(1), "max_rows");
	cl_require_minimum(PG_GETARG_INT32(1), "max_rows", 1);
	sweep.max_rows = PG_GETARG_INT32(1);
	sweep.org_id = cl_arg_optional_identifier(fcinfo, 2, "org_id");
	if (sweep.org_id != NULL)
		require_account(sweep.org_id);
	sweep.passed_over = cl_sweep_passed_over();
	cl_sweep(&sweep);
	if (cl_sweep_met_lock(&sweep))
		ereport(WARNING,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("the sweep ended early: somebody has table \"%s\" locked", NameStr(sweep.locked_table))));
	PG_RETURN_INT32(sweep.settled);
}
