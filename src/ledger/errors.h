/*-------------------------------------------------------------------------
 *
 * errors.h
 *	  The SQLSTATEs of the ledger, class LC.
 *
 * Each is raised by one guard function, in the room that knows the values it
 * shows; docs/reference.md lists them for users.  Bad arguments use the
 * standard codes (see arguments.h).
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_ERRORS_H
#define CL_ERRORS_H

#include "utils/elog.h"

#define ERRCODE_CL_CLASS MAKE_SQLSTATE('L', 'C', '0', '0', '0')

#define ERRCODE_CL_INSUFFICIENT_CREDITS			MAKE_SQLSTATE('L', 'C', '0', '0', '1')
#define ERRCODE_CL_ACCOUNT_NOT_FOUND			MAKE_SQLSTATE('L', 'C', '0', '0', '2')
#define ERRCODE_CL_AUTHORIZATION_NOT_FOUND		MAKE_SQLSTATE('L', 'C', '0', '0', '3')
#define ERRCODE_CL_IDEMPOTENCY_CONFLICT			MAKE_SQLSTATE('L', 'C', '0', '0', '4')
#define ERRCODE_CL_AMOUNT_EXCEEDS_AUTHORIZATION MAKE_SQLSTATE('L', 'C', '0', '0', '5')
#define ERRCODE_CL_INVALID_STATUS_TRANSITION	MAKE_SQLSTATE('L', 'C', '0', '0', '6')
#define ERRCODE_CL_ACCOUNT_FROZEN				MAKE_SQLSTATE('L', 'C', '0', '0', '7')
#define ERRCODE_CL_REFUND_EXCEEDS_COMMITTED		MAKE_SQLSTATE('L', 'C', '0', '0', '8')

#define ERRCODE_CL_LOT_NOT_OPEN MAKE_SQLSTATE('L', 'C', '0', '0', '9')
#define ERRCODE_CL_WRONG_SHARD	MAKE_SQLSTATE('L', 'C', '0', '1', '0')

#endif /* CL_ERRORS_H */
