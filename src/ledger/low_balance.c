/*-------------------------------------------------------------------------
 *
 * low_balance.c
 *	  The alert that an organisation runs out of credits.
 *
 * It opens when what is available falls below the account's threshold, and
 * closes when a tenth more than the threshold is available again, so that
 * calls around the threshold do not raise it over and over.  Calls compare
 * levels, which costs next to nothing; opening and closing is SQL's, see
 * sql/alerts.sql.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#include "ledger/low_balance.h"

static Oid low_balance_follower(void);

clBalanceLevel
cl_balance_level(int64 available, int64 threshold)
{
	int64 enough;

	if (available < threshold)
		return CL_BALANCE_LOW;
	if (pg_add_s64_overflow(threshold, Max(threshold, 0) / 10, &enough))
		enough = PG_INT64_MAX;
	return available < enough ? CL_BALANCE_RECOVERING : CL_BALANCE_NORMAL;
}

void
cl_low_balance_follow(clUnit *unit, text *org_id, clBalanceLevel level, int64 available,
					  int64 threshold, int64 balance, int64 held)
{
	if (level == CL_BALANCE_RECOVERING)
		return;
	(void) OidFunctionCall6(low_balance_follower(), PointerGetDatum(org_id), BoolGetDatum(level == CL_BALANCE_LOW),
							Int64GetDatum(available), Int64GetDatum(threshold), Int64GetDatum(balance),
							Int64GetDatum(held));
	cl_unit_refresh(unit);
}

/* Looked up without regard to the caller's privileges, who needs none on the helpers' schema. */
static Oid
low_balance_follower(void)
{
	static const Oid types[] = {TEXTOID, BOOLOID, INT8OID, INT8OID, INT8OID, INT8OID};
	Oid function = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum("low_balance_follow"),
								   PointerGetDatum(buildoidvector(types, lengthof(types))),
								   ObjectIdGetDatum(get_namespace_oid("credit_ledger_internal", false)));

	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function \"low_balance_follow\" of extension \"credit_ledger\" does not exist")));
	return function;
}
