/*-------------------------------------------------------------------------
 *
 * counters.h
 *	  How often each verb was called, and what came of it.
 *
 * An outcome counts in the minute in which the worker drains it, and whatever
 * becomes of the transaction: a failure at once, a success when the
 * transaction commits, or as rolled back when that happens instead.  Without
 * preload nothing is counted, and nothing of this costs anything.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_COUNTERS_H
#define CL_COUNTERS_H

#include "nodes/pg_list.h"

typedef enum clCall
{
	CL_CALL_GRANT,
	CL_CALL_ADJUST,
	CL_CALL_AUTHORIZE,
	CL_CALL_COMMIT,
	CL_CALL_REVERT,
	CL_CALL_EXTEND,
	CL_CALL_REFUND,
	CL_CALL_CHARGE,
	CL_CALL_CORRECT,
	CL_CALL_VOID,
	CL_CALL_CONFIGURE,
	CL_CALL_SWEEP /* successes: holds settled; failures: organisations passed over */
} clCall;

#define CL_NCALLS (CL_CALL_SWEEP + 1)

/* The name of a call in credit_stat. */
extern const char *cl_call_name(clCall call);

/* An outcome is an SQLSTATE as MAKE_SQLSTATE packs it (0: done), or one of these. */
#define CL_OUTCOME_SUCCESS	   0
#define CL_OUTCOME_REPLAYED	   (-1) /* it had been done before */
#define CL_OUTCOME_ROLLED_BACK (-2) /* it succeeded, but its transaction or savepoint did not stay */
#define CL_OUTCOME_PREPARED	   (-3) /* by PREPARE TRANSACTION; what becomes of it is not seen here */

/* To be called where there is shared memory. */
extern void cl_count(clCall call, int outcome, uint64 times);

/* Whether something of this database waits to be drained. */
extern bool cl_counters_to_drain(void);

/* Forget the counts of databases that are not in this list of OIDs. */
extern void cl_counters_keep(const List *databases);

extern void cl_counters_init(void);

#endif /* CL_COUNTERS_H */
