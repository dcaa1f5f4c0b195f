/*-------------------------------------------------------------------------
 *
 * form.c
 *	  A row as its relation stores it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "rewrite/rewriteHandler.h"
#include "utils/lsyscache.h"

#include "table/form.h"
#include "table/table.h"

static void prepare_defaults(clUnit *unit, clRelation *rel);
static Expr *column_default(clRelation *rel, Form_pg_attribute att);

void
cl_form_row(clRelation *rel, const clRow *row, TupleTableSlot *slot)
{
	TupleDesc desc = RelationGetDescr(rel->rel);

	ExecClearTuple(slot);
	if (!rel->shape->in_order)
	{
		if (row->tuple != NULL && row->place.relid == RelationGetRelid(rel->rel))
			heap_deform_tuple(row->tuple, desc, slot->tts_values, slot->tts_isnull);
		else
			memset(slot->tts_isnull, true, desc->natts * sizeof(bool));
	}
	for (int i = 0; i < rel->table->ncolumns; i++)
	{
		slot->tts_values[rel->shape->attnums[i] - 1] = row->values[i];
		slot->tts_isnull[rel->shape->attnums[i] - 1] = row->nulls[i];
	}
	ExecStoreVirtualTuple(slot);
}

void
cl_form_carried(clRelation *from, clRelation *to, const clRow *row, TupleTableSlot *slot)
{
	TupleDesc desc = RelationGetDescr(to->rel);
	TupleDesc from_desc = RelationGetDescr(from->rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		AttrNumber source;

		if (!cl_shape_is_extra(to->shape, to->table, att))
			continue;
		source = get_attnum(RelationGetRelid(from->rel), NameStr(att->attname));
		if (source != InvalidAttrNumber && TupleDescAttr(from_desc, source - 1)->atttypid == att->atttypid)
			slot->tts_values[i] = heap_getattr(row->tuple, source, from_desc, &slot->tts_isnull[i]);
	}
}

/* The way of slot_fill_defaults (worker.c). */
void
cl_form_defaults(clUnit *unit, clRelation *rel, TupleTableSlot *slot)
{
	ExprContext *context = GetPerTupleExprContext(unit->estate);

	if (rel->defaults == NULL)
		prepare_defaults(unit, rel);
	for (int i = 0; i < RelationGetDescr(rel->rel)->natts; i++)
	{
		if (rel->defaults[i] != NULL)
			slot->tts_values[i] = ExecEvalExprSwitchContext(rel->defaults[i], context, &slot->tts_isnull[i]);
	}
}

static void
prepare_defaults(clUnit *unit, clRelation *rel)
{
	MemoryContext old = MemoryContextSwitchTo(unit->estate->es_query_cxt);
	TupleDesc desc = RelationGetDescr(rel->rel);

	rel->defaults = palloc0(desc->natts * sizeof(ExprState *));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Expr *expression;

		if (!cl_shape_is_extra(rel->shape, rel->table, att) || att->attgenerated)
			continue;
		expression = column_default(rel, att);
		if (expression != NULL)
			rel->defaults[i] = ExecInitExpr(expression_planner(expression), NULL);
	}
	MemoryContextSwitchTo(old);
}

/* A domain without a default says itself whether it takes a null. */
static Expr *
column_default(clRelation *rel, Form_pg_attribute att)
{
	Expr *expression = (Expr *) build_column_default(rel->rel, att->attnum);
	int32 typmod = att->atttypmod;
	Oid base_type;

	if (expression != NULL || get_typtype(att->atttypid) != TYPTYPE_DOMAIN)
		return expression;
	base_type = getBaseTypeAndTypmod(att->atttypid, &typmod);
	return (Expr *) coerce_to_domain((Node *) makeNullConst(base_type, typmod, att->attcollation), base_type, typmod,
									 att->atttypid, COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1, false);
}
