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

#include "catalog.h"
#include "counters.h"
#include "databases.h"
#include "durability.h"
#include "guc.h"
#include "launcher.h"
#include "shared.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	cl_guc_init();
	cl_catalog_init();
	cl_durability_init();
	cl_counters_init();
	cl_databases_init();
	if (process_shared_preload_libraries_in_progress)
	{
		cl_shared_init();
		cl_launcher_init();
	}
}
