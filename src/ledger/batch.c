/*-------------------------------------------------------------------------
 *
 * batch.c
 *	  Many calls in one: authorize, commit and revert arrays of items.
 *
 * Item by item the answers are those of single calls in the order of the
 * arrays, all or nothing.  The accounts are locked first, in the order of
 * org_id, and each is written once, at the end; in between it changes in
 * memory.  Rows are inserted in bulk.
 *
 * Items are worked on in chunks.  What an earlier chunk wrote is found in the
 * tables, for which the unit is refreshed between chunks; inside a chunk, an
 * item that asks for the same thing as an earlier one (its twin) is answered
 * from that.  Where nothing of a chunk can be refused any more, it is worked
 * on account by account, again in the order of org_id, so that the indexes
 * that begin with it are written from left to right.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "ledger/arguments.h"
#include "ledger/hold.h"
#include "ledger/identifier.h"
#include "ledger/results.h"
#include "ledger/settings.h"
#include "ledger/settlement.h"
#include "ledger/verbs.h"

/*
 * A chunk's items are one block, of 1.7 MB however few they are, of which only
 * the pages that are used are ever there: malloc keeps of what a process frees
 * twice as much as the biggest block was (mallopt(3), M_TRIM_THRESHOLD), and a
 * session with many calls need not fetch its memory anew for each.
 */
#define CHUNK_ITEMS 4000

typedef struct BatchItem
{
	int position; /* in the arrays, from 0 */
	int rank;	  /* see rank_of */
	clAccount *account;
	text *name;				/* idempotency key, or authorization id */
	struct BatchItem *twin; /* the chunk's first item of this account and name, or NULL */
	clIdempotency call;		/* authorize */
	clAuthorization authorization;
	int64 available; /* after it */
	bool replayed;
} BatchItem;

typedef struct Batch
{
	const char *what; /* the SQL function */
	clTally *tally;
	int count;
	int position; /* of the item that is worked on, for errors; or -1 */
	ErrorContextCallback error_context;
	ReturnSetInfo *results;
	clUnit *unit;

	clAccount *accounts;
	bool *changed;	 /* by account */
	int *account_of; /* by position: index into accounts */
	int *rank_of;	 /* by position: place in the order of org_id, then position */
	clPlace *places; /* by position, to settle: where the authorization was found */

	/*
	 * Prepare an item of a chunk.  Look ahead to all of it, raising the first
	 * refusal; false if that takes doing the items, always so where NULL.  Do
	 * an item, returning whether it was new.
	 */
	void (*prepare)(struct Batch *batch, BatchItem *item);
	bool (*look_ahead)(struct Batch *batch, BatchItem *items, int count);
	bool (*perform)(struct Batch *batch, BatchItem *item);

	/* The arguments */
	clArray org_ids;
	clArray amounts;
	clArray campaign_ids;
	clArray idempotency_keys;
	Interval *timeout;
	clArray authorization_ids;
	clSettlement settlement;
} Batch;

typedef struct BatchOwner
{
	text *org_id;
	int position;
} BatchOwner;

static Datum batch_run(Batch *batch, FunctionCallInfo fcinfo, void (*find_owners)(Batch *, BatchOwner *));
static void batch_lock(Batch *batch, BatchOwner *owners);
static void batch_work(Batch *batch);
static void batch_work_chunk(Batch *batch, int start, int count);
static void chunk_find_twins(BatchItem **by_account, int count);
static int compare_owners(const void *a, const void *b);
static int compare_ranks(const void *a, const void *b);
static int compare_names(const void *a, const void *b);
static void describe_position(void *arg);
static void read_call(Batch *batch, int position, clIdempotency *call);
static void authorize_owners(Batch *batch, BatchOwner *owners);
static void authorize_prepare(Batch *batch, BatchItem *item);
static bool authorize_look_ahead(Batch *batch, BatchItem *items, int count);
static bool authorize_perform(Batch *batch, BatchItem *item);
static void settle_owners(Batch *batch, BatchOwner *owners);
static void settle_prepare(Batch *batch, BatchItem *item);
static bool settle_perform(Batch *batch, BatchItem *item);

/* ------------------------------------------------------------------------
 * SQL functions
 * ------------------------------------------------------------------------
 */

/* credit_authorize_many(org_ids, amounts, campaign_ids, idempotency_keys, timeout) */
Datum
cl_authorize_many(FunctionCallInfo fcinfo, clTally *tally)
{
	Batch batch = {.tally = tally,
				   .what = "credit_authorize_many()",
				   .prepare = authorize_prepare,
				   .look_ahead = authorize_look_ahead,
				   .perform = authorize_perform};

	batch.org_ids = cl_arg_array(fcinfo, 0, "org_ids", TEXTOID);
	batch.amounts = cl_arg_array(fcinfo, 1, "amounts", INT8OID);
	batch.campaign_ids = cl_arg_optional_array(fcinfo, 2, "campaign_ids", TEXTOID);
	batch.idempotency_keys = cl_arg_optional_array(fcinfo, 3, "idempotency_keys", TEXTOID);
	batch.timeout = cl_arg_optional_timeout(fcinfo, 4, "timeout");
	cl_require_same_length(&batch.org_ids, &batch.amounts);
	cl_require_same_length(&batch.org_ids, &batch.campaign_ids);
	cl_require_same_length(&batch.org_ids, &batch.idempotency_keys);
	batch.count = batch.org_ids.count;
	return batch_run(&batch, fcinfo, authorize_owners);
}

/* credit_commit_many(authorization_ids, amounts_used) */
Datum
cl_commit_many(FunctionCallInfo fcinfo, clTally *tally)
{
	Batch batch = {.tally = tally,
				   .what = "credit_commit_many()",
				   .prepare = settle_prepare,
				   .perform = settle_perform,
				   .settlement = {.verb = CL_VERB_COMMIT}};

	batch.authorization_ids = cl_arg_array(fcinfo, 0, "authorization_ids", TEXTOID);
	batch.amounts = cl_arg_optional_array(fcinfo, 1, "amounts_used", INT8OID);
	cl_require_same_length(&batch.authorization_ids, &batch.amounts);
	batch.count = batch.authorization_ids.count;
	return batch_run(&batch, fcinfo, settle_owners);
}

/* credit_revert_many(authorization_ids, reason) */
Datum
cl_revert_many(FunctionCallInfo fcinfo, clTally *tally)
{
	Batch batch = {.tally = tally,
				   .what = "credit_revert_many()",
				   .prepare = settle_prepare,
				   .perform = settle_perform,
				   .settlement = {.verb = CL_VERB_REVERT}};

	batch.authorization_ids = cl_arg_array(fcinfo, 0, "authorization_ids", TEXTOID);
	batch.settlement.reason = cl_arg_optional_text(fcinfo, 1);
	batch.count = batch.authorization_ids.count;
	return batch_run(&batch, fcinfo, settle_owners);
}

/* ------------------------------------------------------------------------
 * The course of a batch
 * ------------------------------------------------------------------------
 */

/*
 * find_owners checks all items and tells whose they are; then the accounts
 * are locked, the items worked on, the accounts written.
 */
static Datum
batch_run(Batch *batch, FunctionCallInfo fcinfo, void (*find_owners)(Batch *, BatchOwner *))
{
	BatchOwner *owners = palloc_array(BatchOwner, batch->count);

	InitMaterializedSRF(fcinfo, 0);
	batch->results = (ReturnSetInfo *) fcinfo->resultinfo;
	batch->unit = cl_unit_begin_bulk(batch->what);
	batch->position = -1;
	batch->error_context.callback = describe_position;
	batch->error_context.arg = batch;
	batch->error_context.previous = error_context_stack;
	error_context_stack = &batch->error_context;

	find_owners(batch, owners);
	batch_lock(batch, owners);
	batch_work(batch);
	cl_unit_end(batch->unit);

	error_context_stack = batch->error_context.previous;
	return (Datum) 0;
}

static void
batch_lock(Batch *batch, BatchOwner *owners)
{
	int count = 0;

	batch->accounts = palloc_array(clAccount, batch->count);
	batch->account_of = palloc_array(int, batch->count);
	batch->rank_of = palloc_array(int, batch->count);
	batch->changed = palloc0_array(bool, batch->count);

	qsort(owners, batch->count, sizeof(BatchOwner), compare_owners);
	for (int i = 0; i < batch->count; i++)
	{
		batch->position = owners[i].position;
		if (i == 0 || cl_identifier_compare(owners[i].org_id, owners[i - 1].org_id) != 0)
		{
			batch->tally->org_id = owners[i].org_id;
			cl_account_lock_next(batch->unit, owners[i].org_id, &batch->accounts[count++]);
		}
		batch->account_of[owners[i].position] = count - 1;
		batch->rank_of[owners[i].position] = i;
	}
	batch->position = -1;
}

static void
batch_work(Batch *batch)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "credit_ledger batch",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	for (int start = 0; start < batch->count; start += CHUNK_ITEMS)
	{
		/* Only now is nothing left to be written that points into the context. */
		cl_unit_refresh(batch->unit);
		MemoryContextReset(context);
		batch_work_chunk(batch, start, Min(CHUNK_ITEMS, batch->count - start));
	}

	for (int i = 0; i < batch->count; i++)
	{
		if (batch->changed[i])
			cl_account_store(batch->unit, &batch->accounts[i]);
	}
	MemoryContextSwitchTo(old);
}

static void
batch_work_chunk(Batch *batch, int start, int count)
{
	BatchItem *items = palloc_array(BatchItem, CHUNK_ITEMS);
	BatchItem **by_account = palloc_array(BatchItem *, count);
	bool any_order;

	for (int i = 0; i < count; i++)
	{
		items[i] = (BatchItem) {.position = start + i,
								.rank = batch->rank_of[start + i],
								.account = &batch->accounts[batch->account_of[start + i]]};
		batch->prepare(batch, &items[i]);
		by_account[i] = &items[i];
	}
	qsort(by_account, count, sizeof(BatchItem *), compare_ranks);
	chunk_find_twins(by_account, count);
	any_order = batch->look_ahead != NULL && batch->look_ahead(batch, items, count);

	for (int i = 0; i < count; i++)
	{
		BatchItem *item = any_order ? by_account[i] : &items[i];

		CHECK_FOR_INTERRUPTS();
		batch->position = item->position;
		batch->tally->org_id = item->account->org_id;
		batch->tally->authorization_id = batch->authorization_ids.values != NULL ? item->name : NULL;
		item->replayed = !batch->perform(batch, item);
		cl_tally_answer(batch->tally, item->replayed);
		item->available = cl_account_available(item->account);
		batch->changed[item->account - batch->accounts] |= !item->replayed;
	}
	batch->position = -1;

	for (int i = 0; i < count; i++)
		cl_authorization_item_put(batch->results, items[i].position + 1,
								  items[i].twin != NULL ? &items[i].twin->authorization : &items[i].authorization,
								  items[i].available, items[i].replayed);
}

/* Among items of the same account, which stand side by side. */
static void
chunk_find_twins(BatchItem **by_account, int count)
{
	for (int first = 0, end; first < count; first = end)
	{
		BatchItem **named;

		for (end = first + 1; end < count && by_account[end]->account == by_account[first]->account; end++)
			;
		if (end == first + 1)
			continue;

		named = palloc_array(BatchItem *, end - first);
		memcpy(named, by_account + first, (end - first) * sizeof(BatchItem *));
		qsort(named, end - first, sizeof(BatchItem *), compare_names);
		for (int i = 1; i < end - first; i++)
		{
			if (cl_identifier_compare(named[i - 1]->name, named[i]->name) == 0)
				named[i]->twin = named[i - 1]->twin != NULL ? named[i - 1]->twin : named[i - 1];
		}
		pfree(named);
	}
}

static int
compare_owners(const void *a, const void *b)
{
	const BatchOwner *left = a;
	const BatchOwner *right = b;
	int order = cl_identifier_compare(left->org_id, right->org_id);

	return order != 0 ? order : left->position - right->position;
}

static int
compare_ranks(const void *a, const void *b)
{
	const BatchItem *left = *(BatchItem *const *) a;
	const BatchItem *right = *(BatchItem *const *) b;

	return left->rank - right->rank;
}

static int
compare_names(const void *a, const void *b)
{
	const BatchItem *left = *(BatchItem *const *) a;
	const BatchItem *right = *(BatchItem *const *) b;
	int order = cl_identifier_compare(left->name, right->name);

	return order != 0 ? order : left->rank - right->rank;
}

/* Error context: which item it was. */
static void
describe_position(void *arg)
{
	Batch *batch = arg;

	if (batch->position >= 0 && !cl_unit_is_flushing(batch->unit))
		errcontext("item %d of %s", batch->position + 1, batch->what);
}

/* ------------------------------------------------------------------------
 * Authorize
 * ------------------------------------------------------------------------
 */

static void
authorize_owners(Batch *batch, BatchOwner *owners)
{
	for (int i = 0; i < batch->count; i++)
	{
		clIdempotency call;

		batch->position = owners[i].position = i;
		owners[i].org_id = cl_array_identifier(&batch->org_ids, i);
		read_call(batch, i, &call);
	}
}

static void
read_call(Batch *batch, int position, clIdempotency *call)
{
	memset(call, 0, sizeof(clIdempotency));
	call->operation = CL_OP_AUTHORIZE;
	call->has_amount = true;
	call->amount = cl_array_amount(&batch->amounts, position, 1);
	call->campaign_id = cl_array_optional_identifier(&batch->campaign_ids, position);
	call->key = cl_array_optional_identifier(&batch->idempotency_keys, position);
	if (call->key == NULL)
		call->key = call->campaign_id;
	cl_require_not_null(call->key == NULL, "idempotency_keys");
}

static void
authorize_prepare(Batch *batch, BatchItem *item)
{
	read_call(batch, item->position, &item->call);
	item->name = item->call.key;
	item->authorization.timeout_action = cl_timeout_action;
}

/*
 * Where all keys are new, whether an item is refused depends on its account
 * alone: hold all amounts in memory, in the order of the arrays, and let them
 * go again.
 */
static bool
authorize_look_ahead(Batch *batch, BatchItem *items, int count)
{
	text *least = items[0].name;
	text *greatest = items[0].name;

	for (int i = 1; i < count; i++)
	{
		if (cl_identifier_compare(items[i].name, least) < 0)
			least = items[i].name;
		if (cl_identifier_compare(items[i].name, greatest) > 0)
			greatest = items[i].name;
	}
	if (!cl_idempotency_none_between(batch->unit, least, greatest))
		return false;

	for (int i = 0; i < count; i++)
	{
		batch->position = items[i].position;
		batch->tally->org_id = items[i].account->org_id;
		items[i].call.is_new = true;
		if (items[i].twin != NULL)
			cl_idempotency_require_same(&items[i].call, &items[i].twin->call);
		else
		{
			cl_hold_require(items[i].account, items[i].call.amount);
			cl_account_hold(items[i].account, items[i].call.amount);
		}
	}
	for (int i = 0; i < count; i++)
	{
		if (items[i].twin == NULL)
			cl_account_hold(items[i].account, -items[i].call.amount);
	}
	return true;
}

static bool
authorize_perform(Batch *batch, BatchItem *item)
{
	if (item->twin != NULL)
	{
		cl_idempotency_require_same(&item->call, &item->twin->call);
		return false;
	}
	return cl_hold(batch->unit, item->account, &item->call, batch->timeout, &item->authorization);
}

/* ------------------------------------------------------------------------
 * Commit and revert
 * ------------------------------------------------------------------------
 */

static void
settle_owners(Batch *batch, BatchOwner *owners)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "credit_ledger batch owners",
												  ALLOCSET_DEFAULT_SIZES);

	batch->places = palloc_array(clPlace, batch->count);
	for (int i = 0; i < batch->count; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		clAuthorization authorization;

		CHECK_FOR_INTERRUPTS();
		batch->position = owners[i].position = i;
		if (!cl_array_is_null(&batch->amounts, i))
			(void) cl_array_amount(&batch->amounts, i, 0);
		batch->tally->authorization_id = cl_array_identifier(&batch->authorization_ids, i);
		cl_authorization_get(batch->unit, cl_array_identifier(&batch->authorization_ids, i), &authorization);
		batch->places[i] = cl_authorization_place(&authorization);
		MemoryContextSwitchTo(old);
		owners[i].org_id = (text *) PG_DETOAST_DATUM_COPY(PointerGetDatum(authorization.org_id));
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
}

static void
settle_prepare(Batch *batch, BatchItem *item)
{
	item->name = cl_array_identifier(&batch->authorization_ids, item->position);
}

static bool
settle_perform(Batch *batch, BatchItem *item)
{
	clSettlement settlement = batch->settlement;

	settlement.all = cl_array_is_null(&batch->amounts, item->position);
	if (!settlement.all)
		settlement.used = cl_array_amount(&batch->amounts, item->position, 0);

	if (item->twin == NULL)
		cl_authorization_get_again(batch->unit, item->name, batch->places[item->position], &item->authorization);
	return cl_settle(batch->unit, item->account,
					 item->twin != NULL ? &item->twin->authorization : &item->authorization, &settlement);
}
