/*-------------------------------------------------------------------------
 *
 * write.c
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
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/datum.h"
#include "utils/rel.h"

#include "compat.h"
#include "table/form.h"
#include "table/table.h"
#include "table/write.h"

/*
 * How many rows are collected for insertion: a few pages.  More would only
 * burden the resource owner, which remembers each slot's tuple descriptor.
 */
#define BULK_ROWS 100

void (*cl_write_vet)(Oid relid);

static void relation_store(clUnit *unit, clRelation *rel, const clRow *row, clRelation *from);
static void relation_delete(clUnit *unit, clRelation *rel, const clRow *row);
static void relation_after_insert(clUnit *unit, clRelation *rel, TupleTableSlot *slot);
static void relation_before_write(clUnit *unit, clRelation *rel, TupleTableSlot *slot, CmdType command);
static void fire_before_insert(clUnit *unit, clRelation *rel, const clRow *row, TupleTableSlot *slot);
static void fire_before_update(clUnit *unit, clRelation *rel, const clRow *row, TupleTableSlot *slot);
static void fire_before_delete(clUnit *unit, clRelation *rel, const clRow *row);
static void relation_lock_for_triggers(clUnit *unit, clRelation *rel, const clRow *row, LockTupleMode mode);
static void require_own_columns(clRelation *rel, const clRow *row, TupleTableSlot *slot);
pg_noreturn static void raise_suppressed(clRelation *rel);
static void init_target(ResultRelInfo *target, Relation rel, Index rti);
static ResultRelInfo *relation_target(clUnit *unit, clRelation *rel);
static void relation_set_updated_columns(clUnit *unit, clRelation *rel, const clRow *row);
static void relation_open_indexes(clUnit *unit, clRelation *rel, bool speculative);
static void relation_prepare_predicates(clRelation *rel);
static List *relation_arbiters(clRelation *rel, int nkeys, const clKey *keys);
static bool index_is_on(clRelation *rel, Relation index, int nkeys, const clKey *keys);
static TupleTableSlot *relation_write_slot(clUnit *unit, clRelation *rel);
static TupleTableSlot *relation_bulk_slot(clUnit *unit, clRelation *rel);
static TupleTableSlot *relation_make_slot(clUnit *unit, clRelation *rel);

void
cl_relation_insert(clUnit *unit, clRelation *rel, clRow *row)
{
	(void) relation_target(unit, rel);
	unit->writing = true;
	relation_store(unit, rel, row, NULL);
	unit->writing = false;
}

/*
 * The way of INSERT ... ON CONFLICT DO NOTHING (ExecInsert): a speculative
 * insertion, taken back if the key turns up meanwhile.
 */
bool
cl_relation_insert_absent(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys, clRow *row)
{
	EState *estate = unit->estate;
	ResultRelInfo *target = relation_target(unit, rel);
	TupleTableSlot *slot = relation_write_slot(unit, rel);
	List *arbiters = relation_arbiters(rel, nkeys, keys);
	List *recheck = NIL;
	bool conflict;

	unit->writing = true;
	cl_form_row(rel, row, slot);
	if (!rel->shape->in_order)
		cl_form_defaults(unit, rel, slot);
	fire_before_insert(unit, rel, row, slot);
	relation_open_indexes(unit, rel, true);
	relation_before_write(unit, rel, slot, CMD_INSERT);

	do
	{
		uint32 token;
		ItemPointerData conflict_tid;

		CHECK_FOR_INTERRUPTS();
		if (!cl_check_index_constraints(target, slot, estate, &conflict_tid, arbiters))
		{
			/* The caller did not see it, so its snapshot is older. */
			if (IsolationUsesXactSnapshot())
				cl_relation_require_unchanged(rel, TM_Updated);
			unit->writing = false;
			return false;
		}

		token = SpeculativeInsertionLockAcquire(GetCurrentTransactionId());
		table_tuple_insert_speculative(rel->rel, slot, estate->es_output_cid, 0, NULL, token);
		conflict = false;
		recheck = cl_insert_index_tuples(target, slot, estate, false, true, &conflict, arbiters, CL_ALL_INDEXES);
		table_tuple_complete_speculative(rel->rel, slot, token, !conflict);
		SpeculativeInsertionLockRelease(GetCurrentTransactionId());
	} while (conflict);

	ExecARInsertTriggers(estate, target, slot, recheck, NULL);
	unit->writing = false;
	return true;
}

void
cl_relation_update(clUnit *unit, clRelation *rel, clRow *row)
{
	EState *estate = unit->estate;
	ResultRelInfo *target = relation_target(unit, rel);
	TupleTableSlot *slot = relation_write_slot(unit, rel);
	ItemPointerData tid = row->place.tid;
	LockTupleMode lockmode;
	TM_FailureData failure;
	TM_Result result;
	clUpdateIndexes indexes = CL_NO_INDEXES_TO_UPDATE;
	List *recheck = NIL;

	unit->writing = true;
	cl_form_row(rel, row, slot);
	CheckCmdReplicaIdentity(rel->rel, CMD_UPDATE);
	if (target->ri_TrigDesc != NULL &&
		(target->ri_TrigDesc->trig_update_before_row || target->ri_TrigDesc->trig_update_after_row))
		relation_set_updated_columns(unit, rel, row);
	fire_before_update(unit, rel, row, slot);
	relation_before_write(unit, rel, slot, CMD_UPDATE);

	result = table_tuple_update(rel->rel, &tid, slot, estate->es_output_cid, unit->snapshot,
								InvalidSnapshot, true, &failure, &lockmode, &indexes);
	cl_relation_require_unchanged(rel, result);
	if (indexes != CL_NO_INDEXES_TO_UPDATE)
	{
		relation_open_indexes(unit, rel, false);
		relation_set_updated_columns(unit, rel, row);
		recheck = cl_insert_index_tuples(target, slot, estate, true, false, NULL, NIL, indexes);
	}
	ExecARUpdateTriggers(estate, target, NULL, NULL, &tid, NULL, slot, recheck, NULL, false);
	row->place.tid = slot->tts_tid;
	unit->writing = false;
}

void
cl_relation_move(clUnit *unit, clRelation *from, clRelation *to, clRow *row)
{
	(void) relation_target(unit, to);
	unit->writing = true;
	relation_delete(unit, from, row);
	relation_store(unit, to, row, from);
	unit->writing = false;
}

static void
relation_delete(clUnit *unit, clRelation *rel, const clRow *row)
{
	EState *estate = unit->estate;
	ResultRelInfo *target = relation_target(unit, rel);
	ItemPointerData tid = row->place.tid;
	TM_FailureData failure;
	TM_Result result;

	CheckCmdReplicaIdentity(rel->rel, CMD_DELETE);
	fire_before_delete(unit, rel, row);
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
	bool collect = unit->bulk && !(triggers != NULL && triggers->trig_insert_before_row);
	TupleTableSlot *slot = collect ? relation_bulk_slot(unit, rel) : relation_write_slot(unit, rel);

	cl_form_row(rel, row, slot);
	if (from != NULL && (!from->shape->in_order || !rel->shape->in_order))
		cl_form_carried(from, rel, row, slot);
	if (from == NULL && !rel->shape->in_order)
		cl_form_defaults(unit, rel, slot);

	if (collect)
	{
		/* Defaults are in memory that another relation's flush gives back. */
		if (!rel->shape->in_order)
			ExecMaterializeSlot(slot);
		if (++rel->bulk_count == BULK_ROWS)
			cl_relation_flush(unit, rel);
		return;
	}

	fire_before_insert(unit, rel, row, slot);
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

	unit->writing = true;
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
	unit->writing = false;
	MemoryContextSwitchTo(caller);
	ResetPerTupleExprContext(unit->estate);
}

static void
relation_after_insert(clUnit *unit, clRelation *rel, TupleTableSlot *slot)
{
	ResultRelInfo *target = rel->target;
	List *recheck = NIL;

	if (target->ri_NumIndices > 0)
		recheck = cl_insert_index_tuples(target, slot, unit->estate, false, false, NULL, NIL, CL_ALL_INDEXES);
	ExecARInsertTriggers(unit->estate, target, slot, recheck, NULL);
}

static void
relation_before_write(clUnit *unit, clRelation *rel, TupleTableSlot *slot, CmdType command)
{
	TupleConstr *constraints = RelationGetDescr(rel->rel)->constr;

	slot->tts_tableOid = RelationGetRelid(rel->rel);
	if (constraints != NULL && constraints->has_generated_stored)
		ExecComputeStoredGenerated(rel->target, unit->estate, slot, command);
	if (rel->constrained)
		ExecConstraints(rel->target, slot, unit->estate);
}

/* ------------------------------------------------------------------------
 * BEFORE triggers
 *
 * A row that is to be updated or deleted is locked first, as strongly as that
 * takes: the trigger code would follow a concurrent update by planning the
 * query again, which we do not have; so none may come from here on.
 * ------------------------------------------------------------------------
 */

static void
fire_before_insert(clUnit *unit, clRelation *rel, const clRow *row, TupleTableSlot *slot)
{
	ResultRelInfo *target = rel->target;

	if (target->ri_TrigDesc == NULL || !target->ri_TrigDesc->trig_insert_before_row)
		return;
	if (!ExecBRInsertTriggers(unit->estate, target, slot))
		raise_suppressed(rel);
	require_own_columns(rel, row, slot);
}

/* Weaker than for a delete, as an UPDATE of no key column is: a foreign key's check waits for no such lock. */
static void
fire_before_update(clUnit *unit, clRelation *rel, const clRow *row, TupleTableSlot *slot)
{
	ResultRelInfo *target = rel->target;
	ItemPointerData tid = row->place.tid;
	EPQState epqstate;

	if (target->ri_TrigDesc == NULL || !target->ri_TrigDesc->trig_update_before_row)
		return;
	relation_lock_for_triggers(unit, rel, row, ExecUpdateLockMode(unit->estate, target));
	cl_evalplanqual_init(&epqstate, unit->estate);
	if (!cl_before_update_triggers(unit->estate, &epqstate, target, &tid, slot))
		raise_suppressed(rel);
	require_own_columns(rel, row, slot);
}

static void
fire_before_delete(clUnit *unit, clRelation *rel, const clRow *row)
{
	ResultRelInfo *target = rel->target;
	ItemPointerData tid = row->place.tid;
	EPQState epqstate;

	if (target->ri_TrigDesc == NULL || !target->ri_TrigDesc->trig_delete_before_row)
		return;
	relation_lock_for_triggers(unit, rel, row, LockTupleExclusive);
	cl_evalplanqual_init(&epqstate, unit->estate);
	if (!cl_before_delete_triggers(unit->estate, &epqstate, target, &tid))
		raise_suppressed(rel);
}

static void
relation_lock_for_triggers(clUnit *unit, clRelation *rel, const clRow *row, LockTupleMode mode)
{
	ItemPointerData tid = row->place.tid;
	TupleTableSlot *slot = cl_relation_slot(unit, rel);
	TM_FailureData failure;
	TM_Result result;

	result = table_tuple_lock(rel->rel, &tid, unit->snapshot, slot, unit->estate->es_output_cid,
							  mode, LockWaitBlock, 0, &failure);
	cl_relation_require_unchanged(rel, result);
	ExecClearTuple(slot);
}

/*
 * The caller has counted on what it wrote: an amount is in the account and in
 * an entry, a key is looked for again, created_at tells the partition.
 */
static void
require_own_columns(clRelation *rel, const clRow *row, TupleTableSlot *slot)
{
	for (int i = 0; i < rel->table->ncolumns; i++)
	{
		const clColumn *column = &rel->table->columns[i + 1];
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel->rel), rel->shape->attnums[i] - 1);
		bool isnull;
		Datum value = slot_getattr(slot, att->attnum, &isnull);

		if ((column->flags & CL_KEPT) ||
			(isnull == row->nulls[i] &&
			 (isnull || datum_image_eq(value, row->values[i], att->attbyval, att->attlen))))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("a trigger on \"%s\" changed column \"%s\" of a row of the ledger",
						RelationGetRelationName(rel->rel), column->name),
				 errhint("A BEFORE trigger may change columns of your own, and metadata and reason.")));
	}
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

/* ------------------------------------------------------------------------
 * The relation as the executor sees it
 * ------------------------------------------------------------------------
 */

/*
 * Statement triggers do not fire for us, and the server copies what a table
 * has of triggers each time: where all of them are such, it is shown none.
 */
static void
init_target(ResultRelInfo *target, Relation rel, Index rti)
{
	TriggerDesc *triggers = rel->trigdesc;
	RelationData without_triggers;

	if (triggers == NULL || triggers->trig_insert_before_row || triggers->trig_insert_after_row ||
		triggers->trig_update_before_row || triggers->trig_update_after_row || triggers->trig_delete_before_row ||
		triggers->trig_delete_after_row)
	{
		InitResultRelInfo(target, rel, rti, NULL, 0);
		return;
	}
	without_triggers = *rel;
	without_triggers.trigdesc = NULL;
	InitResultRelInfo(target, &without_triggers, rti, NULL, 0);
	target->ri_RelationDesc = rel;
}

/*
 * It gets a range table entry of its own, since that is where the executor
 * looks for the updated columns.
 */
static ResultRelInfo *
relation_target(clUnit *unit, clRelation *rel)
{
	EState *estate = unit->estate;
	TupleConstr *constraints = RelationGetDescr(rel->rel)->constr;
	MemoryContext old;
	RangeTblEntry *rte;

	if (rel->target != NULL)
		return rel->target;
	if (cl_write_vet != NULL && !rel->shape->vetted)
	{
		cl_write_vet(RelationGetRelid(rel->rel));
		rel->shape->vetted = true;
	}

	old = MemoryContextSwitchTo(estate->es_query_cxt);
	rte = makeNode(RangeTblEntry);
	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(rel->rel);
	rte->relkind = rel->rel->rd_rel->relkind;
	rte->rellockmode = rel->lockmode;
	estate->es_range_table = lappend(estate->es_range_table, rte);
	estate->es_range_table_size = list_length(estate->es_range_table);

	rel->target = makeNode(ResultRelInfo);
	init_target(rel->target, rel->rel, estate->es_range_table_size);
	cl_rte_set_updated_columns(estate, estate->es_range_table_size, NULL);
	estate->es_opened_result_relations = lappend(estate->es_opened_result_relations, rel->target);
	rel->constrained = cl_shape_is_constrained(rel->shape, rel->rel, rel->table);

	/* The executor decides once which generated columns it computes: all of them, while no updated ones are known. */
	if (constraints != NULL && constraints->has_generated_stored)
		(void) ExecGetExtraUpdatedCols(rel->target, estate);
	MemoryContextSwitchTo(old);
	return rel->target;
}

static void
relation_set_updated_columns(clUnit *unit, clRelation *rel, const clRow *row)
{
	MemoryContext old = MemoryContextSwitchTo(unit->estate->es_query_cxt);
	Bitmapset *columns = NULL;

	for (int i = 0; i < rel->table->ncolumns; i++)
	{
		if (row->changed & (UINT32_C(1) << i))
			columns = bms_add_member(columns, rel->shape->attnums[i] - FirstLowInvalidHeapAttributeNumber);
	}
	cl_rte_set_updated_columns(unit->estate, rel->target->ri_RangeTableIndex, columns);
	MemoryContextSwitchTo(old);
}

/*
 * Opened when the first index tuple is to be written: deletes and HOT updates
 * never need them.  For speculative insertion the executor wants to know more
 * of them.
 */
static void
relation_open_indexes(clUnit *unit, clRelation *rel, bool speculative)
{
	MemoryContext old = MemoryContextSwitchTo(unit->estate->es_query_cxt);

	if (rel->target->ri_IndexRelationDescs != NULL && speculative && !rel->speculative)
	{
		ExecCloseIndices(rel->target);
		rel->target->ri_IndexRelationDescs = NULL;
	}
	if (rel->target->ri_IndexRelationDescs == NULL)
	{
		ExecOpenIndices(rel->target, speculative);
		rel->speculative = speculative;
		relation_prepare_predicates(rel);
	}
	MemoryContextSwitchTo(old);
}

/*
 * The executor would have the predicates of partial indexes planned first; as
 * the relation cache gives them, they are.
 */
static void
relation_prepare_predicates(clRelation *rel)
{
	for (int i = 0; i < rel->target->ri_NumIndices; i++)
	{
		IndexInfo *info = rel->target->ri_IndexRelationInfo[i];

		if (info->ii_Predicate != NIL)
			info->ii_PredicateState = ExecInitQual(info->ii_Predicate, NULL);
	}
}

/*
 * The unique indexes on the columns of the keys: all of them, since an index
 * that is being rebuilt concurrently is there twice.
 */
static List *
relation_arbiters(clRelation *rel, int nkeys, const clKey *keys)
{
	List *arbiters = NIL;
	List *indexes = RelationGetIndexList(rel->rel);
	ListCell *lc;

	foreach(lc, indexes)
	{
		Relation index = index_open(lfirst_oid(lc), rel->lockmode);

		if (index_is_on(rel, index, nkeys, keys) && RelationGetIndexPredicate(index) == NIL)
			arbiters = lappend_oid(arbiters, RelationGetRelid(index));
		index_close(index, NoLock);
	}
	list_free(indexes);
	if (arbiters == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				 errmsg("relation \"%s\" has no unique index on column \"%s\"%s", RelationGetRelationName(rel->rel),
						rel->table->columns[keys[0].column].name, nkeys > 1 ? " and those that go with it" : ""),
				 errhint("The indexes of the extension's tables must stay.")));
	return arbiters;
}

static bool
index_is_on(clRelation *rel, Relation index, int nkeys, const clKey *keys)
{
	Form_pg_index form = index->rd_index;

	if (!form->indisunique || !form->indimmediate || form->indnkeyatts != nkeys)
		return false;
	for (int i = 0; i < nkeys; i++)
	{
		if (!cl_index_has_column(rel, index, i + 1, keys[i].column))
			return false;
	}
	return true;
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
