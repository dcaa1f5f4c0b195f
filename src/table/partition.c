/*-------------------------------------------------------------------------
 *
 * partition.c
 *	  Which leaf of a partitioned table a row belongs to.
 *
 * The partition descriptor is asked anew at each call, so that a partition
 * which a DBA adds or detaches counts at once.  The model is the server's
 * get_partition_for_tuple (execPartition.c), which is not exported.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"

#include "table/relation_private.h"

static Oid partition_for_row(clRelation *parent, const clRow *row);
static void partition_key_values(clRelation *parent, PartitionKey key, const clRow *row, Datum *values, bool *nulls);
static PartitionDesc partition_desc(Relation parent);

clRelation *
cl_relation_route(clUnit *unit, Oid parent, const clTable *table, const clRow *row, bool missing_ok)
{
	clRelation *rel = cl_relation_open(unit, parent, table);

	while (rel->rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
	{
		Oid child = partition_for_row(rel, row);

		if (!OidIsValid(child))
		{
			if (missing_ok)
				return NULL;
			ereport(ERROR,
					(errcode(ERRCODE_CHECK_VIOLATION),
					 errmsg("no partition of relation \"%s\" found for row", RelationGetRelationName(rel->rel))));
		}
		rel = cl_relation_open(unit, child, table);
	}
	return rel;
}

List *
cl_relation_leaves(clUnit *unit, Oid parent, const clTable *table)
{
	Relation rel = cl_relation_open(unit, parent, table)->rel;
	PartitionDesc desc = partition_desc(rel);
	List *leaves = NIL;

	for (int i = 0; i < desc->nparts; i++)
	{
		if (desc->is_leaf[i])
			leaves = lappend_oid(leaves, desc->oids[i]);
		else
			leaves = list_concat(leaves, cl_relation_leaves(unit, desc->oids[i], table));
	}
	return leaves;
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

		while (column < parent->table->ncolumns && parent->attnums[column] != key->partattrs[i])
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
