/*-------------------------------------------------------------------------
 *
 * transition.h
 *	  The state machine of an authorization, as data.
 *
 * README.md in the directory above draws it.  What the timeout settled is
 * provisional: inside the true-up window the caller's word replaces it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_TRANSITION_H
#define CL_TRANSITION_H

#include "ledger/authorization.h"
#include "compat.h"

typedef enum clState
{
	CL_STATE_OPEN,
	CL_STATE_COMMITTED,			/* by the caller, whose word is final */
	CL_STATE_COMMITTED_IN_PART, /* the same, with just what was charged while it was open */
	CL_STATE_REVERTED,
	CL_STATE_COMMITTED_BY_TIMEOUT, /* inside the true-up window */
	CL_STATE_REVERTED_BY_TIMEOUT,
	CL_STATE_COMMITTED_FINALLY, /* by timeout, outside the window */
	CL_STATE_REVERTED_FINALLY
} clState;

#define CL_NSTATES (CL_STATE_REVERTED_FINALLY + 1)

typedef enum clVerb
{
	CL_VERB_COMMIT,
	CL_VERB_COMMIT_PART, /* final => false */
	CL_VERB_REVERT,
	CL_VERB_EXPIRE, /* the timeout, by the hold's timeout_action */
	CL_VERB_EXTEND,
	CL_VERB_REFUND,
	CL_VERB_CORRECT
} clVerb;

#define CL_NVERBS (CL_VERB_CORRECT + 1)

/* To whoever charged and now says otherwise. */
#define CL_REMEDY_FOR_CHARGED \
	"credit_correct() sets what it was really worth, credit_refund() gives credits back."

typedef enum clEffect
{
	CL_EFFECT_REFUSE, /* LC006 */
	CL_EFFECT_NONE,	  /* nothing to do */
	CL_EFFECT_REPLAY, /* done before; LC004 or LC006 if with another amount */
	CL_EFFECT_APPLY	  /* do it */
} clEffect;

/* The state an authorization is in at an instant of the clock on the wall. */
extern clState cl_state(const clAuthorization *authorization, TimestampTz now);

/* What a verb does to an authorization in a state. */
extern clEffect cl_effect(clState state, clVerb verb);

/* A sentence that says what became of it. */
extern char *cl_state_told(const clAuthorization *authorization, clState state);

/* LC006 */
pg_noreturn extern void cl_raise_invalid_transition(const clAuthorization *authorization, clState state, clVerb verb);

#endif /* CL_TRANSITION_H */
