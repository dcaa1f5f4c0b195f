/*-------------------------------------------------------------------------
 *
 * unit.c
 *	  Units of work: one call of an SQL function, as a rule.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"

#include "table/snapshot.h"
#include "table/table.h"
#include "table/unit.h"
#include "table/write.h"

static void unit_flush(clUnit *unit);

clUnit *
cl_unit_begin(const char *what)
{
	clUnit *unit;

	PreventCommandIfReadOnly(what);
	PreventCommandIfParallelMode(what);

	unit = palloc0(sizeof(clUnit));
	unit->estate = CreateExecutorState();
	unit->lockmode = RowExclusiveLock;
	AfterTriggerBeginQuery();
	cl_unit_refresh(unit);
	return unit;
}

clUnit *
cl_unit_begin_bulk(const char *what)
{
	clUnit *unit = cl_unit_begin(what);

	unit->bulk = true;
	return unit;
}

clUnit *
cl_unit_begin_reading(void)
{
	clUnit *unit = palloc0(sizeof(clUnit));

	unit->estate = CreateExecutorState();
	unit->lockmode = AccessShareLock;
	unit->snapshot = GetActiveSnapshot();
	return unit;
}

bool
cl_unit_is_flushing(const clUnit *unit)
{
	return unit->flushing;
}

bool
cl_unit_is_writing(const clUnit *unit)
{
	return unit->writing;
}

void
cl_unit_refresh(clUnit *unit)
{
	Assert(unit->lockmode == RowExclusiveLock);

	unit_flush(unit);
	cl_snapshot_release(unit);
	CommandCounterIncrement();
	cl_snapshot_take(unit);
	unit->estate->es_output_cid = GetCurrentCommandId(true);
}

void
cl_unit_end(clUnit *unit)
{
	ListCell *lc;
	bool writing = unit->lockmode == RowExclusiveLock;

	if (writing)
	{
		unit_flush(unit);
		AfterTriggerEndQuery(unit->estate);
	}

	ExecResetTupleTable(unit->estate->es_tupleTable, false);
	foreach(lc, unit->relations)
	{
		cl_relation_close(lfirst(lc));
	}
	FreeExecutorState(unit->estate);

	cl_snapshot_release(unit);
	if (writing)
		CommandCounterIncrement();
	pfree(unit);
}

static void
unit_flush(clUnit *unit)
{
	ListCell *lc;

	foreach(lc, unit->relations)
	{
		clRelation *rel = lfirst(lc);

		if (rel->bulk_count > 0)
			cl_relation_flush(unit, rel);
	}
}
