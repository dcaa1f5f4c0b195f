/*-------------------------------------------------------------------------
 *
 * tally.c
 *	  What a call of an SQL function has to tell of itself.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "ledger/tally.h"

static const text *copy_identifier(const text *identifier);

const clRefusal *
cl_tally_refuse(clTally *tally, const ErrorData *error)
{
	MemoryContext old = MemoryContextSwitchTo(tally->context);
	clRefusal *refusal = palloc(sizeof(clRefusal));

	refusal->org_id = copy_identifier(tally->org_id);
	refusal->authorization_id = copy_identifier(tally->authorization_id);
	refusal->campaign_id = copy_identifier(tally->campaign_id);
	refusal->sqlstate = error->sqlerrcode;
	refusal->message = pstrdup(error->message);
	refusal->detail = error->detail == NULL ? NULL : pstrdup(error->detail);
	tally->refusals = lappend(tally->refusals, refusal);
	MemoryContextSwitchTo(old);
	return refusal;
}

static const text *
copy_identifier(const text *identifier)
{
	return identifier == NULL ? NULL : (const text *) PG_DETOAST_DATUM_COPY(PointerGetDatum(identifier));
}
