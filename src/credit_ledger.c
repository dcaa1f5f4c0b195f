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

#include "catalog.h"
#include "durability.h"
#include "guc.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	cl_guc_init();
	cl_catalog_init();
	cl_durability_init();
}
