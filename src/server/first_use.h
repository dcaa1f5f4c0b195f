/*-------------------------------------------------------------------------
 *
 * first_use.h
 *	  Noting that the ledger is used in this database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_FIRST_USE_H
#define CL_FIRST_USE_H

/*
 * A call has succeeded: the rows of this ledger are its own from now on, and
 * none that a restore is about to load (see sql/arrival.sql).
 */
extern void cl_first_use_note(void);

#endif /* CL_FIRST_USE_H */
