/*-------------------------------------------------------------------------
 *
 * settlement.h
 *	  What authorizations are charged: commit, revert, expire, and what
 *	  corrects these later.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_SETTLEMENT_H
#define CL_SETTLEMENT_H

#include "ledger/authorization.h"
#include "ledger/transition.h"

typedef struct clSettlement
{
	clVerb verb;  /* CL_VERB_COMMIT, _COMMIT_PART, _REVERT, _EXPIRE or _CORRECT */
	bool all;	  /* commit: charge all that was authorized, */
	int64 used;	  /* or, as correct, this much in all (>= 0) */
	text *reason; /* revert: or NULL; correct */
} clSettlement;

/*
 * Settle an authorization, charge a part of it, or correct it whatever is
 * available, under its account's lock.
 * Returns false where there was nothing to do, because it was done before;
 * else the caller stores the account.  LC001, LC004, LC005, LC006,
 * LC008, before anything is written.
 */
extern bool cl_settle(clUnit *unit, clAccount *account, clAuthorization *authorization,
					  const clSettlement *settlement, clTally *tally);

/*
 * LC001 unless so many credits are available.  If they are not, the
 * organisation's expired holds are settled first; all but the hold that the
 * call is about (or NULL).  The last check before a verb writes.
 */
extern void cl_make_available(clUnit *unit, clAccount *account, int64 amount, const text *except, clTally *tally);

/* LC004 for less than was charged in parts already. */
extern void cl_require_not_below_charged(const clAuthorization *authorization, int64 amount, const char *hint);

#endif /* CL_SETTLEMENT_H */
