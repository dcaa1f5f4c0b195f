/*-------------------------------------------------------------------------
 *
 * clock.h
 *	  A clock for durations, which nobody sets.
 *
 * The clock on the wall says when a hold expires; it may be set back or
 * forward at any time.  How long something took, and when it is due again,
 * is told by this one.  It is the same for all processes of a server.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_CLOCK_H
#define CL_CLOCK_H

#include "portability/instr_time.h"

/* Milliseconds since some instant in the past; > 0. */
static inline int64
cl_clock(void)
{
	instr_time now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MILLISEC(now) + 1;
}

#endif /* CL_CLOCK_H */
