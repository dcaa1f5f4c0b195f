/*-------------------------------------------------------------------------
 *
 * durability.c
 *	  Early lock release: let waiters go on while the commit is flushed.
 *
 * The server holds a transaction's locks until its commit record is on disk,
 * so the calls of one organisation, which queue on its account, run at one
 * flush each.  With credit_ledger.early_lock_release on, a transaction that
 * wrote the ledger commits as if synchronous_commit were off, releases its
 * locks, and waits for the flush (and the synchronous standbys) only then,
 * before its client gets the answer.  A transaction that built on it has its
 * commit record behind it in the log, so it never survives without it.
 *
 * The idea is DeWitt et al., Implementation Techniques for Main Memory
 * Database Systems (SIGMOD 1984), pre-committed transactions; the name is
 * Johnson et al., Aether: A Scalable Approach to Logging (VLDB 2010).
 *
 * What happens in the order of CommitTransaction (xact.c):
 *
 *	XACT_EVENT_PRE_COMMIT		synchronous_commit is lowered
 *	RecordTransactionCommit		writes the commit record, waits for nothing
 *	RESOURCE_RELEASE_LOCKS		waiters go on
 *	RESOURCE_RELEASE_AFTER_LOCKS	synchronous_commit is as before; flush, wait
 *
 * An error on the way aborts, which restores the setting too; after the
 * commit record interrupts are held, as in the server's own wait.
 *
 * The variable is changed behind the back of the settings' machinery, whose
 * hook would change the session's mode of waiting for standbys along with it.
 * synchronous_commit = remote_apply is left alone: such a commit record asks
 * the standbys to answer when they have applied it, and ours would not.
 * PREPARE TRANSACTION and COMMIT PREPARED flush by themselves.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "replication/syncrep.h"
#include "utils/resowner.h"

#include "server/durability.h"
#include "ledger/settings.h"

static bool wrote_ledger = false;
static bool lowered = false;
static int session_synchronous_commit;

static void durability_at_transaction_end(XactEvent event, void *arg);
static void durability_at_resource_release(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg);
static void synchronous_commit_lower(void);
static void synchronous_commit_restore(void);

void
cl_durability_init(void)
{
	RegisterXactCallback(durability_at_transaction_end, NULL);
	RegisterResourceReleaseCallback(durability_at_resource_release, NULL);
}

void
cl_durability_note_write(void)
{
	wrote_ledger = true;
}

static void
durability_at_transaction_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			if (wrote_ledger && cl_early_lock_release)
				synchronous_commit_lower();
			break;
		case XACT_EVENT_ABORT:
			synchronous_commit_restore();
			wrote_ledger = false;
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
			wrote_ledger = false;
			break;
		default:
			break;
	}
}

static void
durability_at_resource_release(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg)
{
	if (phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_top_level || !lowered)
		return;

	Assert(is_commit);
	synchronous_commit_restore();
	XLogFlush(XactLastCommitEnd);
	SyncRepWaitForLSN(XactLastCommitEnd, true);
}

static void
synchronous_commit_lower(void)
{
	Assert(!lowered);

	if (synchronous_commit < SYNCHRONOUS_COMMIT_LOCAL_FLUSH || synchronous_commit > SYNCHRONOUS_COMMIT_REMOTE_FLUSH ||
		!TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return;
	session_synchronous_commit = synchronous_commit;
	synchronous_commit = SYNCHRONOUS_COMMIT_OFF;
	lowered = true;
}

static void
synchronous_commit_restore(void)
{
	if (lowered)
		synchronous_commit = session_synchronous_commit;
	lowered = false;
}
