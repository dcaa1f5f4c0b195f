/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  The triggers that keep credits from SQL, their owner's too.
 *
 * Calls of the ledger write rows themselves, and fire no statement trigger.
 * So the guards cost them nothing: UPDATE of what must agree with other rows
 * is refused by the statement, and rows are deleted by nobody but who is
 * permitted to.
 *
 * Whoever has to mend damage sets session_replication_role = replica, under
 * which the server fires none of these triggers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#include "ledger/shard.h"
#include "table/unit.h"

PG_FUNCTION_INFO_V1(credit_entry_append_only);
PG_FUNCTION_INFO_V1(credit_account_guard);
PG_FUNCTION_INFO_V1(credit_authorization_guard);
PG_FUNCTION_INFO_V1(credit_lot_guard);

typedef struct clGuard
{
	const char *function;
	const char *detail;
	const char *instead_of_update;
	const char *instead_of_delete;
} clGuard;

static Datum guard(FunctionCallInfo fcinfo, const clGuard *words);
static TriggerData *require_trigger(FunctionCallInfo fcinfo, const char *function);
static bool rows_are_foreign(const TriggerData *trigger);
static int org_id_column(TupleDesc desc);
static bool organisation_is_foreign(Datum org_id, bool isnull);

/* Entries are never changed, and only removed with all else of an organisation that is not ours any more. */
Datum
credit_entry_append_only(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = require_trigger(fcinfo, "credit_entry_append_only");

	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event) && TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
	{
		TupleDesc desc = RelationGetDescr(trigger->tg_relation);
		int column = org_id_column(desc);
		bool isnull = true;
		Datum org_id = column > 0 ? SPI_getbinval(trigger->tg_trigtuple, desc, column, &isnull) : (Datum) 0;

		if (organisation_is_foreign(org_id, isnull))
			return PointerGetDatum(trigger->tg_trigtuple);
	}
	ereport(ERROR,
			(errcode(ERRCODE_RESTRICT_VIOLATION),
			 errmsg("table \"%s\" is append-only", RelationGetRelationName(trigger->tg_relation)),
			 errhint("credit_correct() corrects what an authorization was charged, "
					 "credit_adjust() a balance of no campaign.")));
}

Datum
credit_account_guard(PG_FUNCTION_ARGS)
{
	static const clGuard words = {
		"credit_account_guard",
		"A balance is the sum of the account's entries, what is held that of its open authorizations.",
		"credit_adjust() changes a balance; credit_commit() or credit_revert() settles a hold.",
		"credit_account_configure(org_id, frozen => true) has an organisation hold no more."};

	return guard(fcinfo, &words);
}

Datum
credit_authorization_guard(PG_FUNCTION_ARGS)
{
	static const clGuard words = {
		"credit_authorization_guard",
		"What an authorization holds is held of its account; what it was charged is in the account's entries.",
		"credit_commit() or credit_revert() settles it, credit_extend() or credit_correct() changes its amount.",
		"credit_revert() gives a hold back; credit_detach_partitions() puts away what is old."};

	return guard(fcinfo, &words);
}

Datum
credit_lot_guard(PG_FUNCTION_ARGS)
{
	static const clGuard words = {
		"credit_lot_guard",
		"What remains in a lot follows from the account's entries and open authorizations.",
		"credit_lot_configure() changes when a lot ends or is used; credit_void() ends it.",
		"credit_void() takes what is free in a lot."};

	return guard(fcinfo, &words);
}

/* Rows go with all else of an organisation that is not ours any more. */
static Datum
guard(FunctionCallInfo fcinfo, const clGuard *words)
{
	TriggerData *trigger = require_trigger(fcinfo, words->function);
	const char *hint;

	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		hint = words->instead_of_update;
	else if (!TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		hint = "DROP EXTENSION credit_ledger CASCADE deletes the ledger.";
	else if (rows_are_foreign(trigger))
		return PointerGetDatum(NULL);
	else
		hint = words->instead_of_delete;
	ereport(ERROR,
			(errcode(ERRCODE_RESTRICT_VIOLATION),
			 errmsg("credits in table \"%s\" are written by calls of the ledger alone",
					RelationGetRelationName(trigger->tg_relation)),
			 errdetail("%s", words->detail), errhint("%s", hint)));
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

/* All that the statement deleted, if the trigger has a transition table, as ours have. */
static bool
rows_are_foreign(const TriggerData *trigger)
{
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);
	int column = org_id_column(desc);
	Tuplestorestate *rows = trigger->tg_oldtable;
	TupleTableSlot *slot;
	bool foreign = true;

	if (rows == NULL || column == 0)
		return false;
	slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	tuplestore_select_read_pointer(rows, tuplestore_alloc_read_pointer(rows, 0));
	while (foreign && tuplestore_gettupleslot(rows, true, false, slot))
	{
		bool isnull;
		Datum org_id = slot_getattr(slot, column, &isnull);

		CHECK_FOR_INTERRUPTS();
		foreign = organisation_is_foreign(org_id, isnull);
	}
	ExecDropSingleTupleTableSlot(slot);
	return foreign;
}

/* 0 if there is none: somebody may have put the trigger on a table of his own. */
static int
org_id_column(TupleDesc desc)
{
	int column = SPI_fnumber(desc, "org_id");

	return column > 0 && SPI_gettypeid(desc, column) == TEXTOID ? column : 0;
}

static bool
organisation_is_foreign(Datum org_id, bool isnull)
{
	clUnit *unit;
	bool foreign;

	if (isnull)
		return false;
	unit = cl_unit_begin_reading();
	foreign = !cl_shard_has(unit, DatumGetTextPP(org_id)) || cl_shard_has_moved(unit, DatumGetTextPP(org_id));
	cl_unit_end(unit);
	return foreign;
}
