/*-------------------------------------------------------------------------
 *
 * tally.c
 *	  What a call of an SQL function has to tell of itself.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "ledger/tally.h"

/* The texts are copied. */
void
cl_tally_refuse(clTally *tally, const char *org_id, const char *authorization_id, int sqlstate, const char *message)
{
	MemoryContext old = MemoryContextSwitchTo(tally->context);
	clRefusal *refusal = palloc(sizeof(clRefusal));

	refusal->org_id = org_id != NULL ? pstrdup(org_id) : NULL;
	refusal->authorization_id = authorization_id != NULL ? pstrdup(authorization_id) : NULL;
	refusal->sqlstate = sqlstate;
	refusal->message = pstrdup(message);
	tally->refusals = lappend(tally->refusals, refusal);
	MemoryContextSwitchTo(old);
}
