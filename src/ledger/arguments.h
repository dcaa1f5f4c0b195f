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

extern text *cl_arg_identifier(FunctionCallInfo fcinfo, int argno, const char *name);
extern text *cl_arg_optional_identifier(FunctionCallInfo fcinfo, int argno, const char *name);
extern text *cl_arg_optional_text(FunctionCallInfo fcinfo, int argno);

/* Not NULL; at least minimum. */
extern int64 cl_arg_amount(FunctionCallInfo fcinfo, int argno, const char *name, int64 minimum);
extern void cl_require_minimum(int64 value, const char *name, int64 minimum);

/* A positive interval of at most 100 years, or NULL where it was not given. */
extern Interval *cl_arg_optional_timeout(FunctionCallInfo fcinfo, int argno, const char *name);

/* A finite instant, or the default where it was not given; a number from 0 to 1000. */
extern TimestampTz cl_arg_optional_instant(FunctionCallInfo fcinfo, int argno, const char *name, TimestampTz or);
extern int32 cl_arg_optional_priority(FunctionCallInfo fcinfo, int argno, const char *name, int32 or);

/* The instant that lies timeout after start. */
extern TimestampTz cl_timeout_end(TimestampTz start, const Interval *timeout);

extern void cl_require_not_null(bool isnull, const char *name);

/* 22004 where neither of two arguments was given. */
extern void cl_require_either(bool neither, const char *name, const char *other_name);

/* Not NULL. */
extern bool cl_arg_boolean(FunctionCallInfo fcinfo, int argno, const char *name);

/* Neither NULL nor empty. */
extern text *cl_arg_reason(FunctionCallInfo fcinfo, int argno, const char *name);

/* What an identifier must be, wherever it comes from. */
extern void cl_require_identifier(const text *value, const char *name);

/*
 * A one-dimensional array, unchecked but for its shape; values is NULL where
 * an optional one was not given.
 */
typedef struct clArray
{
	const char *name;
	int count;
	Datum *values;
	bool *nulls;
} clArray;

extern clArray cl_arg_array(FunctionCallInfo fcinfo, int argno, const char *name, Oid element_type);
extern clArray cl_arg_optional_array(FunctionCallInfo fcinfo, int argno, const char *name, Oid element_type);
extern void cl_require_same_length(const clArray *first, const clArray *other);

/* Elements, checked as single arguments are; those that are missing or NULL are NULL where that is allowed. */
extern text *cl_array_identifier(const clArray *array, int element);
extern text *cl_array_optional_identifier(const clArray *array, int element);
extern int64 cl_array_amount(const clArray *array, int element, int64 minimum);
extern bool cl_array_is_null(const clArray *array, int element);

#endif /* CL_ARGUMENTS_H */
