/*-------------------------------------------------------------------------
 *
 * row.h
 *	  What a table is to the C code, and a row of it: values by column number.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_ROW_H
#define CL_ROW_H

#include "access/stratnum.h"
#include "storage/itemptr.h"

#define CL_MAX_COLUMNS 24
#define CL_MAX_CHECKS  12

typedef enum clColumnType
{
	CL_IDENTIFIER = 1, /* text COLLATE "C" */
	CL_TEXT,
	CL_BIGINT,
	CL_BIGINT_ARRAY,
	CL_INTEGER,
	CL_BOOLEAN,
	CL_INSTANT, /* timestamptz */
	CL_ENUM,	/* whichever */
	CL_JSONB,
	CL_UUID
} clColumnType;

/* Flags of a column: it may be NULL; it is only kept, so that a BEFORE trigger may change it. */
#define CL_NULLABLE 0x01
#define CL_KEPT		0x02

typedef struct clColumn
{
	const char *name;
	clColumnType type;
	int flags;
} clColumn;

/*
 * What the C code knows of a table: its columns, in the order of the caller's
 * column numbers (from 1), and the CHECK constraints that its rows satisfy by
 * construction, in the words of the install script.  A relation may have its
 * columns in another order, more of them, and more constraints.
 */
typedef struct clTable
{
	int ncolumns;
	clColumn columns[CL_MAX_COLUMNS + 1];
	const char *upheld[CL_MAX_CHECKS + 1]; /* the last one is NULL */
} clTable;

/* Where a row was seen, in which relation: only ever a suggestion. */
typedef struct clPlace
{
	Oid relid; /* InvalidOid: nowhere */
	ItemPointerData tid;
} clPlace;

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
	clPlace place;				 /* where it was read, or updated to */
} clRow;

/*
 * A condition on one column: "column <strategy> value", or "column IS NULL"
 * if it names no procedure.  Conditions on the same column stand side by side.
 * An IS NULL that stands last may be what a partial index is for.
 */
typedef struct clKey
{
	int column;
	StrategyNumber strategy;
	RegProcedure procedure; /* the operator's function, e.g. F_TEXTEQ, or 0 */
	Datum value;
} clKey;

/* A unit of work, and a table that it has open: see unit.h and relation.h. */
typedef struct clUnit clUnit;
typedef struct clRelation clRelation;

static inline void
cl_row_init(clRow *row)
{
	memset(row->nulls, true, sizeof(row->nulls));
	row->changed = 0;
	row->tuple = NULL;
	row->place.relid = InvalidOid;
}

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

static inline void
cl_row_set(clRow *row, int column, Datum value)
{
	row->values[column - 1] = value;
	row->nulls[column - 1] = false;
	row->changed |= UINT32_C(1) << (column - 1);
}

static inline void
cl_row_set_null(clRow *row, int column)
{
	row->values[column - 1] = (Datum) 0;
	row->nulls[column - 1] = true;
	row->changed |= UINT32_C(1) << (column - 1);
}

#endif /* CL_ROW_H */
