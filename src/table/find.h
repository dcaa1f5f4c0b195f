/*-------------------------------------------------------------------------
 *
 * find.h
 *	  Finding rows by the values of some columns, and locking them.
 *
 * An index on these columns is used if there is one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_FIND_H
#define CL_FIND_H

#include "fmgr.h"

#include "table/relation.h"

typedef struct clScan clScan;

typedef enum clLockResult
{
	CL_LOCKED,
	CL_LOCK_NOT_AVAILABLE, /* somebody else holds it, and skip was asked for */
	CL_LOCK_GONE		   /* there is no such row, or not any more */
} clLockResult;

/*
 * The first row that meets all keys, or whether there is one.  Where a row
 * was seen before is looked at first (or NULL): only a suggestion, whatever
 * stands there now must meet the keys.
 */
extern bool cl_relation_find(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys, const clPlace *hint,
							 clRow *row);
extern bool cl_relation_has(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys);

/*
 * Find such a row, lock it as an UPDATE of no key column would, and read its
 * newest version.  In READ COMMITTED that is followed from the one that was
 * found, and must meet the keys as well; else a row that is newer than the
 * transaction's snapshot is 40001.
 */
extern clLockResult cl_relation_find_and_lock(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys,
											  const clPlace *hint, clRow *row, bool skip_locked);

/*
 * All of them.  Where an order is asked for (columns that follow those of the
 * keys in an index, ending with 0; or NULL), only an index that has it is
 * used, and the scan may turn out to be in no order.
 */
extern clScan *cl_scan_begin(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys, const int *order);
extern bool cl_scan_is_ordered(const clScan *scan);
extern bool cl_scan_next(clScan *scan, clRow *row);
extern void cl_scan_end(clScan *scan);

/*
 * The row as a value of the table's row type, as it stands in the table.  A
 * query that expects other columns, because it was planned before the call
 * waited for somebody who changed the table, is 40001.
 */
extern Datum cl_relation_composite(clUnit *unit, clRelation *rel, const clRow *row, FunctionCallInfo fcinfo);

#endif /* CL_FIND_H */
