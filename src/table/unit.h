/*-------------------------------------------------------------------------
 *
 * unit.h
 *	  Units of work: one call of an SQL function, as a rule.
 *
 * All work on tables is done inside a unit.  It keeps what it opened, reads
 * under one snapshot until that is refreshed, and fires the AFTER triggers
 * when it ends.  After an error the transaction's abort cleans up; there is
 * nothing to call.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_UNIT_H
#define CL_UNIT_H

#include "table/relation.h"

/*
 * A unit that writes raises 25006 where the transaction may not; what is the
 * function that the message names.  In READ COMMITTED it reads what is
 * committed now, else under the transaction's snapshot.  A unit that only
 * reads uses the caller's snapshot.
 */
extern clUnit *cl_unit_begin(const char *what);
extern clUnit *cl_unit_begin_reading(void);

/*
 * A unit that writes many rows: it collects insertions and makes them when it
 * is refreshed or ends, many a page at once.  What a row's values point to
 * must stay until then.
 */
extern clUnit *cl_unit_begin_bulk(const char *what);

/* Whether it is making insertions that it collected: errors are about those then. */
extern bool cl_unit_is_flushing(const clUnit *unit);

/*
 * Whether it is writing a row, so that an error may be one of a trigger or a
 * constraint that somebody put on the table, and of what these called.  Such
 * an error must not be caught without a subtransaction.
 */
extern bool cl_unit_is_writing(const clUnit *unit);

/* Let the unit see its own writes and what has been committed meanwhile. */
extern void cl_unit_refresh(clUnit *unit);
extern void cl_unit_end(clUnit *unit);

#endif /* CL_UNIT_H */
