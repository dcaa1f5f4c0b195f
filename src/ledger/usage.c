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

static ParamListInfo arguments_as_params(FunctionCallInfo fcinfo);

/*
 * usage(since, until, with_findings, of_finding, of_campaign, of_org):
 * read_usage() of the same, under the same snapshot.
 */
Datum
credit_usage(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	SPIExecuteOptions options = {.read_only = true, .params = arguments_as_params(fcinfo)};
	Oid user;
	int security;
	int settings;

	InitMaterializedSRF(fcinfo, 0);
	options.dest = CreateDestReceiver(DestTuplestore);
	SetTuplestoreDestReceiverParams(options.dest, rsinfo->setResult, rsinfo->econtext->ecxt_per_query_memory,
									false, NULL, NULL);

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
	return (Datum) 0;
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
