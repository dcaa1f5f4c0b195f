/*-------------------------------------------------------------------------
 *
 * failures.h
 *	  The failures that happened last, with their circumstances.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_FAILURES_H
#define CL_FAILURES_H

#include "server/counters.h"

/* To be called where there is shared memory.  Identifiers may be NULL. */
extern void cl_failures_add(clCall call, const char *org_id, const char *authorization_id,
							int sqlstate, const char *message);

extern void cl_failures_init(void);

#endif /* CL_FAILURES_H */
