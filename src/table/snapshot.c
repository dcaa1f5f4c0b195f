/*-------------------------------------------------------------------------
 *
 * snapshot.c
 *	  Under which snapshot a unit reads.
 *
 * A command that rewrites a table (ALTER TABLE, TRUNCATE, pg_repack) leaves
 * nothing behind that an older snapshot would see.  Whoever takes a snapshot,
 * then waits for such a command to let go of the table, and then looks for a
 * row, is told that there is none.  A plain SELECT locks its tables first.  A
 * call cannot know all its tables beforehand; so a snapshot that has become
 * older than a table that was just locked is replaced.
 *
 * Where the transaction has one snapshot for all, such a table is 40001.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xact.h"
#include "storage/sinval.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "table/snapshot.h"
#include "table/table.h"

static bool relation_is_newer(Relation rel, Snapshot snapshot);

void
cl_snapshot_take(clUnit *unit)
{
	cl_snapshot_release(unit);
	unit->messages = SharedInvalidMessageCounter;
	PushActiveSnapshot(IsolationUsesXactSnapshot() ? GetTransactionSnapshot() : GetLatestSnapshot());
	unit->pushed = true;
	unit->snapshot = GetActiveSnapshot();
	unit->estate->es_snapshot = unit->snapshot;
}

void
cl_snapshot_release(clUnit *unit)
{
	if (unit->pushed)
		PopActiveSnapshot();
	unit->pushed = false;
}

/*
 * A change of a table is announced before its lock is released, and heard
 * when the lock is taken.  So where a unit took its snapshot itself, it is
 * enough to look whether anything was announced since.  Of the caller's
 * snapshot we do not know when it was taken.
 */
void
cl_snapshot_follow(clUnit *unit, Relation rel)
{
	if (unit->pushed && !IsolationUsesXactSnapshot())
	{
		if (unit->messages != SharedInvalidMessageCounter)
			cl_snapshot_take(unit);
	}
	else if (relation_is_newer(rel, unit->snapshot) && !IsInParallelMode())
	{
		if (IsolationUsesXactSnapshot())
			cl_raise_relation_changed(rel);
		cl_snapshot_take(unit);
	}
}

void
cl_raise_relation_changed(Relation rel)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to a change of relation \"%s\"", RelationGetRelationName(rel))));
	pg_unreachable();
}

/* Whether a relation's row of pg_class was written by a transaction that the snapshot does not see. */
static bool
relation_is_newer(Relation rel, Snapshot snapshot)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(RelationGetRelid(rel)));
	TransactionId writer;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", RelationGetRelid(rel));
	writer = HeapTupleHeaderGetXmin(tuple->t_data);
	ReleaseSysCache(tuple);
	return TransactionIdIsNormal(writer) && !TransactionIdIsCurrentTransactionId(writer) &&
		XidInMVCCSnapshot(writer, snapshot);
}
