/*-------------------------------------------------------------------------
 *
 * batch.h
 *	  Many calls of a verb in one.
 *
 * What a verb does with an item stands with the verb; the order of things,
 * locks and chunks are the batch's.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_BATCH_H
#define CL_BATCH_H

#include "fmgr.h"

#include "ledger/authorization.h"
#include "ledger/tally.h"

typedef struct clBatch clBatch;

typedef struct clBatchItem
{
	int position; /* in the arrays, from 0 */
	int rank;	  /* place in the order of org_id, then position */
	clAccount *account;
	text *name;				  /* what the item asks for: an idempotency key, or an authorization's id */
	struct clBatchItem *twin; /* the chunk's first item of this account and name, or NULL */
	struct clBatchItem *heir; /* if this one is refused: the twin of those after it */
	clAuthorization authorization;
	int64 available; /* after it */
	bool replayed;
	const clRefusal *refusal; /* it was refused and left out; or NULL */
} clBatchItem;

typedef struct clBatchVerb
{
	Size item_size;			   /* of a struct that begins with a clBatchItem */
	bool names_authorizations; /* by their ids; else by idempotency keys */

	/* Check an item's arguments, and tell whose it is.  Called for all items before anything is locked. */
	text *(*owner)(clBatch *batch, int position);

	/* Read an item's arguments again: its name, and what else there is. */
	void (*prepare)(clBatch *batch, clBatchItem *item);

	/*
	 * Judge all items of a chunk without doing them; false if that takes doing
	 * them, always so where NULL.  What would be refused is handed to
	 * cl_batch_guard().
	 */
	bool (*look_ahead)(clBatch *batch, clBatchItem *const *items, int count);

	/*
	 * Do an item, returning whether it was new.  Where it raises an error of
	 * class LC, it has written nothing and has nothing open.
	 */
	bool (*perform)(clBatch *batch, clBatchItem *item);
} clBatchVerb;

struct clBatch
{
	const char *what; /* the SQL function */
	const clBatchVerb *verb;
	void *arguments; /* the verb's */
	int count;
	bool skip_refused;
	clUnit *unit;
	clTally *tally;
	struct clBatchState *state;
};

/*
 * The whole of an SQL function that returns SETOF credit_authorization_item:
 * all or nothing, but with skip_refused what the ledger refuses (class LC) is
 * left out and told by the item's row.
 */
extern Datum cl_batch_run(clBatch *batch, FunctionCallInfo fcinfo);

/* 54000 for more items than a call takes. */
extern void cl_batch_require_count(int count);

/* A twin that was refused has done nothing: the item takes its place, or has the one that did for its twin. */
extern void cl_batch_item_settle_twin(clBatchItem *item);

/* Do a step for an item: false, and a refused item, if it raised an error of class LC that is to be skipped. */
extern bool cl_batch_guard(clBatch *batch, clBatchItem *item, void (*step)(clBatch *batch, void *item));

#endif /* CL_BATCH_H */
