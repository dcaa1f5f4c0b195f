/*-------------------------------------------------------------------------
 *
 * low_balance.h
 *	  The alert that an organisation runs out of credits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_LOW_BALANCE_H
#define CL_LOW_BALANCE_H

#include "table/unit.h"

/* Where what is available stands, as seen from low_balance_threshold. */
typedef enum clBalanceLevel
{
	CL_BALANCE_UNWATCHED, /* there is no threshold */
	CL_BALANCE_NORMAL,
	CL_BALANCE_RECOVERING, /* no longer low; an alert that is open stays open */
	CL_BALANCE_LOW
} clBalanceLevel;

extern clBalanceLevel cl_balance_level(int64 available, int64 threshold);

/*
 * Open or close the alert of an organisation that came to another level, and
 * refresh the unit.  To be called with the account locked, whoever changes it.
 */
extern void cl_low_balance_follow(clUnit *unit, text *org_id, clBalanceLevel level, int64 available,
								  int64 threshold, int64 balance, int64 held);

#endif /* CL_LOW_BALANCE_H */
