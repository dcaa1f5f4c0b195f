/*-------------------------------------------------------------------------
 *
 * hold.c
 *	  Holding credits: authorize, extend.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "ledger/arguments.h"
#include "ledger/authorization_id.h"
#include "ledger/errors.h"
#include "ledger/hold.h"
#include "ledger/results.h"
#include "ledger/settings.h"
#include "ledger/transition.h"
#include "ledger/verbs.h"

pg_noreturn static void raise_detached(const clIdempotency *call);

bool
cl_hold(clUnit *unit, clAccount *account, clIdempotency *call, const Interval *timeout,
		clAuthorization *authorization)
{
	TimestampTz now;

	if (cl_idempotency_replay(unit, account, call))
	{
		if (!cl_authorization_find(unit, call->authorization_id, authorization))
			raise_detached(call);
		return false;
	}

	cl_hold_require(account, call->amount);
	now = cl_account_now(account);
	authorization->authorization_id = cl_authorization_id_make(now, account->org_id);
	authorization->org_id = account->org_id;
	authorization->campaign_id = call->campaign_id;
	authorization->idempotency_key = call->key;
	authorization->status = CL_AUTHORIZED;
	authorization->amount = call->amount;
	authorization->authorized_amount = call->amount;
	authorization->created_at = now;
	authorization->expires_at = timeout != NULL ? cl_timeout_end(now, timeout) :
												  TimestampTzPlusMilliseconds(now, (int64) cl_commit_timeout * 1000);
	cl_authorization_insert(unit, authorization);

	call->authorization_id = authorization->authorization_id;
	call->created_at = now;
	cl_idempotency_insert(unit, account, call);

	cl_account_hold(account, call->amount);
	return true;
}

void
cl_hold_require(const clAccount *account, int64 amount)
{
	if (account->frozen)
		ereport(ERROR,
				(errcode(ERRCODE_CL_ACCOUNT_FROZEN),
				 errmsg("account of organisation \"%s\" is frozen", text_to_cstring(account->org_id)),
				 errdetail("A frozen account takes no new holds; those it has can still be settled."),
				 errhint("credit_account_configure() with frozen => false opens it again.")));
	cl_account_require_available(account, amount);
}

/*
 * credit_authorize(org_id, amount, campaign_id, idempotency_key, timeout,
 *		timeout_action, metadata)
 */
Datum
cl_authorize(FunctionCallInfo fcinfo, clTally *tally)
{
	text *org_id = cl_arg_identifier(fcinfo, 0, "org_id");
	int64 amount = cl_arg_amount(fcinfo, 1, "amount", 1);
	text *campaign_id = cl_arg_optional_identifier(fcinfo, 2, "campaign_id");
	text *key = cl_arg_optional_identifier(fcinfo, 3, "idempotency_key");
	Interval *timeout = cl_arg_optional_timeout(fcinfo, 4, "timeout");
	clIdempotency call = {.operation = CL_OP_AUTHORIZE, .has_amount = true, .amount = amount};
	clAuthorization authorization = {.timeout_action = cl_timeout_action};
	clUnit *unit;
	clAccount account;
	bool replayed;
	Datum result;

	call.campaign_id = campaign_id;
	call.key = key != NULL ? key : campaign_id;
	cl_require_not_null(call.key == NULL, "idempotency_key");
	if (!PG_ARGISNULL(5))
		authorization.timeout_action = cl_enum_label(CL_ENUM_TIMEOUT_ACTION, PG_GETARG_DATUM(5));
	if (!PG_ARGISNULL(6))
		authorization.metadata = PG_GETARG_VARLENA_P(6);

	tally->org_id = org_id;
	unit = cl_unit_begin("credit_authorize()");
	cl_account_lock(unit, org_id, &account);
	replayed = !cl_hold(unit, &account, &call, timeout, &authorization);
	if (!replayed)
		cl_account_store(unit, &account);
	cl_tally_answer(tally, replayed);
	result = cl_authorization_result(&authorization, &account, replayed);
	cl_unit_end(unit);
	return result;
}

/* The call was made before, but of what it made only the idempotency row is left. */
static void
raise_detached(const clIdempotency *call)
{
	ereport(ERROR,
			(errcode(ERRCODE_CL_AUTHORIZATION_NOT_FOUND),
			 errmsg("authorization \"%s\" does not exist", text_to_cstring(call->authorization_id)),
			 errdetail("It was made under idempotency key \"%s\"; its partition has been detached since.",
					   text_to_cstring(call->key))));
	pg_unreachable();
}

/* credit_extend(authorization_id, timeout) */
Datum
cl_extend(FunctionCallInfo fcinfo, clTally *tally)
{
	text *authorization_id = cl_arg_identifier(fcinfo, 0, "authorization_id");
	Interval *timeout = cl_arg_optional_timeout(fcinfo, 1, "timeout");
	clUnit *unit;
	clAccount account;
	clAuthorization authorization;
	TimestampTz now;
	clState state;
	Datum result;

	cl_require_not_null(timeout == NULL, "timeout");

	unit = cl_unit_begin("credit_extend()");
	cl_authorization_lock(unit, authorization_id, &account, &authorization, tally);
	now = cl_account_now(&account);
	state = cl_state(&authorization, now);
	if (cl_effect(state, CL_VERB_EXTEND) != CL_EFFECT_APPLY)
		cl_raise_invalid_transition(&authorization, state, CL_VERB_EXTEND);
	authorization.expires_at = cl_timeout_end(now, timeout);
	cl_authorization_store(unit, &authorization);

	/* The account says when it last changed: a transaction with an older snapshot must not miss this. */
	cl_account_store(unit, &account);
	cl_tally_answer(tally, false);
	result = cl_authorization_result(&authorization, &account, false);
	cl_unit_end(unit);
	return result;
}
