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

/*
 * A part of the shared memory.  Those that have save and load outlive a clean
 * shutdown; load is called while nobody else is there, and returns false
 * where what it reads is not what save wrote.
 */
typedef struct clSharedPart
{
	Size (*size)(void);
	void (*attach)(void);
	bool (*save)(FILE *file); /* or NULL, as load */
	bool (*load)(FILE *file);
	int number; /* which part it is, once registered */
} clSharedPart;

/* To be called while libraries are preloaded. */
extern void cl_shared_register(clSharedPart *part);

/* To be called while libraries are preloaded. */
extern void cl_shared_init(void);

/* Whether there is shared memory: the library was preloaded. */
extern bool cl_shared_is_there(void);

/* The lock of a part. */
extern LWLock *cl_shared_lock(const clSharedPart *part);

#endif /* CL_SHARED_H */
