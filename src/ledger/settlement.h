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
	clVerb verb;  /* CL_VERB_COMMIT, _COMMIT_PART, _REVERT or _EXPIRE */
	bool all;	  /* commit: charge all that was authorized, */
	int64 used;	  /* or this much in all (>= 0) */
	text *reason; /* revert: or NULL */
} clSettlement;

/*
 * Settle an authorization, or charge a part of it, under its account's lock.
 * Returns false where there was nothing to do, because it was done before;
 * else the caller stores the account.  LC001, LC004, LC005, LC006, before
 * anything is written.
 */
extern bool cl_settle(clUnit *unit, clAccount *account, clAuthorization *authorization,
					  const clSettlement *settlement, clTally *tally);

/*
 * Make a settled authorization's charge what it was really worth, whatever is
 * available.  Returns false where it is that already; else the caller stores
 * the account.  LC006, LC008.
 */
extern bool cl_correct_charge(clUnit *unit, clAccount *account, clAuthorization *authorization,
							  int64 used, text *reason);

/*
 * LC001 unless so many credits are available.  If they are not, the
 * organisation's expired holds are settled first; all but the hold that the
 * call is about (or NULL).  The last check before a verb writes.
 */
extern void cl_make_available(clUnit *unit, clAccount *account, int64 amount, const text *except, clTally *tally);

#endif /* CL_SETTLEMENT_H */
