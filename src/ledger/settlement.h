/*-------------------------------------------------------------------------
 *
 * settlement.h
 *	  Settling authorizations: commit, revert, expire, and true-ups.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_SETTLEMENT_H
#define CL_SETTLEMENT_H

#include "ledger/authorization.h"
#include "ledger/transition.h"

typedef struct clSettlement
{
	clVerb verb;  /* CL_VERB_COMMIT, _REVERT or _EXPIRE */
	bool all;	  /* commit: charge all that was authorized, */
	int64 used;	  /* or this much (>= 0) */
	text *reason; /* revert: or NULL */
} clSettlement;

/*
 * Settle an authorization under its account's lock.  Returns false where
 * there was nothing to do, because it was done before; else the caller stores
 * the account.  LC001, LC004, LC005, LC006.
 */
extern bool cl_settle(clUnit *unit, clAccount *account, clAuthorization *authorization,
					  const clSettlement *settlement);

#endif /* CL_SETTLEMENT_H */
