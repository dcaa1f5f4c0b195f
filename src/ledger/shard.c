/*-------------------------------------------------------------------------
 *
 * shard.c
 *	  Which organisations are this database's: the claim of a shard.
 *
 * The claim, the row of credit_shard, is remembered by session.  A trigger on
 * that table has it read again: invalidations arrive with the next lock on
 * a table, and who changes the claim excludes writers of credit_account
 * meanwhile, so no call writes for an organisation under a claim that is over.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/rel.h"

#include "ledger/authorization_id.h"
#include "ledger/catalog.h"
#include "ledger/errors.h"
#include "ledger/shard.h"
#include "table/find.h"

/* Columns of credit_shard */
enum
{
	SHARD_SHARD = 1,
	SHARD_OF
};

/* Columns of credit_account_moved */
enum
{
	MOVED_ORG_ID = 1,
	MOVED_PLACE
};

/* An account that came to this database has no place, which is here. */
static const clTable moved_table = {
	.ncolumns = MOVED_PLACE,
	.columns = {
		[MOVED_ORG_ID] = {"org_id", CL_IDENTIFIER},
		[MOVED_PLACE] = {"place", CL_TEXT, CL_NULLABLE},
	},
};

static struct
{
	bool valid;
	Oid relid;
	uint32 shard;
	uint32 of;
	uint64 changes;
} claim;

static void claim_forget(Datum arg, Oid relid);
static void claim_read(void);
static bool find_moved(clUnit *unit, text *org_id, clRow *row);

PG_FUNCTION_INFO_V1(credit_shard_changed);

void
cl_shard_init(void)
{
	CacheRegisterRelcacheCallback(claim_forget, (Datum) 0);
}

static inline bool
is_claimed(uint32 hash)
{
	if (!claim.valid)
		claim_read();
	return claim.of == 1 || hash % claim.of == claim.shard;
}

bool
cl_shard_has(clUnit *unit, text *org_id)
{
	clRow row;

	if (claim.valid && claim.of == 1)
		return true;
	if (is_claimed(cl_organisation_hash(org_id)))
		return true;
	return find_moved(unit, org_id, &row) && cl_row_is_null(&row, MOVED_PLACE);
}

void
cl_shard_require(clUnit *unit, text *org_id)
{
	if (!cl_shard_has(unit, org_id))
		ereport(ERROR,
				(errcode(ERRCODE_CL_WRONG_SHARD),
				 errmsg("organisation \"%s\" belongs to shard %u of %u", text_to_cstring(org_id),
						cl_organisation_hash(org_id) % claim.of, claim.of),
				 errdetail("This is shard %u.", claim.shard),
				 errhint("Call the router, or the database of that shard.")));
}

bool
cl_shard_has_moved(clUnit *unit, text *org_id)
{
	clRow row;

	return find_moved(unit, org_id, &row) && !cl_row_is_null(&row, MOVED_PLACE);
}

void
cl_shard_require_not_moved(clUnit *unit, text *org_id)
{
	clRow row;

	if (find_moved(unit, org_id, &row) && !cl_row_is_null(&row, MOVED_PLACE))
		ereport(ERROR,
				(errcode(ERRCODE_CL_WRONG_SHARD),
				 errmsg("organisation \"%s\" has moved", text_to_cstring(org_id)),
				 errdetail("Its account went to \"%s\".",
						   TextDatumGetCString(cl_row_get(&row, MOVED_PLACE)))));
}

void
cl_shard_require_authorization(const text *authorization_id)
{
	uint32 hash;

	if (!cl_authorization_id_hash(authorization_id, &hash) || is_claimed(hash))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_CL_WRONG_SHARD),
			 errmsg("authorization \"%s\" belongs to shard %u of %u", text_to_cstring(authorization_id),
					hash % claim.of, claim.of),
			 errdetail("This is shard %u.", claim.shard),
			 errhint("Call the router, or the database of that shard.")));
}

static bool
find_moved(clUnit *unit, text *org_id, clRow *row)
{
	clRelation *rel = cl_relation_open(unit, cl_table_oid(CL_TABLE_MOVED), &moved_table);
	clKey key = {MOVED_ORG_ID, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(org_id)};

	return cl_relation_find(unit, rel, 1, &key, NULL, row);
}

/* Relcache callback: the claim changed, or everything did. */
static void
claim_forget(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || relid == claim.relid)
	{
		claim.valid = false;
		claim.changes++;
	}
}

/*
 * What is committed now, whichever snapshot the transaction has.  What changed
 * while it was read is read again next time, and so is it after an error.
 */
static void
claim_read(void)
{
	Relation rel;
	SysScanDesc scan;
	HeapTuple tuple;
	uint64 changes;

	claim.relid = cl_table_oid(CL_TABLE_SHARD);
	rel = table_open(claim.relid, AccessShareLock);
	changes = claim.changes;
	claim.shard = 0;
	claim.of = 1;
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool isnull;

		claim.shard = DatumGetInt32(heap_getattr(tuple, SHARD_SHARD, RelationGetDescr(rel), &isnull));
		claim.of = DatumGetInt32(heap_getattr(tuple, SHARD_OF, RelationGetDescr(rel), &isnull));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	claim.valid = claim.changes == changes;
}

/* Trigger: what all sessions remember of credit_shard is over. */
Datum
credit_shard_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("credit_shard_changed() is a trigger function")));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	return PointerGetDatum(NULL);
}
