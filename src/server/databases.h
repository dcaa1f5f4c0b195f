/*-------------------------------------------------------------------------
 *
 * databases.h
 *	  Which databases have the ledger, and how their sweeping goes.
 *
 * A board in shared memory that the launcher, the sweepers and CREATE
 * EXTENSION write, and credit_worker_status() shows.  One sweeper works on a
 * database at a time: whoever starts claims it first.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_DATABASES_H
#define CL_DATABASES_H

#include "datatype/timestamp.h"
#include "storage/latch.h"

typedef enum clPresence
{
	CL_UNKNOWN,
	CL_ABSENT, /* has not the extension */
	CL_PRESENT
} clPresence;

/* What a sweeper found, when it has done its work. */
typedef struct clSweepReport
{
	int64 settled;
	TimestampTz oldest_expired; /* of what is left; 0: nothing */
	bool unfinished;			/* there is more to do at once */
} clSweepReport;

/* The launcher is at work, or no more. */
extern void cl_launcher_enter(void);

/*
 * The launcher asks: does this database want to be looked at before its time
 * (it said so since the last call)?  What did its last sweeper find?
 */
extern bool cl_database_take_wish(Oid database);
extern clPresence cl_database_presence(Oid database, bool *unfinished);

/* Forget databases that are not in this list. */
extern void cl_databases_keep(const Oid *databases, int count);

/* A sweeper claims its database until it exits; false if another one has it, or there is no room. */
extern bool cl_database_claim(void);
extern void cl_database_report_absent(void);
extern void cl_database_report(const clSweepReport *report);
extern void cl_database_report_error(int sqlstate, const char *message);

/* Whether the work that is done once a minute is due; if so, it is not any more. */
extern bool cl_database_minute_has_passed(TimestampTz now);

extern void cl_databases_init(void);

#endif /* CL_DATABASES_H */
