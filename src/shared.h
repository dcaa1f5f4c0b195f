/*-------------------------------------------------------------------------
 *
 * shared.h
 *	  What all processes of the server share, if the library is preloaded.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_SHARED_H
#define CL_SHARED_H

#include "storage/lwlock.h"

/* One lock for each part. */
typedef enum clSharedLock
{
	CL_LOCK_COUNTERS,
	CL_LOCK_FAILURES,
	CL_LOCK_DATABASES
} clSharedLock;

#define CL_NLOCKS (CL_LOCK_DATABASES + 1)

/* To be called while libraries are preloaded. */
extern void cl_shared_init(void);

/* Whether there is shared memory: the library was preloaded. */
extern bool cl_shared_is_there(void);

extern LWLock *cl_shared_lock(clSharedLock lock);

#endif /* CL_SHARED_H */
