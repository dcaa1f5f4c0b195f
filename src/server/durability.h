/*-------------------------------------------------------------------------
 *
 * durability.h
 *	  Early lock release: let waiters go on while the commit is flushed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_DURABILITY_H
#define CL_DURABILITY_H

extern void cl_durability_init(void);

/* The current transaction wrote the ledger: its commit may release locks early. */
extern void cl_durability_note_write(void);

#endif /* CL_DURABILITY_H */
