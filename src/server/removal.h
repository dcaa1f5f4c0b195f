/*-------------------------------------------------------------------------
 *
 * removal.h
 *	  DROP EXTENSION needs CASCADE, where there are accounts.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_REMOVAL_H
#define CL_REMOVAL_H

extern void cl_removal_init(void);

#endif /* CL_REMOVAL_H */
