/*-------------------------------------------------------------------------
 *
 * hold.h
 *	  Holding credits, or charging them at once.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_HOLD_H
#define CL_HOLD_H

#include "utils/timestamp.h"

#include "ledger/authorization.h"
#include "ledger/idempotency.h"

/* What credit_authorize() or credit_charge() was asked for. */
typedef struct clHoldRequest
{
	clIdempotency call;
	bool is_charge;			 /* nothing is held: it is born committed */
	bool is_used;			 /* it was used already: whatever is available, though the account be frozen */
	const Interval *timeout; /* NULL: credit_ledger.commit_timeout */
	clTimeoutAction timeout_action;
	struct varlena *metadata; /* jsonb, or NULL */
} clHoldRequest;

/*
 * Hold or charge credits of a locked account.  Returns false if the call was
 * made before, with the authorization as it stands now; else the caller
 * stores the account.  LC001, LC004, LC007, before anything is written.
 */
extern bool cl_hold(clUnit *unit, clAccount *account, clHoldRequest *request, clAuthorization *authorization,
					clTally *tally);

/* LC001, LC007: raises what a new hold of so many credits would. */
extern void cl_hold_require(clUnit *unit, clAccount *account, int64 amount, clTally *tally);

#endif /* CL_HOLD_H */
