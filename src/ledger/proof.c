/*-------------------------------------------------------------------------
 *
 * proof.c
 *	  Aggregates that prove something of many rows in one pass over them,
 *	  with nothing to remember of each: for sql/verify.sql, which looks at
 *	  single rows only where they say that something is wrong.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "common/int.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/timestamp.h"

#include "compat.h"

PG_FUNCTION_INFO_V1(credit_checksum_add);
PG_FUNCTION_INFO_V1(credit_checksum_combine);
PG_FUNCTION_INFO_V1(credit_chain_add);
PG_FUNCTION_INFO_V1(credit_chain_finish);

typedef struct
{
	ArrayBuildState *breaks;
	int64 entry_no;
	int64 balance_after;
	TimestampTz at;
} Chain;

/*
 * credit_ledger_internal.checksum(id, credits): the sum of credits times a hash of id, modulo 2^64. Of two sets of rows
 * the sums agree if every id has the same credits in both, and hardly otherwise: never if one id differs, since the
 * hashes are odd, and once in 2^(63 - k) if all differences are multiples of 2^k. Freivalds' check of a product is of
 * this kind.
 */
Datum
credit_checksum_add(PG_FUNCTION_ARGS)
{
	uint64 sum = (uint64) PG_GETARG_INT64(0);
	text *id = PG_GETARG_TEXT_PP(1);
	uint64 credits = (uint64) PG_GETARG_INT64(2);
	uint64 weight = hash_bytes_extended((unsigned char *) VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id), 0) | 1;

	PG_FREE_IF_COPY(id, 1);
	PG_RETURN_INT64((int64) (sum + weight * credits));
}

Datum
credit_checksum_combine(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64((int64) ((uint64) PG_GETARG_INT64(0) + (uint64) PG_GETARG_INT64(1)));
}

/*
 * credit_ledger_internal.chain_breaks(entry_no, amount, balance_after, at): the numbers of those entries that do not
 * follow from the one before, the first among them. The rows of an account come in the order of entry_no.
 */
Datum
credit_chain_add(PG_FUNCTION_ARGS)
{
	Chain *chain = PG_ARGISNULL(0) ? NULL : (Chain *) PG_GETARG_POINTER(0);
	int64 entry_no = PG_GETARG_INT64(1);
	int64 amount = PG_GETARG_INT64(2);
	int64 balance_after = PG_GETARG_INT64(3);
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(4);
	bool follows = false;
	int64 sum;
	MemoryContext context;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "credit_chain_add called outside of an aggregate");
	if (chain == NULL)
	{
		chain = MemoryContextAlloc(context, sizeof(Chain));
		/* Without a memory context of its own: there may be as many chains as there are accounts. */
		chain->breaks = initArrayResult(INT8OID, context, false);
	}
	else
		follows = entry_no - 1 == chain->entry_no && at >= chain->at &&
			!pg_add_s64_overflow(chain->balance_after, amount, &sum) && sum == balance_after;
	if (!follows)
		accumArrayResult(chain->breaks, Int64GetDatum(entry_no), false, INT8OID, context);
	chain->entry_no = entry_no;
	chain->balance_after = balance_after;
	chain->at = at;
	PG_RETURN_POINTER(chain);
}

Datum
credit_chain_finish(PG_FUNCTION_ARGS)
{
	Chain *chain = PG_ARGISNULL(0) ? NULL : (Chain *) PG_GETARG_POINTER(0);

	if (chain == NULL)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(makeArrayResult(chain->breaks, CurrentMemoryContext));
}
