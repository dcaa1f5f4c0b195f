/*-------------------------------------------------------------------------
 *
 * entry.h
 *	  Entries: every movement of a balance, append-only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_ENTRY_H
#define CL_ENTRY_H

#include "ledger/account.h"
#include "ledger/catalog.h"
#include "ledger/shares.h"

typedef struct clEntry
{
	text *org_id;
	int64 entry_no; /* 0: there is no such entry */
	clEntryKind kind;
	int64 amount;
	text *authorization_id; /* or NULL, as are the next three */
	text *idempotency_key;
	text *reason;
	struct varlena *metadata; /* jsonb */
	clShares lots;			  /* of amount, without its sign */
	TimestampTz effective_at; /* 0: when it is written */
	int64 balance_after;
	TimestampTz created_at;
	bool is_detached; /* its partition is gone, so is balance_after */
} clEntry;

/*
 * Move the locked account's balance by entry->amount and write the entry for
 * it, at the given instant.  A movement of 0 does nothing.  Fills in
 * entry_no, balance_after and the like; the caller stores the account.
 */
extern void cl_entry_post(clUnit *unit, clAccount *account, TimestampTz now, clEntry *entry);

/* The entry of this number that was made at this instant; false if its partition is gone. */
extern bool cl_entry_find(clUnit *unit, text *org_id, int64 entry_no, TimestampTz created_at, clEntry *entry);

#endif /* CL_ENTRY_H */
