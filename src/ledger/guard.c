/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  The triggers that keep accounts and entries from SQL, their owner's too.
 *
 * Calls of the ledger write rows themselves, and fire no statement trigger.
 * So the guard of accounts costs them nothing: UPDATE is refused by the
 * statement, and accounts are deleted by nobody but who is permitted to.
 *
 * Whoever has to mend damage sets session_replication_role = replica, under
 * which the server fires none of these triggers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/rel.h"

#include "ledger/shard.h"
#include "table/unit.h"

PG_FUNCTION_INFO_V1(credit_entry_append_only);
PG_FUNCTION_INFO_V1(credit_account_guard);

static TriggerData *require_trigger(FunctionCallInfo fcinfo, const char *function);
static bool row_is_foreign(const TriggerData *trigger);

/* Entries are never changed, and only removed with all else of an organisation that is not ours any more. */
Datum
credit_entry_append_only(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = require_trigger(fcinfo, "credit_entry_append_only");

	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event) && row_is_foreign(trigger))
		return PointerGetDatum(trigger->tg_trigtuple);
	ereport(ERROR,
			(errcode(ERRCODE_RESTRICT_VIOLATION),
			 errmsg("table \"%s\" is append-only", RelationGetRelationName(trigger->tg_relation)),
			 errhint("credit_correct() corrects what an authorization was charged, "
					 "credit_adjust() a balance of no campaign.")));
}

/* Accounts go with all else of an organisation that is not ours any more; their credits follow from other rows. */
Datum
credit_account_guard(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = require_trigger(fcinfo, "credit_account_guard");
	const char *name = RelationGetRelationName(trigger->tg_relation);
	const char *hint;

	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event) && row_is_foreign(trigger))
		return PointerGetDatum(trigger->tg_trigtuple);
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		hint = "credit_adjust() changes a balance; credit_commit() or credit_revert() settles a hold.";
	else if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		hint = "credit_account_configure(org_id, frozen => true) has an organisation hold no more.";
	else
		hint = "DROP EXTENSION credit_ledger CASCADE deletes the ledger.";
	ereport(ERROR,
			(errcode(ERRCODE_RESTRICT_VIOLATION),
			 errmsg("credits in table \"%s\" are written by calls of the ledger alone", name),
			 errdetail("A balance is the sum of the account's entries, what is held that of its open authorizations."),
			 errhint("%s", hint)));
}

static TriggerData *
require_trigger(FunctionCallInfo fcinfo, const char *function)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s() is a trigger function", function)));
	return (TriggerData *) fcinfo->context;
}

static bool
row_is_foreign(const TriggerData *trigger)
{
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);
	int column = SPI_fnumber(desc, "org_id");
	bool isnull = true;
	Datum org_id = column > 0 ? heap_getattr(trigger->tg_trigtuple, column, desc, &isnull) : (Datum) 0;
	clUnit *unit;
	bool foreign;

	if (isnull)
		return false;
	unit = cl_unit_begin_reading();
	foreign = !cl_shard_has(unit, DatumGetTextPP(org_id)) || cl_shard_has_moved(unit, DatumGetTextPP(org_id));
	cl_unit_end(unit);
	return foreign;
}
