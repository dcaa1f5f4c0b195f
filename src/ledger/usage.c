/*-------------------------------------------------------------------------
 *
 * usage.c
 *	  Reading usage sources with the rights of the session's role.
 *
 * A run of reconciliation writes tables that nobody else may write, so it
 * works with the rights of the ledger's owner.  What was used it reads from
 * views and tables of others, and these may call whatever functions they
 * like.  So while they are read, the session's role is put in the owner's
 * place, as the server does for index expressions in reverse, and settings
 * that they change are put back afterwards.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "executor/tstoreReceiver.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "tcop/dest.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(credit_usage);

/* How the query begins that read_usage() makes. */
#define QUERY_OF_USAGE "WITH campaign AS MATERIALIZED ("

static void read_usage(FunctionCallInfo fcinfo, DestReceiver *dest);
static ParamListInfo arguments_as_params(FunctionCallInfo fcinfo);
static char *context_without_query(char *context);

/*
 * usage(since, until, with_findings, of_finding, of_campaign, of_org):
 * read_usage() of the same, under the same snapshot.
 */
Datum
credit_usage(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext caller = CurrentMemoryContext;
	DestReceiver *dest;

	InitMaterializedSRF(fcinfo, 0);
	dest = CreateDestReceiver(DestTuplestore);
	SetTuplestoreDestReceiverParams(dest, rsinfo->setResult, rsinfo->econtext->ecxt_per_query_memory,
									false, NULL, NULL);
	PG_TRY();
	{
		read_usage(fcinfo, dest);
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		error->context = context_without_query(error->context);
		ReThrowError(error);
	}
	PG_END_TRY();
	return (Datum) 0;
}

static void
read_usage(FunctionCallInfo fcinfo, DestReceiver *dest)
{
	SPIExecuteOptions options = {.read_only = true, .params = arguments_as_params(fcinfo), .dest = dest};
	Oid user;
	int security;
	int settings;

	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(GetOuterUserId(), security | SECURITY_LOCAL_USERID_CHANGE);
	settings = NewGUCNestLevel();
	SPI_connect();
	if (SPI_execute_extended("SELECT u.* FROM credit_ledger_internal.read_usage($1, $2, $3, $4, $5, $6) u",
							 &options) != SPI_OK_SELECT)
		elog(ERROR, "could not read usage");
	SPI_finish();
	AtEOXact_GUC(false, settings);
	SetUserIdAndSecContext(user, security);
}

/*
 * A source that fails is somebody else's, and the error that says why must not go under in a query of ours that it
 * quotes: what is kept is what the source called.
 */
static char *
context_without_query(char *context)
{
	char *query = context != NULL ? strstr(context, QUERY_OF_USAGE) : NULL;

	if (query == NULL)
		return context;
	while (query > context && query[-1] != '\n')
		query--;
	*query = '\0';
	return psprintf("%sreading of usage sources", context);
}

static ParamListInfo
arguments_as_params(FunctionCallInfo fcinfo)
{
	ParamListInfo params = makeParamList(PG_NARGS());

	for (int i = 0; i < PG_NARGS(); i++)
	{
		params->params[i].value = PG_GETARG_DATUM(i);
		params->params[i].isnull = PG_ARGISNULL(i);
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = get_fn_expr_argtype(fcinfo->flinfo, i);
	}
	return params;
}
