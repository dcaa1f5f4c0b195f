/*-------------------------------------------------------------------------
 *
 * timeout_notice.c
 *	  Telling the application which holds were settled by timeout.
 *
 * Nobody called, so nobody got an answer; who wants to know listens.  What is
 * told is a hint, the rows are the truth: a notification is left out where
 * the server's queue is nearly full, since a full one would make the
 * transaction fail.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/async.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

#include "ledger/timeout_notice.h"

#define CHANNEL "credit_ledger_timeout"

/* NOTIFY takes less than 8000 bytes. */
#define MAX_PAYLOAD	   7999
#define MAX_QUEUE_USED 0.9

static bool queue_has_room(void);
static void append_ids(StringInfo payload, const List *authorization_ids, int room);

void
cl_timeout_notice(const text *org_id, const List *authorization_ids)
{
	static const char end[] = "]}";
	StringInfoData payload;

	if (!queue_has_room())
		return;

	initStringInfo(&payload);
	appendStringInfoString(&payload, "{\"org_id\": ");
	escape_json(&payload, text_to_cstring(org_id));
	appendStringInfo(&payload, ", \"count\": %d, \"authorization_ids\": [", list_length(authorization_ids));
	append_ids(&payload, authorization_ids, MAX_PAYLOAD - strlen(end));
	appendStringInfoString(&payload, end);
	Async_Notify(CHANNEL, payload.data);
	pfree(payload.data);
}

static bool
queue_has_room(void)
{
	return DatumGetFloat8(OidFunctionCall0(F_PG_NOTIFICATION_QUEUE_USAGE)) < MAX_QUEUE_USED;
}

/* As many as fit into so many bytes. */
static void
append_ids(StringInfo payload, const List *authorization_ids, int room)
{
	ListCell *lc;

	foreach(lc, authorization_ids)
	{
		int length_before = payload->len;

		if (lc != list_head(authorization_ids))
			appendStringInfoString(payload, ", ");
		escape_json(payload, text_to_cstring(lfirst(lc)));
		if (payload->len > room)
		{
			payload->len = length_before;
			payload->data[length_before] = '\0';
			return;
		}
	}
}
