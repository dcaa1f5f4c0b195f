/*-------------------------------------------------------------------------
 *
 * launcher.h
 *	  The process that has every database with the ledger swept.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_LAUNCHER_H
#define CL_LAUNCHER_H

/* To be called while libraries are preloaded. */
extern void cl_launcher_init(void);

extern PGDLLEXPORT void cl_launcher_main(Datum arg);

#endif /* CL_LAUNCHER_H */
