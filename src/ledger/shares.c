/*-------------------------------------------------------------------------
 *
 * shares.c
 *	  Which lots an amount is made up of: bigint[] pairs in the tables.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"

#include "compat.h"
#include "ledger/shares.h"

clShares
cl_shares_read(Datum pairs)
{
	ArrayType *array = DatumGetArrayTypeP(pairs);
	clShares shares = {0};
	const int64 *values;

	if (ARR_NDIM(array) != 2 || ARR_DIMS(array)[1] != 2 || ARR_HASNULL(array) || ARR_ELEMTYPE(array) != INT8OID)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("lots of a row of the ledger are not pairs of numbers")));

	values = (const int64 *) ARR_DATA_PTR(array);
	shares.count = ARR_DIMS(array)[0];
	shares.list = palloc_array(clShare, shares.count);
	for (int i = 0; i < shares.count; i++)
	{
		int64 credits = values[2 * i + 1];

		shares.list[i] = (clShare) {values[2 * i], credits < 0 ? -credits : credits};
	}
	return shares;
}

Datum
cl_shares_pairs(const clShares *shares, int sign)
{
	Datum *values = palloc_array(Datum, 2 * shares->count);
	int dimensions[] = {shares->count, 2};
	int lower_bounds[] = {1, 1};

	Assert(shares->count > 0);

	for (int i = 0; i < shares->count; i++)
	{
		values[2 * i] = Int64GetDatum(shares->list[i].lot_no);
		values[2 * i + 1] = Int64GetDatum(sign * shares->list[i].credits);
	}
	return PointerGetDatum(construct_md_array(values, NULL, lengthof(dimensions), dimensions, lower_bounds,
											  INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

int64
cl_shares_total(const clShares *shares)
{
	int64 total = 0;

	for (int i = 0; i < shares->count; i++)
		total += shares->list[i].credits;
	return total;
}

void
cl_shares_append(clShares *shares, int64 lot_no, int64 credits)
{
	Assert(credits > 0);

	if (shares->count > 0 && shares->list[shares->count - 1].lot_no == lot_no)
	{
		shares->list[shares->count - 1].credits += credits;
		return;
	}

	/* Room for a power of two. */
	if (shares->count == 0)
		shares->list = palloc(sizeof(clShare));
	else if ((shares->count & (shares->count - 1)) == 0)
		shares->list = repalloc(shares->list, 2 * shares->count * sizeof(clShare));
	shares->list[shares->count++] = (clShare) {lot_no, credits};
}

void
cl_shares_append_all(clShares *shares, const clShares *more)
{
	for (int i = 0; i < more->count; i++)
		cl_shares_append(shares, more->list[i].lot_no, more->list[i].credits);
}

clShares
cl_shares_take_first(clShares *shares, int64 credits)
{
	clShares taken = {0};
	clShares left = {0};

	for (int i = 0; i < shares->count; i++)
	{
		clShare share = shares->list[i];
		int64 part = Min(share.credits, credits);

		if (part > 0)
			cl_shares_append(&taken, share.lot_no, part);
		if (part < share.credits)
			cl_shares_append(&left, share.lot_no, share.credits - part);
		credits -= part;
	}
	*shares = left;
	return taken;
}

clShares
cl_shares_take_last(clShares *shares, int64 credits)
{
	int64 rest = cl_shares_total(shares) - credits;
	clShares left = cl_shares_take_first(shares, Max(rest, 0));
	clShares taken = *shares;

	*shares = left;
	return taken;
}
