/*-------------------------------------------------------------------------
 *
 * find.c
 *	  Finding rows by the values of some columns, and locking them.
 *
 * The model is the server's own execReplication.c, which works on the rows of
 * user tables without a plan.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relscan.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "table/find.h"
#include "table/snapshot.h"
#include "table/table.h"

struct clScan
{
	clUnit *unit;
	clRelation *rel;
	MemoryContext context;	  /* what the access method remembers between rows */
	Snapshot snapshot;		  /* the unit may take another one meanwhile */
	IndexScanDesc index_scan; /* or */
	TableScanDesc table_scan;
	int nkeys; /* of the latter */
	const clKey *keys;
	bool ended; /* an access method that is asked on begins again */
};

static void require_expected_columns(clRelation *rel, const ReturnSetInfo *result);
static bool relation_seek_at(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys, const clPlace *place);
static bool relation_has_block(clRelation *rel, BlockNumber block);
static bool relation_seek(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys);
static bool relation_seek_in_all(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys);
static bool table_scan_next(TableScanDesc scan, clRelation *rel, TupleTableSlot *slot, int nkeys, const clKey *keys);
static bool slot_matches(clRelation *rel, TupleTableSlot *slot, int nkeys, const clKey *keys);
static Relation relation_index(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys, const int *order);
static bool index_predicate_holds(clRelation *rel, Relation index, const clKey *key);
static int index_key_count(Relation index, int nkeys);
static bool index_starts_with(clRelation *rel, Relation index, int nkeys, const clKey *keys, const int *order);
static bool index_is_complete(Relation index, Snapshot snapshot);
static void index_keys_init(Relation index, int nkeys, const clKey *keys, ScanKey scan_keys);
static int index_position(const clKey *keys, int i, int previous);

bool
cl_relation_find(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys, const clPlace *hint, clRow *row)
{
	if (!relation_seek_at(unit, rel, nkeys, keys, hint) && !relation_seek(unit, rel, nkeys, keys))
		return false;
	cl_relation_read_slot(rel, row);
	return true;
}

bool
cl_relation_has(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys)
{
	bool found = relation_seek(unit, rel, nkeys, keys);

	ExecClearTuple(rel->slot);
	return found;
}

clLockResult
cl_relation_find_and_lock(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys, const clPlace *hint, clRow *row,
						  bool skip_locked)
{
	ItemPointerData tid;
	TM_FailureData failure;
	TM_Result result;

	if (!relation_seek_at(unit, rel, nkeys, keys, hint) && !relation_seek(unit, rel, nkeys, keys))
		return CL_LOCK_GONE;
	tid = rel->slot->tts_tid;
	ExecClearTuple(rel->slot);

	result = table_tuple_lock(rel->rel, &tid, unit->snapshot, rel->slot, unit->estate->es_output_cid,
							  LockTupleNoKeyExclusive,
							  skip_locked ? LockWaitSkip : LockWaitBlock,
							  IsolationUsesXactSnapshot() ? 0 : TUPLE_LOCK_FLAG_FIND_LAST_VERSION,
							  &failure);
	if (result == TM_WouldBlock)
		return CL_LOCK_NOT_AVAILABLE;
	if (result == TM_Deleted && !IsolationUsesXactSnapshot())
		return CL_LOCK_GONE;
	cl_relation_require_unchanged(rel, result);

	if (failure.traversed && !slot_matches(rel, rel->slot, nkeys, keys))
	{
		ExecClearTuple(rel->slot);
		return CL_LOCK_GONE;
	}
	cl_relation_read_slot(rel, row);
	return CL_LOCKED;
}

Datum
cl_relation_composite(clUnit *unit, clRelation *rel, const clRow *row, FunctionCallInfo fcinfo)
{
	TupleTableSlot *slot = cl_relation_slot(unit, rel);
	ItemPointerData tid = row->place.tid;
	Datum composite;

	require_expected_columns(rel, (ReturnSetInfo *) fcinfo->resultinfo);
	if (!table_tuple_fetch_row_version(rel->rel, &tid, SnapshotAny, slot))
		elog(ERROR, "row of \"%s\" is not where it was written", RelationGetRelationName(rel->rel));
	composite = ExecFetchSlotHeapTupleDatum(slot);
	ExecClearTuple(slot);
	return composite;
}

static void
require_expected_columns(clRelation *rel, const ReturnSetInfo *result)
{
	TupleDesc desc = RelationGetDescr(rel->rel);
	TupleDesc expected;
	bool differs;

	if (result == NULL || !IsA(result, ReturnSetInfo) || result->expectedDesc == NULL)
		return;
	expected = result->expectedDesc;
	differs = expected->natts != desc->natts;
	for (int i = 0; !differs && i < desc->natts; i++)
		differs = TupleDescAttr(expected, i)->atttypid != TupleDescAttr(desc, i)->atttypid;
	if (differs)
		cl_raise_relation_changed(rel->rel);
}

/* ------------------------------------------------------------------------
 * Scans
 * ------------------------------------------------------------------------
 */

clScan *
cl_scan_begin(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys, const int *order)
{
	clScan *scan = palloc0(sizeof(clScan));
	Relation index = relation_index(unit, rel, nkeys, keys, order);

	scan->unit = unit;
	scan->rel = rel;
	scan->context = CurrentMemoryContext;
	scan->snapshot = RegisterSnapshot(unit->snapshot);
	if (index != NULL)
	{
		ScanKeyData scan_keys[CL_MAX_COLUMNS];

		nkeys = rel->key_index_ncolumns;
		index_keys_init(index, nkeys, keys, scan_keys);
		scan->index_scan = cl_index_beginscan(rel->rel, index, scan->snapshot, nkeys);
		index_rescan(scan->index_scan, scan_keys, nkeys, NULL, 0);
	}
	else
	{
		clKey *own_keys = palloc(nkeys * sizeof(clKey));

		memcpy(own_keys, keys, nkeys * sizeof(clKey));
		scan->nkeys = nkeys;
		scan->keys = own_keys;
		scan->table_scan = table_beginscan(rel->rel, scan->snapshot, 0, NULL);
	}
	return scan;
}

bool
cl_scan_is_ordered(const clScan *scan)
{
	return scan->index_scan != NULL;
}

bool
cl_scan_next(clScan *scan, clRow *row)
{
	MemoryContext caller;
	TupleTableSlot *slot = cl_relation_slot(scan->unit, scan->rel);
	bool found;

	if (scan->ended)
		return false;

	caller = MemoryContextSwitchTo(scan->context);
	if (scan->index_scan != NULL)
		found = index_getnext_slot(scan->index_scan, ForwardScanDirection, slot);
	else
		found = table_scan_next(scan->table_scan, scan->rel, slot, scan->nkeys, scan->keys);
	MemoryContextSwitchTo(caller);
	if (found)
		cl_relation_read_slot(scan->rel, row);
	scan->ended = !found;
	return found;
}

void
cl_scan_end(clScan *scan)
{
	ExecClearTuple(cl_relation_slot(scan->unit, scan->rel));
	if (scan->index_scan != NULL)
		index_endscan(scan->index_scan);
	else
		table_endscan(scan->table_scan);
	UnregisterSnapshot(scan->snapshot);
	pfree(scan);
}

/* ------------------------------------------------------------------------
 * Leaving a row in the relation's slot
 * ------------------------------------------------------------------------
 */

static bool
relation_seek_at(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys, const clPlace *place)
{
	TupleTableSlot *slot;
	ItemPointerData tid;

	if (place == NULL || place->relid != RelationGetRelid(rel->rel) ||
		!relation_has_block(rel, ItemPointerGetBlockNumber(&place->tid)))
		return false;

	slot = cl_relation_slot(unit, rel);
	tid = place->tid;
	if (!table_tuple_fetch_row_version(rel->rel, &tid, unit->snapshot, slot))
		return false;
	if (slot_matches(rel, slot, nkeys, keys))
		return true;
	ExecClearTuple(slot);
	return false;
}

/* The table may have been truncated since the place was seen; but not since it was opened, and so locked. */
static bool
relation_has_block(clRelation *rel, BlockNumber block)
{
	if (block >= rel->nblocks)
		rel->nblocks = RelationGetNumberOfBlocks(rel->rel);
	return block < rel->nblocks;
}

/*
 * A unit asks the same question of a table again and again, so the scan is
 * kept; but no page of it stays pinned, and what it found dead is marked so,
 * each time.
 */
static bool
relation_seek(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys)
{
	Relation index = relation_index(unit, rel, nkeys, keys, NULL);
	TupleTableSlot *slot = cl_relation_slot(unit, rel);
	ScanKeyData scan_keys[CL_MAX_COLUMNS];
	MemoryContext caller;
	bool found;

	if (index == NULL)
		return relation_seek_in_all(unit, rel, nkeys, keys);

	caller = MemoryContextSwitchTo(unit->estate->es_query_cxt);
	nkeys = rel->key_index_ncolumns;
	index_keys_init(index, nkeys, keys, scan_keys);
	if (rel->key_scan == NULL)
		rel->key_scan = cl_index_beginscan(rel->rel, index, unit->snapshot, nkeys);
	rel->key_scan->xs_snapshot = unit->snapshot;
	index_rescan(rel->key_scan, scan_keys, nkeys, NULL, 0);
	found = index_getnext_slot(rel->key_scan, ForwardScanDirection, slot);
	index_rescan(rel->key_scan, NULL, nkeys, NULL, 0);
	MemoryContextSwitchTo(caller);
	return found;
}

/* The slot's row is copied before the scan ends, which takes the row's header with it. */
static bool
relation_seek_in_all(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys)
{
	TableScanDesc scan = table_beginscan(rel->rel, unit->snapshot, 0, NULL);
	bool found = table_scan_next(scan, rel, rel->slot, nkeys, keys);

	if (found)
		ExecMaterializeSlot(rel->slot);
	table_endscan(scan);
	return found;
}

static bool
table_scan_next(TableScanDesc scan, clRelation *rel, TupleTableSlot *slot, int nkeys, const clKey *keys)
{
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (slot_matches(rel, slot, nkeys, keys))
			return true;
	}
	return false;
}

static bool
slot_matches(clRelation *rel, TupleTableSlot *slot, int nkeys, const clKey *keys)
{
	for (int i = 0; i < nkeys; i++)
	{
		AttrNumber attnum = rel->shape->attnums[keys[i].column - 1];
		bool isnull;
		Datum value = slot_getattr(slot, attnum, &isnull);

		if (isnull != (keys[i].procedure == InvalidOid))
			return false;
		if (!isnull &&
			!DatumGetBool(OidFunctionCall2Coll(keys[i].procedure,
											   TupleDescAttr(slot->tts_tupleDescriptor, attnum - 1)->attcollation,
											   value, keys[i].value)))
			return false;
	}
	return true;
}

/* ------------------------------------------------------------------------
 * Indexes
 * ------------------------------------------------------------------------
 */

/*
 * An index whose first columns are those of the keys, and the next those of
 * the order, open until the unit ends or asks another question, or NULL.
 */
static Relation
relation_index(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys, const int *order)
{
	List *indexes;
	ListCell *lc;
	Oid primary;

	if (rel->key_index != NULL && rel->key_index_nkeys == nkeys &&
		index_starts_with(rel, rel->key_index, nkeys, keys, order))
		return rel->key_index;

	if (rel->key_scan != NULL)
		index_endscan(rel->key_scan);
	rel->key_scan = NULL;
	if (rel->key_index != NULL)
		index_close(rel->key_index, NoLock);
	rel->key_index = NULL;

	primary = cl_primary_key_index(rel->rel);
	indexes = RelationGetIndexList(rel->rel);
	if (OidIsValid(primary))
		indexes = lcons_oid(primary, indexes);
	foreach(lc, indexes)
	{
		Relation index = index_open(lfirst_oid(lc), rel->lockmode);

		if (index_starts_with(rel, index, nkeys, keys, order) && index_is_complete(index, unit->snapshot))
		{
			rel->key_index = index;
			rel->key_index_nkeys = nkeys;
			rel->key_index_ncolumns = index_key_count(index, nkeys);
			break;
		}
		index_close(index, rel->lockmode);
	}
	list_free(indexes);
	return rel->key_index;
}

static bool
index_starts_with(clRelation *rel, Relation index, int nkeys, const clKey *keys, const int *order)
{
	Form_pg_index form = index->rd_index;
	int position = 0;

	if (!form->indisvalid || index->rd_rel->relam != BTREE_AM_OID ||
		!index_predicate_holds(rel, index, &keys[nkeys - 1]))
		return false;
	for (int i = 0; i < index_key_count(index, nkeys); i++)
	{
		position = index_position(keys, i, position);
		if (!cl_index_has_column(rel, index, position, keys[i].column))
			return false;
	}
	for (; order != NULL && *order != 0; order++)
	{
		position++;
		if (!cl_index_has_column(rel, index, position, *order) || index->rd_indoption[position - 1] != 0)
			return false;
	}
	return true;
}

/* Whether the index is whole, or a partial one of the rows in which the key's column is NULL. */
static bool
index_predicate_holds(clRelation *rel, Relation index, const clKey *key)
{
	List *predicate = RelationGetIndexPredicate(index);
	NullTest *test;

	if (predicate == NIL)
		return true;
	test = linitial(predicate);
	return list_length(predicate) == 1 && IsA(test, NullTest) && test->nulltesttype == IS_NULL &&
		IsA(test->arg, Var) && key->procedure == InvalidOid &&
		((Var *) test->arg)->varattno == rel->shape->attnums[key->column - 1];
}

/* So many of the keys are left to the index: what its predicate says need not be asked. */
static int
index_key_count(Relation index, int nkeys)
{
	return RelationGetIndexPredicate(index) == NIL ? nkeys : nkeys - 1;
}

/* An index that was made over versions of rows that were updated in place lacks what older snapshots see. */
static bool
index_is_complete(Relation index, Snapshot snapshot)
{
	return !index->rd_index->indcheckxmin ||
		!XidInMVCCSnapshot(HeapTupleHeaderGetXmin(index->rd_indextuple->t_data), snapshot);
}

static void
index_keys_init(Relation index, int nkeys, const clKey *keys, ScanKey scan_keys)
{
	int position = 0;

	for (int i = 0; i < nkeys; i++)
	{
		position = index_position(keys, i, position);
		if (keys[i].procedure == InvalidOid)
			ScanKeyEntryInitialize(&scan_keys[i], SK_ISNULL | SK_SEARCHNULL, position,
								   InvalidStrategy, InvalidOid, InvalidOid, InvalidOid, (Datum) 0);
		else
		{
			ScanKeyInit(&scan_keys[i], position, keys[i].strategy, keys[i].procedure, keys[i].value);
			scan_keys[i].sk_collation = index->rd_indcollation[position - 1];
		}
	}
}

/* Which column of an index a condition is on: the next one, unless it is the second on the same. */
static int
index_position(const clKey *keys, int i, int previous)
{
	return i > 0 && keys[i].column == keys[i - 1].column ? previous : previous + 1;
}
