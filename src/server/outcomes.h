/*-------------------------------------------------------------------------
 *
 * outcomes.h
 *	  Successes, until it is known what becomes of their transactions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_OUTCOMES_H
#define CL_OUTCOMES_H

#include "server/counters.h"

/* To be called where there is shared memory; counts as done, rolled back or prepared when that is known. */
extern void cl_outcomes_add_success(clCall call, int times);

extern void cl_outcomes_init(void);

#endif /* CL_OUTCOMES_H */
