/*-------------------------------------------------------------------------
 *
 * account.h
 *	  The account of an organisation: one row, and the lock of all calls.
 *
 * A verb locks the account, refreshes its unit, and only then reads anything
 * else of the organisation: whatever another call wrote is seen then.  It
 * changes the account in memory and stores it once, at its end.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_ACCOUNT_H
#define CL_ACCOUNT_H

#include "datatype/timestamp.h"

#include "ledger/low_balance.h"
#include "table/unit.h"

typedef struct clAccount
{
	text *org_id;
	int64 balance;
	int64 held;
	int64 credit_limit;
	int64 overage_limit;
	bool has_low_balance_threshold;
	int64 low_balance_threshold;
	bool frozen;
	int64 last_entry_no;
	TimestampTz updated_at;

	/* Sums over its open lots, see credits.h; all 0 where there is none. */
	int64 lot_balance;
	int64 lot_held;
	TimestampTz lot_expires_at; /* no later than the first end */
	bool has_lots;

	clBalanceLevel level_before; /* when it was locked */

	TimestampTz opened_at; /* by the clock on the wall: when it was locked, or read */
	bool changed;		   /* to be stored */
	MemoryContext context; /* in which it was locked */
	struct clLots *lots;   /* what was read of them, see lot.c */

	clRelation *rel;
	clRow row;
} clAccount;

/*
 * Lock an account, waiting for whoever has it, and refresh the unit.  The
 * first raises LC002 where there is none, the second makes it and says
 * whether it did, the third returns false where there is none or somebody else holds it.  LC010 where
 * the organisation is not this database's; the third returns false.
 *
 * To lock several, call the fourth for each, in the order of org_id, and
 * refresh the unit after the last.
 */
extern void cl_account_lock(clUnit *unit, text *org_id, clAccount *account);
extern bool cl_account_lock_or_create(clUnit *unit, text *org_id, clAccount *account);
extern bool cl_account_try_lock(clUnit *unit, text *org_id, clAccount *account);
extern void cl_account_lock_next(clUnit *unit, text *org_id, clAccount *account);

/* What the unit's snapshot sees of an account, without a lock; LC002. */
extern void cl_account_get(clUnit *unit, text *org_id, clAccount *account);

/* What is agreed with the organisation: what is NULL stays as it is. */
typedef struct clAccountTerms
{
	const int64 *credit_limit;
	const int64 *overage_limit;
	const int64 *low_balance_threshold; /* 0: none */
	const bool *frozen;
	struct varlena *metadata; /* jsonb */
} clAccountTerms;

extern void cl_account_set_terms(clAccount *account, const clAccountTerms *terms);

/* What the entries come to that another ledger had; the first of them may be older than the account. */
extern void cl_account_take_over(clAccount *account, int64 balance, int64 last_entry_no, TimestampTz first_at);

/* Write the account, if it has changed. */
extern void cl_account_store(clUnit *unit, clAccount *account);

/*
 * The instant to write into rows that this call makes: the clock on the wall,
 * but never before what the account's rows say already.
 */
extern TimestampTz cl_account_instant(clAccount *account, TimestampTz wall);

/* balance - held + credit_limit, which always fits: see account_require_range. */
extern int64 cl_account_available(const clAccount *account);

/* Whether so many credits are available (of none or less there are always enough); the second raises LC001. */
extern bool cl_account_has_available(const clAccount *account, int64 amount);
extern void cl_account_require_available(const clAccount *account, int64 amount);

/*
 * held += amount, which must be available, or is given back if negative;
 * balance += amount, 22003 where it does not fit.
 */
extern void cl_account_hold(clAccount *account, int64 amount);
extern void cl_account_move(clAccount *account, int64 amount);

#endif /* CL_ACCOUNT_H */
