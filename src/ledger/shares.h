/*-------------------------------------------------------------------------
 *
 * shares.h
 *	  Which lots an amount is made up of: bigint[] pairs in the tables.
 *
 * What the shares lack to an amount is the main pool's, which counts as the
 * last of the list.  Shares are in the order in which they were taken.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_SHARES_H
#define CL_SHARES_H

#include "postgres.h"

typedef struct clShare
{
	int64 lot_no;
	int64 credits; /* > 0 */
} clShare;

typedef struct clShares
{
	int count;
	clShare *list; /* in the memory context of whoever made them */
} clShares;

/* From and to {{lot_no, credits}, ...}; the sign is that of the amount. */
extern clShares cl_shares_read(Datum pairs);
extern Datum cl_shares_pairs(const clShares *shares, int sign);

extern int64 cl_shares_total(const clShares *shares);

/* Append; a share of the lot that is last already is added to it. */
extern void cl_shares_append(clShares *shares, int64 lot_no, int64 credits);
extern void cl_shares_append_all(clShares *shares, const clShares *more);

/* Take the first or the last so many credits out of the shares; fewer if they are fewer. */
extern clShares cl_shares_take_first(clShares *shares, int64 credits);
extern clShares cl_shares_take_last(clShares *shares, int64 credits);

#endif /* CL_SHARES_H */
