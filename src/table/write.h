/*-------------------------------------------------------------------------
 *
 * write.h
 *	  Writing the rows of tables.
 *
 * Row triggers fire, user constraints are checked, a row that somebody
 * changed since it was read is 40001.  A row can be written once until the
 * unit is refreshed.  What a BEFORE trigger may change of a row are columns
 * that we do not know and those that are only kept (CL_KEPT); else 27000, as
 * if it suppresses the row: the caller goes on with what it wrote.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_WRITE_H
#define CL_WRITE_H

#include "table/relation.h"

/*
 * Called before a relation is first written since it changed, in a process
 * that does not run just anybody's code; raises what it objects to.  The
 * relation is locked, so nothing is added to it afterwards.
 */
extern void (*cl_write_vet)(Oid relid);

extern void cl_relation_insert(clUnit *unit, clRelation *rel, clRow *row);
extern void cl_relation_update(clUnit *unit, clRelation *rel, clRow *row);

/*
 * Insert unless a row that meets the keys is there, for which a unique index
 * on these columns is needed; true if it was inserted.  Waits for another
 * transaction that is inserting such a row.  What any other index forbids is
 * an error.
 */
extern bool cl_relation_insert_absent(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys, clRow *row);

/*
 * Delete the row from one relation and insert it into another, as an UPDATE
 * of the partition key would; triggers see it so.  Columns that we do not
 * know go along.
 */
extern void cl_relation_move(clUnit *unit, clRelation *from, clRelation *to, clRow *row);

/* Insert the rows that were collected. */
extern void cl_relation_flush(clUnit *unit, clRelation *rel);

#endif /* CL_WRITE_H */
