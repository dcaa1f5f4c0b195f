/*-------------------------------------------------------------------------
 *
 * arguments.h
 *	  Reading the arguments of SQL functions; bad input is refused here.
 *
 * Each names the argument in its error: 22004 for a NULL where a value is
 * needed, 22023 for a value out of range.  Arguments are counted from 0.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_ARGUMENTS_H
#define CL_ARGUMENTS_H

#include "datatype/timestamp.h"
#include "fmgr.h"

/* 1 to 256 bytes */
#define CL_MAX_IDENTIFIER 256

extern text *cl_arg_identifier(FunctionCallInfo fcinfo, int argno, const char *name);
extern text *cl_arg_optional_identifier(FunctionCallInfo fcinfo, int argno, const char *name);
extern text *cl_arg_optional_text(FunctionCallInfo fcinfo, int argno);

/* Not NULL; at least minimum. */
extern int64 cl_arg_amount(FunctionCallInfo fcinfo, int argno, const char *name, int64 minimum);
extern void cl_require_minimum(int64 value, const char *name, int64 minimum);

/* A positive, finite interval, or NULL where it was not given. */
extern Interval *cl_arg_optional_timeout(FunctionCallInfo fcinfo, int argno, const char *name);

/* The instant that lies timeout after start; 22008 where there is none. */
extern TimestampTz cl_timeout_end(TimestampTz start, const Interval *timeout);

extern void cl_require_not_null(bool isnull, const char *name);

#endif							/* CL_ARGUMENTS_H */
