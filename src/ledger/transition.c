/*-------------------------------------------------------------------------
 *
 * transition.c
 *	  The state machine of an authorization, as data.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "ledger/errors.h"
#include "ledger/settings.h"
#include "ledger/transition.h"

#define NONE   CL_EFFECT_NONE
#define REPLAY CL_EFFECT_REPLAY
#define APPLY  CL_EFFECT_APPLY
#define REFUSE CL_EFFECT_REFUSE

/* clang-format off */
static const clEffect effects[CL_NSTATES][CL_NVERBS] = {
	/*                                 commit  revert  expire  extend  refund */
	[CL_STATE_OPEN] =                 {APPLY,  APPLY,  APPLY,  APPLY,  REFUSE},
	[CL_STATE_COMMITTED] =            {REPLAY, REFUSE, NONE,   REFUSE, APPLY},
	[CL_STATE_REVERTED] =             {REFUSE, REPLAY, NONE,   REFUSE, REFUSE},
	[CL_STATE_COMMITTED_BY_TIMEOUT] = {APPLY,  APPLY,  NONE,   REFUSE, APPLY},
	[CL_STATE_REVERTED_BY_TIMEOUT] =  {APPLY,  APPLY,  NONE,   REFUSE, REFUSE},
	[CL_STATE_COMMITTED_FINALLY] =    {REFUSE, REFUSE, NONE,   REFUSE, APPLY},
	[CL_STATE_REVERTED_FINALLY] =     {REFUSE, REFUSE, NONE,   REFUSE, REFUSE},
};
/* clang-format on */

static const char *const participles[CL_NVERBS] = {
	[CL_VERB_COMMIT] = "committed",
	[CL_VERB_REVERT] = "reverted",
	[CL_VERB_EXPIRE] = "expired",
	[CL_VERB_EXTEND] = "extended",
	[CL_VERB_REFUND] = "refunded",
};

static const char *remedy(clState state, clVerb verb);

clState
cl_state(const clAuthorization *authorization, TimestampTz now)
{
	bool committed = authorization->status == CL_COMMITTED;

	if (authorization->status == CL_AUTHORIZED)
		return CL_STATE_OPEN;
	if (authorization->settled_by == CL_CALLER)
		return committed ? CL_STATE_COMMITTED : CL_STATE_REVERTED;
	if (now - authorization->settled_at < (int64) cl_true_up_window * USECS_PER_SEC)
		return committed ? CL_STATE_COMMITTED_BY_TIMEOUT : CL_STATE_REVERTED_BY_TIMEOUT;
	return committed ? CL_STATE_COMMITTED_FINALLY : CL_STATE_REVERTED_FINALLY;
}

clEffect
cl_effect(clState state, clVerb verb)
{
	return effects[state][verb];
}

void
cl_raise_invalid_transition(const clAuthorization *authorization, clState state, clVerb verb)
{
	const char *hint = remedy(state, verb);
	char *detail;

	Assert(cl_effect(state, verb) == CL_EFFECT_REFUSE);

	if (state == CL_STATE_OPEN)
		detail = pstrdup("It is authorized and not settled yet.");
	else if (state == CL_STATE_COMMITTED_FINALLY || state == CL_STATE_REVERTED_FINALLY)
		detail = psprintf("It was %s by timeout, and the time to correct that "
						  "(credit_ledger.true_up_window = %s) has passed.",
						  cl_enum_name(CL_ENUM_STATUS, authorization->status),
						  GetConfigOptionByName("credit_ledger.true_up_window", NULL, false));
	else
		detail = psprintf("It was %s by %s.",
						  cl_enum_name(CL_ENUM_STATUS, authorization->status),
						  authorization->settled_by == CL_CALLER ? "its caller" : "timeout");

	ereport(ERROR,
			(errcode(ERRCODE_CL_INVALID_STATUS_TRANSITION),
			 errmsg("authorization \"%s\" cannot be %s",
					text_to_cstring(authorization->authorization_id), participles[verb]),
			 errdetail_internal("%s", detail),
			 hint == NULL ? 0 : errhint("%s", hint)));
	pg_unreachable();
}

/* What helps instead, or NULL. */
static const char *
remedy(clState state, clVerb verb)
{
	bool committed = state == CL_STATE_COMMITTED ||
		state == CL_STATE_COMMITTED_BY_TIMEOUT || state == CL_STATE_COMMITTED_FINALLY;

	if (state == CL_STATE_OPEN && verb == CL_VERB_REFUND)
		return "credit_revert() gives the whole hold back, credit_commit() the part that was not used.";
	if (committed && verb == CL_VERB_REVERT)
		return "credit_refund() gives committed credits back.";
	if (committed && verb == CL_VERB_COMMIT)
		return "credit_refund() gives credits back, credit_adjust() takes more.";
	if (!committed && state != CL_STATE_OPEN && verb == CL_VERB_COMMIT)
		return "Authorize again under a new idempotency key.";
	return NULL;
}
