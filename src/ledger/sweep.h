/*-------------------------------------------------------------------------
 *
 * sweep.h
 *	  Settling holds that expired, and posting what lots lost at their ends.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_SWEEP_H
#define CL_SWEEP_H

#include "datatype/timestamp.h"
#include "utils/hsearch.h"

#include "ledger/tally.h"

typedef struct clSweep
{
	TimestampTz as_of; /* settle what expired before this, oldest first, */
	int max_rows;	   /* at most so many, */
	int64 end;		   /* and begin no other organisation after this instant of cl_clock(); 0: never */
	text *org_id;	   /* of this organisation; NULL: of all */
	HTAB *passed_over; /* see below */
	clTally *tally;

	/* What came of it. */
	int settled;
	int lots;			   /* that were over, and whose loss was posted */
	bool unfinished;	   /* it was stopped by max_rows or end */
	NameData locked_table; /* it was stopped by a table that somebody has locked; empty: no */
} clSweep;

/*
 * Settle holds that expired, then post what lots lost, in the current
 * transaction.  Waits for nobody:
 * an account that somebody else has locked is passed over, a table that is
 * locked ends the sweep.  An organisation whose holds cannot be settled is
 * passed over with a WARNING and does not stop the rest.  What was settled is
 * told by NOTIFY (see timeout_notice.h).
 *
 * Whoever sweeps in several transactions hands the same set of organisations
 * to each, so that one that was passed over is not tried again in all of them.
 */
extern void cl_sweep(clSweep *sweep);

static inline bool
cl_sweep_met_lock(const clSweep *sweep)
{
	return NameStr(sweep->locked_table)[0] != '\0';
}

extern HTAB *cl_sweep_passed_over(void);

/* When the oldest hold expired that is still live and expired before as_of; 0 if there is none. */
extern TimestampTz cl_sweep_oldest(TimestampTz as_of);

#endif /* CL_SWEEP_H */
