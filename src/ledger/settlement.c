/*-------------------------------------------------------------------------
 *
 * settlement.c
 *	  What authorizations are charged: commit, revert, expire, and what
 *	  corrects these later.
 *
 * All of them are one thing: what the organisation is charged changes from
 * what it was (nothing, or parts, while held) to what it shall be, the
 * difference is one entry, and what the hold no longer needs is released.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "ledger/credits.h"
#include "ledger/errors.h"
#include "ledger/identifier.h"
#include "ledger/settlement.h"
#include "ledger/timeout_notice.h"

/* What a settlement makes of an authorization; the status is authorized where only a part is charged. */
typedef struct Outcome
{
	clStatus status;
	int64 charge; /* in all */
	clActor actor;
	text *reason;
} Outcome;

static Outcome settlement_outcome(const clAuthorization *authorization, const clSettlement *settlement);
static bool settlement_is_replay(const clAuthorization *authorization, clEffect effect,
								 const clSettlement *settlement);
static void settlement_require_legal(const clAccount *account, const clAuthorization *authorization, clState state,
									 const clSettlement *settlement);
static void outcome_apply(clUnit *unit, clAccount *account, clAuthorization *authorization, const Outcome *outcome,
						  TimestampTz wall);
static clShares charge_hold(clUnit *unit, clAccount *account, clAuthorization *authorization, const Outcome *outcome);
static List *expired_holds(clUnit *unit, const clAccount *account, const text *except);
static int compare_expiry(const ListCell *a, const ListCell *b);
static void require_within_overage(const clAccount *account, const clAuthorization *authorization, int64 used);
static void require_within_hold(const clAuthorization *authorization, int64 used);
static void require_not_below_refunded(const clAuthorization *authorization, int64 used);
pg_noreturn static void raise_committed_with_another_amount(const clAuthorization *authorization, int64 used);

bool
cl_settle(clUnit *unit, clAccount *account, clAuthorization *authorization, const clSettlement *settlement,
		  clTally *tally)
{
	TimestampTz wall = GetCurrentTimestamp();
	clState state = cl_state(authorization, wall);
	clEffect effect = cl_effect(state, settlement->verb);
	int64 covered = authorization->status == CL_AUTHORIZED ? authorization->authorized_amount :
															 cl_authorization_charged(authorization);
	Outcome outcome;

	Assert(settlement->all || settlement->verb == CL_VERB_COMMIT || settlement->verb == CL_VERB_COMMIT_PART ||
		   settlement->verb == CL_VERB_CORRECT);

	if (effect == CL_EFFECT_NONE || settlement_is_replay(authorization, effect, settlement))
		return false;
	settlement_require_legal(account, authorization, state, settlement);

	outcome = settlement_outcome(authorization, settlement);
	if (settlement->verb != CL_VERB_CORRECT)
		cl_make_available(unit, account, outcome.charge - covered, authorization->authorization_id, tally);
	outcome_apply(unit, account, authorization, &outcome, wall);
	return true;
}

static Outcome
settlement_outcome(const clAuthorization *authorization, const clSettlement *settlement)
{
	int64 parts = authorization->committed_amount;
	bool expires = settlement->verb == CL_VERB_EXPIRE;
	Outcome outcome = {.actor = expires ? CL_TIMEOUT : CL_CALLER, .reason = settlement->reason};

	if (settlement->verb == CL_VERB_COMMIT || settlement->verb == CL_VERB_COMMIT_PART ||
		settlement->verb == CL_VERB_CORRECT ||
		(expires && authorization->timeout_action == CL_TIMEOUT_COMMIT))
	{
		outcome.status = settlement->verb == CL_VERB_COMMIT_PART ? CL_AUTHORIZED : CL_COMMITTED;
		outcome.charge = settlement->all ? authorization->authorized_amount : settlement->used;
	}
	else
	{
		/* What was charged in parts was used. */
		outcome.status = parts > 0 ? CL_COMMITTED : CL_REVERTED;
		outcome.charge = parts;
	}
	return outcome;
}

static bool
settlement_is_replay(const clAuthorization *authorization, clEffect effect, const clSettlement *settlement)
{
	if (settlement->verb == CL_VERB_COMMIT_PART && effect == CL_EFFECT_APPLY)
		return settlement->used == authorization->committed_amount;
	if (settlement->verb == CL_VERB_COMMIT_PART)
		return effect == CL_EFFECT_REPLAY && settlement->used <= authorization->amount;
	if (settlement->verb == CL_VERB_CORRECT)
		return effect == CL_EFFECT_APPLY && settlement->used == cl_authorization_charged(authorization);
	return effect == CL_EFFECT_REPLAY && (settlement->all || settlement->used == authorization->amount);
}

static void
settlement_require_legal(const clAccount *account, const clAuthorization *authorization, clState state,
						 const clSettlement *settlement)
{
	clEffect effect = cl_effect(state, settlement->verb);
	int64 used = settlement->all ? authorization->authorized_amount : settlement->used;

	if (settlement->verb == CL_VERB_COMMIT)
	{
		require_within_overage(account, authorization, used);
		if (effect == CL_EFFECT_REPLAY)
			raise_committed_with_another_amount(authorization, used);
	}
	if (effect != CL_EFFECT_APPLY)
		cl_raise_invalid_transition(authorization, state, settlement->verb);
	if (settlement->verb == CL_VERB_COMMIT || settlement->verb == CL_VERB_COMMIT_PART)
		cl_require_not_below_charged(authorization, used,
									 "The amount is the total used so far. "
									 "credit_correct() sets what it was really worth once it is settled.");
	if (settlement->verb == CL_VERB_COMMIT_PART)
		require_within_hold(authorization, used);
	if (settlement->verb == CL_VERB_CORRECT)
		require_not_below_refunded(authorization, used);
}

static void
outcome_apply(clUnit *unit, clAccount *account, clAuthorization *authorization, const Outcome *outcome,
			  TimestampTz wall)
{
	TimestampTz now = cl_account_instant(account, wall);
	int64 charged = cl_authorization_charged(authorization);
	clEntry entry = {
		.kind = authorization->status == CL_AUTHORIZED ? CL_ENTRY_COMMIT : CL_ENTRY_TRUE_UP,
		.amount = charged - outcome->charge,
		.authorization_id = authorization->authorization_id,
		.reason = outcome->reason};

	Assert(outcome->charge >= authorization->refunded_amount);

	if (authorization->status == CL_AUTHORIZED)
		entry.lots = charge_hold(unit, account, authorization, outcome);
	else if (outcome->charge >= charged)
	{
		entry.lots = cl_credits_spend(unit, account, outcome->charge - charged);
		cl_shares_append_all(&authorization->lots, &entry.lots);
	}
	else
		entry.lots = cl_credits_give_back(unit, account, &authorization->lots,
										  charged - authorization->refunded_amount, charged - outcome->charge);

	if (outcome->status == CL_AUTHORIZED)
	{
		authorization->committed_amount = outcome->charge;
		authorization->amount = authorization->authorized_amount - outcome->charge;
	}
	else
	{
		authorization->status = outcome->status;
		authorization->amount = outcome->status == CL_COMMITTED ? outcome->charge : authorization->authorized_amount;
		authorization->settled_at = now;
		authorization->settled_by = outcome->actor;
		authorization->reason = outcome->reason;
	}
	cl_entry_post(unit, account, now, &entry);
	cl_authorization_store(unit, authorization);
	cl_credits_leave(unit, account, now);
}

/*
 * Charge the first of a hold, and what goes beyond it from what is free;
 * unless it stays open, release the rest.  Returns what lots paid.
 */
static clShares
charge_hold(clUnit *unit, clAccount *account, clAuthorization *authorization, const Outcome *outcome)
{
	int64 more = outcome->charge - authorization->committed_amount;
	int64 within = Min(more, authorization->amount);
	int64 rest = authorization->amount - within;
	clShares paid = cl_credits_spend_held(unit, account, &authorization->lots, within);

	if (outcome->status == CL_AUTHORIZED)
		cl_shares_append_all(&authorization->committed_lots, &paid);
	else
	{
		clShares beyond;

		cl_credits_release(unit, account, &authorization->lots, rest, rest);
		beyond = cl_credits_spend(unit, account, more - within);
		cl_shares_append_all(&paid, &beyond);

		authorization->lots = authorization->committed_lots;
		cl_shares_append_all(&authorization->lots, &paid);
		authorization->committed_lots = (clShares) {0};
	}
	return paid;
}

/* ------------------------------------------------------------------------
 * Expired holds in the way of a call
 * ------------------------------------------------------------------------
 */

/*
 * First it is reckoned what that may give, so that a call that is refused all
 * the same says the right figures and has written nothing.  Only what comes
 * back into lots that are over may turn out less; what was settled then would
 * be by the sweep, and stands by itself.
 */
void
cl_make_available(clUnit *unit, clAccount *account, int64 amount, const text *except, clTally *tally)
{
	static const clSettlement expiry = {.verb = CL_VERB_EXPIRE, .all = true};
	clAccount forecast;
	List *holds;
	List *settled = NIL;
	ListCell *lc;

	if (cl_account_has_available(account, amount))
		return;

	forecast = *account;
	holds = expired_holds(unit, account, except);
	foreach(lc, holds)
	{
		const clAuthorization *hold = lfirst(lc);

		cl_account_hold(&forecast, -hold->amount);
		cl_account_move(&forecast, hold->committed_amount - settlement_outcome(hold, &expiry).charge);
	}
	cl_account_require_available(&forecast, amount);

	foreach(lc, holds)
	{
		clAuthorization *hold = lfirst(lc);

		CHECK_FOR_INTERRUPTS();
		(void) cl_settle(unit, account, hold, &expiry, tally);
		settled = lappend(settled, hold->authorization_id);
	}
	if (settled != NIL)
	{
		cl_timeout_notice(account->org_id, settled);
		tally->expired += list_length(settled);
		cl_unit_refresh(unit);
	}
	cl_account_require_available(account, amount);
}

/* The oldest first, as the sweep has it. */
static List *
expired_holds(clUnit *unit, const clAccount *account, const text *except)
{
	clScan *scan = cl_authorization_scan_expired_of(unit, account->org_id, GetCurrentTimestamp());
	clAuthorization hold;
	List *holds = NIL;

	while (cl_authorization_next(unit, scan, &hold))
	{
		CHECK_FOR_INTERRUPTS();
		if (!cl_identifier_equal(hold.authorization_id, except))
		{
			clAuthorization *kept = palloc(sizeof(clAuthorization));

			*kept = hold;
			holds = lappend(holds, kept);
		}
	}
	cl_scan_end(scan);
	list_sort(holds, compare_expiry);
	return holds;
}

static int
compare_expiry(const ListCell *a, const ListCell *b)
{
	const clAuthorization *left = lfirst(a);
	const clAuthorization *right = lfirst(b);

	if (left->expires_at != right->expires_at)
		return left->expires_at < right->expires_at ? -1 : 1;
	return cl_identifier_compare(left->authorization_id, right->authorization_id);
}

/* ------------------------------------------------------------------------
 * Refusals
 * ------------------------------------------------------------------------
 */

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
			 errhint("Raise the hold first with credit_extend(), or commit what is authorized "
					 "and charge the rest with credit_charge().")));
}

static void
require_within_hold(const clAuthorization *authorization, int64 used)
{
	if (used <= authorization->authorized_amount)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_CL_AMOUNT_EXCEEDS_AUTHORIZATION),
			 errmsg("amount exceeds what authorization \"%s\" holds",
					text_to_cstring(authorization->authorization_id)),
			 errdetail("Used are %lld, authorized are %lld.",
					   (long long) used, (long long) authorization->authorized_amount),
			 errhint("Raise the hold first, with credit_extend(authorization_id, amount => ...).")));
}

void
cl_require_not_below_charged(const clAuthorization *authorization, int64 amount, const char *hint)
{
	if (amount >= authorization->committed_amount)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_CL_IDEMPOTENCY_CONFLICT),
			 errmsg("authorization \"%s\" is charged with more already",
					text_to_cstring(authorization->authorization_id)),
			 errdetail("Stored: committed_amount %lld. Passed: amount %lld.",
					   (long long) authorization->committed_amount, (long long) amount),
			 errhint("%s", hint)));
}

static void
require_not_below_refunded(const clAuthorization *authorization, int64 used)
{
	if (used >= authorization->refunded_amount)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_CL_REFUND_EXCEEDS_COMMITTED),
			 errmsg("more is refunded of authorization \"%s\" than it shall be worth",
					text_to_cstring(authorization->authorization_id)),
			 errdetail("Refunded are %lld, passed is %lld.",
					   (long long) authorization->refunded_amount, (long long) used)));
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
			 errhint(CL_REMEDY_FOR_CHARGED)));
	pg_unreachable();
}
