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
	/*                                 commit  part    revert  expire  extend  refund  correct */
	[CL_STATE_OPEN] =                 {APPLY,  APPLY,  APPLY,  APPLY,  APPLY,  REFUSE, REFUSE},
	[CL_STATE_COMMITTED] =            {REPLAY, REPLAY, REFUSE, NONE,   REFUSE, APPLY,  APPLY},
	[CL_STATE_COMMITTED_IN_PART] =    {REPLAY, REPLAY, REPLAY, NONE,   REFUSE, APPLY,  APPLY},
	[CL_STATE_REVERTED] =             {REFUSE, REFUSE, REPLAY, NONE,   REFUSE, REFUSE, APPLY},
	[CL_STATE_COMMITTED_BY_TIMEOUT] = {APPLY,  REFUSE, APPLY,  NONE,   REFUSE, APPLY,  APPLY},
	[CL_STATE_REVERTED_BY_TIMEOUT] =  {APPLY,  REFUSE, APPLY,  NONE,   REFUSE, REFUSE, APPLY},
	[CL_STATE_COMMITTED_FINALLY] =    {REFUSE, REFUSE, REFUSE, NONE,   REFUSE, APPLY,  APPLY},
	[CL_STATE_REVERTED_FINALLY] =     {REFUSE, REFUSE, REFUSE, NONE,   REFUSE, REFUSE, APPLY},
};
/* clang-format on */

static const char *const participles[CL_NVERBS] = {
	[CL_VERB_COMMIT] = "committed",
	[CL_VERB_COMMIT_PART] = "charged in part",
	[CL_VERB_REVERT] = "reverted",
	[CL_VERB_EXPIRE] = "expired",
	[CL_VERB_EXTEND] = "extended",
	[CL_VERB_REFUND] = "refunded",
	[CL_VERB_CORRECT] = "corrected",
};

static const char *remedy(clState state, clVerb verb);

clState
cl_state(const clAuthorization *authorization, TimestampTz now)
{
	bool committed = authorization->status == CL_COMMITTED;

	if (authorization->status == CL_AUTHORIZED)
		return CL_STATE_OPEN;
	if (authorization->settled_by == CL_CALLER && committed)
		return authorization->committed_amount > 0 && authorization->amount == authorization->committed_amount ?
			CL_STATE_COMMITTED_IN_PART :
			CL_STATE_COMMITTED;
	if (authorization->settled_by == CL_CALLER)
		return CL_STATE_REVERTED;
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

	ereport(ERROR,
			(errcode(ERRCODE_CL_INVALID_STATUS_TRANSITION),
			 errmsg("authorization \"%s\" cannot be %s",
					text_to_cstring(authorization->authorization_id), participles[verb]),
			 errdetail_internal("%s", cl_state_told(authorization, state)),
			 hint == NULL ? 0 : errhint("%s", hint)));
	pg_unreachable();
}

char *
cl_state_told(const clAuthorization *authorization, clState state)
{
	if (state == CL_STATE_OPEN)
		return pstrdup("It is authorized and not settled yet.");
	if (state == CL_STATE_COMMITTED_FINALLY || state == CL_STATE_REVERTED_FINALLY)
		return cl_true_up_window == 0 ?
			psprintf("It was %s by timeout, whose decision is final (credit_ledger.true_up_window = 0).",
					 cl_enum_name(CL_ENUM_STATUS, authorization->status)) :
			psprintf("It was %s by timeout, and the time to correct that "
					 "(credit_ledger.true_up_window = %s) has passed.",
					 cl_enum_name(CL_ENUM_STATUS, authorization->status),
					 GetConfigOptionByName("credit_ledger.true_up_window", NULL, false));
	if (authorization->settled_by == CL_TIMEOUT)
		return psprintf("It was %s by timeout.", cl_enum_name(CL_ENUM_STATUS, authorization->status));
	if (authorization->status == CL_REVERTED)
		return pstrdup("It is reverted.");
	if (authorization->refunded_amount > 0)
		return psprintf("It is committed with amount %lld, of which %lld are refunded.",
						(long long) authorization->amount, (long long) authorization->refunded_amount);
	return psprintf("It is committed with amount %lld.", (long long) authorization->amount);
}

/* What helps instead, or NULL. */
static const char *
remedy(clState state, clVerb verb)
{
	bool open = state == CL_STATE_OPEN;
	bool reverted = state == CL_STATE_REVERTED || state == CL_STATE_REVERTED_BY_TIMEOUT ||
		state == CL_STATE_REVERTED_FINALLY;
	bool provisional = state == CL_STATE_COMMITTED_BY_TIMEOUT || state == CL_STATE_REVERTED_BY_TIMEOUT;

	switch (verb)
	{
		case CL_VERB_REFUND:
			return open ? "Settle it first: credit_commit() charges it, credit_revert() gives it back." : NULL;
		case CL_VERB_CORRECT:
			return open ? "credit_commit() or credit_revert() settles it." : NULL;
		case CL_VERB_REVERT:
			return reverted ? NULL : CL_REMEDY_FOR_CHARGED;
		case CL_VERB_COMMIT_PART:
			if (provisional)
				return "credit_commit() with final => true still corrects what the timeout decided.";
			/* FALLTHROUGH */
		case CL_VERB_COMMIT:
			return reverted ? "Authorize again under a new idempotency key." : CL_REMEDY_FOR_CHARGED;
		default:
			return NULL;
	}
}
