/*-------------------------------------------------------------------------
 *
 * idempotency.h
 *	  Idempotency keys: which were used, for what, and what came of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_IDEMPOTENCY_H
#define CL_IDEMPOTENCY_H

#include "ledger/account.h"
#include "ledger/catalog.h"

typedef struct clIdempotency
{
	clOperation operation;
	text *key;

	/* The parameters that must match; those the operation does not have are NULL. */
	bool has_amount;
	int64 amount;
	text *campaign_id;

	/* authorize: the authorization it made; refund: the one it refunds, which must match */
	text *authorization_id;

	int64 entry_no; /* the entry it posted; 0: none */
	TimestampTz created_at;

	bool is_new; /* known not to have been used, see cl_idempotency_none_between */
} clIdempotency;

/*
 * Look for an earlier use of call->key by this operation in the organisation,
 * whose account is locked.  Returns false if there was none.  If there was
 * one with other parameters raises LC004, which says what is stored; else
 * fills in what came of it.
 */
extern bool cl_idempotency_replay(clUnit *unit, clAccount *account, clIdempotency *call);

/*
 * Whether no key from least to greatest was ever used, by any operation of any
 * organisation: then none of many keys needs to be looked for.  Keys that are
 * made in an order (numbers, ULIDs) answer it with one look.
 */
extern bool cl_idempotency_none_between(clUnit *unit, text *least, text *greatest);

/* LC004 unless a call under the same key asks for the same as one that was made. */
extern void cl_idempotency_require_same(const clIdempotency *call, const clIdempotency *stored);

extern void cl_idempotency_insert(clUnit *unit, clAccount *account, const clIdempotency *call);

#endif /* CL_IDEMPOTENCY_H */
