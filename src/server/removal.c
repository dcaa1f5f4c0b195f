/*-------------------------------------------------------------------------
 *
 * removal.c
 *	  DROP EXTENSION needs CASCADE, where there are accounts.
 *
 * To the server an extension's tables are its own, and go without a word.
 * Ours are somebody's money.  Where the library is not loaded, nobody asks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "commands/extension.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "ledger/catalog.h"
#include "server/removal.h"

static ProcessUtility_hook_type next_hook = NULL;

static void removal_hook(PlannedStmt *statement, const char *query, bool read_only_tree, ProcessUtilityContext context,
						 ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest,
						 QueryCompletion *completion);
static void require_cascade(const DropStmt *drop);
static bool account_exists(void);

void
cl_removal_init(void)
{
	next_hook = ProcessUtility_hook;
	ProcessUtility_hook = removal_hook;
}

static void
removal_hook(PlannedStmt *statement, const char *query, bool read_only_tree, ProcessUtilityContext context,
			 ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	if (IsA(statement->utilityStmt, DropStmt))
		require_cascade((const DropStmt *) statement->utilityStmt);
	(next_hook != NULL ? next_hook : standard_ProcessUtility)(statement, query, read_only_tree, context, params,
															  environment, dest, completion);
}

static void
require_cascade(const DropStmt *drop)
{
	ListCell *lc;

	if (drop->removeType != OBJECT_EXTENSION || drop->behavior == DROP_CASCADE)
		return;
	foreach(lc, drop->objects)
	{
		if (strcmp(strVal(lfirst(lc)), "credit_ledger") == 0 &&
			OidIsValid(get_extension_oid("credit_ledger", true)) && account_exists())
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("cannot drop extension credit_ledger because it keeps the credits of organisations"),
					 errdetail("All balances, authorizations and entries would go with it."),
					 errhint("Use DROP EXTENSION credit_ledger CASCADE to delete the ledger.")));
	}
}

/* Without keeping the lock, which the statement itself takes in a stronger mode. */
static bool
account_exists(void)
{
	Relation rel = table_open(cl_table_oid(CL_TABLE_ACCOUNT), AccessShareLock);
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	bool exists = table_scan_getnextslot(scan, ForwardScanDirection, slot);

	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return exists;
}
