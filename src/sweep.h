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

/*
 * Settle at most max_rows holds that expired before as_of, oldest first, in
 * the current transaction; returns how many.  Waits for nobody: an account
 * that somebody else has locked is passed over.  An organisation whose holds
 * cannot be settled is passed over with a WARNING and does not stop the rest.
 */
extern int cl_sweep(TimestampTz as_of, int max_rows);

#endif /* CL_SWEEP_H */
