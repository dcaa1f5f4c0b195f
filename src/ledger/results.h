/*-------------------------------------------------------------------------
 *
 * results.h
 *	  What the SQL functions answer with: values of the composite types.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_RESULTS_H
#define CL_RESULTS_H

#include "ledger/account.h"
#include "ledger/authorization.h"
#include "ledger/entry.h"
#include "nodes/execnodes.h"

/* A credit_authorization; the account gives what is available after the call. */
extern Datum cl_authorization_result(const clAuthorization *authorization, const clAccount *account, bool replayed);

/* The same as a row of a set-returning function, a credit_authorization_item: ord first, counted from 1. */
extern void cl_authorization_item_put(ReturnSetInfo *rsinfo, int ord, const clAuthorization *authorization,
									  int64 available, bool replayed);

/* The same for an item that was refused: what it is about, and why. */
extern void cl_refused_item_put(ReturnSetInfo *rsinfo, int ord, const clRefusal *refusal);

/* A credit_movement. */
extern Datum cl_movement_result(const clEntry *entry, const clAccount *account, bool replayed);

/* A credit_account_balance. */
extern Datum cl_account_balance_result(const clAccount *account);

#endif /* CL_RESULTS_H */
