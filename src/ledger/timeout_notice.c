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
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "compat.h"
#include "ledger/timeout_notice.h"

#define CHANNEL "credit_ledger_timeout"

/* NOTIFY takes less than 8000 bytes. */
#define MAX_PAYLOAD	   7999
#define MAX_QUEUE_USED 0.9

static bool queue_has_room(void);
static char *notice(const text *org_id, const List *authorization_ids, int told);
static void push_key(JsonbParseState **state, const char *key);
static void push_text(JsonbParseState **state, JsonbIteratorToken as, const text *value);

/*
 * The ids are told as far as they fit; how many there are is always told.  A
 * name that is longer than the install script lets in may not fit at all.
 */
void
cl_timeout_notice(const text *org_id, const List *authorization_ids)
{
	int told = list_length(authorization_ids);
	char *json;

	if (!queue_has_room())
		return;

	while (json = notice(org_id, authorization_ids, told), strlen(json) > MAX_PAYLOAD)
	{
		if (told == 0)
			return;
		told = (int64) told * MAX_PAYLOAD / strlen(json);
	}
	Async_Notify(CHANNEL, json);
}

static bool
queue_has_room(void)
{
	return DatumGetFloat8(OidFunctionCall0(F_PG_NOTIFICATION_QUEUE_USAGE)) < MAX_QUEUE_USED;
}

/* JSON that tells the first so many ids. */
static char *
notice(const text *org_id, const List *authorization_ids, int told)
{
	JsonbParseState *state = NULL;
	JsonbValue count = {.type = jbvNumeric, .val.numeric = int64_to_numeric(list_length(authorization_ids))};
	Jsonb *json;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_key(&state, "org_id");
	push_text(&state, WJB_VALUE, org_id);
	push_key(&state, "count");
	pushJsonbValue(&state, WJB_VALUE, &count);
	push_key(&state, "authorization_ids");
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < told; i++)
		push_text(&state, WJB_ELEM, list_nth(authorization_ids, i));
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	json = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	return JsonbToCString(NULL, &json->root, VARSIZE(json));
}

static void
push_key(JsonbParseState **state, const char *key)
{
	push_text(state, WJB_KEY, cstring_to_text(key));
}

static void
push_text(JsonbParseState **state, JsonbIteratorToken as, const text *value)
{
	JsonbValue string = {.type = jbvString,
						 .val.string = {.len = VARSIZE_ANY_EXHDR(value), .val = VARDATA_ANY(value)}};

	pushJsonbValue(state, as, &string);
}
