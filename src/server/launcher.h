/*-------------------------------------------------------------------------
 *
 * launcher.h
 *	  The process that has every database with the ledger swept.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_LAUNCHER_H
#define CL_LAUNCHER_H

#include "postmaster/bgworker.h"

/* To be called while libraries are preloaded. */
extern void cl_launcher_init(void);

/* Fill in what the launcher and the sweepers have in common. */
extern void cl_background_worker(BackgroundWorker *worker, const char *type, const char *function);

extern PGDLLEXPORT void cl_launcher_main(Datum arg);

#endif /* CL_LAUNCHER_H */
