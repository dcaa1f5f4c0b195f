/*-------------------------------------------------------------------------
 *
 * alert.c
 *	  Alerts: opened once when something begins, closed when it is over.
 *
 * An alert is a row of credit_alert, so it comes and goes with the
 * transaction that noticed it; so does its NOTIFY.  A unique index lets one
 * alert of a kind and organisation be open.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/async.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "ledger/alert.h"
#include "ledger/arguments.h"

#define ALERT_CHANNEL "credit_ledger_alert"

/* NOTIFY takes less than 8000 bytes; details that do not fit stay in the table. */
#define MAX_PAYLOAD 7900

PG_FUNCTION_INFO_V1(credit_alert_open);
PG_FUNCTION_INFO_V1(credit_alert_close);

/* Columns of credit_alert */
enum
{
	ALERT_ALERT_ID = 1,
	ALERT_KIND,
	ALERT_ORG_ID,
	ALERT_OPENED_AT,
	ALERT_CLOSED_AT,
	ALERT_MESSAGE,
	ALERT_DETAILS
};

static const clTable alert_table = {
	.ncolumns = ALERT_DETAILS,
	.nchecks = 0,
	.columns = {
		[ALERT_ALERT_ID] = "alert_id",
		[ALERT_KIND] = "kind",
		[ALERT_ORG_ID] = "org_id",
		[ALERT_OPENED_AT] = "opened_at",
		[ALERT_CLOSED_AT] = "closed_at",
		[ALERT_MESSAGE] = "message",
		[ALERT_DETAILS] = "details",
	},
};

static clRelation *alert_relation(clUnit *unit);
static bool alert_find_open(clUnit *unit, clAlertKind kind, text *org_id, clRow *row);
static void alert_notify(const char *event, const clAlert *alert, TimestampTz at);
static char *alert_payload(const char *event, const clAlert *alert, TimestampTz at, bool with_details);

bool
cl_alert_open(clUnit *unit, const clAlert *alert)
{
	TimestampTz now = GetCurrentTimestamp();
	clRow row;

	if (alert_find_open(unit, alert->kind, alert->org_id, &row))
		return false;

	cl_row_init(&row);
	cl_row_set(&row, ALERT_ALERT_ID, DirectFunctionCall1(gen_random_uuid, (Datum) 0));
	cl_row_set(&row, ALERT_KIND, cl_enum_datum(CL_ENUM_ALERT_KIND, alert->kind));
	if (alert->org_id != NULL)
		cl_row_set(&row, ALERT_ORG_ID, PointerGetDatum(alert->org_id));
	cl_row_set(&row, ALERT_OPENED_AT, TimestampTzGetDatum(now));
	cl_row_set(&row, ALERT_MESSAGE, PointerGetDatum(alert->message));
	if (alert->details != NULL)
		cl_row_set(&row, ALERT_DETAILS, PointerGetDatum(alert->details));
	if (!cl_relation_insert_absent(unit, alert_relation(unit), &row))
		return false;

	ereport(WARNING,
			(errmsg("credit alert \"%s\": %s", cl_enum_name(CL_ENUM_ALERT_KIND, alert->kind),
					text_to_cstring(alert->message))));
	alert_notify("opened", alert, now);
	return true;
}

bool
cl_alert_close(clUnit *unit, clAlertKind kind, text *org_id)
{
	TimestampTz now = GetCurrentTimestamp();
	clAlert alert = {kind, org_id};
	clRow row;

	if (!alert_find_open(unit, kind, org_id, &row) ||
		cl_relation_lock(unit, alert_relation(unit), &row, false) != CL_LOCKED ||
		!cl_row_is_null(&row, ALERT_CLOSED_AT))
		return false;

	cl_row_set(&row, ALERT_CLOSED_AT, TimestampTzGetDatum(now));
	cl_relation_update(unit, alert_relation(unit), &row);

	alert.message = DatumGetTextPP(cl_row_get(&row, ALERT_MESSAGE));
	ereport(LOG,
			(errmsg("credit alert \"%s\" is over: %s", cl_enum_name(CL_ENUM_ALERT_KIND, kind),
					text_to_cstring(alert.message))));
	alert_notify("closed", &alert, now);
	return true;
}

static clRelation *
alert_relation(clUnit *unit)
{
	return cl_relation_open(unit, cl_table_oid(CL_TABLE_ALERT), &alert_table);
}

static bool
alert_find_open(clUnit *unit, clAlertKind kind, text *org_id, clRow *row)
{
	clKey keys[] = {
		{ALERT_KIND, BTEqualStrategyNumber, F_ENUM_EQ, cl_enum_datum(CL_ENUM_ALERT_KIND, kind)},
		{ALERT_ORG_ID, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(org_id)},
		{ALERT_CLOSED_AT}};

	if (org_id == NULL)
		keys[1].procedure = InvalidOid;
	return cl_relation_find(unit, alert_relation(unit), lengthof(keys), keys, row);
}

/* ------------------------------------------------------------------------
 * Telling
 * ------------------------------------------------------------------------
 */

static void
alert_notify(const char *event, const clAlert *alert, TimestampTz at)
{
	char *payload = alert_payload(event, alert, at, true);

	if (strlen(payload) > MAX_PAYLOAD)
		payload = alert_payload(event, alert, at, false);
	payload[pg_mbcliplen(payload, strlen(payload), MAX_PAYLOAD)] = '\0';
	Async_Notify(ALERT_CHANNEL, payload);
}

static char *
alert_payload(const char *event, const clAlert *alert, TimestampTz at, bool with_details)
{
	StringInfoData payload;
	char instant[MAXDATELEN + 1];

	initStringInfo(&payload);
	appendStringInfo(&payload, "{\"event\": \"%s\", \"kind\": \"%s\", \"at\": \"%s\", \"org_id\": ",
					 event, cl_enum_name(CL_ENUM_ALERT_KIND, alert->kind),
					 JsonEncodeDateTime(instant, TimestampTzGetDatum(at), TIMESTAMPTZOID, NULL));
	if (alert->org_id != NULL)
		escape_json(&payload, text_to_cstring(alert->org_id));
	else
		appendStringInfoString(&payload, "null");
	appendStringInfoString(&payload, ", \"message\": ");
	escape_json(&payload, text_to_cstring(alert->message));
	if (with_details && alert->details != NULL)
	{
		Jsonb *details = DatumGetJsonbP(PointerGetDatum(alert->details));

		appendStringInfoString(&payload, ", \"details\": ");
		(void) JsonbToCString(&payload, &details->root, VARSIZE(details));
	}
	appendStringInfoChar(&payload, '}');
	return payload.data;
}

/* ------------------------------------------------------------------------
 * SQL functions
 * ------------------------------------------------------------------------
 */

/* credit_alert_open(kind, org_id, message, details) */
Datum
credit_alert_open(PG_FUNCTION_ARGS)
{
	clAlert alert = {0};
	clUnit *unit;
	bool opened;

	cl_require_not_null(PG_ARGISNULL(0), "kind");
	cl_require_not_null(PG_ARGISNULL(2), "message");
	alert.kind = cl_enum_label(CL_ENUM_ALERT_KIND, PG_GETARG_DATUM(0));
	alert.org_id = cl_arg_optional_identifier(fcinfo, 1, "org_id");
	alert.message = cl_arg_optional_text(fcinfo, 2);
	if (!PG_ARGISNULL(3))
		alert.details = PG_GETARG_VARLENA_P(3);

	unit = cl_unit_begin("credit_alert_open()");
	opened = cl_alert_open(unit, &alert);
	cl_unit_end(unit);
	PG_RETURN_BOOL(opened);
}

/* credit_alert_close(kind, org_id) */
Datum
credit_alert_close(PG_FUNCTION_ARGS)
{
	clAlertKind kind;
	text *org_id;
	clUnit *unit;
	bool closed;

	cl_require_not_null(PG_ARGISNULL(0), "kind");
	kind = cl_enum_label(CL_ENUM_ALERT_KIND, PG_GETARG_DATUM(0));
	org_id = cl_arg_optional_identifier(fcinfo, 1, "org_id");

	unit = cl_unit_begin("credit_alert_close()");
	closed = cl_alert_close(unit, kind, org_id);
	cl_unit_end(unit);
	PG_RETURN_BOOL(closed);
}
