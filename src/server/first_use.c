/*-------------------------------------------------------------------------
 *
 * first_use.c
 *	  Noting that the ledger is used in this database.
 *
 * The note is a row of credit_ledger_internal.used_here.  Nobody waits for
 * anybody to write it: two that come first at once leave two rows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "ledger/catalog.h"
#include "server/first_use.h"

static bool note_is_there(Relation rel, bool *committed);
static void note_write(Relation rel);

void
cl_first_use_note(void)
{
	/* The ledger whose note was seen committed, by the OID of a table that goes with it. */
	static Oid noted = InvalidOid;
	Oid ledger = cl_table_oid(CL_TABLE_ACCOUNT);
	Oid table;
	Relation rel;
	bool committed = false;

	if (noted == ledger)
		return;

	table = get_relname_relid("used_here", get_namespace_oid("credit_ledger_internal", false));
	if (!OidIsValid(table))
		return;
	rel = table_open(table, RowExclusiveLock);
	if (!note_is_there(rel, &committed))
		note_write(rel);
	if (committed)
		noted = ledger;
	table_close(rel, NoLock);
}

/* Whatever the transaction's snapshot sees, and without the conflicts of serializable transactions. */
static bool
note_is_there(Relation rel, bool *committed)
{
	TableScanDesc scan = table_beginscan(rel, SnapshotSelf, 0, NULL);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	bool found = false;

	while (!*committed && table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool isnull;
		TransactionId xmin = DatumGetTransactionId(slot_getsysattr(slot, MinTransactionIdAttributeNumber, &isnull));

		found = true;
		*committed = !TransactionIdIsCurrentTransactionId(xmin);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	return found;
}

static void
note_write(Relation rel)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts * sizeof(bool));
	slot->tts_values[0] = TimestampTzGetDatum(GetCurrentTimestamp());
	slot->tts_isnull[0] = false;
	ExecStoreVirtualTuple(slot);
	simple_table_tuple_insert(rel, slot);
	ExecDropSingleTupleTableSlot(slot);
}
