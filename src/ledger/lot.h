/*-------------------------------------------------------------------------
 *
 * lot.h
 *	  Lots of an account: rows of credit_lot.
 *
 * What a call needs of an account's lots is read when it is needed, changed
 * in memory and written once, at the call's end, like the account.  All of it
 * under the account's lock.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_LOT_H
#define CL_LOT_H

#include "nodes/pg_list.h"

#include "ledger/account.h"
#include "table/find.h"

#define CL_DEFAULT_PRIORITY 100

typedef struct clLot
{
	int64 lot_no;
	int64 amount;
	int64 remaining; /* held among it */
	int64 held;
	int64 absorbed;
	int32 priority;
	bool voided;
	TimestampTz expires_at; /* DT_NOEND: never */
	TimestampTz created_at;

	bool is_new;
	bool changed;
	bool released; /* something came back into it in this call, see credits.c */
	clRow row;
} clLot;

/* The lot of this number, or NULL; the second raises XX001 if it is not there. */
extern clLot *cl_lot_find(clUnit *unit, clAccount *account, int64 lot_no);
extern clLot *cl_lot_get(clUnit *unit, clAccount *account, int64 lot_no);

/* One that may be configured or voided; LC009. */
extern clLot *cl_lot_get_open(clUnit *unit, clAccount *account, int64 lot_no);

/*
 * The open lots in the order of use, from 0; NULL after the last.  Lots that
 * are closed meanwhile stand among them.
 */
extern clLot *cl_lot_in_order(clUnit *unit, clAccount *account, int position);

/* All that were read so far, in the order of use. */
extern List *cl_lots_read(const clAccount *account);

/* A new lot, all of it remaining. */
extern clLot *cl_lot_make(clUnit *unit, clAccount *account, int64 lot_no, int64 amount, int32 priority,
						  TimestampTz expires_at, TimestampTz created_at);

/* Write what has changed; the instant is that of closing. */
extern void cl_lots_store(clUnit *unit, clAccount *account, TimestampTz now);

extern Datum cl_lot_composite(clUnit *unit, const clLot *lot, FunctionCallInfo fcinfo);

/* Open lots that ended before an instant, of all organisations, the first to end first. */
extern clScan *cl_lot_scan_ended(clUnit *unit, TimestampTz before);
extern bool cl_lot_next_ended(clScan *scan, text **org_id, clLot *lot);

#endif /* CL_LOT_H */
