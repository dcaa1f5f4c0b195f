/*-------------------------------------------------------------------------
 *
 * shape.h
 *	  How a relation's columns and constraints differ from what the C code knows.
 *
 * Remembered by session, and forgotten when the relation changes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_SHAPE_H
#define CL_SHAPE_H

#include "utils/rel.h"

#include "table/row.h"

typedef struct clShape
{
	Oid relid;
	bool valid;
	bool in_order;						/* exactly the known columns, in their order */
	AttrNumber attnums[CL_MAX_COLUMNS]; /* by column number - 1 */
	bool judged;						/* the next is known */
	bool constrained;					/* has constraints that rows do not satisfy by construction */
	bool vetted;						/* see cl_write_vet */
} clShape;

extern void cl_shape_init(void);

/*
 * The shape that is remembered of a relation, or NULL.  If it is locked, it is
 * still there and of this shape: what came before the lock has been seen.
 */
extern clShape *cl_shape_known(Oid relid);

/*
 * The shape of a relation, which must be locked.  Raises 42703 or 42804 where
 * a known column is not there or no longer what it was: its values would be
 * misread.
 */
extern clShape *cl_shape_of(Relation rel, const clTable *table);

/* Whether constraints are to be evaluated for the rows that are written to it. */
extern bool cl_shape_is_constrained(clShape *shape, Relation rel, const clTable *table);

/* Whether an attribute is not one of the known columns, and not dropped. */
extern bool cl_shape_is_extra(const clShape *shape, const clTable *table, Form_pg_attribute att);

#endif /* CL_SHAPE_H */
