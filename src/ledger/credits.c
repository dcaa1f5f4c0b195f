/*-------------------------------------------------------------------------
 *
 * credits.c
 *	  Where an account's credits come from and go to: its lots, then the
 *	  main pool.
 *
 * docs/lots.md has the rules.  What is free in a lot is what remains and is
 * not held; what is free in the main pool is
 *
 *		(balance - held) - (lot_balance - lot_held)
 *
 * and may be less than zero: what the organisation owes is the main pool's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "ledger/credits.h"
#include "ledger/entry.h"

static clShares lots_take(clUnit *unit, clAccount *account, int64 amount, bool spend);
static bool has_due(const clAccount *account);
static List *lots_due(clUnit *unit, clAccount *account);
static int compare_end(const ListCell *a, const ListCell *b);
static int compare_number(const ListCell *a, const ListCell *b);
static void account_find_first_end(clUnit *unit, clAccount *account);
static bool lot_is_over(const clAccount *account, const clLot *lot);
static int64 lot_free(const clLot *lot);
static int64 lot_empty(clAccount *account, clLot *lot);
static void lot_leave(clUnit *unit, clAccount *account, clLot *lot, TimestampTz now, clEntry *entry);
static void lots_add(clAccount *account, int64 amount);
static void lot_change(clAccount *account, clLot *lot, int64 remaining, int64 held);

/* ------------------------------------------------------------------------
 * Begin and end
 * ------------------------------------------------------------------------
 */

void
cl_credits_begin(clUnit *unit, clAccount *account)
{
	TimestampTz last = account->updated_at;
	ListCell *lc;

	if (!has_due(account))
		return;

	foreach(lc, lots_due(unit, account))
	{
		clLot *lot = lfirst(lc);
		clEntry entry = {.kind = CL_ENTRY_EXPIRY};

		CHECK_FOR_INTERRUPTS();

		/* Entries are in the order of the instants at which they took effect. */
		entry.effective_at = Max(lot->expires_at, last);
		lot_leave(unit, account, lot, cl_account_instant(account, account->opened_at), &entry);
	}
	account_find_first_end(unit, account);
}

void
cl_credits_forecast(clUnit *unit, clAccount *account)
{
	ListCell *lc;

	if (!has_due(account))
		return;
	foreach(lc, lots_due(unit, account))
	{
		account->balance -= lot_empty(account, lfirst(lc));
	}
}

void
cl_credits_end(clUnit *unit, clAccount *account)
{
	if (account->lots != NULL)
	{
		account->has_lots = account->lot_balance > 0;
		cl_lots_store(unit, account, account->updated_at);
	}
	cl_account_store(unit, account);
}

static bool
has_due(const clAccount *account)
{
	return account->has_lots && account->lot_expires_at <= account->opened_at;
}

/* Lots that ended and have something free, the first to end first. */
static List *
lots_due(clUnit *unit, clAccount *account)
{
	List *due = NIL;
	clLot *lot;

	for (int i = 0; (lot = cl_lot_in_order(unit, account, i)) != NULL; i++)
	{
		if (lot->expires_at <= account->opened_at && !lot->voided && lot_free(lot) > 0)
			due = lappend(due, lot);
	}
	list_sort(due, compare_end);
	return due;
}

static int
compare_end(const ListCell *a, const ListCell *b)
{
	const clLot *left = lfirst(a);
	const clLot *right = lfirst(b);

	if (left->expires_at != right->expires_at)
		return left->expires_at < right->expires_at ? -1 : 1;
	return compare_number(a, b);
}

static int
compare_number(const ListCell *a, const ListCell *b)
{
	const clLot *left = lfirst(a);
	const clLot *right = lfirst(b);

	return left->lot_no < right->lot_no ? -1 : left->lot_no > right->lot_no;
}

static void
account_find_first_end(clUnit *unit, clAccount *account)
{
	TimestampTz first = DT_NOEND;
	clLot *lot;

	for (int i = 0; (lot = cl_lot_in_order(unit, account, i)) != NULL; i++)
	{
		if (lot->remaining > 0)
			first = Min(first, lot->expires_at);
	}
	if (first != account->lot_expires_at)
		account->changed = true;
	account->lot_expires_at = first;
}

void
cl_credits_note_made(clAccount *account, const clLot *lot)
{
	lots_add(account, lot->remaining);
	cl_credits_note_end(account, lot);
}

void
cl_credits_note_end(clAccount *account, const clLot *lot)
{
	account->lot_expires_at = account->has_lots ? Min(account->lot_expires_at, lot->expires_at) : lot->expires_at;
	account->has_lots = true;
	account->changed = true;
}

/* ------------------------------------------------------------------------
 * Taking
 * ------------------------------------------------------------------------
 */

clShares
cl_credits_hold(clUnit *unit, clAccount *account, int64 amount)
{
	cl_account_hold(account, amount);
	return account->has_lots ? lots_take(unit, account, amount, false) : (clShares) {0};
}

/* The balance moves with the entry. */
clShares
cl_credits_spend(clUnit *unit, clAccount *account, int64 amount)
{
	return account->has_lots ? lots_take(unit, account, amount, true) : (clShares) {0};
}

/* From free lots in the order of use; what they lack is the main pool's. */
static clShares
lots_take(clUnit *unit, clAccount *account, int64 amount, bool spend)
{
	clShares taken = {0};
	clLot *lot;

	for (int i = 0; amount > 0 && (lot = cl_lot_in_order(unit, account, i)) != NULL; i++)
	{
		int64 free = lot_is_over(account, lot) ? 0 : lot_free(lot);
		int64 part = Min(free, amount);

		if (part == 0)
			continue;
		lot_change(account, lot, spend ? -part : 0, spend ? 0 : part);
		cl_shares_append(&taken, lot->lot_no, part);
		amount -= part;
	}
	return taken;
}

clShares
cl_credits_spend_held(clUnit *unit, clAccount *account, clShares *lots, int64 amount)
{
	clShares spent = cl_shares_take_first(lots, amount);

	cl_account_hold(account, -amount);
	for (int i = 0; i < spent.count; i++)
	{
		int64 part = spent.list[i].credits;

		lot_change(account, cl_lot_get(unit, account, spent.list[i].lot_no), -part, -part);
	}
	return spent;
}

/* ------------------------------------------------------------------------
 * Giving back
 * ------------------------------------------------------------------------
 */

void
cl_credits_release(clUnit *unit, clAccount *account, clShares *lots, int64 held, int64 amount)
{
	int64 pool = held - cl_shares_total(lots);
	clShares released = cl_shares_take_last(lots, Max(amount - pool, 0));

	cl_account_hold(account, -amount);
	for (int i = 0; i < released.count; i++)
	{
		clLot *lot = cl_lot_get(unit, account, released.list[i].lot_no);

		lot_change(account, lot, 0, -released.list[i].credits);
		lot->released = true;
	}
}

clShares
cl_credits_give_back(clUnit *unit, clAccount *account, clShares *lots, int64 charged, int64 amount)
{
	int64 pool = charged - cl_shares_total(lots);
	clShares given = cl_shares_take_last(lots, Max(amount - pool, 0));

	for (int i = 0; i < given.count; i++)
	{
		clLot *lot = cl_lot_get(unit, account, given.list[i].lot_no);

		lot_change(account, lot, given.list[i].credits, 0);
		lot->released = true;
		cl_credits_note_end(account, lot);
	}
	return given;
}

/* ------------------------------------------------------------------------
 * Leaving
 * ------------------------------------------------------------------------
 */

void
cl_credits_leave(clUnit *unit, clAccount *account, TimestampTz now)
{
	List *over = NIL;
	ListCell *lc;

	foreach(lc, cl_lots_read(account))
	{
		clLot *lot = lfirst(lc);

		if (lot->released && lot_is_over(account, lot))
			over = lappend(over, lot);
		lot->released = false;
	}
	list_sort(over, compare_number);
	foreach(lc, over)
	{
		clLot *lot = lfirst(lc);
		clEntry entry = {.kind = lot->voided ? CL_ENTRY_VOID : CL_ENTRY_EXPIRY};

		lot_leave(unit, account, lot, now, &entry);
	}
}

void
cl_credits_void(clUnit *unit, clAccount *account, clLot *lot, TimestampTz now, clEntry *entry)
{
	lot->voided = true;
	lot->changed = true;
	lot_leave(unit, account, lot, now, entry);
}

static bool
lot_is_over(const clAccount *account, const clLot *lot)
{
	return lot->voided || lot->expires_at <= account->opened_at;
}

static int64
lot_free(const clLot *lot)
{
	return lot->remaining - lot->held;
}

/*
 * Take out what is free.  An end, unlike a void, pays with it first for what
 * the main pool owes; what is left, which is returned, is lost.
 */
static int64
lot_empty(clAccount *account, clLot *lot)
{
	int64 free = lot_free(lot);
	int64 others = account->lot_balance - account->lot_held - free;
	int64 left; /* free in the main pool once it has this, too */
	int64 lost = free;

	if (!lot->voided)
	{
		if (pg_sub_s64_overflow(account->balance - account->held, others, &left))
			left = 0;
		lost = Min(free, Max(left, 0));
	}

	lot->absorbed += free - lost;
	lot_change(account, lot, -free, 0);
	return lost;
}

/* The entry comes with kind, reason and effective_at. */
static void
lot_leave(clUnit *unit, clAccount *account, clLot *lot, TimestampTz now, clEntry *entry)
{
	int64 lost = lot_empty(account, lot);

	if (lost == 0)
		return;
	cl_shares_append(&entry->lots, lot->lot_no, lost);
	entry->amount = -lost;
	cl_entry_post(unit, account, now, entry);
}

/* The balance may be small while the main pool owes much, so this has a limit of its own. */
static void
lots_add(clAccount *account, int64 amount)
{
	if (pg_add_s64_overflow(account->lot_balance, amount, &account->lot_balance))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("lots of organisation \"%s\" out of range", text_to_cstring(account->org_id)),
				 errdetail("More would remain in them than a bigint holds; the movement is %lld.",
						   (long long) amount)));
}

static void
lot_change(clAccount *account, clLot *lot, int64 remaining, int64 held)
{
	lot->remaining += remaining;
	lot->held += held;
	lot->changed = true;
	lots_add(account, remaining);
	account->lot_held += held;
	account->changed = true;

	Assert(0 <= lot->held && lot->held <= lot->remaining && lot->remaining + lot->absorbed <= lot->amount);
	Assert(0 <= account->lot_held && account->lot_held <= account->lot_balance);
}
