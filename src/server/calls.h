/*-------------------------------------------------------------------------
 *
 * calls.h
 *	  Calls of the SQL functions that write the ledger.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_CALLS_H
#define CL_CALLS_H

#include "ledger/tally.h"
#include "server/counters.h"

/* Count what a call tells, for those who call the ledger from C; successes count once the transaction commits. */
extern void cl_calls_count(clCall call, const clTally *tally);

#endif /* CL_CALLS_H */
