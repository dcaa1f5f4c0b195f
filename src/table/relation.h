/*-------------------------------------------------------------------------
 *
 * relation.h
 *	  Tables that a unit of work has open.
 *
 * This layer knows nothing of credits.  Its callers know nothing of slots,
 * scan keys or snapshots: they see rows, as arrays of values by column
 * number, and find them by the values of some columns.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_RELATION_H
#define CL_RELATION_H

#include "table/row.h"

/*
 * Opened once a unit, kept and locked (ROW EXCLUSIVE, or ACCESS SHARE) until
 * the transaction ends.  The unit's snapshot is not older than what is in it
 * then.  The second returns NULL where the relation was dropped meanwhile,
 * and opens partitioned and foreign tables too.
 */
extern clRelation *cl_relation_open(clUnit *unit, Oid relid, const clTable *table);

/* The same for relations of this kind, RELKIND_RELATION or RELKIND_PARTITIONED_TABLE. */
extern clRelation *cl_relation_open_kind(clUnit *unit, Oid relid, const clTable *table, char relkind);
extern clRelation *cl_relation_try_open(clUnit *unit, Oid relid, const clTable *table);
extern void cl_relation_close(clRelation *rel);

#endif /* CL_RELATION_H */
