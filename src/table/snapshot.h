/*-------------------------------------------------------------------------
 *
 * snapshot.h
 *	  Under which snapshot a unit reads.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_SNAPSHOT_H
#define CL_SNAPSHOT_H

#include "utils/relcache.h"

#include "compat.h"
#include "table/row.h"

/* One of now, or the transaction's, where it has one; and give it back. */
extern void cl_snapshot_take(clUnit *unit);
extern void cl_snapshot_release(clUnit *unit);

/* A relation was locked: see to it that the unit's snapshot is not older than what is in it. */
extern void cl_snapshot_follow(clUnit *unit, Relation rel);

/* 40001: somebody changed a relation while the call waited for it. */
pg_noreturn extern void cl_raise_relation_changed(Relation rel);

#endif /* CL_SNAPSHOT_H */
