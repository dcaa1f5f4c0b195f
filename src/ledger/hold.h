/*-------------------------------------------------------------------------
 *
 * hold.h
 *	  Holding credits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_HOLD_H
#define CL_HOLD_H

#include "ledger/authorization.h"
#include "ledger/idempotency.h"
#include "utils/timestamp.h"

/*
 * Hold call->amount credits of a locked account until timeout from now (NULL:
 * credit_ledger.commit_timeout).  The caller has filled in the call, and
 * timeout_action and metadata of the authorization.  Returns false if the
 * call was made before, with the authorization as it stands now; else the
 * caller stores the account.  LC001, LC004, LC007.
 */
extern bool cl_hold(clUnit *unit, clAccount *account, clIdempotency *call, const Interval *timeout,
					clAuthorization *authorization);

/* LC001, LC007: raises what a new hold of so many credits would. */
extern void cl_hold_require(const clAccount *account, int64 amount);

#endif /* CL_HOLD_H */
