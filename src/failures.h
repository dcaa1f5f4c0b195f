/*-------------------------------------------------------------------------
 *
 * failures.h
 *	  The failures that happened last, with their circumstances.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_FAILURES_H
#define CL_FAILURES_H

#include "counters.h"

/* To be called where there is shared memory.  Identifiers may be empty. */
extern void cl_failures_add(clCall call, const char *org_id, const char *authorization_id,
							int sqlstate, const char *message);

/* For shared.c */
extern Size cl_failures_size(void);
extern void cl_failures_attach(void);
extern bool cl_failures_load(FILE *file);
extern bool cl_failures_save(FILE *file);

#endif /* CL_FAILURES_H */
