/*-------------------------------------------------------------------------
 *
 * tally.h
 *	  What a call of an SQL function has to tell of itself.
 *
 * Whoever calls a verb hands it an empty tally and reads it afterwards, also
 * where the call ended in an error: the verb fills it in as it goes, and
 * what it points to lives as long as its context.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_TALLY_H
#define CL_TALLY_H

#include "nodes/pg_list.h"
#include "utils/elog.h"

/* Something that was refused, and did not stop the call. */
typedef struct clRefusal
{
	const text *org_id;			  /* or NULL */
	const text *authorization_id; /* or NULL */
	const text *campaign_id;	  /* or NULL */
	int sqlstate;
	char *message;
	char *detail; /* or NULL */
} clRefusal;

typedef struct clTally
{
	MemoryContext context;

	/* What it is about, as soon as that is known; or NULL. */
	const text *org_id;
	const text *authorization_id;
	const text *campaign_id;

	/* What it answered. */
	int done;
	int replayed;
	int expired;	/* holds that it settled on its way, because their time had come */
	List *refusals; /* of clRefusal */
} clTally;

static inline void
cl_tally_answer(clTally *tally, bool replayed)
{
	if (replayed)
		tally->replayed++;
	else
		tally->done++;
}

/* What the tally is about was refused. */
extern const clRefusal *cl_tally_refuse(clTally *tally, const ErrorData *error);

#endif /* CL_TALLY_H */
