/*-------------------------------------------------------------------------
 *
 * movement.c
 *	  Moving credits without a hold: grant, adjust, refund.
 *
 * Each takes an idempotency key.  The replay is looked up before anything
 * else is judged, so a call that was answered once is answered again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "ledger/arguments.h"
#include "ledger/credits.h"
#include "ledger/errors.h"
#include "ledger/idempotency.h"
#include "ledger/results.h"
#include "ledger/transition.h"
#include "ledger/verbs.h"

static void grant_lot(clUnit *unit, clAccount *account, clEntry *entry, int32 priority, TimestampTz expires_at,
					  TimestampTz now);
static bool movement_replay(clUnit *unit, clAccount *account, clIdempotency *call, clEntry *entry);
static void movement_post(clUnit *unit, clAccount *account, clIdempotency *call, clEntry *entry, TimestampTz now);
static Datum movement_finish(clUnit *unit, clAccount *account, const clEntry *entry, bool replayed, clTally *tally);
static void require_refundable(const clAuthorization *authorization, int64 amount);

/* credit_grant(org_id, amount, idempotency_key, reason, metadata, expires_at, priority) */
Datum
cl_grant(FunctionCallInfo fcinfo, clTally *tally)
{
	text *org_id = cl_arg_identifier(fcinfo, 0, "org_id");
	int64 amount = cl_arg_amount(fcinfo, 1, "amount", 1);
	text *key = cl_arg_identifier(fcinfo, 2, "idempotency_key");
	clIdempotency call = {.operation = CL_OP_GRANT, .key = key, .has_amount = true, .amount = amount};
	clEntry entry = {.kind = CL_ENTRY_GRANT, .amount = amount};
	TimestampTz expires_at = cl_arg_optional_instant(fcinfo, 5, "expires_at", DT_NOEND);
	int32 priority = cl_arg_optional_priority(fcinfo, 6, "priority", CL_DEFAULT_PRIORITY);
	bool is_lot = !PG_ARGISNULL(5) || !PG_ARGISNULL(6);
	clUnit *unit;
	clAccount account;
	bool replayed;

	entry.reason = cl_arg_optional_text(fcinfo, 3);
	if (!PG_ARGISNULL(4))
		entry.metadata = PG_GETARG_VARLENA_P(4);

	tally->org_id = org_id;
	unit = cl_unit_begin("credit_grant()");
	(void) cl_account_lock_or_create(unit, org_id, &account);
	cl_credits_begin(unit, &account);
	replayed = movement_replay(unit, &account, &call, &entry);
	if (!replayed)
	{
		TimestampTz now = cl_account_instant(&account, GetCurrentTimestamp());

		if (is_lot)
			grant_lot(unit, &account, &entry, priority, expires_at, now);
		movement_post(unit, &account, &call, &entry, now);
	}
	return movement_finish(unit, &account, &entry, replayed, tally);
}

/* Neither end nor priority is compared on replay, so only a new grant can come too late. */
static void
grant_lot(clUnit *unit, clAccount *account, clEntry *entry, int32 priority, TimestampTz expires_at, TimestampTz now)
{
	clLot *lot;

	if (expires_at <= account->opened_at)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"expires_at\" must be in the future"),
				 errdetail("It is %s.", timestamptz_to_str(expires_at))));
	lot = cl_lot_make(unit, account, account->last_entry_no + 1, entry->amount, priority, expires_at, now);
	cl_shares_append(&entry->lots, lot->lot_no, lot->amount);
	cl_credits_note_made(account, lot);
}

/* credit_adjust(org_id, amount, idempotency_key, reason) */
Datum
cl_adjust(FunctionCallInfo fcinfo, clTally *tally)
{
	text *org_id = cl_arg_identifier(fcinfo, 0, "org_id");
	int64 amount = cl_arg_amount(fcinfo, 1, "amount", PG_INT64_MIN);
	text *key = cl_arg_identifier(fcinfo, 2, "idempotency_key");
	clIdempotency call = {.operation = CL_OP_ADJUST, .key = key, .has_amount = true, .amount = amount};
	clEntry entry = {.kind = CL_ENTRY_ADJUSTMENT, .amount = amount};
	clUnit *unit;
	clAccount account;
	bool replayed;

	if (amount == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"amount\" must not be 0")));
	entry.reason = cl_arg_reason(fcinfo, 3, "reason");

	tally->org_id = org_id;
	unit = cl_unit_begin("credit_adjust()");
	cl_account_lock(unit, org_id, &account);
	cl_credits_begin(unit, &account);
	replayed = movement_replay(unit, &account, &call, &entry);
	if (!replayed)
	{
		/* No account has more lots than that. */
		if (amount < 0)
			entry.lots = cl_credits_spend(unit, &account, amount == PG_INT64_MIN ? PG_INT64_MAX : -amount);
		movement_post(unit, &account, &call, &entry, cl_account_instant(&account, GetCurrentTimestamp()));
	}
	return movement_finish(unit, &account, &entry, replayed, tally);
}

/* credit_refund(authorization_id, idempotency_key, amount, reason) */
Datum
cl_refund(FunctionCallInfo fcinfo, clTally *tally)
{
	text *authorization_id = cl_arg_identifier(fcinfo, 0, "authorization_id");
	text *key = cl_arg_identifier(fcinfo, 1, "idempotency_key");
	clIdempotency call = {.operation = CL_OP_REFUND, .key = key, .authorization_id = authorization_id};
	clEntry entry = {.kind = CL_ENTRY_REFUND, .authorization_id = authorization_id};
	clUnit *unit;
	clAccount account;
	clAuthorization authorization;
	bool replayed;

	if (!PG_ARGISNULL(2))
	{
		call.has_amount = true;
		call.amount = cl_arg_amount(fcinfo, 2, "amount", 1);
	}
	entry.reason = cl_arg_optional_text(fcinfo, 3);

	unit = cl_unit_begin("credit_refund()");
	cl_authorization_lock(unit, authorization_id, &account, &authorization, tally);
	cl_credits_begin(unit, &account);
	replayed = movement_replay(unit, &account, &call, &entry);
	if (!replayed)
	{
		TimestampTz wall = GetCurrentTimestamp();
		clState state = cl_state(&authorization, wall);
		int64 left;

		if (cl_effect(state, CL_VERB_REFUND) != CL_EFFECT_APPLY)
			cl_raise_invalid_transition(&authorization, state, CL_VERB_REFUND);
		left = authorization.amount - authorization.refunded_amount;
		entry.amount = call.has_amount ? call.amount : left;
		require_refundable(&authorization, entry.amount);
		entry.lots = cl_credits_give_back(unit, &account, &authorization.lots, left, entry.amount);

		/* Whoever gives back a part stands by the rest: the commit is the caller's from now on. */
		authorization.refunded_amount += entry.amount;
		authorization.settled_by = CL_CALLER;
		cl_authorization_store(unit, &authorization);
		movement_post(unit, &account, &call, &entry, cl_account_instant(&account, wall));
		cl_credits_leave(unit, &account, account.updated_at);
	}
	return movement_finish(unit, &account, &entry, replayed, tally);
}

/* credit_void(org_id, lot_no, reason) */
Datum
cl_void(FunctionCallInfo fcinfo, clTally *tally)
{
	text *org_id = cl_arg_identifier(fcinfo, 0, "org_id");
	int64 lot_no = cl_arg_amount(fcinfo, 1, "lot_no", 1);
	text *key = cstring_to_text(psprintf("lot:%lld", (long long) lot_no));
	clIdempotency call = {.operation = CL_OP_VOID, .key = key};
	clEntry entry = {.kind = CL_ENTRY_VOID, .idempotency_key = key};
	clUnit *unit;
	clAccount account;
	bool replayed;

	entry.reason = cl_arg_reason(fcinfo, 2, "reason");

	tally->org_id = org_id;
	unit = cl_unit_begin("credit_void()");
	cl_account_lock(unit, org_id, &account);
	cl_credits_begin(unit, &account);
	replayed = movement_replay(unit, &account, &call, &entry);
	if (!replayed)
	{
		clLot *lot = cl_lot_get_open(unit, &account, lot_no);

		call.created_at = entry.created_at = cl_account_instant(&account, GetCurrentTimestamp());
		cl_credits_void(unit, &account, lot, call.created_at, &entry);
		call.entry_no = entry.entry_no;
		cl_idempotency_insert(unit, &account, &call);
	}
	return movement_finish(unit, &account, &entry, replayed, tally);
}

/*
 * Whether the call was made before; then entry becomes what it posted.  If
 * its partition was detached since, what is known without it.
 */
static bool
movement_replay(clUnit *unit, clAccount *account, clIdempotency *call, clEntry *entry)
{
	if (!cl_idempotency_replay(unit, account, call))
		return false;
	if (!cl_entry_find(unit, account->org_id, call->entry_no, call->created_at, entry))
	{
		entry->entry_no = call->entry_no;
		entry->amount = call->amount;
		entry->created_at = call->created_at;
		entry->is_detached = true;
	}
	return true;
}

static void
movement_post(clUnit *unit, clAccount *account, clIdempotency *call, clEntry *entry, TimestampTz now)
{
	entry->idempotency_key = call->key;
	cl_entry_post(unit, account, now, entry);
	call->entry_no = entry->entry_no;
	call->created_at = now;
	cl_idempotency_insert(unit, account, call);
}

static Datum
movement_finish(clUnit *unit, clAccount *account, const clEntry *entry, bool replayed, clTally *tally)
{
	Datum result;

	cl_credits_end(unit, account);
	result = cl_movement_result(entry, account, replayed);
	cl_tally_answer(tally, replayed);
	cl_unit_end(unit);
	return result;
}

static void
require_refundable(const clAuthorization *authorization, int64 amount)
{
	int64 left = authorization->amount - authorization->refunded_amount;

	if (amount > 0 && amount <= left)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_CL_REFUND_EXCEEDS_COMMITTED),
			 errmsg("refund exceeds what is committed of authorization \"%s\"",
					text_to_cstring(authorization->authorization_id)),
			 errdetail("Committed are %lld, refunded before %lld, which leaves %lld.",
					   (long long) authorization->amount, (long long) authorization->refunded_amount,
					   (long long) left)));
}
