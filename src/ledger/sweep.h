/*-------------------------------------------------------------------------
 *
 * sweep.h
 *	  Settling holds that expired.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_SWEEP_H
#define CL_SWEEP_H

#include "datatype/timestamp.h"
#include "utils/hsearch.h"

#include "ledger/tally.h"

/*
 * Settle at most max_rows holds that expired before as_of, oldest first, in
 * the current transaction; returns how many.  Waits for nobody: an account
 * that somebody else has locked is passed over.  An organisation whose holds
 * cannot be settled is passed over with a WARNING and does not stop the rest.
 *
 * Whoever sweeps in several transactions hands the same set of organisations
 * to each, so that one that was passed over is not tried again in all of them.
 */
extern int cl_sweep(TimestampTz as_of, int max_rows, HTAB *passed_over, clTally *tally);
extern HTAB *cl_sweep_passed_over(void);

/* When the oldest hold expired that is still live and expired before as_of; 0 if there is none. */
extern TimestampTz cl_sweep_oldest(TimestampTz as_of);

#endif /* CL_SWEEP_H */
