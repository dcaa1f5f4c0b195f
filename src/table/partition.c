/*-------------------------------------------------------------------------
 *
 * partition.c
 *	  Which leaf of a partitioned table a row belongs to, and all its leaves.
 *
 * The partition descriptor is asked anew at each call, so that a partition
 * which a DBA adds or detaches counts at once; and once more when a leaf was
 * locked, since that may have meant waiting for the DBA.
 *
 * The model is the server's ExecFindPartition with get_partition_for_tuple
 * (execPartition.c).  It is not called itself, because it serves insertion
 * alone: it wants a whole row, prepares the leaf for writing, and raises an
 * error where the default partition has given the row's range away while it
 * waited, where we go on in the new one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/partition.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "storage/sinval.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"

#include "table/partition.h"
#include "table/table.h"

static clRelation *partition_route(clUnit *unit, Oid parent, const clTable *table, const clRow *row);
static Oid partition_for_row(clRelation *parent, const clRow *row);
static void partition_key_values(clRelation *parent, PartitionKey key, const clRow *row, Datum *values, bool *nulls);
static PartitionDesc partition_desc(Relation parent);

clRelation *
cl_partition_for_writing(clUnit *unit, Oid parent, const clTable *table, const clRow *row)
{
	clRelation *leaf = partition_route(unit, parent, table, row);

	if (leaf->rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("no partition of relation \"%s\" found for row", RelationGetRelationName(leaf->rel))));
	if (leaf->rel->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("partition \"%s\" is not an ordinary table", RelationGetRelationName(leaf->rel))));
	return leaf;
}

clRelation *
cl_partition_for_reading(clUnit *unit, Oid parent, const clTable *table, const clRow *row)
{
	clRelation *leaf = partition_route(unit, parent, table, row);

	return leaf->rel->rd_rel->relkind == RELKIND_RELATION ? leaf : NULL;
}

List *
cl_partition_leaves(clUnit *unit, Oid parent, const clTable *table)
{
	clRelation *rel = cl_relation_open_kind(unit, parent, table, RELKIND_PARTITIONED_TABLE);
	PartitionDesc desc = partition_desc(rel->rel);
	List *leaves = NIL;

	for (int i = 0; i < desc->nparts; i++)
	{
		if (desc->is_leaf[i])
			leaves = lappend_oid(leaves, desc->oids[i]);
		else if (get_rel_relkind(desc->oids[i]) == RELKIND_PARTITIONED_TABLE)
			leaves = list_concat(leaves, cl_partition_leaves(unit, desc->oids[i], table));
	}
	return leaves;
}

clRelation *
cl_partition_open_leaf(clUnit *unit, Oid leaf, const clTable *table)
{
	clRelation *rel = cl_relation_try_open(unit, leaf, table);

	if (rel == NULL || rel->rel->rd_rel->relkind != RELKIND_RELATION || !rel->rel->rd_rel->relispartition)
		return NULL;
	return rel;
}

char *
cl_partition_foreign_leaves(clUnit *unit, Oid parent, const clTable *table)
{
	StringInfoData names;
	ListCell *lc;

	initStringInfo(&names);
	foreach(lc, cl_partition_leaves(unit, parent, table))
	{
		Oid leaf = lfirst_oid(lc);

		if (get_rel_relkind(leaf) == RELKIND_FOREIGN_TABLE)
			appendStringInfo(&names, "%s\"%s\"", names.len > 0 ? ", " : "", get_rel_name(leaf));
	}
	return names.len > 0 ? names.data : NULL;
}

/*
 * Follow a row's values down to a leaf; where there is none, as far as it
 * goes.  A partition that is no longer the row's once it is locked stays
 * locked, which does no harm.
 */
static clRelation *
partition_route(clUnit *unit, Oid parent, const clTable *table, const clRow *row)
{
	clRelation *rel = cl_relation_open_kind(unit, parent, table, RELKIND_PARTITIONED_TABLE);

	while (rel->rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
	{
		Oid child = partition_for_row(rel, row);
		uint64 messages = SharedInvalidMessageCounter;
		clRelation *next;

		CHECK_FOR_INTERRUPTS();
		if (!OidIsValid(child))
			break;
		next = cl_relation_try_open(unit, child, table);
		if (next != NULL && (messages == SharedInvalidMessageCounter || partition_for_row(rel, row) == child))
			rel = next;
	}
	return rel;
}

static Oid
partition_for_row(clRelation *parent, const clRow *row)
{
	PartitionKey key = RelationGetPartitionKey(parent->rel);
	PartitionDesc desc = partition_desc(parent->rel);
	PartitionBoundInfo bounds = desc->boundinfo;
	Datum values[PARTITION_MAX_KEYS];
	bool nulls[PARTITION_MAX_KEYS];
	bool is_equal = false;
	bool has_null = false;
	int offset;
	int part = -1;

	if (desc->nparts == 0)
		return InvalidOid;

	partition_key_values(parent, key, row, values, nulls);
	for (int i = 0; i < key->partnatts; i++)
		has_null |= nulls[i];

	switch (key->strategy)
	{
		case PARTITION_STRATEGY_HASH:
			part = bounds->indexes[compute_partition_hash_value(key->partnatts, key->partsupfunc, key->partcollation,
																values, nulls) %
								   bounds->nindexes];
			break;

		case PARTITION_STRATEGY_LIST:
			if (has_null)
			{
				part = bounds->null_index;
				break;
			}
			offset = partition_list_bsearch(key->partsupfunc, key->partcollation, bounds, values[0], &is_equal);
			if (offset >= 0 && is_equal)
				part = bounds->indexes[offset];
			break;

		case PARTITION_STRATEGY_RANGE:
			if (has_null)
				break;
			offset = partition_range_datum_bsearch(key->partsupfunc, key->partcollation, bounds,
												   key->partnatts, values, &is_equal);
			part = bounds->indexes[offset + 1];
			break;
	}

	if (part < 0)
		part = bounds->default_index;
	return part < 0 ? InvalidOid : desc->oids[part];
}

static void
partition_key_values(clRelation *parent, PartitionKey key, const clRow *row, Datum *values, bool *nulls)
{
	for (int i = 0; i < key->partnatts; i++)
	{
		int column = 0;

		while (column < parent->table->ncolumns && parent->shape->attnums[column] != key->partattrs[i])
			column++;
		if (column == parent->table->ncolumns)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("partition key of \"%s\" is not one of the ledger's own columns",
							RelationGetRelationName(parent->rel))));
		values[i] = row->values[column];
		nulls[i] = row->nulls[column];
	}
}

/*
 * As the executor does for INSERT: READ COMMITTED leaves out a partition that
 * is being detached concurrently at once.
 */
static PartitionDesc
partition_desc(Relation parent)
{
	return RelationGetPartitionDesc(parent, !IsolationUsesXactSnapshot());
}
