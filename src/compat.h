/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  What changed in the server's interfaces from PostgreSQL 15 to 18.
 *
 * The only place that tests PG_VERSION_NUM.  Each shim names the change that
 * it bridges; the code is written for the newest form wherever it can be.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_COMPAT_H
#define CL_COMPAT_H

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_extension.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "parser/parse_relation.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

/*
 * PostgreSQL 16 moved the macros for varlena values out of postgres.h.
 */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/*
 * PostgreSQL 18 has the C23 way of saying that a function does not return.
 */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/*
 * PostgreSQL 16 exports get_extension_schema().
 */
#if PG_VERSION_NUM < 160000
static inline Oid
get_extension_schema(Oid extension)
{
	Relation rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	Oid schema = InvalidOid;

	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(extension));
	scan = systable_beginscan(rel, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		schema = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return schema;
}
#endif

/*
 * PostgreSQL 16 tells summarizing indexes apart: table_tuple_update() answers
 * with an enum instead of a bool, and ExecInsertIndexTuples() takes it.
 */
#if PG_VERSION_NUM >= 160000
typedef TU_UpdateIndexes clUpdateIndexes;
#define CL_NO_INDEXES_TO_UPDATE TU_None
#define cl_insert_index_tuples(target, slot, estate, update, no_dup_error, conflict, arbiters, indexes) \
	ExecInsertIndexTuples(target, slot, estate, update, no_dup_error, conflict, arbiters, (indexes) == TU_Summarizing)
#define CL_ALL_INDEXES TU_All
#else
typedef bool clUpdateIndexes;
#define CL_NO_INDEXES_TO_UPDATE false
#define cl_insert_index_tuples(target, slot, estate, update, no_dup_error, conflict, arbiters, indexes) \
	ExecInsertIndexTuples(target, slot, estate, update, no_dup_error, conflict, arbiters)
#define CL_ALL_INDEXES true
#endif

/*
 * PostgreSQL 16 moved the updated columns of a range table entry into a list
 * of permission infos.
 */
static inline void
cl_rte_set_updated_columns(EState *estate, int rti, Bitmapset *columns)
{
	RangeTblEntry *rte = (RangeTblEntry *) list_nth(estate->es_range_table, rti - 1);

#if PG_VERSION_NUM >= 160000
	if (rte->perminfoindex == 0)
		addRTEPermissionInfo(&estate->es_rteperminfos, rte);
	getRTEPermissionInfo(estate->es_rteperminfos, rte)->updatedCols = columns;
#else
	rte->updatedCols = columns;
#endif
}

/*
 * PostgreSQL 16 gave EvalPlanQualInit() the result relations, and the row
 * triggers ways to report a concurrent change; 18 tells them about MERGE.
 */
#if PG_VERSION_NUM >= 160000
#define cl_evalplanqual_init(state, estate) EvalPlanQualInit(state, estate, NULL, NIL, -1, NIL)
#else
#define cl_evalplanqual_init(state, estate) EvalPlanQualInit(state, estate, NULL, NIL, -1)
#endif

#if PG_VERSION_NUM >= 180000
#define cl_before_update_triggers(estate, epq, target, tid, slot) \
	ExecBRUpdateTriggers(estate, epq, target, tid, NULL, slot, NULL, NULL, false)
#define cl_before_delete_triggers(estate, epq, target, tid) \
	ExecBRDeleteTriggers(estate, epq, target, tid, NULL, NULL, NULL, NULL, false)
#elif PG_VERSION_NUM >= 160000
#define cl_before_update_triggers(estate, epq, target, tid, slot) \
	ExecBRUpdateTriggers(estate, epq, target, tid, NULL, slot, NULL, NULL)
#define cl_before_delete_triggers(estate, epq, target, tid) \
	ExecBRDeleteTriggers(estate, epq, target, tid, NULL, NULL, NULL, NULL)
#else
#define cl_before_update_triggers(estate, epq, target, tid, slot) \
	ExecBRUpdateTriggers(estate, epq, target, tid, NULL, slot, NULL)
#define cl_before_delete_triggers(estate, epq, target, tid) \
	ExecBRDeleteTriggers(estate, epq, target, tid, NULL, NULL)
#endif

/*
 * PostgreSQL 18 added arguments: instrumentation of index scans, deferrable
 * primary keys, and the tuple that a conflict check is made for.
 */
#if PG_VERSION_NUM >= 180000
#define cl_index_beginscan(rel, index, snapshot, nkeys) index_beginscan(rel, index, snapshot, NULL, nkeys, 0)
#define cl_primary_key_index(rel)						RelationGetPrimaryKeyIndex(rel, false)
#define cl_check_index_constraints(target, slot, estate, conflict, arbiters) \
	ExecCheckIndexConstraints(target, slot, estate, conflict, NULL, arbiters)
#else
#define cl_index_beginscan(rel, index, snapshot, nkeys) index_beginscan(rel, index, snapshot, nkeys, 0)
#define cl_primary_key_index(rel)						RelationGetPrimaryKeyIndex(rel)
#define cl_check_index_constraints(target, slot, estate, conflict, arbiters) \
	ExecCheckIndexConstraints(target, slot, estate, conflict, arbiters)
#endif

#endif /* CL_COMPAT_H */
