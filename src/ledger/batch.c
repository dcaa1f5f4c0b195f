/*-------------------------------------------------------------------------
 *
 * batch.c
 *	  Many calls of a verb in one.
 *
 * Item by item the answers are those of single calls in the order of the
 * arrays.  The accounts are locked first, in the order of org_id, and each is
 * written once, at the end; in between it changes in memory.  Rows are
 * inserted in bulk.
 *
 * Items are worked on in chunks.  What an earlier chunk wrote is found in the
 * tables, for which the unit is refreshed between chunks; inside a chunk, an
 * item that asks for the same thing as an earlier one (its twin) is answered
 * from that.  Where a chunk could be judged ahead, it is worked on account by
 * account, again in the order of org_id, so that the indexes that begin with
 * it are written from left to right.
 *
 * A refusal that is skipped costs no subtransaction: verbs raise errors of
 * class LC before they write, and where they hold nothing that an abort would
 * have to let go (scans, locks on buffers, snapshots), so there is nothing to
 * roll back.  Any other error ends the call; so does one of this class that
 * was raised while a row is written, by somebody's trigger, which may have
 * called us again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "ledger/batch.h"
#include "ledger/credits.h"
#include "ledger/errors.h"
#include "ledger/identifier.h"
#include "ledger/results.h"

#define MAX_ITEMS 1000000

/*
 * A chunk's items are one block, of about 2 MB however few they are, of which
 * only the pages that are used are ever there: malloc keeps of what a process
 * frees twice as much as the biggest block was (mallopt(3), M_TRIM_THRESHOLD),
 * and a session with many calls need not fetch its memory anew for each.
 */
#define CHUNK_ITEMS 4000

typedef struct Owner
{
	text *org_id; /* NULL: refused */
	int position;
} Owner;

typedef struct clBatchState
{
	int position; /* of the item that is worked on, for errors; or -1 */
	ReturnSetInfo *results;
	Owner *owners; /* in the order of org_id */
	clAccount *accounts;
	int naccounts;
	int *account_of;			/* by position: index into accounts */
	int *rank_of;				/* by position */
	const clRefusal **refusals; /* by position: of items that were refused before their chunk's turn */
} State;

typedef void (*Step)(clBatch *batch, void *arg);

static void batch_find_owners(clBatch *batch);
static void find_owner(clBatch *batch, void *owner);
static void batch_lock(clBatch *batch);
static void lock_account(clBatch *batch, void *owner);
static void batch_work(clBatch *batch);
static void batch_work_chunk(clBatch *batch, int start, int count);
static clBatchItem **chunk_prepare(clBatch *batch, int start, int count);
static void chunk_find_twins(clBatchItem **by_account, int count);
static void item_perform(clBatch *batch, clBatchItem *item);
static void perform(clBatch *batch, void *item);
static void item_answer(clBatch *batch, const clBatchItem *item);
static void batch_at(clBatch *batch, int position, const text *org_id, const text *authorization_id);
static const clRefusal *guarded(clBatch *batch, Step step, void *arg);
static const clRefusal *catch_refusal(clBatch *batch);
static int compare_owners(const void *a, const void *b);
static int compare_ranks(const void *a, const void *b);
static int compare_names(const void *a, const void *b);
static void describe_position(void *arg);

void
cl_batch_require_count(int count)
{
	if (count > MAX_ITEMS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many items in one call"),
				 errdetail("There are %d; at most %d are taken.", count, MAX_ITEMS),
				 errhint("Make several calls.")));
}

Datum
cl_batch_run(clBatch *batch, FunctionCallInfo fcinfo)
{
	State *state = palloc0(sizeof(State));
	ErrorContextCallback error_context = {.callback = describe_position, .arg = batch};

	InitMaterializedSRF(fcinfo, 0);
	state->position = -1;
	state->results = (ReturnSetInfo *) fcinfo->resultinfo;
	batch->state = state;
	batch->unit = cl_unit_begin_bulk(batch->what);
	error_context.previous = error_context_stack;
	error_context_stack = &error_context;

	batch_find_owners(batch);
	batch_lock(batch);
	batch_work(batch);
	cl_unit_end(batch->unit);

	error_context_stack = error_context.previous;
	return (Datum) 0;
}

/* Bad arguments refuse the whole call, so all are looked at before the first item is worked on. */
static void
batch_find_owners(clBatch *batch)
{
	State *state = batch->state;

	state->owners = palloc_array(Owner, batch->count);
	state->refusals = palloc0_array(const clRefusal *, batch->count);
	for (int i = 0; i < batch->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		state->owners[i] = (Owner) {NULL, i};
		batch_at(batch, i, NULL, NULL);
		state->refusals[i] = guarded(batch, find_owner, &state->owners[i]);
	}
	qsort(state->owners, batch->count, sizeof(Owner), compare_owners);
}

static void
find_owner(clBatch *batch, void *owner)
{
	((Owner *) owner)->org_id = batch->verb->owner(batch, ((Owner *) owner)->position);
}

static void
batch_lock(clBatch *batch)
{
	State *state = batch->state;
	const text *org_id = NULL;
	const clRefusal *refusal = NULL;

	state->accounts = palloc_array(clAccount, batch->count);
	state->account_of = palloc_array(int, batch->count);
	state->rank_of = palloc_array(int, batch->count);

	for (int i = 0; i < batch->count; i++)
	{
		Owner *owner = &state->owners[i];

		state->rank_of[owner->position] = i;
		if (owner->org_id == NULL)
			continue;
		if (!cl_identifier_equal(owner->org_id, org_id))
		{
			CHECK_FOR_INTERRUPTS();
			org_id = owner->org_id;
			batch_at(batch, owner->position, org_id, NULL);
			refusal = guarded(batch, lock_account, owner);
			if (refusal == NULL)
				state->naccounts++;
		}
		state->refusals[owner->position] = refusal;
		state->account_of[owner->position] = state->naccounts - 1;
	}
	state->position = -1;
}

static void
lock_account(clBatch *batch, void *owner)
{
	cl_account_lock_next(batch->unit, ((Owner *) owner)->org_id, &batch->state->accounts[batch->state->naccounts]);
}

static void
batch_work(clBatch *batch)
{
	State *state = batch->state;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "credit_ledger batch",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	cl_unit_refresh(batch->unit);
	for (int i = 0; i < state->naccounts; i++)
		cl_credits_begin(batch->unit, &state->accounts[i]);

	for (int start = 0; start < batch->count; start += CHUNK_ITEMS)
	{
		/* Only now is nothing left to be written that points into the context. */
		cl_unit_refresh(batch->unit);
		MemoryContextReset(context);
		batch_work_chunk(batch, start, Min(CHUNK_ITEMS, batch->count - start));
	}

	for (int i = 0; i < state->naccounts; i++)
		cl_credits_end(batch->unit, &state->accounts[i]);
	MemoryContextSwitchTo(old);
}

static void
batch_work_chunk(clBatch *batch, int start, int count)
{
	State *state = batch->state;
	clBatchItem **items = chunk_prepare(batch, start, count);
	clBatchItem **by_account = palloc_array(clBatchItem *, count);
	int accepted = 0;
	bool any_order;

	for (int i = 0; i < count; i++)
	{
		if (items[i]->refusal == NULL)
			by_account[accepted++] = items[i];
	}
	qsort(by_account, accepted, sizeof(clBatchItem *), compare_ranks);
	chunk_find_twins(by_account, accepted);
	any_order = batch->verb->look_ahead != NULL && batch->verb->look_ahead(batch, items, count);

	for (int i = 0; any_order && i < accepted; i++)
		item_perform(batch, by_account[i]);
	for (int i = 0; !any_order && i < count; i++)
		item_perform(batch, items[i]);
	state->position = -1;

	for (int i = 0; i < count; i++)
		item_answer(batch, items[i]);
}

static clBatchItem **
chunk_prepare(clBatch *batch, int start, int count)
{
	State *state = batch->state;
	char *block = palloc(CHUNK_ITEMS * batch->verb->item_size);
	clBatchItem **items = palloc_array(clBatchItem *, count);

	for (int i = 0; i < count; i++)
	{
		clBatchItem *item = (clBatchItem *) (block + i * batch->verb->item_size);
		int position = start + i;

		memset(item, 0, batch->verb->item_size);
		item->position = position;
		item->rank = state->rank_of[position];
		item->refusal = state->refusals[position];
		if (item->refusal == NULL)
			item->account = &state->accounts[state->account_of[position]];
		batch->verb->prepare(batch, item);
		items[i] = item;
	}
	return items;
}

/* Among items of the same account, which stand side by side. */
static void
chunk_find_twins(clBatchItem **by_account, int count)
{
	for (int first = 0, end; first < count; first = end)
	{
		clBatchItem **named;

		for (end = first + 1; end < count && by_account[end]->account == by_account[first]->account; end++)
			;
		if (end == first + 1)
			continue;

		named = palloc_array(clBatchItem *, end - first);
		memcpy(named, by_account + first, (end - first) * sizeof(clBatchItem *));
		qsort(named, end - first, sizeof(clBatchItem *), compare_names);
		for (int i = 1; i < end - first; i++)
		{
			if (cl_identifier_compare(named[i - 1]->name, named[i]->name) == 0)
				named[i]->twin = named[i - 1]->twin != NULL ? named[i - 1]->twin : named[i - 1];
		}
		pfree(named);
	}
}

static void
item_perform(clBatch *batch, clBatchItem *item)
{
	CHECK_FOR_INTERRUPTS();
	if (item->refusal != NULL)
		return;
	if (cl_batch_guard(batch, item, perform))
		cl_tally_answer(batch->tally, item->replayed);
	item->available = cl_account_available(item->account);
}

static void
perform(clBatch *batch, void *item)
{
	cl_batch_item_settle_twin(item);
	((clBatchItem *) item)->replayed = !batch->verb->perform(batch, item);
}

void
cl_batch_item_settle_twin(clBatchItem *item)
{
	clBatchItem *twin = item->twin;

	if (twin == NULL || twin->refusal == NULL)
		return;
	item->twin = twin->heir != NULL && twin->heir->refusal == NULL ? twin->heir : NULL;
	if (item->twin == NULL)
		twin->heir = item;
}

static void
item_answer(clBatch *batch, const clBatchItem *item)
{
	ReturnSetInfo *results = batch->state->results;
	const clAuthorization *authorization = item->twin != NULL ? &item->twin->authorization : &item->authorization;

	if (item->refusal != NULL)
		cl_refused_item_put(results, item->position + 1, item->refusal);
	else
		cl_authorization_item_put(results, item->position + 1, authorization, item->available, item->replayed);
}

/* ------------------------------------------------------------------------
 * Refusals
 * ------------------------------------------------------------------------
 */

bool
cl_batch_guard(clBatch *batch, clBatchItem *item, void (*step)(clBatch *batch, void *item))
{
	batch_at(batch, item->position, item->account->org_id, batch->verb->names_authorizations ? item->name : NULL);
	item->refusal = guarded(batch, step, item);
	return item->refusal == NULL;
}

/* What is worked on, for errors. */
static void
batch_at(clBatch *batch, int position, const text *org_id, const text *authorization_id)
{
	batch->state->position = position;
	batch->tally->org_id = org_id;
	batch->tally->authorization_id = authorization_id;
	batch->tally->campaign_id = NULL;
}

/* Do a step; NULL, or how it was refused. */
static const clRefusal *
guarded(clBatch *batch, Step step, void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	const clRefusal *volatile refusal = NULL;

	if (!batch->skip_refused)
	{
		step(batch, arg);
		return NULL;
	}
	PG_TRY();
	{
		step(batch, arg);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		refusal = catch_refusal(batch);
	}
	PG_END_TRY();
	return refusal;
}

static const clRefusal *
catch_refusal(clBatch *batch)
{
	ErrorData *error = CopyErrorData();
	const clRefusal *refusal;

	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_CL_CLASS || cl_unit_is_writing(batch->unit))
		PG_RE_THROW();
	FlushErrorState();
	refusal = cl_tally_refuse(batch->tally, error);
	FreeErrorData(error);
	return refusal;
}

/* Error context: which item it was. */
static void
describe_position(void *arg)
{
	clBatch *batch = arg;

	if (batch->state->position >= 0 && !cl_unit_is_flushing(batch->unit))
		errcontext("item %d of %s", batch->state->position + 1, batch->what);
}

/* ------------------------------------------------------------------------
 * Orders
 * ------------------------------------------------------------------------
 */

/* Items that were refused, and so are nobody's, come first. */
static int
compare_owners(const void *a, const void *b)
{
	const Owner *left = a;
	const Owner *right = b;
	int order;

	if (left->org_id == NULL || right->org_id == NULL)
		order = (left->org_id != NULL) - (right->org_id != NULL);
	else
		order = cl_identifier_compare(left->org_id, right->org_id);
	return order != 0 ? order : left->position - right->position;
}

static int
compare_ranks(const void *a, const void *b)
{
	const clBatchItem *left = *(clBatchItem *const *) a;
	const clBatchItem *right = *(clBatchItem *const *) b;

	return left->rank - right->rank;
}

static int
compare_names(const void *a, const void *b)
{
	const clBatchItem *left = *(clBatchItem *const *) a;
	const clBatchItem *right = *(clBatchItem *const *) b;
	int order = cl_identifier_compare(left->name, right->name);

	return order != 0 ? order : left->rank - right->rank;
}
