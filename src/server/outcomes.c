/*-------------------------------------------------------------------------
 *
 * outcomes.c
 *	  Successes, until it is known what becomes of their transactions.
 *
 * They wait in local memory, by nesting level of transactions, until the
 * transaction or savepoint ends one way or the other.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"

#include "server/outcomes.h"

/* Successes whose transaction is still open, of one nesting level. */
typedef struct Pending
{
	int nest_level;
	int successes[CL_NCALLS];
} Pending;

static Pending *pending; /* the outermost level first */
static int pending_count;
static int pending_size;

static void count_pending(const Pending *level, int outcome);
static void outcomes_at_transaction_end(XactEvent event, void *arg);
static void outcomes_at_subtransaction_end(SubXactEvent event, SubTransactionId id, SubTransactionId parent,
										   void *arg);

void
cl_outcomes_init(void)
{
	RegisterXactCallback(outcomes_at_transaction_end, NULL);
	RegisterSubXactCallback(outcomes_at_subtransaction_end, NULL);
}

void
cl_outcomes_add_success(clCall call, int times)
{
	int nest_level = GetCurrentTransactionNestLevel();

	if (times == 0)
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

static void
count_pending(const Pending *level, int outcome)
{
	for (clCall call = 0; call < CL_NCALLS; call++)
		cl_count(call, outcome, level->successes[call]);
}

static void
outcomes_at_transaction_end(XactEvent event, void *arg)
{
	int outcome;

	switch (event)
	{
		case XACT_EVENT_COMMIT:
			outcome = CL_OUTCOME_SUCCESS;
			break;
		case XACT_EVENT_PREPARE:
			outcome = CL_OUTCOME_PREPARED;
			break;
		case XACT_EVENT_ABORT:
			outcome = CL_OUTCOME_ROLLED_BACK;
			break;
		default:
			return;
	}

	while (pending_count > 0)
		count_pending(&pending[--pending_count], outcome);
}

static void
outcomes_at_subtransaction_end(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	int nest_level = GetCurrentTransactionNestLevel();
	Pending *level;

	if (pending_count == 0 || pending[pending_count - 1].nest_level < nest_level)
		return;

	level = &pending[pending_count - 1];
	Assert(level->nest_level == nest_level);
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		count_pending(level, CL_OUTCOME_ROLLED_BACK);
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
