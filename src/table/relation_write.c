/*-------------------------------------------------------------------------
 *
 * relation_write.c
 *	  Writing the rows of tables.
 *
 * The model is the server's own execReplication.c, which writes the rows of
 * user tables without a plan: an EState carries the result relations, their
 * indexes and triggers, and the executor's routines do what INSERT, UPDATE
 * and DELETE would do with a row.  Statement triggers and row security do
 * not apply, as they do not there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "table/relation_private.h"

/*
 * How many rows are collected for insertion: a few pages.  More would only
 * burden the resource owner, which remembers each slot's tuple descriptor.
 */
#define BULK_ROWS 100

static ResultRelInfo *relation_target(clUnit *unit, clRelation *rel);
static void relation_open_indexes(clUnit *unit, clRelation *rel, bool speculative);
static TupleTableSlot *relation_write_slot(clUnit *unit, clRelation *rel);
static TupleTableSlot *relation_bulk_slot(clUnit *unit, clRelation *rel);
static TupleTableSlot *relation_make_slot(clUnit *unit, clRelation *rel);
static void row_write(clRelation *rel, const clRow *row, TupleTableSlot *slot);
static void carry_extra_columns(clRelation *from, clRelation *to, const clRow *row, TupleTableSlot *slot);
static void default_extra_columns(clUnit *unit, clRelation *rel, TupleTableSlot *slot);
static bool is_extra_column(clRelation *rel, Form_pg_attribute att);
static void relation_before_write(clUnit *unit, clRelation *rel, TupleTableSlot *slot, CmdType command);
static void relation_store(clUnit *unit, clRelation *rel, const clRow *row, clRelation *from);
static void relation_after_insert(clUnit *unit, clRelation *rel, TupleTableSlot *slot);
static void relation_delete(clUnit *unit, clRelation *rel, const clRow *row);
static void relation_set_updated_columns(clUnit *unit, clRelation *rel, const clRow *row);
pg_noreturn static void raise_suppressed(clRelation *rel);

void
cl_relation_insert(clUnit *unit, clRelation *rel, clRow *row)
{
	(void) relation_target(unit, rel);
	relation_store(unit, rel, row, NULL);
}

/*
 * Insert unless a row with this key is there; true if it was inserted.  Waits
 * for another transaction that is inserting the same key.  The way of INSERT
 * ... ON CONFLICT DO NOTHING (ExecInsert): a speculative insertion, taken
 * back if the key turns up meanwhile.
 */
bool
cl_relation_insert_absent(clUnit *unit, clRelation *rel, clRow *row)
{
	EState *estate = unit->estate;
	ResultRelInfo *target = relation_target(unit, rel);
	TupleTableSlot *slot = relation_write_slot(unit, rel);
	List *recheck = NIL;
	bool conflict;

	row_write(rel, row, slot);
	if (!rel->in_order)
		default_extra_columns(unit, rel, slot);
	relation_open_indexes(unit, rel, true);
	if (target->ri_TrigDesc != NULL && target->ri_TrigDesc->trig_insert_before_row &&
		!ExecBRInsertTriggers(estate, target, slot))
		raise_suppressed(rel);
	relation_before_write(unit, rel, slot, CMD_INSERT);

	do
	{
		uint32 token;
		ItemPointerData conflict_tid;

		if (!cl_check_index_constraints(target, slot, estate, &conflict_tid))
		{
			/* The caller did not see it, so its snapshot is older. */
			if (IsolationUsesXactSnapshot())
				cl_relation_require_unchanged(rel, TM_Updated);
			return false;
		}

		token = SpeculativeInsertionLockAcquire(GetCurrentTransactionId());
		table_tuple_insert_speculative(rel->rel, slot, estate->es_output_cid, 0, NULL, token);
		conflict = false;
		recheck = cl_insert_index_tuples(target, slot, estate, false, true, &conflict, CL_ALL_INDEXES);
		table_tuple_complete_speculative(rel->rel, slot, token, !conflict);
		SpeculativeInsertionLockRelease(GetCurrentTransactionId());
	} while (conflict);

	ExecARInsertTriggers(estate, target, slot, recheck, NULL);
	return true;
}

void
cl_relation_update(clUnit *unit, clRelation *rel, clRow *row)
{
	EState *estate = unit->estate;
	ResultRelInfo *target = relation_target(unit, rel);
	TupleTableSlot *slot = relation_write_slot(unit, rel);
	ItemPointerData tid = row->place;
	LockTupleMode lockmode;
	TM_FailureData failure;
	TM_Result result;
	clUpdateIndexes indexes = CL_NO_INDEXES_TO_UPDATE;
	List *recheck = NIL;

	row_write(rel, row, slot);
	CheckCmdReplicaIdentity(rel->rel, CMD_UPDATE);

	if (target->ri_TrigDesc != NULL)
	{
		relation_set_updated_columns(unit, rel, row);
		if (target->ri_TrigDesc->trig_update_before_row)
		{
			EPQState epqstate;

			/*
			 * The trigger code would follow a concurrent update by planning
			 * the query again, which we do not have; so no such update may
			 * come from here on.
			 */
			result = table_tuple_lock(rel->rel, &tid, unit->snapshot, rel->slot, estate->es_output_cid,
									  LockTupleExclusive, LockWaitBlock, 0, &failure);
			cl_relation_require_unchanged(rel, result);
			ExecClearTuple(rel->slot);
			cl_evalplanqual_init(&epqstate, estate);
			if (!cl_before_update_triggers(estate, &epqstate, target, &tid, slot))
				raise_suppressed(rel);
		}
	}

	relation_before_write(unit, rel, slot, CMD_UPDATE);
	result = table_tuple_update(rel->rel, &tid, slot, estate->es_output_cid, unit->snapshot,
								InvalidSnapshot, true, &failure, &lockmode, &indexes);
	cl_relation_require_unchanged(rel, result);
	if (indexes != CL_NO_INDEXES_TO_UPDATE)
	{
		relation_open_indexes(unit, rel, false);
		relation_set_updated_columns(unit, rel, row);
		recheck = cl_insert_index_tuples(target, slot, estate, true, false, NULL, indexes);
	}
	ExecARUpdateTriggers(estate, target, NULL, NULL, &tid, NULL, slot, recheck, NULL, false);
	row->place = slot->tts_tid;
}

/*
 * Delete the row from one relation and insert it into another, as an UPDATE
 * of the partition key would; triggers see it so.  Columns that we do not
 * know go along.
 */
void
cl_relation_move(clUnit *unit, clRelation *from, clRelation *to, clRow *row)
{
	(void) relation_target(unit, to);
	relation_delete(unit, from, row);
	relation_store(unit, to, row, from);
}

static void
relation_delete(clUnit *unit, clRelation *rel, const clRow *row)
{
	EState *estate = unit->estate;
	ResultRelInfo *target = relation_target(unit, rel);
	ItemPointerData tid = row->place;
	TM_FailureData failure;
	TM_Result result;

	CheckCmdReplicaIdentity(rel->rel, CMD_DELETE);

	if (target->ri_TrigDesc != NULL && target->ri_TrigDesc->trig_delete_before_row &&
		!cl_before_delete_triggers(estate, NULL, target, &tid))
		raise_suppressed(rel);
	result = table_tuple_delete(rel->rel, &tid, estate->es_output_cid, unit->snapshot,
								InvalidSnapshot, true, &failure, true);
	cl_relation_require_unchanged(rel, result);
	ExecARDeleteTriggers(estate, target, &tid, NULL, NULL, false);
}

/* Insert a row, at once or when the unit flushes; from is where it was moved from, or NULL. */
static void
relation_store(clUnit *unit, clRelation *rel, const clRow *row, clRelation *from)
{
	TriggerDesc *triggers = rel->target->ri_TrigDesc;
	bool before_triggers = triggers != NULL && triggers->trig_insert_before_row;
	bool collect = unit->bulk && !before_triggers;
	TupleTableSlot *slot;

	slot = collect ? relation_bulk_slot(unit, rel) : relation_write_slot(unit, rel);
	row_write(rel, row, slot);
	if (from != NULL && (!from->in_order || !rel->in_order))
		carry_extra_columns(from, rel, row, slot);
	if (from == NULL && !rel->in_order)
		default_extra_columns(unit, rel, slot);

	if (collect)
	{
		if (++rel->bulk_count == BULK_ROWS)
			cl_relation_flush(unit, rel);
		return;
	}

	if (before_triggers && !ExecBRInsertTriggers(unit->estate, rel->target, slot))
		raise_suppressed(rel);
	relation_open_indexes(unit, rel, false);
	relation_before_write(unit, rel, slot, CMD_INSERT);
	table_tuple_insert(rel->rel, slot, unit->estate->es_output_cid, 0, NULL);
	relation_after_insert(unit, rel, slot);
}

/* The way of COPY (CopyMultiInsertBufferFlush in copyfrom.c), which also forms the tuples in a context of their own. */
void
cl_relation_flush(clUnit *unit, clRelation *rel)
{
	MemoryContext caller = MemoryContextSwitchTo(GetPerTupleMemoryContext(unit->estate));

	unit->flushing = true;
	relation_open_indexes(unit, rel, false);
	for (int i = 0; i < rel->bulk_count; i++)
		relation_before_write(unit, rel, rel->bulk_slots[i], CMD_INSERT);
	table_multi_insert(rel->rel, rel->bulk_slots, rel->bulk_count, unit->estate->es_output_cid, 0, NULL);
	for (int i = 0; i < rel->bulk_count; i++)
	{
		relation_after_insert(unit, rel, rel->bulk_slots[i]);
		ExecClearTuple(rel->bulk_slots[i]);
	}
	rel->bulk_count = 0;
	unit->flushing = false;
	MemoryContextSwitchTo(caller);
	ResetPerTupleExprContext(unit->estate);
}

static void
relation_after_insert(clUnit *unit, clRelation *rel, TupleTableSlot *slot)
{
	ResultRelInfo *target = rel->target;
	List *recheck = NIL;

	if (target->ri_NumIndices > 0)
		recheck = cl_insert_index_tuples(target, slot, unit->estate, false, false, NULL, CL_ALL_INDEXES);
	ExecARInsertTriggers(unit->estate, target, slot, recheck, NULL);
}

static void
relation_before_write(clUnit *unit, clRelation *rel, TupleTableSlot *slot, CmdType command)
{
	TupleConstr *constraints = RelationGetDescr(rel->rel)->constr;

	slot->tts_tableOid = RelationGetRelid(rel->rel);
	if (constraints != NULL && constraints->has_generated_stored)
		ExecComputeStoredGenerated(rel->target, unit->estate, slot, command);
	if (rel->checked)
		ExecConstraints(rel->target, slot, unit->estate);
}

/*
 * The executor's view of a relation that is written.  It gets a range table
 * entry of its own, since that is where the executor looks for the updated
 * columns.
 */
static ResultRelInfo *
relation_target(clUnit *unit, clRelation *rel)
{
	EState *estate = unit->estate;
	MemoryContext old;
	RangeTblEntry *rte;

	if (rel->target != NULL)
		return rel->target;

	if (rel->rel->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("partition \"%s\" is not an ordinary table", RelationGetRelationName(rel->rel))));

	old = MemoryContextSwitchTo(estate->es_query_cxt);
	rte = makeNode(RangeTblEntry);
	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(rel->rel);
	rte->relkind = rel->rel->rd_rel->relkind;
	rte->rellockmode = rel->lockmode;
	estate->es_range_table = lappend(estate->es_range_table, rte);
	estate->es_range_table_size = list_length(estate->es_range_table);

	rel->target = makeNode(ResultRelInfo);
	InitResultRelInfo(rel->target, rel->rel, estate->es_range_table_size, NULL, 0);
	cl_rte_set_updated_columns(estate, estate->es_range_table_size, NULL);
	estate->es_opened_result_relations = lappend(estate->es_opened_result_relations, rel->target);
	MemoryContextSwitchTo(old);
	return rel->target;
}

/* Opened when the first index tuple is to be written: deletes and HOT updates never need them. */
static void
relation_open_indexes(clUnit *unit, clRelation *rel, bool speculative)
{
	MemoryContext old = MemoryContextSwitchTo(unit->estate->es_query_cxt);

	if (rel->target->ri_IndexRelationDescs == NULL)
		ExecOpenIndices(rel->target, speculative);
	MemoryContextSwitchTo(old);
}

static TupleTableSlot *
relation_write_slot(clUnit *unit, clRelation *rel)
{
	if (rel->write_slot == NULL)
		rel->write_slot = relation_make_slot(unit, rel);
	return rel->write_slot;
}

static TupleTableSlot *
relation_bulk_slot(clUnit *unit, clRelation *rel)
{
	if (rel->bulk_slots == NULL)
		rel->bulk_slots = MemoryContextAllocZero(unit->estate->es_query_cxt, BULK_ROWS * sizeof(TupleTableSlot *));
	if (rel->bulk_slots[rel->bulk_count] == NULL)
		rel->bulk_slots[rel->bulk_count] = relation_make_slot(unit, rel);
	return rel->bulk_slots[rel->bulk_count];
}

static TupleTableSlot *
relation_make_slot(clUnit *unit, clRelation *rel)
{
	MemoryContext old = MemoryContextSwitchTo(unit->estate->es_query_cxt);
	TupleTableSlot *slot = ExecInitExtraTupleSlot(unit->estate, RelationGetDescr(rel->rel), &TTSOpsVirtual);

	MemoryContextSwitchTo(old);
	return slot;
}

/*
 * The row as the relation stores it.  What a row that was read there has in
 * columns that we do not know stays as it is.
 */
static void
row_write(clRelation *rel, const clRow *row, TupleTableSlot *slot)
{
	TupleDesc desc = RelationGetDescr(rel->rel);

	ExecClearTuple(slot);
	if (!rel->in_order)
	{
		if (row->tuple != NULL && row->tuple->t_tableOid == RelationGetRelid(rel->rel))
			heap_deform_tuple(row->tuple, desc, slot->tts_values, slot->tts_isnull);
		else
			memset(slot->tts_isnull, true, desc->natts * sizeof(bool));
	}
	for (int i = 0; i < rel->table->ncolumns; i++)
	{
		slot->tts_values[rel->attnums[i] - 1] = row->values[i];
		slot->tts_isnull[rel->attnums[i] - 1] = row->nulls[i];
	}
	ExecStoreVirtualTuple(slot);
}

static void
carry_extra_columns(clRelation *from, clRelation *to, const clRow *row, TupleTableSlot *slot)
{
	TupleDesc desc = RelationGetDescr(to->rel);
	TupleDesc from_desc = RelationGetDescr(from->rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		AttrNumber source;

		if (!is_extra_column(to, att))
			continue;
		source = get_attnum(RelationGetRelid(from->rel), NameStr(att->attname));
		if (source != InvalidAttrNumber && TupleDescAttr(from_desc, source - 1)->atttypid == att->atttypid)
			slot->tts_values[i] = heap_getattr(row->tuple, source, from_desc, &slot->tts_isnull[i]);
	}
}

/* What INSERT would do with columns that it does not name; the way of slot_fill_defaults (worker.c). */
static void
default_extra_columns(clUnit *unit, clRelation *rel, TupleTableSlot *slot)
{
	TupleDesc desc = RelationGetDescr(rel->rel);
	ExprContext *context = GetPerTupleExprContext(unit->estate);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Expr *expression;

		if (!is_extra_column(rel, att) || att->attgenerated)
			continue;
		expression = (Expr *) build_column_default(rel->rel, att->attnum);
		if (expression == NULL)
			continue;
		slot->tts_values[i] = ExecEvalExpr(ExecInitExpr(expression_planner(expression), NULL), context,
										   &slot->tts_isnull[i]);
	}
}

static bool
is_extra_column(clRelation *rel, Form_pg_attribute att)
{
	for (int column = 0; column < rel->table->ncolumns; column++)
	{
		if (rel->attnums[column] == att->attnum)
			return false;
	}
	return !att->attisdropped;
}

static void
relation_set_updated_columns(clUnit *unit, clRelation *rel, const clRow *row)
{
	MemoryContext old = MemoryContextSwitchTo(unit->estate->es_query_cxt);
	Bitmapset *columns = NULL;

	for (int i = 0; i < rel->table->ncolumns; i++)
	{
		if (row->changed & (UINT32_C(1) << i))
			columns = bms_add_member(columns, rel->attnums[i] - FirstLowInvalidHeapAttributeNumber);
	}
	cl_rte_set_updated_columns(unit->estate, rel->target->ri_RangeTableIndex, columns);
	MemoryContextSwitchTo(old);
}

/* A ledger with a row left out would be wrong; a trigger that objects must raise. */
static void
raise_suppressed(clRelation *rel)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
			 errmsg("a trigger on \"%s\" suppressed a row of the ledger", RelationGetRelationName(rel->rel)),
			 errhint("A BEFORE trigger on this table must return the row or raise an error.")));
}
