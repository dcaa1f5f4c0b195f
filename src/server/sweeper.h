/*-------------------------------------------------------------------------
 *
 * sweeper.h
 *	  The process that settles the expired holds of one database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_SWEEPER_H
#define CL_SWEEPER_H

extern PGDLLEXPORT void cl_sweeper_main(Datum database);

#endif /* CL_SWEEPER_H */
