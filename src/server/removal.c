/*-------------------------------------------------------------------------
 *
 * removal.c
 *	  DROP EXTENSION needs CASCADE, where there are accounts, and so does
 *	  DROP OWNED BY whoever owns the extension.
 *
 * To the server an extension's tables are its own, and go without a word.
 * Ours are somebody's money.  Where the library is not loaded, nobody asks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "ledger/catalog.h"
#include "server/removal.h"

static ProcessUtility_hook_type next_hook = NULL;

static void removal_hook(PlannedStmt *statement, const char *query, bool read_only_tree, ProcessUtilityContext context,
						 ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest,
						 QueryCompletion *completion);
static bool drops_extension(const DropStmt *drop);
static bool drops_owner(const DropOwnedStmt *drop);
static Oid extension_owner(Oid extension);
static bool account_exists(void);
pg_noreturn static void raise_credits_kept(const char *what, const char *how);

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
	Node *command = statement->utilityStmt;

	if (IsA(command, DropStmt) && drops_extension((DropStmt *) command) && account_exists())
		raise_credits_kept("drop extension credit_ledger", "DROP EXTENSION credit_ledger CASCADE");
	if (IsA(command, DropOwnedStmt) && drops_owner((DropOwnedStmt *) command) && account_exists())
		raise_credits_kept("drop what the owner of extension credit_ledger owns", "DROP OWNED BY ... CASCADE");
	(next_hook != NULL ? next_hook : standard_ProcessUtility)(statement, query, read_only_tree, context, params,
															  environment, dest, completion);
}

/* Without CASCADE. */
static bool
drops_extension(const DropStmt *drop)
{
	ListCell *lc;

	if (drop->removeType != OBJECT_EXTENSION || drop->behavior == DROP_CASCADE)
		return false;
	foreach(lc, drop->objects)
	{
		if (strcmp(strVal(lfirst(lc)), "credit_ledger") == 0)
			return OidIsValid(get_extension_oid("credit_ledger", true));
	}
	return false;
}

/* The same: what belongs to an extension goes with it. */
static bool
drops_owner(const DropOwnedStmt *drop)
{
	Oid extension = drop->behavior == DROP_CASCADE ? InvalidOid : get_extension_oid("credit_ledger", true);
	ListCell *lc;

	if (!OidIsValid(extension))
		return false;
	foreach(lc, drop->roles)
	{
		if (get_rolespec_oid(lfirst(lc), true) == extension_owner(extension))
			return true;
	}
	return false;
}

static Oid
extension_owner(Oid extension)
{
	Relation rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	Oid owner = InvalidOid;

	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(extension));
	scan = systable_beginscan(rel, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return owner;
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

static void
raise_credits_kept(const char *what, const char *how)
{
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("cannot %s because it keeps the credits of organisations", what),
			 errdetail("All balances, authorizations and entries would go with it."),
			 errhint("Use %s to delete the ledger.", how)));
	pg_unreachable();
}
