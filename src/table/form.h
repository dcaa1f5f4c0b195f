/*-------------------------------------------------------------------------
 *
 * form.h
 *	  A row as its relation stores it: columns that we do not know included.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_FORM_H
#define CL_FORM_H

#include "table/relation.h"

/* Columns that we do not know keep what a row that was read there has in them. */
extern void cl_form_row(clRelation *rel, const clRow *row, TupleTableSlot *slot);

/* They get what a row that was read elsewhere has in them; or what INSERT would give them. */
extern void cl_form_carried(clRelation *from, clRelation *to, const clRow *row, TupleTableSlot *slot);
extern void cl_form_defaults(clUnit *unit, clRelation *rel, TupleTableSlot *slot);

#endif /* CL_FORM_H */
