/*-------------------------------------------------------------------------
 *
 * authorization.h
 *	  Authorizations: rows of credit_ledger, live or settled.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_AUTHORIZATION_H
#define CL_AUTHORIZATION_H

#include "ledger/account.h"
#include "ledger/catalog.h"
#include "ledger/shares.h"
#include "ledger/tally.h"
#include "table/find.h"

typedef struct clAuthorization
{
	text *authorization_id;
	text *org_id;
	text *campaign_id; /* or NULL */
	text *idempotency_key;
	clStatus status;
	int64 amount;
	int64 authorized_amount;
	int64 committed_amount; /* charged in parts while open, kept afterwards; 0: none */
	int64 refunded_amount;
	clShares lots;			 /* that amount stands on, net of refunds */
	clShares committed_lots; /* the same for committed_amount, while open */
	clTimeoutAction timeout_action;
	TimestampTz created_at;
	TimestampTz expires_at;
	TimestampTz settled_at; /* this and the next: unless status is authorized */
	clActor settled_by;
	text *reason;			  /* or NULL */
	struct varlena *metadata; /* jsonb, or NULL; only for insertion */

	clRelation *leaf; /* where it was read */
	clRow row;
} clAuthorization;

/* What the organisation was charged for it so far. */
extern int64 cl_authorization_charged(const clAuthorization *authorization);

/* In whatever leaf it stands; foreign tables are passed over.  The second raises LC003. */
extern bool cl_authorization_find(clUnit *unit, text *authorization_id, clAuthorization *authorization);
extern void cl_authorization_get(clUnit *unit, text *authorization_id, clAuthorization *authorization);

/* The names of those foreign tables, for messages; NULL where there are none. */
extern char *cl_authorization_foreign_leaves(clUnit *unit);

/*
 * Lock the account of an authorization, then read the authorization: as it
 * stands once nobody else can change it.  LC003, LC002.
 */
extern void cl_authorization_lock(clUnit *unit, text *authorization_id, clAccount *account,
								  clAuthorization *authorization, clTally *tally);

/*
 * Find it again, looking first where it was found before: as a rule nobody
 * has moved it in between.  LC003.
 */
extern void cl_authorization_get_again(clUnit *unit, text *authorization_id, const clPlace *hint,
									   clAuthorization *authorization);

/* Of live ones only. */
extern bool cl_authorization_find_open(clUnit *unit, text *authorization_id, clAuthorization *authorization);

/* A live hold, or one that is born committed. */
extern void cl_authorization_insert(clUnit *unit, const clAuthorization *authorization);

/*
 * Write what has changed.  A row whose status is no longer authorized moves
 * from the open partition to the settled leaf of its created_at.
 */
extern void cl_authorization_store(clUnit *unit, clAuthorization *authorization);

/* Live holds that expired before an instant, oldest first; or those of an organisation. */
extern clScan *cl_authorization_scan_expired(clUnit *unit, TimestampTz as_of);
extern clScan *cl_authorization_scan_expired_of(clUnit *unit, text *org_id, TimestampTz as_of);
extern bool cl_authorization_next(clUnit *unit, clScan *scan, clAuthorization *authorization);

#endif /* CL_AUTHORIZATION_H */
