/*-------------------------------------------------------------------------
 *
 * put_away.c
 *	  What credit_detach_partitions() put away: rows of
 *	  credit_detached_partition.
 *
 * Read on the way to an error, by every item of a call for many that may be
 * refused, so without a query; sql/tables.sql has the exact answer.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "ledger/catalog.h"
#include "ledger/put_away.h"

/* Columns of credit_detached_partition */
enum
{
	DETACHED_NAME = 1,
	DETACHED_PARENT,
	DETACHED_UPPER_BOUND = 4
};

static bool is_away(HeapTuple tuple, TupleDesc desc);
static char *column_text(HeapTuple tuple, TupleDesc desc, int column);

TimestampTz
cl_put_away_until(void)
{
	Relation rel = table_open(cl_table_oid(CL_TABLE_DETACHED), AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	TimestampTz until = DT_NOBEGIN;
	HeapTuple tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool isnull;
		TimestampTz upper_bound =
			DatumGetTimestampTz(heap_getattr(tuple, DETACHED_UPPER_BOUND, RelationGetDescr(rel), &isnull));

		if (is_away(tuple, RelationGetDescr(rel)))
			until = Max(until, upper_bound);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return until;
}

/* Of authorizations, and not attached again under its name. */
static bool
is_away(HeapTuple tuple, TupleDesc desc)
{
	Oid schema = get_rel_namespace(cl_table_oid(CL_TABLE_SETTLED));
	Oid leaf = get_relname_relid(column_text(tuple, desc, DETACHED_NAME), schema);

	return strcmp(column_text(tuple, desc, DETACHED_PARENT), "credit_ledger_settled") == 0 &&
		!(OidIsValid(leaf) && get_rel_relispartition(leaf));
}

static char *
column_text(HeapTuple tuple, TupleDesc desc, int column)
{
	bool isnull;

	return TextDatumGetCString(heap_getattr(tuple, column, desc, &isnull));
}
