/*-------------------------------------------------------------------------
 *
 * relation.c
 *	  Units of work; opening tables; finding and locking their rows.
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
#include "commands/trigger.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "table/relation.h"
#include "table/relation_private.h"

struct clScan
{
	clRelation *rel;
	MemoryContext context;	  /* what the access method remembers between rows */
	IndexScanDesc index_scan; /* or */
	TableScanDesc table_scan;
	bool ended; /* an access method that is asked on begins again */
};

static void unit_flush(clUnit *unit);
static void relation_map_columns(clRelation *rel);
static bool relation_has_block(clRelation *rel, BlockNumber block);
static bool relation_seek(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys);
static Relation relation_index(clRelation *rel, int nkeys, const clKey *keys);
static void relation_close_index(clRelation *rel);
static void scan_keys_init(clRelation *rel, Relation index, int nkeys, const clKey *keys, ScanKey scan_keys);
static bool index_starts_with(clRelation *rel, Relation index, int nkeys, const clKey *keys);
static int index_position(const clKey *keys, int i, int previous);
static void row_read(clRelation *rel, TupleTableSlot *slot, clRow *row);

/* ------------------------------------------------------------------------
 * Units
 * ------------------------------------------------------------------------
 */

clUnit *
cl_unit_begin(const char *what)
{
	clUnit *unit;

	PreventCommandIfReadOnly(what);
	PreventCommandIfParallelMode(what);

	unit = palloc0(sizeof(clUnit));
	unit->estate = CreateExecutorState();
	unit->lockmode = RowExclusiveLock;
	AfterTriggerBeginQuery();
	cl_unit_refresh(unit);
	return unit;
}

clUnit *
cl_unit_begin_bulk(const char *what)
{
	clUnit *unit = cl_unit_begin(what);

	unit->bulk = true;
	return unit;
}

bool
cl_unit_is_flushing(const clUnit *unit)
{
	return unit->flushing;
}

clUnit *
cl_unit_begin_reading(void)
{
	clUnit *unit = palloc0(sizeof(clUnit));

	unit->estate = CreateExecutorState();
	unit->lockmode = AccessShareLock;
	unit->snapshot = GetActiveSnapshot();
	return unit;
}

void
cl_unit_refresh(clUnit *unit)
{
	Assert(unit->lockmode == RowExclusiveLock);

	unit_flush(unit);
	if (unit->snapshot != NULL)
		PopActiveSnapshot();
	CommandCounterIncrement();
	PushActiveSnapshot(IsolationUsesXactSnapshot() ? GetTransactionSnapshot() : GetLatestSnapshot());
	unit->snapshot = GetActiveSnapshot();
	unit->estate->es_snapshot = unit->snapshot;
	unit->estate->es_output_cid = GetCurrentCommandId(true);
}

void
cl_unit_end(clUnit *unit)
{
	ListCell *lc;
	bool writing = unit->lockmode == RowExclusiveLock;

	if (writing)
	{
		unit_flush(unit);
		AfterTriggerEndQuery(unit->estate);
	}

	ExecResetTupleTable(unit->estate->es_tupleTable, false);
	foreach(lc, unit->relations)
	{
		clRelation *rel = lfirst(lc);

		if (rel->target != NULL && rel->target->ri_IndexRelationDescs != NULL)
			ExecCloseIndices(rel->target);
		relation_close_index(rel);
		table_close(rel->rel, NoLock);
	}
	FreeExecutorState(unit->estate);

	if (writing)
	{
		PopActiveSnapshot();
		CommandCounterIncrement();
	}
	pfree(unit);
}

static void
unit_flush(clUnit *unit)
{
	ListCell *lc;

	foreach(lc, unit->relations)
	{
		clRelation *rel = lfirst(lc);

		if (rel->bulk_count > 0)
			cl_relation_flush(unit, rel);
	}
}

/* ------------------------------------------------------------------------
 * Relations and rows
 * ------------------------------------------------------------------------
 */

clRelation *
cl_relation_open(clUnit *unit, Oid relid, const clTable *table)
{
	ListCell *lc;
	MemoryContext old;
	clRelation *rel;

	foreach(lc, unit->relations)
	{
		rel = lfirst(lc);
		if (RelationGetRelid(rel->rel) == relid)
			return rel;
	}

	old = MemoryContextSwitchTo(unit->estate->es_query_cxt);
	rel = palloc0(sizeof(clRelation));
	rel->rel = table_open(relid, unit->lockmode);
	rel->lockmode = unit->lockmode;
	rel->table = table;
	relation_map_columns(rel);
	rel->slot = table_slot_create(rel->rel, &unit->estate->es_tupleTable);
	unit->relations = lappend(unit->relations, rel);
	MemoryContextSwitchTo(old);
	return rel;
}

/*
 * Find the attribute of each known column by name: a partition that was
 * attached may have them in another order.
 */
static void
relation_map_columns(clRelation *rel)
{
	const clTable *table = rel->table;
	TupleDesc desc = RelationGetDescr(rel->rel);

	rel->in_order = desc->natts == table->ncolumns;
	for (int i = 0; i < table->ncolumns; i++)
	{
		AttrNumber attnum = i + 1;

		if (attnum > desc->natts || strcmp(NameStr(TupleDescAttr(desc, i)->attname), table->columns[i + 1]) != 0)
		{
			attnum = get_attnum(RelationGetRelid(rel->rel), table->columns[i + 1]);
			if (attnum == InvalidAttrNumber)
				ereport(ERROR,
						(errcode(ERRCODE_UNDEFINED_COLUMN),
						 errmsg("column \"%s\" of relation \"%s\" does not exist",
								table->columns[i + 1], RelationGetRelationName(rel->rel))));
			rel->in_order = false;
		}
		rel->attnums[i] = attnum;
	}

	rel->checked = desc->natts != table->ncolumns ||
		(desc->constr != NULL && desc->constr->num_check != table->nchecks);
}

void
cl_row_init(clRow *row)
{
	memset(row->nulls, true, sizeof(row->nulls));
	row->changed = 0;
	row->tuple = NULL;
}

void
cl_row_set(clRow *row, int column, Datum value)
{
	row->values[column - 1] = value;
	row->nulls[column - 1] = false;
	row->changed |= UINT32_C(1) << (column - 1);
}

void
cl_row_set_null(clRow *row, int column)
{
	row->values[column - 1] = (Datum) 0;
	row->nulls[column - 1] = true;
	row->changed |= UINT32_C(1) << (column - 1);
}

/* Copy a slot's row to our own memory, so that the buffer need not stay pinned. */
static void
row_read(clRelation *rel, TupleTableSlot *slot, clRow *row)
{
	TupleDesc desc = RelationGetDescr(rel->rel);

	row->changed = 0;
	row->tuple = ExecCopySlotHeapTuple(slot);
	row->place = row->tuple->t_self;
	if (rel->in_order)
		heap_deform_tuple(row->tuple, desc, row->values, row->nulls);
	else
	{
		for (int i = 0; i < rel->table->ncolumns; i++)
			row->values[i] = heap_getattr(row->tuple, rel->attnums[i], desc, &row->nulls[i]);
	}
}

Datum
cl_relation_composite(clRelation *rel, const clRow *row)
{
	TupleDesc desc = RelationGetDescr(rel->rel);
	Datum *values = palloc0(desc->natts * sizeof(Datum));
	bool *nulls = palloc(desc->natts * sizeof(bool));

	if (row->tuple != NULL)
		heap_deform_tuple(row->tuple, desc, values, nulls);
	else
		memset(nulls, true, desc->natts * sizeof(bool));
	for (int i = 0; i < rel->table->ncolumns; i++)
	{
		values[rel->attnums[i] - 1] = row->values[i];
		nulls[rel->attnums[i] - 1] = row->nulls[i];
	}
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

/* ------------------------------------------------------------------------
 * Finding and locking
 * ------------------------------------------------------------------------
 */

clScan *
cl_scan_begin(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys)
{
	clScan *scan = palloc0(sizeof(clScan));
	Relation index = relation_index(rel, nkeys, keys);
	ScanKeyData scan_keys[CL_MAX_COLUMNS];

	scan_keys_init(rel, index, nkeys, keys, scan_keys);
	scan->rel = rel;
	scan->context = CurrentMemoryContext;
	if (index != NULL)
	{
		scan->index_scan = cl_index_beginscan(rel->rel, index, unit->snapshot, nkeys);
		index_rescan(scan->index_scan, scan_keys, nkeys, NULL, 0);
	}
	else
		scan->table_scan = table_beginscan(rel->rel, unit->snapshot, nkeys, scan_keys);
	return scan;
}

bool
cl_scan_next(clScan *scan, clRow *row)
{
	MemoryContext caller;
	TupleTableSlot *slot = scan->rel->slot;
	bool found;

	if (scan->ended)
		return false;

	caller = MemoryContextSwitchTo(scan->context);
	if (scan->index_scan != NULL)
		found = index_getnext_slot(scan->index_scan, ForwardScanDirection, slot);
	else
		found = table_scan_getnextslot(scan->table_scan, ForwardScanDirection, slot);
	MemoryContextSwitchTo(caller);
	if (found)
		row_read(scan->rel, slot, row);
	ExecClearTuple(slot);
	scan->ended = !found;
	return found;
}

void
cl_scan_end(clScan *scan)
{
	if (scan->index_scan != NULL)
		index_endscan(scan->index_scan);
	else
		table_endscan(scan->table_scan);
	pfree(scan);
}

bool
cl_relation_find(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys, clRow *row)
{
	if (!relation_seek(unit, rel, nkeys, keys))
		return false;
	row_read(rel, rel->slot, row);
	ExecClearTuple(rel->slot);
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
cl_relation_find_and_lock(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys, clRow *row, bool skip_locked)
{
	if (!relation_seek(unit, rel, nkeys, keys))
		return CL_LOCK_GONE;
	row->place = rel->slot->tts_tid;
	ExecClearTuple(rel->slot);
	return cl_relation_lock(unit, rel, row, skip_locked);
}

bool
cl_relation_fetch(clUnit *unit, clRelation *rel, ItemPointer place, clRow *row)
{
	if (!relation_has_block(rel, ItemPointerGetBlockNumber(place)) ||
		!table_tuple_fetch_row_version(rel->rel, place, unit->snapshot, rel->slot))
		return false;
	row_read(rel, rel->slot, row);
	ExecClearTuple(rel->slot);
	return true;
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
 * Leave the first row that meets all keys in the relation's slot.  A unit
 * asks the same question of a table again and again, so the scan is kept; but
 * no page of it stays pinned, and what it found dead is marked so, each time.
 */
static bool
relation_seek(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys)
{
	MemoryContext caller = MemoryContextSwitchTo(unit->estate->es_query_cxt);
	Relation index = relation_index(rel, nkeys, keys);
	ScanKeyData scan_keys[CL_MAX_COLUMNS];
	bool found;

	scan_keys_init(rel, index, nkeys, keys, scan_keys);
	if (index != NULL)
	{
		if (rel->key_scan == NULL)
			rel->key_scan = cl_index_beginscan(rel->rel, index, unit->snapshot, nkeys);
		rel->key_scan->xs_snapshot = unit->snapshot;
		index_rescan(rel->key_scan, scan_keys, nkeys, NULL, 0);
		found = index_getnext_slot(rel->key_scan, ForwardScanDirection, rel->slot);
		index_rescan(rel->key_scan, NULL, nkeys, NULL, 0);
	}
	else
	{
		TableScanDesc scan = table_beginscan(rel->rel, unit->snapshot, nkeys, scan_keys);

		found = table_scan_getnextslot(scan, ForwardScanDirection, rel->slot);
		table_endscan(scan);
	}
	MemoryContextSwitchTo(caller);
	return found;
}

/* The conditions as the access methods take them: on columns of the index, or of the table if there is none. */
static void
scan_keys_init(clRelation *rel, Relation index, int nkeys, const clKey *keys, ScanKey scan_keys)
{
	int position = 0;

	for (int i = 0; i < nkeys; i++)
	{
		AttrNumber attnum = rel->attnums[keys[i].column - 1];

		position = index_position(keys, i, position);
		if (keys[i].procedure == InvalidOid)
		{
			if (index == NULL)
				elog(ERROR, "no index of \"%s\" finds a null", RelationGetRelationName(rel->rel));
			ScanKeyEntryInitialize(&scan_keys[i], SK_ISNULL | SK_SEARCHNULL, position,
								   InvalidStrategy, InvalidOid, InvalidOid, InvalidOid, (Datum) 0);
			continue;
		}
		ScanKeyInit(&scan_keys[i], index != NULL ? position : attnum,
					keys[i].strategy, keys[i].procedure, keys[i].value);
		scan_keys[i].sk_collation = index != NULL ? index->rd_indcollation[position - 1] :
													TupleDescAttr(RelationGetDescr(rel->rel), attnum - 1)->attcollation;
	}
}

/*
 * An index whose first columns are those of the keys, open until the unit
 * ends or asks another question, or NULL.
 */
static Relation
relation_index(clRelation *rel, int nkeys, const clKey *keys)
{
	List *indexes;
	ListCell *lc;
	Oid primary;

	if (rel->key_index != NULL && rel->key_index_nkeys == nkeys && index_starts_with(rel, rel->key_index, nkeys, keys))
		return rel->key_index;
	relation_close_index(rel);

	primary = cl_primary_key_index(rel->rel);
	indexes = RelationGetIndexList(rel->rel);
	if (OidIsValid(primary))
		indexes = lcons_oid(primary, indexes);
	foreach(lc, indexes)
	{
		Relation index = index_open(lfirst_oid(lc), rel->lockmode);

		if (index_starts_with(rel, index, nkeys, keys))
		{
			rel->key_index = index;
			rel->key_index_nkeys = nkeys;
			break;
		}
		index_close(index, rel->lockmode);
	}
	list_free(indexes);
	return rel->key_index;
}

static void
relation_close_index(clRelation *rel)
{
	if (rel->key_scan != NULL)
		index_endscan(rel->key_scan);
	if (rel->key_index != NULL)
		index_close(rel->key_index, NoLock);
	rel->key_scan = NULL;
	rel->key_index = NULL;
}

static bool
index_starts_with(clRelation *rel, Relation index, int nkeys, const clKey *keys)
{
	Form_pg_index form = index->rd_index;
	int position = 0;

	if (!form->indisvalid || index->rd_rel->relam != BTREE_AM_OID || RelationGetIndexPredicate(index) != NIL)
		return false;
	for (int i = 0; i < nkeys; i++)
	{
		position = index_position(keys, i, position);
		if (position > form->indnkeyatts || form->indkey.values[position - 1] != rel->attnums[keys[i].column - 1])
			return false;
	}
	return true;
}

/* Which column of an index a condition is on: the next one, unless it is the second on the same. */
static int
index_position(const clKey *keys, int i, int previous)
{
	return i > 0 && keys[i].column == keys[i - 1].column ? previous : previous + 1;
}

clLockResult
cl_relation_lock(clUnit *unit, clRelation *rel, clRow *row, bool skip_locked)
{
	ItemPointerData tid = row->place;
	TM_FailureData failure;
	TM_Result result;

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

	row_read(rel, rel->slot, row);
	ExecClearTuple(rel->slot);
	return CL_LOCKED;
}

void
cl_relation_require_unchanged(clRelation *rel, TM_Result result)
{
	switch (result)
	{
		case TM_Ok:
			return;
		case TM_Updated:
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not serialize access due to concurrent update")));
			break;
		case TM_Deleted:
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not serialize access due to concurrent delete")));
			break;
		case TM_SelfModified:
			ereport(ERROR,
					(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
					 errmsg("row of \"%s\" was already modified by an operation triggered by the current command",
							RelationGetRelationName(rel->rel))));
			break;
		default:
			elog(ERROR, "unexpected state %d of a row of \"%s\"", (int) result, RelationGetRelationName(rel->rel));
	}
}
