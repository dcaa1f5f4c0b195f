/*-------------------------------------------------------------------------
 *
 * arguments.c
 *	  Reading the arguments of SQL functions; bad input is refused here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "ledger/arguments.h"
#include "ledger/identifier.h"

#define MAX_TIMEOUT_YEARS 100
#define MAX_PRIORITY	  1000

PG_FUNCTION_INFO_V1(credit_require_argument);

pg_noreturn static void raise_timeout_out_of_range(const char *name, const Interval *timeout);

void
cl_require_not_null(bool isnull, const char *name)
{
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
}

void
cl_require_either(bool neither, const char *name, const char *other_name)
{
	if (neither)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("one of the arguments \"%s\" and \"%s\" must not be null", name, other_name)));
}

bool
cl_arg_boolean(FunctionCallInfo fcinfo, int argno, const char *name)
{
	cl_require_not_null(PG_ARGISNULL(argno), name);
	return PG_GETARG_BOOL(argno);
}

text *
cl_arg_reason(FunctionCallInfo fcinfo, int argno, const char *name)
{
	text *reason;

	cl_require_not_null(PG_ARGISNULL(argno), name);
	reason = PG_GETARG_TEXT_PP(argno);
	if (VARSIZE_ANY_EXHDR(reason) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must not be empty", name)));
	return reason;
}

text *
cl_arg_identifier(FunctionCallInfo fcinfo, int argno, const char *name)
{
	cl_require_not_null(PG_ARGISNULL(argno), name);
	return cl_arg_optional_identifier(fcinfo, argno, name);
}

text *
cl_arg_optional_identifier(FunctionCallInfo fcinfo, int argno, const char *name)
{
	text *value = cl_arg_optional_text(fcinfo, argno);

	if (value != NULL)
		cl_require_identifier(value, name);
	return value;
}

void
cl_require_identifier(const text *value, const char *name)
{
	int length = VARSIZE_ANY_EXHDR(value);

	if (length < 1 || length > CL_MAX_IDENTIFIER)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must be 1 to %d bytes long", name, CL_MAX_IDENTIFIER),
				 errdetail("It is %d bytes long.", length)));
}

text *
cl_arg_optional_text(FunctionCallInfo fcinfo, int argno)
{
	return PG_ARGISNULL(argno) ? NULL : PG_GETARG_TEXT_PP(argno);
}

int64
cl_arg_amount(FunctionCallInfo fcinfo, int argno, const char *name, int64 minimum)
{
	int64 amount;

	cl_require_not_null(PG_ARGISNULL(argno), name);
	amount = PG_GETARG_INT64(argno);
	cl_require_minimum(amount, name, minimum);
	return amount;
}

void
cl_require_minimum(int64 value, const char *name, int64 minimum)
{
	if (value < minimum)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must be at least %lld", name, (long long) minimum),
				 errdetail("It is %lld.", (long long) value)));
}

/*
 * Whether an interval of months and days is positive depends on when it
 * starts; here it is measured as interval comparison does (a month has 30
 * days), and cl_timeout_end looks again.
 */
Interval *
cl_arg_optional_timeout(FunctionCallInfo fcinfo, int argno, const char *name)
{
	static const Interval none = {0, 0, 0};
	static const Interval longest = {0, 0, MAX_TIMEOUT_YEARS * MONTHS_PER_YEAR};
	Interval *timeout;

	if (PG_ARGISNULL(argno))
		return NULL;
	timeout = PG_GETARG_INTERVAL_P(argno);
	if (!DatumGetBool(DirectFunctionCall2(interval_gt, IntervalPGetDatum(timeout), IntervalPGetDatum(&none))) ||
		!DatumGetBool(DirectFunctionCall2(interval_le, IntervalPGetDatum(timeout), IntervalPGetDatum(&longest))))
		raise_timeout_out_of_range(name, timeout);
	return timeout;
}

TimestampTz
cl_arg_optional_instant(FunctionCallInfo fcinfo, int argno, const char *name, TimestampTz or)
{
	TimestampTz instant = PG_ARGISNULL(argno) ? or : PG_GETARG_TIMESTAMPTZ(argno);

	if (!PG_ARGISNULL(argno) && TIMESTAMP_NOT_FINITE(instant))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must not be infinite", name)));
	return instant;
}

int32
cl_arg_optional_priority(FunctionCallInfo fcinfo, int argno, const char *name, int32 or)
{
	int32 priority = PG_ARGISNULL(argno) ? or : PG_GETARG_INT32(argno);

	if (priority < 0 || priority > MAX_PRIORITY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must be between 0 and %d", name, MAX_PRIORITY),
				 errdetail("It is %d.", priority)));
	return priority;
}

TimestampTz
cl_timeout_end(TimestampTz start, const Interval *timeout)
{
	TimestampTz end = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
															  TimestampTzGetDatum(start),
															  IntervalPGetDatum(timeout)));

	if (end <= start)
		raise_timeout_out_of_range("timeout", timeout);
	return end;
}

static void
raise_timeout_out_of_range(const char *name, const Interval *timeout)
{
	char *shown = DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(timeout)));

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("argument \"%s\" must be a positive interval of at most %d years", name, MAX_TIMEOUT_YEARS),
			 errdetail("It is %s.", shown)));
	pg_unreachable();
}

/* ------------------------------------------------------------------------
 * Arrays
 * ------------------------------------------------------------------------
 */

clArray
cl_arg_array(FunctionCallInfo fcinfo, int argno, const char *name, Oid element_type)
{
	cl_require_not_null(PG_ARGISNULL(argno), name);
	return cl_arg_optional_array(fcinfo, argno, name, element_type);
}

clArray
cl_arg_optional_array(FunctionCallInfo fcinfo, int argno, const char *name, Oid element_type)
{
	clArray result = {.name = name};
	ArrayType *array;
	int16 length;
	bool by_value;
	char alignment;

	if (PG_ARGISNULL(argno))
		return result;

	array = PG_GETARG_ARRAYTYPE_P(argno);
	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must be a one-dimensional array", name)));
	get_typlenbyvalalign(element_type, &length, &by_value, &alignment);
	deconstruct_array(array, element_type, length, by_value, alignment,
					  &result.values, &result.nulls, &result.count);
	return result;
}

void
cl_require_same_length(const clArray *first, const clArray *other)
{
	if (other->values != NULL && other->count != first->count)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("arrays must have the same length"),
				 errdetail("Argument \"%s\" has length %d, argument \"%s\" has length %d.",
						   first->name, first->count, other->name, other->count)));
}

bool
cl_array_is_null(const clArray *array, int element)
{
	return array->values == NULL || array->nulls[element];
}

text *
cl_array_optional_identifier(const clArray *array, int element)
{
	text *value;

	if (cl_array_is_null(array, element))
		return NULL;
	value = DatumGetTextPP(array->values[element]);
	cl_require_identifier(value, array->name);
	return value;
}

text *
cl_array_identifier(const clArray *array, int element)
{
	cl_require_not_null(cl_array_is_null(array, element), array->name);
	return cl_array_optional_identifier(array, element);
}

int64
cl_array_amount(const clArray *array, int element, int64 minimum)
{
	int64 amount;

	cl_require_not_null(cl_array_is_null(array, element), array->name);
	amount = DatumGetInt64(array->values[element]);
	cl_require_minimum(amount, array->name, minimum);
	return amount;
}

/* credit_require_argument(argument_name text, is_null boolean): for functions written in SQL. */
Datum
credit_require_argument(PG_FUNCTION_ARGS)
{
	cl_require_not_null(PG_ARGISNULL(1) || PG_GETARG_BOOL(1),
						PG_ARGISNULL(0) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}
