/*-------------------------------------------------------------------------
 *
 * databases.h
 *	  Which databases have the ledger, and how their sweeping goes.
 *
 * A table in shared memory that the launcher, the sweepers and CREATE
 * EXTENSION write, and credit_worker_status() shows.  One sweeper works on a
 * database at a time: whoever starts claims it first.
 *
 * Somebody may ask for a look at a database: CREATE EXTENSION does.  A look
 * is due until a sweeper that began after it was asked for has ended: one
 * that was at work already may have seen the database as it was before.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_DATABASES_H
#define CL_DATABASES_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

/* So many can have the extension; a sweeper needs a place while it looks for it, too. */
#define CL_MAX_DATABASES 1024

/* What a sweeper found, when it has settled what it could. */
typedef struct clSweepReport
{
	int64 settled;
	TimestampTz oldest_expired; /* of what is left; 0: nothing */
	bool unfinished;			/* there is more to do at once */
} clSweepReport;

/* What the launcher wants to know of a database that a sweeper has looked at. */
typedef enum clDatabaseState
{
	CL_DATABASE_ABSENT,		/* it has not the extension, as far as is known */
	CL_DATABASE_LOOK_DUE,	/* somebody asked for a look */
	CL_DATABASE_UNFINISHED, /* there is more to do at once */
	CL_DATABASE_WAITING
} clDatabaseState;

/* The launcher is at work, or no more. */
extern void cl_launcher_enter(void);

extern clDatabaseState cl_database_state(Oid database);

/* Forget databases that are not in this list of OIDs. */
extern void cl_databases_keep(const List *databases);

typedef enum clClaim
{
	CL_CLAIMED,
	CL_CLAIM_TAKEN, /* another sweeper has it */
	CL_CLAIM_NO_ROOM
} clClaim;

/* A sweeper claims its database until it exits. */
extern clClaim cl_database_claim(void);

/* It has found the extension, or not. */
extern void cl_database_report_presence(bool present);

/* Why the database is left alone; NULL: it is not. */
extern void cl_database_report_left_alone(const char *reason);

/* What its sweep did, and the locked table that ended it early; or NULL. */
extern void cl_database_report(const clSweepReport *report, const char *ended_by);
extern void cl_database_report_error(int sqlstate, const char *message);

/* Whether the work that is done once a minute is due; if so, it is not any more. */
extern bool cl_database_minute_has_passed(void);

extern void cl_databases_init(void);

#endif /* CL_DATABASES_H */
