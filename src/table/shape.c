/*-------------------------------------------------------------------------
 *
 * shape.c
 *	  How a relation's columns and constraints differ from what the C code knows.
 *
 * Columns are found by name: a partition that was attached may have them in
 * another order, and a DBA may have added some.  What the C code reads and
 * writes as a bigint must be one.
 *
 * Constraints that the C code upholds by construction need not be evaluated
 * for each row.  They are known by what they say, not by their names or their
 * number: the text that the C code has is parsed and compared with what the
 * relation has.  All others are the DBA's, and evaluated.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "compat.h"
#include "table/shape.h"

static const struct
{
	Oid type;
	Oid collation;
} column_types[] = {
	[CL_IDENTIFIER] = {TEXTOID, C_COLLATION_OID},
	[CL_TEXT] = {TEXTOID, DEFAULT_COLLATION_OID},
	[CL_BIGINT] = {INT8OID},
	[CL_BOOLEAN] = {BOOLOID},
	[CL_INSTANT] = {TIMESTAMPTZOID},
	[CL_ENUM] = {ANYENUMOID},
	[CL_JSONB] = {JSONBOID},
	[CL_BIGINT_ARRAY] = {INT8ARRAYOID},
	[CL_INTEGER] = {INT4OID},
	[CL_UUID] = {UUIDOID},
};

static HTAB *shapes;

static void shape_forget(Datum arg, Oid relid);
static void shape_map(clShape *shape, Relation rel, const clTable *table);
static void require_column(Relation rel, const clColumn *column, Form_pg_attribute att);
static bool relation_is_constrained(Relation rel, const clShape *shape, const clTable *table);
static bool is_upheld(Node *constraint, List *upheld);
static List *parse_upheld(Relation rel, const clTable *table);
static Node *parse_condition(Relation rel, const char *condition);

void
cl_shape_init(void)
{
	HASHCTL info = {.keysize = sizeof(Oid), .entrysize = sizeof(clShape)};

	shapes = hash_create("credit_ledger shapes", 16, &info, HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(shape_forget, (Datum) 0);
}

/* Entries stay where they are: whoever has the relation locked may still use one, and finds nothing changed. */
static void
shape_forget(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	clShape *shape;

	if (OidIsValid(relid))
	{
		shape = hash_search(shapes, &relid, HASH_FIND, NULL);
		if (shape != NULL)
			shape->valid = false;
		return;
	}
	hash_seq_init(&status, shapes);
	while ((shape = hash_seq_search(&status)) != NULL)
		shape->valid = false;
}

/* A call asks for the same few relations again and again, and a look here costs a tenth of one into the hash. */
clShape *
cl_shape_known(Oid relid)
{
	static clShape *recent[16];
	clShape **shape = &recent[relid % lengthof(recent)];

	if (*shape == NULL || (*shape)->relid != relid)
		*shape = hash_search(shapes, &relid, HASH_FIND, NULL);
	return *shape != NULL && (*shape)->valid ? *shape : NULL;
}

/*
 * An invalidation that comes in while a shape is made does not matter: the
 * relation is locked, and what came before the lock has been seen.
 */
clShape *
cl_shape_of(Relation rel, const clTable *table)
{
	Oid relid = RelationGetRelid(rel);
	clShape *shape = hash_search(shapes, &relid, HASH_ENTER, NULL);

	shape->valid = false;
	shape_map(shape, rel, table);
	shape->judged = false;
	shape->vetted = false;
	shape->valid = true;
	return shape;
}

bool
cl_shape_is_constrained(clShape *shape, Relation rel, const clTable *table)
{
	if (!shape->judged)
	{
		shape->constrained = relation_is_constrained(rel, shape, table);
		shape->judged = true;
	}
	return shape->constrained;
}

bool
cl_shape_is_extra(const clShape *shape, const clTable *table, Form_pg_attribute att)
{
	for (int i = 0; i < table->ncolumns; i++)
	{
		if (shape->attnums[i] == att->attnum)
			return false;
	}
	return !att->attisdropped;
}

/* ------------------------------------------------------------------------
 * Columns
 * ------------------------------------------------------------------------
 */

static void
shape_map(clShape *shape, Relation rel, const clTable *table)
{
	TupleDesc desc = RelationGetDescr(rel);

	shape->in_order = desc->natts == table->ncolumns;
	for (int i = 0; i < table->ncolumns; i++)
	{
		const clColumn *column = &table->columns[i + 1];
		AttrNumber attnum = get_attnum(RelationGetRelid(rel), column->name);

		if (attnum == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of relation \"%s\" does not exist",
							column->name, RelationGetRelationName(rel)),
					 errhint("The columns of the extension's tables must keep their names and types.")));
		require_column(rel, column, TupleDescAttr(desc, attnum - 1));
		shape->attnums[i] = attnum;
		if (attnum != i + 1)
			shape->in_order = false;
	}
}

static void
require_column(Relation rel, const clColumn *column, Form_pg_attribute att)
{
	Oid type = column_types[column->type].type;

	if ((type == ANYENUMOID ? type_is_enum(att->atttypid) : att->atttypid == type) &&
		att->attcollation == column_types[column->type].collation &&
		!att->attgenerated &&
		(att->attnotnull || (column->flags & CL_NULLABLE)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" of relation \"%s\" is not as the extension made it",
					column->name, RelationGetRelationName(rel)),
			 errdetail("It must be of type %s%s%s.", type == ANYENUMOID ? "enum" : format_type_be(type),
					   column->type == CL_IDENTIFIER ? " COLLATE \"C\"" : "",
					   column->flags & CL_NULLABLE ? "" : " NOT NULL"),
			 errhint("The columns of the extension's tables must keep their names and types.")));
}

/* ------------------------------------------------------------------------
 * Constraints
 * ------------------------------------------------------------------------
 */

static bool
relation_is_constrained(Relation rel, const clShape *shape, const clTable *table)
{
	TupleDesc desc = RelationGetDescr(rel);
	MemoryContext context;
	MemoryContext old;
	List *upheld;
	bool constrained = false;

	if (desc->constr == NULL)
		return false;

	for (int i = 0; i < table->ncolumns; i++)
	{
		if ((table->columns[i + 1].flags & CL_NULLABLE) && TupleDescAttr(desc, shape->attnums[i] - 1)->attnotnull)
			return true;
	}
	for (int i = 0; i < desc->natts; i++)
	{
		if (TupleDescAttr(desc, i)->attnotnull && cl_shape_is_extra(shape, table, TupleDescAttr(desc, i)))
			return true;
	}

	context = AllocSetContextCreate(CurrentMemoryContext, "credit_ledger constraints", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	upheld = parse_upheld(rel, table);
	for (int i = 0; i < desc->constr->num_check && !constrained; i++)
	{
		if (is_upheld(stringToNode(desc->constr->check[i].ccbin), upheld))
			continue;
		constrained = true;
		ereport(DEBUG1,
				(errmsg_internal("constraint \"%s\" of relation \"%s\" is evaluated for each row",
								 desc->constr->check[i].ccname, RelationGetRelationName(rel))));
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return constrained;
}

static bool
is_upheld(Node *constraint, List *upheld)
{
	ListCell *lc;

	foreach(lc, upheld)
	{
		if (equal(constraint, lfirst(lc)))
			return true;
	}
	return false;
}

/* Whatever the caller's search_path, the operators are those of pg_catalog, as they were for the install script. */
static List *
parse_upheld(Relation rel, const clTable *table)
{
	List *upheld = NIL;
	int nest_level = NewGUCNestLevel();

	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	for (const char *const *condition = table->upheld; *condition != NULL; condition++)
		upheld = lappend(upheld, parse_condition(rel, *condition));
	AtEOXact_GUC(true, nest_level);
	return upheld;
}

/* The way of cookConstraint (heap.c). */
static Node *
parse_condition(Relation rel, const char *condition)
{
	char *statement = psprintf("SELECT %s", condition);
	SelectStmt *select = castNode(SelectStmt, linitial_node(RawStmt, raw_parser(statement, RAW_PARSE_DEFAULT))->stmt);
	ParseState *state = make_parsestate(NULL);
	ParseNamespaceItem *item = addRangeTableEntryForRelation(state, rel, AccessShareLock, NULL, false, true);
	Node *expression;

	addNSItemToQuery(state, item, true, true, true);
	expression = transformExpr(state, linitial_node(ResTarget, select->targetList)->val, EXPR_KIND_CHECK_CONSTRAINT);
	expression = coerce_to_boolean(state, expression, "CHECK");
	assign_expr_collations(state, expression);
	return expression;
}
