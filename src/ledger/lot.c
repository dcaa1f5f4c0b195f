/*-------------------------------------------------------------------------
 *
 * lot.c
 *	  Lots of an account: rows of credit_lot.
 *
 * The lots that were read stand in the order of use.  Mostly the first one is
 * enough, so they are read one at first, and then each time four times as
 * many from the beginning again: nothing stays open between two looks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "ledger/catalog.h"
#include "ledger/errors.h"
#include "ledger/lot.h"
#include "table/write.h"

#define FIRST_LOOK 1

/* Columns of credit_lot */
enum
{
	LOT_ORG_ID = 1,
	LOT_LOT_NO,
	LOT_AMOUNT,
	LOT_REMAINING,
	LOT_HELD,
	LOT_ABSORBED,
	LOT_PRIORITY,
	LOT_VOIDED,
	LOT_EXPIRES_AT,
	LOT_CREATED_AT,
	LOT_CLOSED_AT
};

static const clTable lot_table = {
	.ncolumns = LOT_CLOSED_AT,
	.columns = {
		[LOT_ORG_ID] = {"org_id", CL_IDENTIFIER},
		[LOT_LOT_NO] = {"lot_no", CL_BIGINT},
		[LOT_AMOUNT] = {"amount", CL_BIGINT},
		[LOT_REMAINING] = {"remaining", CL_BIGINT},
		[LOT_HELD] = {"held", CL_BIGINT},
		[LOT_ABSORBED] = {"absorbed", CL_BIGINT},
		[LOT_PRIORITY] = {"priority", CL_INTEGER},
		[LOT_VOIDED] = {"voided", CL_BOOLEAN},
		[LOT_EXPIRES_AT] = {"expires_at", CL_INSTANT, CL_NULLABLE},
		[LOT_CREATED_AT] = {"created_at", CL_INSTANT},
		[LOT_CLOSED_AT] = {"closed_at", CL_INSTANT, CL_NULLABLE},
	},
	.upheld = {
		"amount > 0",
		"0 <= held AND held <= remaining AND 0 <= absorbed",
		"remaining + absorbed <= amount",
		"priority >= 0 AND priority <= 1000",
		"(closed_at IS NULL) = (remaining > 0)",
	},
};

struct clLots
{
	List *lots;	   /* of clLot, all that were read, in the order of use */
	int looked_at; /* so many open lots were read in that order */
	bool complete; /* all open lots were read */
	clLot *last;   /* of those read in order; what stands behind it is not known to be next */
};

static struct clLots *account_lots(clAccount *account);
static clLot *lots_find(const struct clLots *lots, int64 lot_no);
static void lots_look_further(clUnit *unit, clAccount *account);
static int compare_use(const ListCell *a, const ListCell *b);
static int order_of_use(const clLot *a, const clLot *b);
static clRelation *lot_relation(clUnit *unit);
static void lot_read(clLot *lot);
static void lot_write(const clAccount *account, clLot *lot, TimestampTz now);

/* ------------------------------------------------------------------------
 * Reading
 * ------------------------------------------------------------------------
 */

clLot *
cl_lot_find(clUnit *unit, clAccount *account, int64 lot_no)
{
	struct clLots *lots = account_lots(account);
	clLot *lot = lots_find(lots, lot_no);
	MemoryContext old;

	if (lot != NULL)
		return lot;

	old = MemoryContextSwitchTo(account->context);
	lot = palloc0(sizeof(clLot));
	{
		clKey keys[] = {
			{LOT_ORG_ID, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(account->org_id)},
			{LOT_LOT_NO, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(lot_no)},
		};

		if (cl_relation_find(unit, lot_relation(unit), lengthof(keys), keys, NULL, &lot->row))
		{
			lot_read(lot);
			lots->lots = lappend(lots->lots, lot);
			list_sort(lots->lots, compare_use);
		}
		else
			lot = NULL;
	}
	MemoryContextSwitchTo(old);
	return lot;
}

clLot *
cl_lot_get(clUnit *unit, clAccount *account, int64 lot_no)
{
	clLot *lot = cl_lot_find(unit, account, lot_no);

	if (lot == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("lot %lld of organisation \"%s\" is missing",
						(long long) lot_no, text_to_cstring(account->org_id)),
				 errhint("credit_verify() says what else is wrong.")));
	return lot;
}

clLot *
cl_lot_get_open(clUnit *unit, clAccount *account, int64 lot_no)
{
	clLot *lot = cl_lot_find(unit, account, lot_no);
	const char *detail = lot == NULL ? "The organisation has no such lot." :
		lot->voided					 ? "It is voided." :
		lot->remaining == 0			 ? "Nothing remains in it." :
									   NULL;

	if (detail != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CL_LOT_NOT_OPEN),
				 errmsg("lot %lld of organisation \"%s\" is not open",
						(long long) lot_no, text_to_cstring(account->org_id)),
				 errdetail_internal("%s", detail),
				 errhint("credit_lots() shows the open lots of an organisation.")));
	return lot;
}

clLot *
cl_lot_in_order(clUnit *unit, clAccount *account, int position)
{
	struct clLots *lots = account_lots(account);

	for (;;)
	{
		clLot *lot = position < list_length(lots->lots) ? list_nth(lots->lots, position) : NULL;

		if (lots->complete || (lot != NULL && lots->last != NULL && order_of_use(lot, lots->last) <= 0))
			return lot;
		lots_look_further(unit, account);
	}
}

List *
cl_lots_read(const clAccount *account)
{
	return account->lots == NULL ? NIL : account->lots->lots;
}

static struct clLots *
account_lots(clAccount *account)
{
	if (account->lots == NULL)
		account->lots = MemoryContextAllocZero(account->context, sizeof(struct clLots));
	return account->lots;
}

static clLot *
lots_find(const struct clLots *lots, int64 lot_no)
{
	ListCell *lc;

	foreach(lc, lots->lots)
	{
		clLot *lot = lfirst(lc);

		if (lot->lot_no == lot_no)
			return lot;
	}
	return NULL;
}

static void
lots_look_further(clUnit *unit, clAccount *account)
{
	struct clLots *lots = account->lots;
	clKey keys[] = {
		{LOT_ORG_ID, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(account->org_id)},
		{LOT_CLOSED_AT},
	};
	static const int order[] = {LOT_PRIORITY, LOT_EXPIRES_AT, LOT_LOT_NO, 0};
	int wanted = Max(FIRST_LOOK, 4 * lots->looked_at);
	MemoryContext old = MemoryContextSwitchTo(account->context);
	clScan *scan = cl_scan_begin(unit, lot_relation(unit), lengthof(keys), keys, order);
	bool strays = list_length(lots->lots) > lots->looked_at;
	clLot read;
	int count = 0;

	/* Without the index, whichever lots come first are not those to use first. */
	if (!cl_scan_is_ordered(scan))
		wanted = INT_MAX;
	while (count < wanted && cl_scan_next(scan, &read.row))
	{
		clLot *lot;

		lot_read(&read);
		lot = count < lots->looked_at || strays ? lots_find(lots, read.lot_no) : NULL;
		if (lot == NULL)
		{
			lot = palloc0(sizeof(clLot));
			lot->row = read.row;
			lot_read(lot);
			lots->lots = lappend(lots->lots, lot);
		}
		lots->last = lot;
		count++;
	}
	cl_scan_end(scan);
	lots->complete = count < wanted;
	lots->looked_at = count;
	list_sort(lots->lots, compare_use);
	MemoryContextSwitchTo(old);
}

static int
compare_use(const ListCell *a, const ListCell *b)
{
	return order_of_use(lfirst(a), lfirst(b));
}

static int
order_of_use(const clLot *a, const clLot *b)
{
	if (a->priority != b->priority)
		return a->priority < b->priority ? -1 : 1;
	if (a->expires_at != b->expires_at)
		return a->expires_at < b->expires_at ? -1 : 1;
	return a->lot_no < b->lot_no ? -1 : a->lot_no > b->lot_no;
}

/* ------------------------------------------------------------------------
 * Writing
 * ------------------------------------------------------------------------
 */

clLot *
cl_lot_make(clUnit *unit, clAccount *account, int64 lot_no, int64 amount, int32 priority,
			TimestampTz expires_at, TimestampTz created_at)
{
	struct clLots *lots = account_lots(account);
	MemoryContext old = MemoryContextSwitchTo(account->context);
	clLot *lot = palloc0(sizeof(clLot));

	lot->lot_no = lot_no;
	lot->amount = lot->remaining = amount;
	lot->priority = priority;
	lot->expires_at = expires_at;
	lot->created_at = created_at;
	lot->is_new = lot->changed = true;
	lots->lots = lappend(lots->lots, lot);
	list_sort(lots->lots, compare_use);
	MemoryContextSwitchTo(old);
	return lot;
}

void
cl_lots_store(clUnit *unit, clAccount *account, TimestampTz now)
{
	ListCell *lc;

	if (account->lots == NULL)
		return;
	foreach(lc, account->lots->lots)
	{
		clLot *lot = lfirst(lc);

		if (!lot->changed)
			continue;
		lot_write(account, lot, now);
		if (lot->is_new)
			cl_relation_insert(unit, lot_relation(unit), &lot->row);
		else
			cl_relation_update(unit, lot_relation(unit), &lot->row);
		lot->is_new = lot->changed = false;
	}
}

static void
lot_write(const clAccount *account, clLot *lot, TimestampTz now)
{
	clRow *row = &lot->row;

	Assert(lot->held >= 0 && lot->held <= lot->remaining);

	if (lot->is_new)
	{
		cl_row_init(row);
		cl_row_set(row, LOT_ORG_ID, PointerGetDatum(account->org_id));
		cl_row_set(row, LOT_LOT_NO, Int64GetDatum(lot->lot_no));
		cl_row_set(row, LOT_AMOUNT, Int64GetDatum(lot->amount));
		cl_row_set(row, LOT_CREATED_AT, TimestampTzGetDatum(lot->created_at));
	}
	cl_row_set(row, LOT_REMAINING, Int64GetDatum(lot->remaining));
	cl_row_set(row, LOT_HELD, Int64GetDatum(lot->held));
	cl_row_set(row, LOT_ABSORBED, Int64GetDatum(lot->absorbed));
	cl_row_set(row, LOT_PRIORITY, Int32GetDatum(lot->priority));
	cl_row_set(row, LOT_VOIDED, BoolGetDatum(lot->voided));
	if (TIMESTAMP_IS_NOEND(lot->expires_at))
		cl_row_set_null(row, LOT_EXPIRES_AT);
	else
		cl_row_set(row, LOT_EXPIRES_AT, TimestampTzGetDatum(lot->expires_at));
	if (lot->remaining > 0)
		cl_row_set_null(row, LOT_CLOSED_AT);
	else if (cl_row_is_null(row, LOT_CLOSED_AT))
		cl_row_set(row, LOT_CLOSED_AT, TimestampTzGetDatum(now));
}

Datum
cl_lot_composite(clUnit *unit, const clLot *lot, FunctionCallInfo fcinfo)
{
	return cl_relation_composite(unit, lot_relation(unit), &lot->row, fcinfo);
}

static clRelation *
lot_relation(clUnit *unit)
{
	return cl_relation_open(unit, cl_table_oid(CL_TABLE_LOT), &lot_table);
}

static void
lot_read(clLot *lot)
{
	const clRow *row = &lot->row;

	lot->lot_no = DatumGetInt64(cl_row_get(row, LOT_LOT_NO));
	lot->amount = DatumGetInt64(cl_row_get(row, LOT_AMOUNT));
	lot->remaining = DatumGetInt64(cl_row_get(row, LOT_REMAINING));
	lot->held = DatumGetInt64(cl_row_get(row, LOT_HELD));
	lot->absorbed = DatumGetInt64(cl_row_get(row, LOT_ABSORBED));
	lot->priority = DatumGetInt32(cl_row_get(row, LOT_PRIORITY));
	lot->voided = DatumGetBool(cl_row_get(row, LOT_VOIDED));
	lot->expires_at = cl_row_is_null(row, LOT_EXPIRES_AT) ? DT_NOEND :
															DatumGetTimestampTz(cl_row_get(row, LOT_EXPIRES_AT));
	lot->created_at = DatumGetTimestampTz(cl_row_get(row, LOT_CREATED_AT));
	lot->is_new = lot->changed = lot->released = false;
}

/* ------------------------------------------------------------------------
 * Of all organisations
 * ------------------------------------------------------------------------
 */

clScan *
cl_lot_scan_ended(clUnit *unit, TimestampTz before)
{
	clKey keys[] = {
		{LOT_EXPIRES_AT, BTLessEqualStrategyNumber, F_TIMESTAMPTZ_LE, TimestampTzGetDatum(before)},
		{LOT_CLOSED_AT},
	};

	return cl_scan_begin(unit, lot_relation(unit), lengthof(keys), keys, NULL);
}

bool
cl_lot_next_ended(clScan *scan, text **org_id, clLot *lot)
{
	if (!cl_scan_next(scan, &lot->row))
		return false;
	lot_read(lot);
	*org_id = DatumGetTextPP(cl_row_get(&lot->row, LOT_ORG_ID));
	return true;
}
