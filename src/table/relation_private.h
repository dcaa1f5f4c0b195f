/*-------------------------------------------------------------------------
 *
 * relation_private.h
 *	  What relation.c and partition.c share, and nobody else sees.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_RELATION_PRIVATE_H
#define CL_RELATION_PRIVATE_H

#include "access/genam.h"
#include "access/tableam.h"
#include "nodes/execnodes.h"
#include "storage/lockdefs.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

#include "table/relation.h"

struct clUnit
{
	EState *estate;
	Snapshot snapshot; /* active while the unit lasts */
	LOCKMODE lockmode; /* ROW EXCLUSIVE: a unit that writes */
	List *relations;   /* of clRelation */
	bool flushing;	   /* rows that were collected are being inserted */
	bool bulk;		   /* insertions are collected, see cl_unit_begin_bulk */
};

struct clRelation
{
	Relation rel;
	LOCKMODE lockmode;
	const clTable *table;
	AttrNumber attnums[CL_MAX_COLUMNS]; /* by column number - 1 */
	bool in_order;						/* exactly the known columns, in their order */
	bool checked;						/* has constraints that we do not uphold by construction */
	Relation key_index;					/* the index used last to find a row */
	int key_index_nkeys;				/* by so many of its columns */
	IndexScanDesc key_scan;				/* of it, once a row was looked for */
	BlockNumber nblocks;				/* it has so many, or more by now */
	TupleTableSlot *slot;				/* for reading */
	TupleTableSlot *write_slot;
	ResultRelInfo *target;		 /* once it is written */
	TupleTableSlot **bulk_slots; /* rows collected for insertion */
	int bulk_count;
};

/* Insert the rows that were collected. */
extern void cl_relation_flush(clUnit *unit, clRelation *rel);

/* Raises what an UPDATE would raise that met a row in this state; returns where it may go on. */
extern void cl_relation_require_unchanged(clRelation *rel, TM_Result result);

#endif /* CL_RELATION_PRIVATE_H */
