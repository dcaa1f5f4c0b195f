/*-------------------------------------------------------------------------
 *
 * credit_ledger.c
 *	  Entry of the library: prepaid credits in one transaction with the
 *	  application.  README.md in this directory is the map of the code.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "ledger/catalog.h"
#include "server/counters.h"
#include "server/databases.h"
#include "server/durability.h"
#include "server/failures.h"
#include "ledger/settings.h"
#include "ledger/shard.h"
#include "server/launcher.h"
#include "server/outcomes.h"
#include "server/removal.h"
#include "server/shared.h"
#include "table/shape.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	cl_settings_init();
	cl_shape_init();
	cl_catalog_init();
	cl_shard_init();
	cl_durability_init();
	cl_outcomes_init();
	cl_counters_init();
	cl_failures_init();
	cl_databases_init();
	cl_removal_init();
	if (process_shared_preload_libraries_in_progress)
	{
		cl_shared_init();
		cl_launcher_init();
	}
}
