/*-------------------------------------------------------------------------
 *
 * settlement.c
 *	  Settling authorizations: commit, revert, expire, and true-ups.
 *
 * All of them are one thing: what the organisation is charged changes from
 * what it was (nothing, while held) to what it shall be (nothing, once
 * reverted), the difference is one entry, and a hold that was live is
 * released.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "ledger/arguments.h"
#include "ledger/entry.h"
#include "ledger/errors.h"
#include "ledger/results.h"
#include "ledger/settlement.h"
#include "ledger/verbs.h"

static Datum settle_by_caller(const char *what, text *authorization_id, const clSettlement *settlement, clTally *tally);
static void settlement_apply(clUnit *unit, clAccount *account, clAuthorization *authorization,
							 clStatus status, int64 charge, clActor actor, TimestampTz now);
static void require_within_overage(const clAccount *account, const clAuthorization *authorization, int64 used);
pg_noreturn static void raise_committed_with_another_amount(const clAuthorization *authorization, int64 used);

bool
cl_settle(clUnit *unit, clAccount *account, clAuthorization *authorization, const clSettlement *settlement)
{
	TimestampTz now = cl_account_now(account);
	clState state = cl_state(authorization, now);
	clEffect effect = cl_effect(state, settlement->verb);
	bool committing = settlement->verb == CL_VERB_COMMIT ||
		(settlement->verb == CL_VERB_EXPIRE && authorization->timeout_action == CL_TIMEOUT_COMMIT);
	bool by_caller = settlement->verb != CL_VERB_EXPIRE;
	int64 used = settlement->all ? authorization->authorized_amount : settlement->used;

	Assert(settlement->all || settlement->verb == CL_VERB_COMMIT);

	if (effect == CL_EFFECT_NONE)
		return false;
	if (effect == CL_EFFECT_REPLAY && (settlement->all || used == authorization->amount))
		return false;

	if (committing)
		require_within_overage(account, authorization, used);
	if (effect == CL_EFFECT_REPLAY)
		raise_committed_with_another_amount(authorization, used);
	if (effect == CL_EFFECT_REFUSE)
		cl_raise_invalid_transition(authorization, state, settlement->verb);

	authorization->reason = settlement->reason;
	settlement_apply(unit, account, authorization,
					 committing ? CL_COMMITTED : CL_REVERTED,
					 committing ? used : 0,
					 by_caller ? CL_CALLER : CL_TIMEOUT,
					 now);
	return true;
}

static void
settlement_apply(clUnit *unit, clAccount *account, clAuthorization *authorization,
				 clStatus status, int64 charge, clActor actor, TimestampTz now)
{
	bool was_open = authorization->status == CL_AUTHORIZED;
	int64 charged = cl_authorization_charged(authorization);
	int64 covered = was_open ? authorization->amount : charged;
	clEntry entry = {
		.kind = was_open ? CL_ENTRY_COMMIT : CL_ENTRY_TRUE_UP,
		.amount = charged - charge,
		.authorization_id = authorization->authorization_id,
		.reason = authorization->reason};

	/* A refund makes a commit the caller's, so it never stands between. */
	Assert(authorization->refunded_amount == 0);

	cl_account_require_available(account, charge - covered);
	if (was_open)
		cl_account_hold(account, -authorization->amount);
	cl_entry_post(unit, account, now, &entry);

	authorization->status = status;
	authorization->amount = status == CL_COMMITTED ? charge : authorization->authorized_amount;
	authorization->settled_at = now;
	authorization->settled_by = actor;
	cl_authorization_store(unit, authorization);
}

static void
require_within_overage(const clAccount *account, const clAuthorization *authorization, int64 used)
{
	if (used - authorization->authorized_amount <= account->overage_limit)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_CL_AMOUNT_EXCEEDS_AUTHORIZATION),
			 errmsg("amount exceeds what authorization \"%s\" holds",
					text_to_cstring(authorization->authorization_id)),
			 errdetail("Used are %lld, authorized are %lld; the organisation's overage limit is %lld.",
					   (long long) used, (long long) authorization->authorized_amount,
					   (long long) account->overage_limit),
			 errhint("Commit what is authorized, and take the rest with a second authorization.")));
}

static void
raise_committed_with_another_amount(const clAuthorization *authorization, int64 used)
{
	ereport(ERROR,
			(errcode(ERRCODE_CL_IDEMPOTENCY_CONFLICT),
			 errmsg("authorization \"%s\" is committed with another amount",
					text_to_cstring(authorization->authorization_id)),
			 errdetail("Stored: amount %lld. Passed: amount %lld.",
					   (long long) authorization->amount, (long long) used),
			 errhint("credit_refund() gives credits back, credit_adjust() takes more.")));
	pg_unreachable();
}

/* ------------------------------------------------------------------------
 * SQL functions
 * ------------------------------------------------------------------------
 */

/* credit_commit(authorization_id, amount_used) */
Datum
cl_commit(FunctionCallInfo fcinfo, clTally *tally)
{
	text *authorization_id = cl_arg_identifier(fcinfo, 0, "authorization_id");
	clSettlement settlement = {.verb = CL_VERB_COMMIT, .all = PG_ARGISNULL(1)};

	if (!settlement.all)
		settlement.used = cl_arg_amount(fcinfo, 1, "amount_used", 0);
	return settle_by_caller("credit_commit()", authorization_id, &settlement, tally);
}

/* credit_revert(authorization_id, reason) */
Datum
cl_revert(FunctionCallInfo fcinfo, clTally *tally)
{
	text *authorization_id = cl_arg_identifier(fcinfo, 0, "authorization_id");
	clSettlement settlement = {.verb = CL_VERB_REVERT, .all = true};

	settlement.reason = cl_arg_optional_text(fcinfo, 1);
	return settle_by_caller("credit_revert()", authorization_id, &settlement, tally);
}

static Datum
settle_by_caller(const char *what, text *authorization_id, const clSettlement *settlement, clTally *tally)
{
	clUnit *unit = cl_unit_begin(what);
	clAccount account;
	clAuthorization authorization;
	bool done;
	Datum result;

	cl_authorization_lock(unit, authorization_id, &account, &authorization, tally);
	done = cl_settle(unit, &account, &authorization, settlement);
	if (done)
		cl_account_store(unit, &account);
	cl_tally_answer(tally, !done);
	result = cl_authorization_result(&authorization, &account, !done);
	cl_unit_end(unit);
	return result;
}
