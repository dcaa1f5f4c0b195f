/*-------------------------------------------------------------------------
 *
 * retention.c
 *	  What must be kept, for the removal of idempotency keys in
 *	  sql/retention.sql.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "ledger/transition.h"

PG_FUNCTION_INFO_V1(credit_is_final);

/*
 * is_final(authorization_id, at): it was settled before at, and no caller can
 * settle it otherwise any more.  So it is of one that stands nowhere: what is
 * live is never put away.
 */
Datum
credit_is_final(PG_FUNCTION_ARGS)
{
	text *authorization_id = PG_GETARG_TEXT_PP(0);
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(1);
	clUnit *unit = cl_unit_begin_reading();
	clAuthorization authorization;
	bool final = true;

	if (cl_authorization_find(unit, authorization_id, &authorization))
	{
		switch (cl_state(&authorization, GetCurrentTimestamp()))
		{
			case CL_STATE_OPEN:
			case CL_STATE_COMMITTED_BY_TIMEOUT:
			case CL_STATE_REVERTED_BY_TIMEOUT:
				final = false;
				break;
			case CL_STATE_COMMITTED:
			case CL_STATE_COMMITTED_IN_PART:
			case CL_STATE_REVERTED:
			case CL_STATE_COMMITTED_FINALLY:
			case CL_STATE_REVERTED_FINALLY:
				final = authorization.settled_at < at;
				break;
		}
	}
	cl_unit_end(unit);
	PG_RETURN_BOOL(final);
}
