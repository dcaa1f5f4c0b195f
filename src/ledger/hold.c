/*-------------------------------------------------------------------------
 *
 * hold.c
 *	  Holding credits, or charging them at once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "ledger/arguments.h"
#include "ledger/authorization_id.h"
#include "ledger/credits.h"
#include "ledger/errors.h"
#include "ledger/hold.h"
#include "ledger/results.h"
#include "ledger/settings.h"
#include "ledger/settlement.h"
#include "ledger/verbs.h"

static void authorization_charge(clUnit *unit, clAccount *account, clAuthorization *authorization, TimestampTz now);
static void hold_set_amount(clUnit *unit, clAccount *account, clAuthorization *authorization, int64 amount,
							clTally *tally);
static void require_not_frozen(const clAccount *account);
pg_noreturn static void raise_detached(clUnit *unit, const clIdempotency *call);

bool
cl_hold(clUnit *unit, clAccount *account, clHoldRequest *request, clAuthorization *authorization, clTally *tally)
{
	clIdempotency *call = &request->call;
	TimestampTz wall;
	TimestampTz now;

	if (cl_idempotency_replay(unit, account, call))
	{
		if (!cl_authorization_find(unit, call->authorization_id, authorization))
			raise_detached(unit, call);
		return false;
	}

	if (!request->is_used)
		cl_hold_require(unit, account, call->amount, tally);
	wall = GetCurrentTimestamp();
	now = cl_account_instant(account, wall);

	memset(authorization, 0, sizeof(clAuthorization));
	authorization->authorization_id = cl_authorization_id_make(now, account->org_id);
	authorization->org_id = account->org_id;
	authorization->campaign_id = call->campaign_id;
	authorization->idempotency_key = call->key;
	authorization->amount = call->amount;
	authorization->authorized_amount = call->amount;
	authorization->timeout_action = request->timeout_action;
	authorization->created_at = now;
	authorization->metadata = request->metadata;
	if (request->is_charge)
		authorization_charge(unit, account, authorization, now);
	else
	{
		/* Instants of an account never go back; the time that a hold has follows the clock on the wall. */
		authorization->status = CL_AUTHORIZED;
		authorization->expires_at = request->timeout != NULL ?
			cl_timeout_end(wall, request->timeout) :
			TimestampTzPlusMilliseconds(wall, (int64) cl_commit_timeout * 1000);
		authorization->lots = cl_credits_hold(unit, account, call->amount);
	}
	cl_authorization_insert(unit, authorization);

	call->authorization_id = authorization->authorization_id;
	call->created_at = now;
	cl_idempotency_insert(unit, account, call);
	return true;
}

/* Born committed. */
static void
authorization_charge(clUnit *unit, clAccount *account, clAuthorization *authorization, TimestampTz now)
{
	clEntry entry = {.kind = CL_ENTRY_COMMIT,
					 .amount = -authorization->amount,
					 .authorization_id = authorization->authorization_id};

	authorization->status = CL_COMMITTED;
	authorization->expires_at = authorization->settled_at = now;
	authorization->settled_by = CL_CALLER;
	authorization->lots = entry.lots = cl_credits_spend(unit, account, authorization->amount);
	cl_entry_post(unit, account, now, &entry);
}

void
cl_hold_require(clUnit *unit, clAccount *account, int64 amount, clTally *tally)
{
	require_not_frozen(account);
	cl_make_available(unit, account, amount, NULL, tally);
}

static void
require_not_frozen(const clAccount *account)
{
	if (account->frozen)
		ereport(ERROR,
				(errcode(ERRCODE_CL_ACCOUNT_FROZEN),
				 errmsg("account of organisation \"%s\" is frozen", text_to_cstring(account->org_id)),
				 errdetail("A frozen account takes no new holds, raises and charges; holds it has can be settled."),
				 errhint("credit_account_configure() with frozen => false opens it again.")));
}

/* The call was made before, but of what it made only the idempotency row is left. */
static void
raise_detached(clUnit *unit, const clIdempotency *call)
{
	char *foreign = cl_authorization_foreign_leaves(unit);

	ereport(ERROR,
			(errcode(ERRCODE_CL_AUTHORIZATION_NOT_FOUND),
			 errmsg("authorization \"%s\" does not exist", text_to_cstring(call->authorization_id)),
			 foreign == NULL ?
				 errdetail("It was made under idempotency key \"%s\"; its partition has been detached since.",
						   text_to_cstring(call->key)) :
				 errdetail("It was made under idempotency key \"%s\". "
						   "Partitions that are foreign tables were not searched: %s.",
						   text_to_cstring(call->key), foreign)));
	pg_unreachable();
}

/* ------------------------------------------------------------------------
 * Extending
 * ------------------------------------------------------------------------
 */

/* credit_extend(authorization_id, timeout, amount) */
Datum
cl_extend(FunctionCallInfo fcinfo, clTally *tally)
{
	text *authorization_id = cl_arg_identifier(fcinfo, 0, "authorization_id");
	Interval *timeout = cl_arg_optional_timeout(fcinfo, 1, "timeout");
	int64 amount = PG_ARGISNULL(2) ? 0 : cl_arg_amount(fcinfo, 2, "amount", 1);
	clUnit *unit;
	clAccount account;
	clAuthorization authorization;
	TimestampTz wall;
	TimestampTz expires_at;
	clState state;
	bool replayed;
	Datum result;

	cl_require_either(timeout == NULL && amount == 0, "timeout", "amount");

	unit = cl_unit_begin("credit_extend()");
	cl_authorization_lock(unit, authorization_id, &account, &authorization, tally);
	cl_credits_begin(unit, &account);
	state = cl_state(&authorization, GetCurrentTimestamp());
	if (cl_effect(state, CL_VERB_EXTEND) != CL_EFFECT_APPLY)
		cl_raise_invalid_transition(&authorization, state, CL_VERB_EXTEND);

	if (amount == 0)
		amount = authorization.authorized_amount;
	replayed = amount == authorization.authorized_amount;
	if (!replayed)
		hold_set_amount(unit, &account, &authorization, amount, tally);

	/* What came late must not shorten what came before it. */
	wall = GetCurrentTimestamp();
	expires_at = timeout == NULL ? authorization.expires_at : cl_timeout_end(wall, timeout);
	replayed &= expires_at <= authorization.expires_at;
	if (!replayed)
	{
		authorization.expires_at = Max(expires_at, authorization.expires_at);
		cl_authorization_store(unit, &authorization);

		/* The account says when it last changed: a transaction with an older snapshot must not miss this. */
		cl_credits_leave(unit, &account, cl_account_instant(&account, wall));
	}
	cl_credits_end(unit, &account);
	cl_tally_answer(tally, replayed);
	result = cl_authorization_result(&authorization, &account, replayed);
	cl_unit_end(unit);
	return result;
}

static void
hold_set_amount(clUnit *unit, clAccount *account, clAuthorization *authorization, int64 amount, clTally *tally)
{
	int64 more = amount - authorization->authorized_amount;

	cl_require_not_below_charged(authorization, amount,
								 "credit_commit() settles it with what was used, and releases the rest.");
	if (more > 0)
	{
		clShares lots;

		require_not_frozen(account);
		cl_make_available(unit, account, more, authorization->authorization_id, tally);
		lots = cl_credits_hold(unit, account, more);
		cl_shares_append_all(&authorization->lots, &lots);
	}
	else
		cl_credits_release(unit, account, &authorization->lots, authorization->amount, -more);
	authorization->amount += more;
	authorization->authorized_amount = amount;
}
