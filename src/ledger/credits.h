/*-------------------------------------------------------------------------
 *
 * credits.h
 *	  Where an account's credits come from and go to: its lots, then the
 *	  main pool.
 *
 * A verb that has locked an account begins here and ends here.  In between it
 * holds, spends and gives back credits; what comes back into a lot that is
 * over leaves again when the verb says so, once its own entry is posted.
 *
 * Credits of an account without lots are the main pool's, and cost nothing
 * more than the arithmetic.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_CREDITS_H
#define CL_CREDITS_H

#include "ledger/entry.h"
#include "ledger/lot.h"
#include "ledger/shares.h"

/* The first step under the lock: what lots lost at their end is posted. */
extern void cl_credits_begin(clUnit *unit, clAccount *account);

/* What the account has without what lots lost at their end; nothing is written. */
extern void cl_credits_forecast(clUnit *unit, clAccount *account);

/* The last step: write the lots and the account, as far as they have changed. */
extern void cl_credits_end(clUnit *unit, clAccount *account);

/* Hold credits that are available, or charge them at once whether they are or not; returns what lots gave. */
extern clShares cl_credits_hold(clUnit *unit, clAccount *account, int64 amount);
extern clShares cl_credits_spend(clUnit *unit, clAccount *account, int64 amount);

/*
 * Of a hold of so many credits that stands on these shares: charge the first
 * of it, or release the last.
 */
extern clShares cl_credits_spend_held(clUnit *unit, clAccount *account, clShares *lots, int64 amount);
extern void cl_credits_release(clUnit *unit, clAccount *account, clShares *lots, int64 held, int64 amount);

/* Give back the last of a charge of so many credits that stands on these shares; returns what lots got. */
extern clShares cl_credits_give_back(clUnit *unit, clAccount *account, clShares *lots, int64 charged, int64 amount);

/* What came back into lots that are over leaves, an entry each. */
extern void cl_credits_leave(clUnit *unit, clAccount *account, TimestampTz now);

/* All that is free in a lot leaves, for the reason given; the entry's number is 0 where nothing was. */
extern void cl_credits_void(clUnit *unit, clAccount *account, clLot *lot, TimestampTz now, clEntry *entry);

/* A lot was made; or its end was set. */
extern void cl_credits_note_made(clAccount *account, const clLot *lot);
extern void cl_credits_note_end(clAccount *account, const clLot *lot);

#endif /* CL_CREDITS_H */
