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

#include "fmgr.h"

typedef enum clCall
{
	CL_CALL_GRANT,
	CL_CALL_ADJUST,
	CL_CALL_AUTHORIZE,
	CL_CALL_COMMIT,
	CL_CALL_REVERT,
	CL_CALL_EXTEND,
	CL_CALL_REFUND,
	CL_CALL_CONFIGURE,
	CL_CALL_SWEEP /* successes: holds settled; failures: organisations passed over */
} clCall;

#define CL_NCALLS (CL_CALL_SWEEP + 1)

/* The name of a call in credit_stat. */
extern const char *cl_call_name(clCall call);

/*
 * Defines an SQL function whose calls are counted; the body follows.  In it,
 * each answer is counted by cl_count_answer() (see results.c), and an error
 * counts as one failure.
 */
#define CL_COUNTED_FUNCTION(function, call)                    \
	static Datum function##_body(FunctionCallInfo fcinfo);     \
	PG_FUNCTION_INFO_V1(function);                             \
	Datum function(PG_FUNCTION_ARGS)                           \
	{                                                          \
		return cl_count_call((call), function##_body, fcinfo); \
	}                                                          \
	static Datum function##_body(FunctionCallInfo fcinfo)

extern Datum cl_count_call(clCall call, PGFunction body, FunctionCallInfo fcinfo);
extern void cl_count_answer(bool replayed);

/* What the call is about, for the record of its failure. */
extern void cl_count_organisation(const text *org_id);
extern void cl_count_authorization(const text *authorization_id);

/* Outside a counted function.  Texts may be empty. */
extern void cl_count_success(clCall call, int times);
extern void cl_count_failure(clCall call, const char *org_id, const char *authorization_id,
							 int sqlstate, const char *message);

/* Whether something of this database waits to be drained. */
extern bool cl_counters_to_drain(void);

/* Forget the counts of databases that are not in this list. */
extern void cl_counters_keep(const Oid *databases, int count);

/* For shared.c */
extern Size cl_counters_size(void);
extern bool cl_counters_attach(void);
extern bool cl_counters_load(FILE *file);
extern bool cl_counters_save(FILE *file);

extern void cl_counters_init(void);

#endif /* CL_COUNTERS_H */
