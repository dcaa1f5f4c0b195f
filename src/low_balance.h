/*-------------------------------------------------------------------------
 *
 * low_balance.h
 *	  The alert that an organisation runs out of credits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_LOW_BALANCE_H
#define CL_LOW_BALANCE_H

#include "account.h"

extern clBalanceLevel cl_balance_level(const clAccount *account);

/*
 * Open or close the alert of an account whose level was another one before
 * this call.  To be called with the account locked, whoever changes it.
 */
extern void cl_low_balance_follow(clUnit *unit, const clAccount *account, clBalanceLevel before);

#endif /* CL_LOW_BALANCE_H */
