/*-------------------------------------------------------------------------
 *
 * relation.h
 *	  Rows of tables, read and written through the access methods.
 *
 * This layer knows nothing of credits.  Its callers know nothing of slots,
 * scan keys or snapshots: they see rows, as arrays of values by column
 * number, and find them by the values of some columns.
 *
 * All work is done inside a unit: one call of an SQL function, as a rule.  A
 * unit keeps what it opened, reads under one snapshot until that is
 * refreshed, and fires the AFTER triggers when it ends.  After an error the
 * transaction's abort cleans up; there is nothing to call.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_RELATION_H
#define CL_RELATION_H

#include "access/stratnum.h"
#include "nodes/pg_list.h"
#include "storage/itemptr.h"

typedef struct clUnit clUnit;
typedef struct clRelation clRelation;
typedef struct clScan clScan;

#define CL_MAX_COLUMNS 24

/*
 * What the C code knows of a table: its columns, in the order of the caller's
 * column numbers (from 1), and how many CHECK constraints it upholds by
 * construction.  A relation may have its columns in another order, and more
 * of both; then all constraints are evaluated.
 */
typedef struct clTable
{
	int ncolumns;
	int nchecks;
	const char *columns[CL_MAX_COLUMNS + 1];
} clTable;

/*
 * A row.  Values point into memory of the context that was current when it
 * was read; a row that was not read stands nowhere until it is inserted.
 */
typedef struct clRow
{
	Datum values[CL_MAX_COLUMNS]; /* by column number - 1 */
	bool nulls[CL_MAX_COLUMNS];
	uint32 changed;				 /* bit: column number - 1, see cl_row_set */
	struct HeapTupleData *tuple; /* as it was read, or NULL */
	ItemPointerData place;		 /* where it was read, or updated to */
} clRow;

/*
 * A condition on one column: "column <strategy> value", or "column IS NULL"
 * if it names no procedure, which only an index can answer.  Conditions on
 * the same column stand side by side.
 */
typedef struct clKey
{
	int column;
	StrategyNumber strategy;
	RegProcedure procedure; /* the operator's function, e.g. F_TEXTEQ, or 0 */
	Datum value;
} clKey;

typedef enum clLockResult
{
	CL_LOCKED,
	CL_LOCK_NOT_AVAILABLE, /* somebody else holds it, and skip was asked for */
	CL_LOCK_GONE		   /* the row was deleted meanwhile */
} clLockResult;

/*
 * A unit that writes raises 25006 where the transaction may not; what is the
 * function that the message names.  In READ COMMITTED it reads what is
 * committed now, else under the transaction's snapshot.  A unit that only
 * reads uses the caller's snapshot.
 */
extern clUnit *cl_unit_begin(const char *what);
extern clUnit *cl_unit_begin_reading(void);

/*
 * A unit that writes many rows: it collects insertions and makes them when it
 * is refreshed or ends, many a page at once.  What a row's values point to
 * must stay until then.
 */
extern clUnit *cl_unit_begin_bulk(const char *what);

/* Whether it is making insertions that it collected: errors are about those then. */
extern bool cl_unit_is_flushing(const clUnit *unit);
extern void cl_unit_end(clUnit *unit);

/* Let the unit see its own writes and what has been committed meanwhile. */
extern void cl_unit_refresh(clUnit *unit);

/* Opened once a unit, kept and locked (ROW EXCLUSIVE, or ACCESS SHARE) until the transaction ends. */
extern clRelation *cl_relation_open(clUnit *unit, Oid relid, const clTable *table);

extern void cl_row_init(clRow *row);
/* What a row has in a column; and what it shall have. */
static inline Datum
cl_row_get(const clRow *row, int column)
{
	return row->values[column - 1];
}

static inline bool
cl_row_is_null(const clRow *row, int column)
{
	return row->nulls[column - 1];
}

extern void cl_row_set(clRow *row, int column, Datum value);
extern void cl_row_set_null(clRow *row, int column);

/* The first row that meets all keys, or whether there is one; through an index on these columns if there is one. */
extern bool cl_relation_find(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys, clRow *row);
extern bool cl_relation_has(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys);

/*
 * Read the row that stands where one was found before; false where none does.
 * It may be another row by now; the caller looks.
 */
extern bool cl_relation_fetch(clUnit *unit, clRelation *rel, ItemPointer place, clRow *row);

extern clScan *cl_scan_begin(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys);
extern bool cl_scan_next(clScan *scan, clRow *row);
extern void cl_scan_end(clScan *scan);

/*
 * Lock a row that was found as UPDATE of no key column would, and read its
 * newest version into row.  The row's key may be another one then (in READ
 * COMMITTED); the caller looks.  40001 where the transaction's snapshot is
 * older than the row.
 */
extern clLockResult cl_relation_lock(clUnit *unit, clRelation *rel, clRow *row, bool skip_locked);

/* Both in one: find a row and lock it; CL_LOCK_GONE also where there was none. */
extern clLockResult cl_relation_find_and_lock(clUnit *unit, clRelation *rel, int nkeys, const clKey *keys, clRow *row,
											  bool skip_locked);

/*
 * Writes.  Row triggers fire, user constraints are checked, a row that
 * somebody changed since it was read is 40001.  A row can be written once
 * until the unit is refreshed.
 */
extern void cl_relation_insert(clUnit *unit, clRelation *rel, clRow *row);
extern bool cl_relation_insert_absent(clUnit *unit, clRelation *rel, clRow *row);
extern void cl_relation_update(clUnit *unit, clRelation *rel, clRow *row);
extern void cl_relation_move(clUnit *unit, clRelation *from, clRelation *to, clRow *row);

/* The row as a value of the table's row type. */
extern Datum cl_relation_composite(clRelation *rel, const clRow *row);

/*
 * The leaf of a partitioned table that a row with these values belongs to;
 * where there is none: NULL if missing_ok, else 23514.
 */
extern clRelation *cl_relation_route(clUnit *unit, Oid parent, const clTable *table, const clRow *row, bool missing_ok);

/* The OIDs of all leaves of a partitioned table. */
extern List *cl_relation_leaves(clUnit *unit, Oid parent, const clTable *table);

#endif /* CL_RELATION_H */
