/*-------------------------------------------------------------------------
 *
 * put_away.h
 *	  What credit_detach_partitions() put away: rows of
 *	  credit_detached_partition.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_PUT_AWAY_H
#define CL_PUT_AWAY_H

#include "datatype/timestamp.h"

/*
 * Authorizations made before this may stand in a partition that was put away
 * and is not attached again; DT_NOBEGIN: none was.
 */
extern TimestampTz cl_put_away_until(void);

#endif /* CL_PUT_AWAY_H */
