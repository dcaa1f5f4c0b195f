/*-------------------------------------------------------------------------
 *
 * settings.h
 *	  The settings, all under the prefix credit_ledger.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_SETTINGS_H
#define CL_SETTINGS_H

/* Seconds until a hold expires that names no timeout of its own; > 0. */
extern int cl_commit_timeout;

/* A clTimeoutAction: what becomes of an expired hold that names none. */
extern int cl_timeout_action;

/* Seconds during which a caller may correct what the timeout settled; >= 0. */
extern int cl_true_up_window;

/* Whether a transaction that wrote the ledger lets its locks go before its commit is flushed. */
extern bool cl_early_lock_release;

/* Whether the launcher has databases swept, and how often, in milliseconds. */
extern bool cl_worker;
extern int cl_sweep_interval;

/* Alerts: see sql/worker.sql. */
extern double cl_commit_failure_threshold;
extern int cl_commit_failure_min_sample;
extern int cl_sweep_lag_threshold; /* seconds */
extern int cl_expiry_notice;	   /* seconds; 0: never */

/* Seconds for which rows are kept: see sql/retention.sql.  Of keys 0: for ever. */
extern int cl_idempotency_retention;
extern int cl_stat_retention;
extern int cl_alert_retention;
extern int cl_finding_retention;
extern int cl_run_retention;

/* Reconciliation: see sql/reconciliation.sql; in seconds, and the name of a time zone. */
extern int cl_reconciliation_lookback;
extern int cl_reconciliation_overdue_after;
extern char *cl_reconciliation_time_zone;

extern void cl_settings_init(void);

#endif /* CL_SETTINGS_H */
