/*-------------------------------------------------------------------------
 *
 * relation.c
 *	  Tables that a unit of work has open.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "executor/executor.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/rel.h"

#include "compat.h"
#include "table/relation.h"
#include "table/snapshot.h"
#include "table/table.h"

clRelation *
cl_relation_open(clUnit *unit, Oid relid, const clTable *table)
{
	return cl_relation_open_kind(unit, relid, table, RELKIND_RELATION);
}

clRelation *
cl_relation_open_kind(clUnit *unit, Oid relid, const clTable *table, char relkind)
{
	clRelation *rel = cl_relation_try_open(unit, relid, table);

	if (rel != NULL && rel->rel->rd_rel->relkind == relkind)
		return rel;
	if (rel != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not %s", RelationGetRelationName(rel->rel),
						relkind == RELKIND_RELATION ? "an ordinary table" : "a partitioned table")));
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("relation with OID %u was dropped meanwhile", relid)));
	pg_unreachable();
}

clRelation *
cl_relation_try_open(clUnit *unit, Oid relid, const clTable *table)
{
	ListCell *lc;
	MemoryContext old;
	Relation opened;
	clShape *shape;
	clRelation *rel;

	foreach(lc, unit->relations)
	{
		rel = lfirst(lc);
		if (RelationGetRelid(rel->rel) == relid)
			return rel;
	}

	LockRelationOid(relid, unit->lockmode);
	shape = cl_shape_known(relid);
	opened = shape != NULL ? table_open(relid, NoLock) : try_table_open(relid, NoLock);
	if (opened == NULL)
	{
		UnlockRelationOid(relid, unit->lockmode);
		return NULL;
	}
	cl_snapshot_follow(unit, opened);

	old = MemoryContextSwitchTo(unit->estate->es_query_cxt);
	rel = palloc0(sizeof(clRelation));
	rel->rel = opened;
	rel->lockmode = unit->lockmode;
	rel->table = table;
	rel->shape = shape != NULL ? shape : cl_shape_of(opened, table);
	unit->relations = lappend(unit->relations, rel);
	MemoryContextSwitchTo(old);
	return rel;
}

/* The lock stays. */
void
cl_relation_close(clRelation *rel)
{
	if (rel->target != NULL && rel->target->ri_IndexRelationDescs != NULL)
		ExecCloseIndices(rel->target);
	if (rel->key_scan != NULL)
		index_endscan(rel->key_scan);
	if (rel->key_index != NULL)
		index_close(rel->key_index, NoLock);
	table_close(rel->rel, NoLock);
}

TupleTableSlot *
cl_relation_slot(clUnit *unit, clRelation *rel)
{
	if (rel->slot == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(unit->estate->es_query_cxt);

		rel->slot = table_slot_create(rel->rel, &unit->estate->es_tupleTable);
		MemoryContextSwitchTo(old);
	}
	return rel->slot;
}

/* Into our own memory, so that the buffer need not stay pinned. */
void
cl_relation_read_slot(clRelation *rel, clRow *row)
{
	TupleDesc desc = RelationGetDescr(rel->rel);

	row->changed = 0;
	row->tuple = ExecCopySlotHeapTuple(rel->slot);
	row->place.relid = RelationGetRelid(rel->rel);
	row->place.tid = rel->slot->tts_tid;
	ExecClearTuple(rel->slot);
	if (rel->shape->in_order)
		heap_deform_tuple(row->tuple, desc, row->values, row->nulls);
	else
	{
		for (int i = 0; i < rel->table->ncolumns; i++)
			row->values[i] = heap_getattr(row->tuple, rel->shape->attnums[i], desc, &row->nulls[i]);
	}
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

bool
cl_index_has_column(const clRelation *rel, Relation index, int position, int column)
{
	AttrNumber attnum = rel->shape->attnums[column - 1];

	return position <= index->rd_index->indnkeyatts && index->rd_index->indkey.values[position - 1] == attnum &&
		index->rd_indcollation[position - 1] == TupleDescAttr(RelationGetDescr(rel->rel), attnum - 1)->attcollation;
}
