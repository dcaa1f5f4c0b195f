/*-------------------------------------------------------------------------
 *
 * alert.h
 *	  Alerts: opened once when something begins, closed when it is over.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_ALERT_H
#define CL_ALERT_H

#include "ledger/catalog.h"
#include "table/relation.h"

typedef struct clAlert
{
	clAlertKind kind;
	text *org_id; /* NULL: of the whole database */
	text *message;
	struct varlena *details; /* jsonb, or NULL */
} clAlert;

/*
 * Open an alert in the current transaction, unless one of its kind and
 * organisation is open; or close that.  False where nothing was to be done.
 * Waits for another transaction that opens or closes the same alert.
 */
extern bool cl_alert_open(clUnit *unit, const clAlert *alert);
extern bool cl_alert_close(clUnit *unit, clAlertKind kind, text *org_id);

#endif /* CL_ALERT_H */
