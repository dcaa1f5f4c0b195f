/*-------------------------------------------------------------------------
 *
 * table.h
 *	  What the rooms of this folder share, and nobody else sees.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_TABLE_H
#define CL_TABLE_H

#include "access/genam.h"
#include "access/tableam.h"
#include "nodes/execnodes.h"
#include "storage/lockdefs.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

#include "table/shape.h"

struct clUnit
{
	EState *estate;
	Snapshot snapshot; /* active while the unit lasts */
	bool pushed;	   /* it is the unit's own, not the caller's */
	uint64 messages;   /* so many invalidations had come in when it was taken */
	LOCKMODE lockmode; /* ROW EXCLUSIVE: a unit that writes */
	List *relations;   /* of clRelation */
	bool writing;	   /* a row is being written: code of others may run */
	bool flushing;	   /* rows that were collected are being inserted */
	bool bulk;		   /* insertions are collected, see cl_unit_begin_bulk */
};

struct clRelation
{
	Relation rel;
	LOCKMODE lockmode;
	const clTable *table;
	clShape *shape;
	Relation key_index;		/* the index used last to find a row */
	int key_index_nkeys;	/* by so many keys, */
	int key_index_ncolumns; /* of which it is asked for so many */
	IndexScanDesc key_scan; /* of it, once a row was looked for */
	BlockNumber nblocks;	/* it has so many, or more by now */
	TupleTableSlot *slot;	/* for reading; made when needed, as is all that follows */
	TupleTableSlot *write_slot;
	ResultRelInfo *target;
	bool constrained;			 /* constraints are to be evaluated */
	bool speculative;			 /* the indexes were opened for insertion of what is absent */
	ExprState **defaults;		 /* by attribute: of the columns that we do not know */
	TupleTableSlot **bulk_slots; /* rows collected for insertion */
	int bulk_count;
};

/* The slot for reading, made when first needed; copying its row out of it. */
extern TupleTableSlot *cl_relation_slot(clUnit *unit, clRelation *rel);
extern void cl_relation_read_slot(clRelation *rel, clRow *row);

/*
 * Whether a position of an index, from 1, is a column of ours and compares it
 * as the column does: another collation may take for the same what is not.
 */
extern bool cl_index_has_column(const clRelation *rel, Relation index, int position, int column);

/* Raises what an UPDATE would raise that met a row in this state; returns where it may go on. */
extern void cl_relation_require_unchanged(clRelation *rel, TM_Result result);

#endif /* CL_TABLE_H */
