/*-------------------------------------------------------------------------
 *
 * timeout_notice.h
 *	  Telling the application which holds were settled by timeout.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_TIMEOUT_NOTICE_H
#define CL_TIMEOUT_NOTICE_H

#include "nodes/pg_list.h"

/*
 * NOTIFY credit_ledger_timeout when the transaction commits: holds of one
 * organisation, by their authorization ids (text *), in JSON.  Ids that do
 * not fit into a notification are only counted.
 */
extern void cl_timeout_notice(const text *org_id, const List *authorization_ids);

#endif /* CL_TIMEOUT_NOTICE_H */
