/*-------------------------------------------------------------------------
 *
 * partition.h
 *	  Which leaf of a partitioned table a row belongs to, and all its leaves.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_PARTITION_H
#define CL_PARTITION_H

#include "nodes/pg_list.h"

#include "table/relation.h"

/*
 * The leaf that a row with these values belongs to.  The first is for
 * writing: 23514 where there is none, 42809 where it is a foreign table.  The
 * second is for reading: NULL then.
 */
extern clRelation *cl_partition_for_writing(clUnit *unit, Oid parent, const clTable *table, const clRow *row);
extern clRelation *cl_partition_for_reading(clUnit *unit, Oid parent, const clTable *table, const clRow *row);

/* The OIDs of all leaves; opening one of them, NULL if it is not to be read: foreign, detached or dropped meanwhile. */
extern List *cl_partition_leaves(clUnit *unit, Oid parent, const clTable *table);
extern clRelation *cl_partition_open_leaf(clUnit *unit, Oid leaf, const clTable *table);

/* The names of the leaves that are foreign tables, for messages; NULL where there are none. */
extern char *cl_partition_foreign_leaves(clUnit *unit, Oid parent, const clTable *table);

#endif /* CL_PARTITION_H */
