/*-------------------------------------------------------------------------
 *
 * shard.h
 *	  Which organisations are this database's: the claim of a shard.
 *
 * Where several servers share the organisations, each has those whose hash
 * (authorization_id.h) is its number modulo how many there are, and those
 * that moved to it; a call for another one is LC010.  Without a claim all are
 * this database's.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_SHARD_H
#define CL_SHARD_H

#include "table/unit.h"

extern void cl_shard_init(void);

/*
 * Whether the organisation is this database's; the second raises LC010 if it
 * is not.  To be asked while a lock on credit_account is held, which who
 * changes the claim waits for.
 */
extern bool cl_shard_has(clUnit *unit, text *org_id);
extern void cl_shard_require(clUnit *unit, text *org_id);

/* Whether an organisation moved elsewhere; LC010 if it did. */
extern bool cl_shard_has_moved(clUnit *unit, text *org_id);
extern void cl_shard_require_not_moved(clUnit *unit, text *org_id);

/* LC010 if an authorization that is not here was made for an organisation of another shard. */
extern void cl_shard_require_authorization(const text *authorization_id);

#endif /* CL_SHARD_H */
