/*-------------------------------------------------------------------------
 *
 * failures.h
 *	  The failures that happened last, with their circumstances.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_FAILURES_H
#define CL_FAILURES_H

#include "ledger/tally.h"
#include "server/counters.h"

/* To be called where there is shared memory.  */
extern void cl_failures_add(clCall call, const clRefusal *refusal);

extern void cl_failures_init(void);

#endif /* CL_FAILURES_H */
